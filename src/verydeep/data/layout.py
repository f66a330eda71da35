"""One question for every data set: what lies in this folder, and which files are train, val or test?"""

from pathlib import Path

from verydeep.data.folder import folder_split_names, open_folder
from verydeep.data.generated_set import COUNTS, is_generated, open_generated
from verydeep.data.imagenet import find_tars, is_kaggle, kaggle_split_names, open_kaggle
from verydeep.data.split import Split
from verydeep.data.tiny_imagenet import is_tiny_imagenet, open_tiny_imagenet, tiny_imagenet_split_names
from verydeep.errors import VerydeepError


def split_names(root: Path) -> tuple[str, ...]:
    """The names that ``open_split`` takes for this folder.

    Raises:
        VerydeepError: no such folder, or ILSVRC's original tars, which hold no readable images yet.
    """
    _check(root)
    if is_generated(root):
        return tuple(COUNTS)
    if is_kaggle(root):
        return kaggle_split_names(root)
    if is_tiny_imagenet(root):
        return tiny_imagenet_split_names(root)
    return folder_split_names(root)


def open_split(root: Path, name: str, *, seed: int = 0, val_fraction: float = 0.2) -> Split:
    """Recognize the layout of ``root`` and read one split of it; ``Split.layout`` says what was recognized.

    Args:
        root: the generated set, Kaggle's ILSVRC, Tiny-ImageNet, or class folders with or without train/, val/, test/.
        name: one of ``split_names(root)``.
        seed: decides which images of flat class folders are kept for val.
        val_fraction: how many of them, in (0, 1).

    Raises:
        VerydeepError: the folder or the split does not exist, or the folder is not laid out as it should be.
    """
    if not 0 < val_fraction < 1:
        raise VerydeepError(f"The fraction kept for val has to lie between 0 and 1, not be {val_fraction:g}.")
    names = split_names(root)
    if name not in names:
        raise VerydeepError(f"{root} has no split called {name!r}; it has {', '.join(names)}.")
    if is_generated(root):
        return open_generated(root, name)
    if is_kaggle(root):
        return open_kaggle(root, name)
    if is_tiny_imagenet(root):
        return open_tiny_imagenet(root, name)
    return open_folder(root, name, seed=seed, val_fraction=val_fraction)


def _check(root: Path) -> None:
    if not root.exists():
        raise VerydeepError(f"There is no folder {root}; name an existing folder of photographs.")
    if not root.is_dir():
        raise VerydeepError(f"{root} is a file; name the folder that holds the photographs.")
    if find_tars(root):
        raise VerydeepError(f"{root} holds ILSVRC-2012's original tars; first run: verydeep prepare ilsvrc {root} DEST")
