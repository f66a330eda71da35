"""Caltech-101 and Caltech-256 as they unpack (appendix B, Table 11), with their background and clutter classes.

The paper counts BACKGROUND_Google (102 classes) and 257.clutter (257 classes) among the classes; both Faces and
Faces_easy are classes too. Photographs lie directly in the folder of their class: the archives also contain stray files
(BACKGROUND_Google/tmp, 198.spider/RENAME2) and a stray folder (056.dog/greg), which are ignored.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from verydeep.data.folders.listing import list_images, list_subfolders
from verydeep.data.split import Split
from verydeep.errors import DataError
from verydeep.paths import real_path


@dataclass(frozen=True)
class Caltech:
    """One of the two sets and its rule in the paper: three random draws, scored by mean class recall."""

    name: str
    folder: str
    """Name of the folder that the archive unpacks to."""
    background: str
    """The class of arbitrary photographs, by which a renamed folder is recognized."""
    num_classes: int
    num_train: int
    """Number of training photographs of each class."""
    num_test: int | None
    """Largest number of test photographs of each class; None: all others."""


CALTECH_101 = Caltech("Caltech-101", "101_ObjectCategories", "BACKGROUND_Google", 102, num_train=30, num_test=50)
CALTECH_256 = Caltech("Caltech-256", "256_ObjectCategories", "257.clutter", 257, num_train=60, num_test=None)
NUM_DRAWS = 3


def find_caltech(root: Path) -> tuple[Caltech, Path] | None:
    """Return which of the two sets is in ``root``, with the folder of its classes; None if neither is.

    Raises:
        DataError: both are.
    """
    sets = []
    for caltech in (CALTECH_101, CALTECH_256):
        if (root / caltech.folder).is_dir():
            sets.append((caltech, root / caltech.folder))
        elif real_path(root).name == caltech.folder or (root / caltech.background).is_dir():
            sets.append((caltech, root))
    if len(sets) > 1:
        folders = " or ".join(str(folder) for _, folder in sets)
        raise DataError(f"{root} holds Caltech-101 and Caltech-256; choose {folders}.")
    return sets[0] if sets else None


def open_caltech(caltech: Caltech, folder: Path) -> Split:
    """Read all photographs of a set.

    Args:
        caltech: which of the two sets.
        folder: the folder of its classes.

    Raises:
        DataError: there are no classes, or one has no photographs.
    """
    classes = list_subfolders(folder)
    if len(classes) < 2:
        raise DataError(f"{folder} holds no class folders of {caltech.name}; unpack the downloaded file again.")
    files: list[tuple[str, int]] = []
    for label, name in enumerate(classes):
        photographs = [file for file in list_images(folder / name) if "/" not in file]
        if not photographs:
            raise DataError(f"The class folder {folder / name} holds no photographs; unpack the downloaded file again.")
        files += [(f"{name}/{file}", label) for file in photographs]
    files.sort()
    total = "" if len(classes) == caltech.num_classes else f" of {caltech.num_classes}"
    return Split(
        name="all",
        root=folder,
        files=tuple(file for file, _ in files),
        labels=np.array([label for _, label in files], np.int64),
        class_names=tuple(classes),
        class_words=tuple(name.partition(".")[2] or name for name in classes),
        layout=f"{caltech.name} ({len(classes)}{total} classes)",
        camera_rotation=False,
    )
