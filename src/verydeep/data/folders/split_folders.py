"""Find the folders of a data set: its splits train, val and test, or its class folders.

Archives often hold the folder twice ("flowers/flowers/daisy", "train/train/cat"), and their splits have many names
("seg_train", "test_set"). A folder that holds nothing but one folder is seen through.
"""

import re
from collections.abc import Container
from dataclasses import dataclass
from pathlib import Path

from verydeep.data.folders.listing import has_own_images, holds_images, list_subfolders, normalize_name
from verydeep.errors import DataError

ANNOTATIONS = "Annotations"
"""The folder of boxes in ImageNet and VOC; it is not a class unless it holds images."""

_ORDER = ("train", "val", "test")
SPLIT_NAMES = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val"}
SPLIT_NAMES |= {"test": "test", "testing": "test", "eval": "test", "evaluation": "test"}
"""Name of a folder in lower case -> the split that it holds."""
_GENERIC = frozenset(
    {"data", "dataset", "set", "split", "part", "image", "images", "img", "imgs", "photo", "photos", "pictures"}
)
"""Words that may stand next to the name of a split, as in "test_images"."""
_UNLABELED = frozenset({"images", "imgs", "unknown", "unlabeled", "unlabelled"})
"""Names of folders of test photographs without classes."""


@dataclass(frozen=True)
class SplitFolders:
    """The folders of a data set."""

    root: Path
    """The folder that holds the splits, or else the class folders."""
    folders: dict[str, Path]
    """Train, val, test -> the folder that holds its class folders; empty if there are no splits."""
    notes: tuple[str, ...] = ()
    """Sentences about folders that were seen through, renamed or not used."""

    @property
    def training(self) -> Path:
        """The folder that holds the training photographs, whose class folders are the classes."""
        return self.folders.get("train") or self.folders.get("val") or self.root


def find_split_folders(root: Path) -> SplitFolders:
    """Find the splits of a data set of class folders.

    A flat folder may have a class 'train' next to 'car' and 'bus'; it then has other folders too, and train/ holds
    images instead of class folders.

    Raises:
        DataError: two folders are named as one split, or a folder cannot be read.
    """
    inner = unwrap(root, SPLIT_NAMES)
    notes = [] if inner == root else [f"All images of {root} lie in {inner}, which is read instead."]
    names = [name for name in list_subfolders(inner) if name != ANNOTATIONS]
    folders = _name_splits(inner, names)
    if not folders:
        return SplitFolders(inner, {}, tuple(notes))
    if renamed := [
        f"{folder.name}/ is {split}" for split, folder in folders.items() if folder.name.lower() not in SPLIT_NAMES
    ]:
        notes.append(f"Splits of {inner}: {', '.join(renamed)}.")
    if unused := sorted(set(names) - {folder.name for folder in folders.values()}):
        notes.append(f"Not used: {', '.join(f'{name}/' for name in unused)}, because {inner} is divided into splits.")
    classes: set[str] = set()
    for split, folder in folders.items():
        folders[split] = unwrap(folder, classes, may_be_unlabeled=split == "test")
        classes = classes or set(map(normalize_name, list_subfolders(folders[split])))
    return SplitFolders(inner, folders, tuple(notes))


def unwrap(folder: Path, stop: Container[str], *, may_be_unlabeled: bool = False) -> Path:
    """Return the folder that holds what a folder should hold: itself, or one below it if that holds all images.

    Args:
        folder: of class folders or splits.
        stop: names, in lower case for splits, of folders that are not seen through.
        may_be_unlabeled: whether the images may lie directly in a folder called "images", for one.
    """
    inner = folder
    while (
        (name := find_only_folder(inner)) is not None and normalize_name(name) not in stop and name.lower() not in stop
    ):
        inner /= name
        if has_own_images(inner):
            is_twice = name.casefold() == inner.parent.name.casefold() or _split_of(name) is not None
            return inner if is_twice or (may_be_unlabeled and name.lower() in _UNLABELED) else folder
    num_folders = len(list_subfolders(inner))
    return inner if num_folders > 1 or (name is not None and name.lower() in SPLIT_NAMES) else folder


def find_only_folder(folder: Path) -> str | None:
    """Return the name of the only subfolder with images of a folder without images of its own."""
    if has_own_images(folder):
        return None
    with_images: list[str] = []
    for name in list_subfolders(folder):
        if name != ANNOTATIONS and holds_images(folder / name):
            with_images.append(name)
            if len(with_images) > 1:
                return None
    return with_images[0] if with_images else None


def _name_splits(root: Path, names: list[str]) -> dict[str, Path]:
    """Return the folders of train, val and test; nothing if ``root`` is flat."""
    folders: dict[str, Path] = {}
    for name in (name for name in names if name.lower() in SPLIT_NAMES):
        split = SPLIT_NAMES[name.lower()]
        if split in folders:
            raise DataError(f"{root} has both {folders[split].name}/ and {name}/; keep one of them.")
        folders[split] = root / name
    is_certain = any(list_subfolders(folders[split]) for split in ("train", "val") if split in folders)
    for split in _ORDER:
        similar = [name for name in names if split not in folders and _split_of(name) == split]
        if len(similar) == 1:
            folders[split] = root / similar[0]
    folders = {split: folders[split] for split in _ORDER if split in folders}
    if "train" not in folders and "val" not in folders:
        return {}
    if is_certain or all(name.lower() in SPLIT_NAMES or _is_plain_split(name) for name in names):
        return folders
    has_classes = all(not has_own_images(folder) and list_subfolders(folder) for folder in folders.values())
    return folders if "train" in folders and len(folders) > 1 and has_classes else {}


def _split_of(name: str) -> str | None:
    """Return the split that a word of a name means: "seg_train" is train, "TestImages" is test."""
    splits = {SPLIT_NAMES[word] for word in _words(name) if word in SPLIT_NAMES}
    return splits.pop() if len(splits) == 1 else None


def _is_plain_split(name: str) -> bool:
    """Whether a name means a split and nothing else, such as "test_set" or "test1"."""
    return _split_of(name) is not None and all(word in SPLIT_NAMES or word in _GENERIC for word in _words(name))


def _words(name: str) -> list[str]:
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", name)]
