"""Class folders: one folder of photographs per class, as people arrange their own and as prepared ILSVRC is arranged.

Either `train/`, `val/` (or `validation/`) and perhaps `test/` hold the class folders; or the class folders lie flat,
and a share of each class, chosen by the seed, becomes val.
"""

import hashlib
import re
from collections.abc import Sequence
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import numpy as np

from verydeep.data.class_folders import (
    LabeledFile,
    describe_nested,
    describe_unused,
    join_names,
    label_images,
    list_classes,
)
from verydeep.data.groups import name_groups, number_groups
from verydeep.data.listing import Omissions, list_images, list_subfolders, normalize_name
from verydeep.data.parts import Parts, find_parts
from verydeep.data.split import Split
from verydeep.errors import DataError
from verydeep.ops.targets import hold_out_groups

WNID = re.compile(r"n\d{8}")
"""The number of a WordNet synset, which names a class of ImageNet."""


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
            otherwise they are the split's problems, and images of unknown classes have the label -1.

    Raises:
        DataError: there are no class folders, or one is wrong.
    """
    parts, omissions = find_parts(root), Omissions()
    seeded = "val" not in parts.folders and name != "test"
    source = parts.training if seeded else parts.folders[name]
    classes, notes = list_classes(parts.training)
    images = list_images(source, omissions)
    notes = [*parts.notes, *omissions.sentences(source), *notes]
    labeled = name != "test" or bool(list_subfolders(source))
    files, problems = [(image, -1) for image in images], list[str]()
    layout = _describe_layout(parts)
    if labeled:
        files, problems = label_images(source, images, classes)
        if strict and problems:
            raise DataError(" ".join([problems[0], *omissions.sentences(source)]))
        notes += describe_unused(source, images) + describe_nested(source, [file for file, _ in files])
        if num_missing := len(classes) - len({label for _, label in files} - {-1}):
            place = "there are" if name == "all" else f"{name} has"
            layout += f" ({place} no images of {num_missing} of the {len(classes)} classes)"
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
        problems=tuple(problems),
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


def _choose_by_seed(files: list[LabeledFile], seed: int, val_fraction: float) -> set[LabeledFile]:
    """Return the images that belong to val."""
    key = seed.to_bytes(16, "little", signed=True)
    chosen: set[LabeledFile] = set()
    for _, group in groupby(sorted(files, key=itemgetter(1)), key=itemgetter(1)):
        ranked = sorted(group, key=lambda pair: hashlib.blake2b(normalize_name(pair[0]).encode(), key=key).digest())
        num_val = min(len(ranked) - 1, max(1, round(val_fraction * len(ranked))))
        chosen.update(ranked[:num_val])
    return chosen


def _choose_groups(
    files: list[LabeledFile], source: Path, seed: int, val_fraction: float, group_by: str
) -> set[LabeledFile]:
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
    files: list[LabeledFile], val: set[LabeledFile], classes: Sequence[str], noun: str
) -> list[str]:
    """Return a note about classes that have too few images, or groups, for both parts."""
    missing = sorted({label for _, label in files} - {label for _, label in val} - {-1})
    if not missing:
        return []
    names = join_names([classes[label] for label in missing])
    return [f"Too few {noun} to be in both train and val, so all are in train: {names}."]


def _describe_layout(parts: Parts) -> str:
    names = [f"{folder.relative_to(parts.root).as_posix()}/" for folder in parts.folders.values()]
    return "class folders" + (" with " if names else "") + join_names(names)
