"""Class folders: one folder of photographs per class, as people arrange their own and as prepared ILSVRC is arranged.

Either `train/`, `val/` (or `validation/`) and perhaps `test/` hold the class folders; or the class folders lie flat,
and a share of each class, chosen by the seed, becomes val.
"""

import hashlib
import os
import re
from collections.abc import Container, Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import numpy as np

from verydeep.data.decoding import FORMATS
from verydeep.data.split import Split
from verydeep.errors import DataError

WNID = re.compile(r"n\d{8}")
"""The number of a WordNet synset, which names a class of ImageNet."""

ANNOTATIONS = "Annotations"
"""The folder of boxes in ImageNet and VOC; it is no class unless it holds images."""

_SPLIT_NAMES = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val"}
_SPLIT_NAMES |= {"test": "test", "testing": "test"}
_ORDER = ("train", "val", "test")


def folder_split_names(root: Path) -> tuple[str, ...]:
    """Return the splits that ``root`` has; in a flat folder train, val and all."""
    folders = _split_folders(root)
    if "val" in folders:
        return tuple(folders)
    return ("train", "val", *(name for name in folders if name == "test"), "all")


def open_folder(root: Path, name: str, *, seed: int, val_fraction: float) -> Split:
    """Read one split of class folders, one that ``folder_split_names`` gives.

    The classes are those of train/, sorted. Without a folder val/, an image belongs to val by a hash of its name keyed
    with the seed, whatever the order of the listing and the other classes. A class of at least two images has at least
    one in val.

    Raises:
        DataError: there are no class folders, one is empty, or one in val/ or test/ is missing in train/.
    """
    folders = _split_folders(root)
    seeded = "val" not in folders and name != "test"
    source = folders.get("train", root) if seeded else folders[name]
    labeled = name != "test" or bool(list_subfolders(source))
    classes = _class_folders(folders.get("train") or folders.get("val") or root)
    files = _labeled_files(source, classes) if labeled else [(image, -1) for image in list_images(source)]
    layout = _describe_layout(folders)
    num_missing = len(classes) - len({label for _, label in files}) if labeled else 0
    if num_missing:
        layout += f" ({name} has no images of {num_missing} of the {len(classes)} classes)"
    if seeded and name != "all":
        layout += f", {val_fraction:.0%} of each class in val (seed {seed})"
        groups = (list(group) for _, group in groupby(files, key=itemgetter(1)))
        files = [pair for group in groups for pair in _choose_by_seed(group, name, seed, val_fraction)]
    files.sort()
    return Split(
        name=name,
        root=source,
        files=tuple(file for file, _ in files),
        labels=np.array([label for _, label in files], dtype=np.int64) if labeled else None,
        class_names=tuple(classes),
        class_words=read_class_words(classes, (source, root)),
        layout=layout,
        camera_rotation=not all(WNID.fullmatch(class_name) for class_name in classes),
    )


def list_images(folder: Path) -> list[str]:
    """Return the image files in a folder and its subfolders, as sorted POSIX paths relative to it."""
    return list_files(folder, FORMATS)


def list_files(folder: Path, suffixes: Container[str]) -> list[str]:
    """Return the files with certain suffixes in a folder and its subfolders, as sorted POSIX paths relative to it.

    Hidden files and folders are ignored, and so are links that lead back to a folder around them.
    """
    files: list[str] = []
    pending = [""]
    while pending:
        inside = pending.pop()
        with os.scandir(folder / inside) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    if not (entry.is_symlink() and _leads_back(Path(entry.path))):
                        pending.append(f"{inside}{entry.name}/")
                elif os.path.splitext(entry.name)[1].lower() in suffixes:  # noqa: PTH122 - a million files
                    files.append(inside + entry.name)
    return sorted(files)


def list_subfolders(folder: Path) -> list[str]:
    """Return the names of the folders that lie directly in a folder, sorted; hidden ones are ignored."""
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))


def read_class_words(classes: Sequence[str], folders: Sequence[Path]) -> tuple[str, ...]:
    """Return the class words, by the first words.txt (``wnid<TAB>words``) in ``folders``; otherwise the names."""
    words: dict[str, str] = {}
    for folder in folders:
        if (folder / "words.txt").is_file():
            lines = (folder / "words.txt").read_text("utf-8", errors="replace").splitlines()
            words = dict(line.split("\t", 1) for line in lines if "\t" in line)
            break
    return tuple(words.get(class_name, class_name).strip() for class_name in classes)


def _leads_back(link: Path) -> bool:
    """Whether a symbolic link points to a folder around it, so that following it would never end."""
    return link.parent.resolve().is_relative_to(link.resolve())


def _split_folders(root: Path) -> dict[str, Path]:
    """Return the folders of train, val and test; nothing if ``root`` is flat.

    A flat folder may have a class 'train' next to 'car' and 'bus'; it then has other folders too, and train/ holds
    images instead of class folders.
    """
    names = list_subfolders(root)
    folders: dict[str, Path] = {}
    for name in (name for name in names if name.lower() in _SPLIT_NAMES):
        split = _SPLIT_NAMES[name.lower()]
        if split in folders:
            raise DataError(f"{root} has both {folders[split].name}/ and {name}/; keep one of them.")
        folders[split] = root / name
    folders = {name: folders[name] for name in _ORDER if name in folders}
    training = [folders[name] for name in ("train", "val") if name in folders]
    only_splits = all(name.lower() in _SPLIT_NAMES for name in names)
    if training and (only_splits or any(list_subfolders(folder) for folder in training)):
        return folders
    return {}


def _class_folders(folder: Path) -> list[str]:
    classes = [name for name in list_subfolders(folder) if name != ANNOTATIONS or list_images(folder / name)]
    if not classes:
        contents = "images but no class folders" if list_images(folder) else "no class folders"
        raise DataError(f"{folder} holds {contents}; put the images of each class into a folder of its own there.")
    return classes


def _labeled_files(source: Path, classes: list[str]) -> list[tuple[str, int]]:
    """Return (file, label) of every image, class by class."""
    label_of = {class_name: label for label, class_name in enumerate(classes)}
    names = _class_folders(source)
    if unknown := [name for name in names if name not in label_of]:
        more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
        raise DataError(
            f"{source} has class folders that training lacks: {', '.join(unknown[:3])}{more}; rename or remove them."
        )
    files: list[tuple[str, int]] = []
    for name in names:
        images = list_images(source / name)
        if not images:
            raise DataError(f"The class folder {source / name} holds no images; fill or remove it.")
        files += [(f"{name}/{image}", label_of[name]) for image in images]
    return files


def _choose_by_seed(group: list[tuple[str, int]], name: str, seed: int, val_fraction: float) -> list[tuple[str, int]]:
    """Return the images of one class that belong to the split ``name``, train or val."""
    key = seed.to_bytes(16, "little", signed=True)
    ranked = sorted(group, key=lambda pair: hashlib.blake2b(os.fsencode(pair[0]), key=key).digest())
    num_val = min(len(group) - 1, max(1, round(val_fraction * len(group))))
    return ranked[:num_val] if name == "val" else ranked[num_val:]


def _describe_layout(folders: dict[str, Path]) -> str:
    names = [f"{folder.name}/" for folder in folders.values()]
    return "class folders" + (" with " if names else "") + " and ".join(", ".join(names).rsplit(", ", 1))
