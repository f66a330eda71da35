"""Class folders: one folder of photographs per class, as people arrange their own and as prepared ILSVRC is arranged.

Either `train/`, `val/` (or `validation/`) and perhaps `test/` hold the class folders; or the class folders lie flat,
and a share of each class, chosen by the seed, becomes val.
"""

import hashlib
import re
from collections.abc import Iterable, Sequence
from itertools import groupby, pairwise
from operator import itemgetter
from pathlib import Path

import numpy as np

from verydeep.data.groups import name_groups, number_groups
from verydeep.data.listing import Omissions, holds_files, holds_images, list_images, list_subfolders, normalize_name
from verydeep.data.parts import ANNOTATIONS, PARTS, Parts, find_parts
from verydeep.data.split import Split
from verydeep.errors import DataError
from verydeep.ops.targets import hold_out_groups

WNID = re.compile(r"n\d{8}")
"""The number of a WordNet synset, which names a class of ImageNet."""

_LabeledFile = tuple[str, int]
"""A file and its label; -1 where the class is unknown."""


def folder_split_names(root: Path) -> tuple[str, ...]:
    """Return the splits that ``root`` has; in a flat folder train, val and all."""
    folders = find_parts(root).folders
    if "val" in folders:
        return tuple(folders)
    return ("train", "val", *(name for name in folders if name == "test"), "all")


def open_folder(
    root: Path, name: str, *, seed: int, val_fraction: float, group_by: str | None = None, strict: bool = True
) -> Split:
    """Read one split of class folders, one that ``folder_split_names`` gives.

    The classes are those of train/, sorted; an empty folder is not a class. Without a folder val/, an image belongs to
    val by a hash of its name keyed with the seed, whatever the order of the listing and the other classes. A class of
    at least two images has at least one in val.

    Args:
        root: the folder of the data set.
        name: of the split.
        seed: chooses the images of val.
        val_fraction: their share.
        group_by: the groups of images that stay together in train or in val, as ``groups.resolve_group_by`` returns it;
            None: each image is on its own.
        strict: whether class folders that hold files but no images, and those that training lacks, are errors;
            otherwise images of unknown classes have the label -1.

    Raises:
        DataError: there are no class folders, or one is wrong.
    """
    parts, omissions = find_parts(root), Omissions()
    seeded = "val" not in parts.folders and name != "test"
    source = parts.training if seeded else parts.folders[name]
    classes, notes = _list_classes(parts.training)
    images = list_images(source, omissions)
    notes = [*parts.notes, *omissions.sentences(source), *notes]
    labeled = name != "test" or bool(list_subfolders(source))
    files = [(image, -1) for image in images]
    layout = _describe_layout(parts)
    if labeled:
        files, errors = _label_images(source, images, classes)
        if strict and errors:
            raise DataError(" ".join([errors[0], *omissions.sentences(source)]))
        notes += _describe_empty(source) + _describe_strays(source, images) + _describe_nested(source, images)
        if num_missing := len(classes) - len({label for _, label in files} - {-1}):
            layout += f" ({name} has no images of {num_missing} of the {len(classes)} classes)"
    if seeded and name != "all":
        layout += f", {val_fraction:.0%} of each class in val (seed {seed}{_describe_groups(group_by)})"
        if group_by is None:
            val = _choose_by_seed(files, seed, val_fraction)
        else:
            val = _choose_groups(files, source, seed, val_fraction, group_by)
        notes += _describe_indivisible(files, val, classes, "photographs" if group_by is None else "groups")
        files = [pair for pair in files if (pair in val) == (name == "val")]
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
        notes=tuple(notes),
    )


def read_class_words(classes: Sequence[str], folders: Sequence[Path]) -> tuple[str, ...]:
    """Return the class words, by the first words.txt (``wnid<TAB>words``) in ``folders``; otherwise the names."""
    words: dict[str, str] = {}
    for folder in folders:
        if (folder / "words.txt").is_file():
            lines = (folder / "words.txt").read_text("utf-8", errors="replace").splitlines()
            pairs = (line.split("\t", 1) for line in lines if "\t" in line)
            words = {normalize_name(name): text for name, text in pairs}
            break
    return tuple(words.get(class_name, class_name).strip() for class_name in classes)


def _class_folders(folder: Path) -> list[str]:
    """Return the names of the folders that are classes: those that are not empty, and Annotations only with images."""
    names = list_subfolders(folder)
    return [name for name in names if (holds_images if name == ANNOTATIONS else holds_files)(folder / name)]


def _list_classes(folder: Path) -> tuple[list[str], list[str]]:
    """Return the classes, sorted, and notes about class folders that are easily confused.

    Raises:
        DataError: there are none.
    """
    names = _class_folders(folder)
    if not names:
        contents = "images but no class folders" if list_images(folder) else "no class folders with images"
        raise DataError(f"{folder} holds {contents}; put the images of each class into a folder of its own there.")
    classes = sorted(set(map(normalize_name, names)))
    notes = []
    if len(classes) < len(names):
        notes.append(f"Some class folders of {folder} differ only in how their accents are stored; they are one class.")
    for one, other in pairwise(sorted(classes, key=str.casefold)):
        if one.casefold() == other.casefold():
            notes.append(f"The class folders {one} and {other} of {folder} differ only in case; they are two classes.")
    return classes, notes


