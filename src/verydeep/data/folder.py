"""Class folders: one folder of photographs per class, as people keep their own and as prepared ILSVRC lies.

Either `train/`, `val/` (or `validation/`) and perhaps `test/` hold the class folders, or the class folders
lie flat and a seeded fraction of each class is kept for validation.
"""

import hashlib
import os
import re
from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import numpy as np

from verydeep.data.decoding import FORMATS
from verydeep.data.split import Split
from verydeep.errors import VerydeepError

WNID = re.compile(r"n\d{8}")
"""A class of ImageNet: the number of its WordNet synset."""

ANNOTATIONS = "Annotations"
"""The folder of boxes, as ImageNet's and VOC's are called; no class unless it holds images."""

_PART_NAMES = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val"}
_PART_NAMES |= {"test": "test", "testing": "test"}
_ORDER = ("train", "val", "test")


def folder_split_names(root: Path) -> tuple[str, ...]:
    """The splits that ``root`` can give: its parts, and train, val and all where a fraction decides."""
    parts = _parts(root)
    if "val" in parts:
        return tuple(parts)
    return ("train", "val", *(name for name in parts if name == "test"), "all")


def open_folder(root: Path, name: str, *, seed: int, val_fraction: float) -> Split:
    """Read one split (a name that ``folder_split_names`` gives) of class folders.

    The classes are those of train/, in sorted order. A class's images go to val by a hash keyed with the
    seed, so neither the order of the operating system's listing nor other classes matter; at least one goes
    where there are two or more.

    Raises:
        VerydeepError: no class folders, an empty one, or one in val/ or test/ that train/ lacks.
    """
    parts = _parts(root)
    seeded = "val" not in parts and name != "test"
    source = parts.get("train", root) if seeded else parts[name]
    labelled = name != "test" or bool(_subfolders(source))
    classes = _classes(parts.get("train") or parts.get("val") or root)
    if labelled:
        files = _labelled_files(source, classes)
        lacking = len(classes) - len({label for _, label in files})
    else:
        files, lacking = [(image, -1) for image in list_images(source)], 0
    kept_for_val = ""
    if seeded and name != "all":
        kept_for_val = f"{val_fraction:.0%} of each class kept for val (seed {seed})"
        files = [pair for group in _by_label(files) for pair in _seeded_part(group, name, seed, val_fraction)]
    files.sort()
    return Split(
        name=name,
        root=source,
        files=tuple(file for file, _ in files),
        labels=np.array([label for _, label in files], dtype=np.int64) if labelled else None,
        class_names=tuple(classes),
        class_words=class_words(classes, (source, root)),
        layout=_describe(parts, kept_for_val, name, lacking, len(classes)),
        camera_rotation=not all(WNID.fullmatch(class_name) for class_name in classes),
    )


def list_images(folder: Path) -> list[str]:
    """The images in a folder and below, as sorted POSIX paths relative to it; hidden ones are left out."""
    found: list[str] = []
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
                elif os.path.splitext(entry.name)[1].lower() in FORMATS:  # noqa: PTH122 - a million files
                    found.append(inside + entry.name)
    return sorted(found)


def class_words(classes: Sequence[str], folders: Sequence[Path]) -> tuple[str, ...]:
    """What people call each class, by the first words.txt (``wnid<TAB>words``) in ``folders``."""
    words: dict[str, str] = {}
    for folder in folders:
        if (folder / "words.txt").is_file():
            lines = (folder / "words.txt").read_text("utf-8", errors="replace").splitlines()
            words = dict(line.split("\t", 1) for line in lines if "\t" in line)
            break
    return tuple(words.get(class_name, class_name).strip() for class_name in classes)


def _leads_back(link: Path) -> bool:
    """Whether a symbolic link points at a folder that it lies in, so that following it never ends."""
    return link.parent.resolve().is_relative_to(link.resolve())


def _subfolders(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith("."))


def _parts(root: Path) -> dict[str, Path]:
    """The folders train/, val/ and test/; none of them where ``root`` is flat.

    A flat folder may well have a class called 'train' beside 'car' and 'bus': then there are other folders,
    and it holds images instead of class folders.
    """
    folders = _subfolders(root)
    parts: dict[str, Path] = {}
    for folder in (name for name in folders if name.lower() in _PART_NAMES):
        part = _PART_NAMES[folder.lower()]
        if part in parts:
            raise VerydeepError(f"{root} has both {parts[part].name}/ and {folder}/; keep one of them.")
        parts[part] = root / folder
    parts = {name: parts[name] for name in _ORDER if name in parts}
    learned = [parts[name] for name in _ORDER[:2] if name in parts]
    nothing_else = all(name.lower() in _PART_NAMES for name in folders)
    if learned and (nothing_else or any(_subfolders(folder) for folder in learned)):
        return parts
    return {}


def _classes(folder: Path) -> list[str]:
    classes = [name for name in _subfolders(folder) if name != ANNOTATIONS or list_images(folder / name)]
    if not classes:
        lack = "images but no class folders" if list_images(folder) else "no class folders"
        raise VerydeepError(f"{folder} holds {lack}; put the images of each class into a folder of its own there.")
    return classes


def _labelled_files(source: Path, classes: list[str]) -> list[tuple[str, int]]:
    """(file, label) of every image, class by class."""
    label_of = {class_name: label for label, class_name in enumerate(classes)}
    found = _classes(source)
    if strangers := [class_name for class_name in found if class_name not in label_of]:
        raise VerydeepError(
            f"{source} has class folders that training lacks: {_some(strangers)}; rename or remove them."
        )
    files: list[tuple[str, int]] = []
    for class_name in found:
        images = list_images(source / class_name)
        if not images:
            raise VerydeepError(f"The class folder {source / class_name} holds no images; fill or remove it.")
        files += [(f"{class_name}/{image}", label_of[class_name]) for image in images]
    return files


def _by_label(files: list[tuple[str, int]]) -> list[list[tuple[str, int]]]:
    return [list(group) for _, group in groupby(files, key=itemgetter(1))]


def _seeded_part(group: list[tuple[str, int]], name: str, seed: int, val_fraction: float) -> list[tuple[str, int]]:
    """Those images of one class that belong to ``name``, train or val."""
    key = seed.to_bytes(16, "little", signed=True)
    ranked = sorted(group, key=lambda pair: hashlib.blake2b(os.fsencode(pair[0]), key=key).digest())
    num_val = min(len(group) - 1, max(1, round(val_fraction * len(group))))
    return ranked[:num_val] if name == "val" else ranked[num_val:]


def _describe(parts: dict[str, Path], kept_for_val: str, name: str, lacking: int, num_classes: int) -> str:
    names = [f"{folder.name}/" for folder in parts.values()]
    told = "class folders" + (" with " if names else "") + " and ".join(", ".join(names).rsplit(", ", 1))
    if lacking:
        told += f" ({name} lacks {lacking} of the {num_classes} classes)"
    return f"{told}, {kept_for_val}" if kept_for_val else told


def _some(names: list[str]) -> str:
    """Up to three names, and how many more."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
