"""Class folders: one folder of photographs per class, as people arrange their own and as prepared ILSVRC is arranged.

Either `train/`, `val/` (or `validation/`) and perhaps `test/` hold the class folders; or the class folders lie flat,
and a share of each class, chosen by the seed, becomes val.
"""

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from verydeep.data.folders.class_folders import (
    describe_nested,
    describe_unused,
    join_names,
    label_images,
    list_classes,
    list_strays,
)
from verydeep.data.folders.division import divide
from verydeep.data.folders.groups import PARENT
from verydeep.data.folders.listing import Omissions, list_images, list_subfolders, normalize_name
from verydeep.data.folders.split_folders import SplitFolders, find_split_folders
from verydeep.data.split import Split
from verydeep.errors import DataError

WNID = re.compile(r"n\d{8}")
"""The number of a WordNet synset, which names a class of ImageNet."""


def folder_split_names(root: Path) -> tuple[str, ...]:
    """Return the splits that ``root`` has; in a flat folder train, val and all."""
    folders = find_split_folders(root).folders
    if "val" in folders:
        return tuple(folders)
    return ("train", "val", *(name for name in folders if name == "test"), "all")


def open_folder(
    root: Path, name: str, *, seed: int, val_fraction: float, group_by: str | None = None, strict: bool = True
) -> Split:
    """Read one split of class folders, one that ``folder_split_names`` gives.

    The classes are those of train/, sorted; an empty folder is not a class. Without a folder val/, ``divide`` chooses
    its images.

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
    splits, omissions = find_split_folders(root), Omissions()
    seeded = "val" not in splits.folders and name != "test"
    source = splits.training if seeded else splits.folders[name]
    classes, notes = list_classes(splits.training)
    images = list_images(source, omissions)
    notes = [*splits.notes, *omissions.sentences(source), *notes]
    labeled = name != "test" or bool(list_subfolders(source))
    files, problems, num_unused = [(image, -1) for image in images], list[str](), 0
    layout = _describe_layout(splits)
    if labeled:
        files, problems = label_images(source, images, classes)
        if strict and problems:
            raise DataError(" ".join([problems[0], *omissions.sentences(source)]))
        num_unused = len(list_strays(source, images))
        notes += describe_unused(source, images)
        if group_by != PARENT:  # else the inner folders are groups, as the user says
            notes += describe_nested(source, [file for file, _ in files])
        if num_missing := len(classes) - len({label for _, label in files} - {-1}):
            place = "there are" if name == "all" else f"{name} has"
            layout += f" ({place} {num_missing} without images)"
    files.sort()
    whole = Split(
        name=name,
        root=source,
        files=tuple(file for file, _ in files),
        labels=np.array([label for _, label in files], dtype=np.int64) if labeled else None,
        class_names=tuple(classes),
        class_words=read_class_words(classes, (source, root)),
        layout=layout,
        camera_rotation=not all(WNID.fullmatch(class_name) for class_name in classes),
        notes=tuple(notes),
        num_unused=num_unused,
        problems=tuple(problems),
    )
    return divide(whole, name, seed=seed, val_fraction=val_fraction, group_by=group_by) if seeded else whole


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


def _describe_layout(splits: SplitFolders) -> str:
    names = [f"{folder.relative_to(splits.root).as_posix()}/" for folder in splits.folders.values()]
    return "class folders" + (" with " if names else "") + join_names(names)