def _label_images(source: Path, images: Iterable[str], classes: list[str]) -> tuple[list[_LabeledFile], list[str]]:
    """Return the images in class folders with their labels, and what is wrong with the folders."""
    label_of = {class_name: label for label, class_name in enumerate(classes)}
    folders = {name: label_of.get(normalize_name(name), -1) for name in _class_folders(source)}
    errors = []
    if unknown := [name for name, label in folders.items() if label < 0]:
        more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
        errors.append(
            f"{source} has class folders that training lacks: {', '.join(unknown[:3])}{more}; rename or remove them."
        )
    first = [(image, image.split("/")[0]) for image in images]
    without_images = folders.keys() - {name for _, name in first}
    errors += [
        f"The class folder {source / name} holds no images; fill or remove it." for name in sorted(without_images)
    ]
    files = [(image, folders[name]) for image, name in first if name in folders]
    if not files and not errors:
        contents = "images but no class folders" if images else "no images"
        errors.append(f"{source} holds {contents}; put the images of each class into a folder of its own there.")
    return files, errors


def _describe_empty(source: Path) -> list[str]:
    """Return a note about folders that would be classes if they were not empty."""
    empty = sorted(set(list_subfolders(source)) - set(_class_folders(source)) - {ANNOTATIONS})
    if not empty:
        return []
    reason = "it is empty" if len(empty) == 1 else "they are empty"
    return [f"Not used, because {reason}: {_join([str(source / name) for name in empty])}."]


def _describe_strays(source: Path, images: Sequence[str]) -> list[str]:
    """Return a note about images that lie next to the class folders."""
    folders = set(list_subfolders(source))
    strays = [image for image in images if "/" not in image and image not in folders]
    if not strays:
        return []
    count, verb = ("1 image", "lies") if len(strays) == 1 else (f"{len(strays):,} images", "lie")
    return [f"Not used: {count} that {verb} directly in {source} and not in a class folder ({strays[0]})."]


def _describe_nested(source: Path, images: Sequence[str]) -> list[str]:
    """Return a note if all class folders hold the same folders and nothing else: these may be the classes."""
    inside: dict[str, set[str]] = {}
    for image in images:
        folder, _, rest = image.partition("/")
        inside.setdefault(folder, set()).add(rest.partition("/")[0] if "/" in rest else "")
    names = next(iter(inside.values()), set())
    if len(inside) < 2 or len(names) < 2 or "" in names or any(other != names for other in inside.values()):
        return []
    text = f"All class folders of {source} hold the folders {_join(sorted(names))} and no images of their own"
    if {name.lower() for name in names} <= PARTS.keys():
        return [f"{text}, which are not kept apart: move them outside, as in {source / min(names) / min(inside)}."]
    return [f"{text}: if these are the classes, give one of the class folders as data, such as {source / min(inside)}."]


def _choose_by_seed(files: list[_LabeledFile], seed: int, val_fraction: float) -> set[_LabeledFile]:
    """Return the images that belong to val."""
    key = seed.to_bytes(16, "little", signed=True)
    chosen: set[_LabeledFile] = set()
    for _, group in groupby(sorted(files, key=itemgetter(1)), key=itemgetter(1)):
        ranked = sorted(group, key=lambda pair: hashlib.blake2b(normalize_name(pair[0]).encode(), key=key).digest())
        num_val = min(len(ranked) - 1, max(1, round(val_fraction * len(ranked))))
        chosen.update(ranked[:num_val])
    return chosen


def _choose_groups(
    files: list[_LabeledFile], source: Path, seed: int, val_fraction: float, group_by: str
) -> set[_LabeledFile]:
    """Return the images that belong to val: those of some groups.

    Raises:
        DataError: an image has no group.
    """
    groups = number_groups(name_groups([file for file, _ in files], source, group_by), seed)
    labels = np.array([label for _, label in files], np.int64)
    is_val = hold_out_groups([np.flatnonzero(labels == label) for label in np.unique(labels)], groups, val_fraction)
    return {files[index] for index in np.flatnonzero(is_val)}


def _describe_groups(group_by: str | None) -> str:
    return "" if group_by is None else f", grouped by {group_by}"


def _describe_indivisible(
    files: list[_LabeledFile], val: set[_LabeledFile], classes: Sequence[str], noun: str
) -> list[str]:
    """Return a note about classes that have too few images, or groups, for both parts."""
    missing = sorted({label for _, label in files} - {label for _, label in val} - {-1})
    if not missing:
        return []
    names = _join([classes[label] for label in missing])
    return [f"Too few {noun} to be in both train and val, so all are in train: {names}."]


def _describe_layout(parts: Parts) -> str:
    names = [f"{folder.relative_to(parts.root).as_posix()}/" for folder in parts.folders.values()]
    return "class folders" + (" with " if names else "") + _join(names)


def _join(names: Sequence[str]) -> str:
    """Return "a, b and c"; of many names the first."""
    if len(names) > 5:
        return f"{', '.join(names[:4])} and {len(names) - 4} more"
    return " and ".join(", ".join(names).rsplit(", ", 1))
