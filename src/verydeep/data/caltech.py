"""Caltech-101 and Caltech-256 as they unpack (appendix B, Table 11), with their background and clutter classes.

The paper counts BACKGROUND_Google (102 classes) and 257.clutter (257 classes) among the classes; both Faces and
Faces_easy are classes too. Photographs lie directly in their class's folder: BACKGROUND_Google/tmp, 198.spider/RENAME2
and the folder 056.dog/greg are strays that came with the archives.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from verydeep.data.decoding import FORMATS
from verydeep.data.split import Split
from verydeep.errors import VerydeepError


@dataclass(frozen=True)
class Caltech:
    """One of the two sets and its protocol in the paper: three random splits, scored by mean class recall."""

    name: str
    folder: str
    """What the archive unpacks to."""
    background: str
    """The class of photographs of nothing in particular, by which a renamed folder is known."""
    num_classes: int
    num_train: int
    """Of each class."""
    num_test: int | None
    """At most, of each class; None: all that are not learned from."""


CALTECH_101 = Caltech("Caltech-101", "101_ObjectCategories", "BACKGROUND_Google", 102, num_train=30, num_test=50)
CALTECH_256 = Caltech("Caltech-256", "256_ObjectCategories", "257.clutter", 257, num_train=60, num_test=None)
NUM_SPLITS = 3


def find_caltech(root: Path) -> tuple[Caltech, Path] | None:
    """Which of the two sets lies in ``root`` and the folder of its classes; None if neither.

    Raises:
        VerydeepError: both do.
    """
    found = []
    for caltech in (CALTECH_101, CALTECH_256):
        if (root / caltech.folder).is_dir():
            found.append((caltech, root / caltech.folder))
        elif root.resolve().name == caltech.folder or (root / caltech.background).is_dir():
            found.append((caltech, root))
    if len(found) > 1:
        folders = " or ".join(str(folder) for _, folder in found)
        raise VerydeepError(f"{root} holds Caltech-101 and Caltech-256; name {folders}.")
    return found[0] if found else None


def open_caltech(caltech: Caltech, folder: Path) -> Split:
    """All photographs of the set.

    Args:
        caltech: which of the two.
        folder: of the classes.

    Raises:
        VerydeepError: a class without photographs, or no classes.
    """
    classes = sorted(_listed(folder, directories=True))
    if len(classes) < 2:
        raise VerydeepError(f"{folder} holds no class folders of {caltech.name}; unpack the archive again.")
    files: list[tuple[str, int]] = []
    for label, name in enumerate(classes):
        photographs = [file for file in _listed(folder / name) if os.path.splitext(file)[1].lower() in FORMATS]  # noqa: PTH122
        if not photographs:
            raise VerydeepError(f"The class folder {folder / name} holds no photographs; unpack the archive again.")
        files += [(f"{name}/{file}", label) for file in photographs]
    files.sort()
    complete = "" if len(classes) == caltech.num_classes else f" of {caltech.num_classes}"
    return Split(
        name="all",
        root=folder,
        files=tuple(file for file, _ in files),
        labels=np.array([label for _, label in files], np.int64),
        class_names=tuple(classes),
        class_words=tuple(name.partition(".")[2] or name for name in classes),
        layout=f"{caltech.name} ({len(classes)}{complete} classes)",
        camera_rotation=False,
    )


def _listed(folder: Path, *, directories: bool = False) -> list[str]:
    """The files that lie directly in a folder, or its folders; hidden ones are left out."""
    with os.scandir(folder) as entries:
        return [entry.name for entry in entries if entry.is_dir() == directories and not entry.name.startswith(".")]
