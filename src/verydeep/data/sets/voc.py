"""Pascal VOC: its classification task of 20 classes (appendix B, Table 11), and what its two tasks share.

A split (train, val, trainval or test) is ``ImageSets/Main/<split>.txt``. ``<class>_<split>.txt`` marks the same images:
1 the class is there, -1 it is not, 0 only 'difficult' objects of it are there, which counts as neither. Since 2008 only
the evaluation server has the labels of the test splits (voc_results.py): there are no marks, or all are the same.
"""

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from verydeep.data.pixels.formats import FORMATS
from verydeep.data.split import Split
from verydeep.errors import DataError
from verydeep.ops.arrays import Int8Array
from verydeep.paths import real_path

CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)

SETS = Path("ImageSets")
IMAGES = "JPEGImages"
UNPACK_AGAIN = "unpack VOC's tar file again"

_ID = re.compile(r"\w[\w.-]{0,99}")
"""The name of an image, or the number of an object; not a path to somewhere else."""
_MARKS = {"1": 1, "+1": 1, "0": 0, "-1": -1}

Marks = dict[tuple[str, ...], int]
"""Image, or image and object -> its mark: 1, -1 or 0."""


def find_voc(root: Path) -> Path | None:
    """Return the folder of one year's set: ``root``, or one in it or in its VOCdevkit/; None if there is none.

    Raises:
        DataError: there are several.
    """
    places = [root, *sorted(root.glob("VOC20*")), *sorted(root.glob("VOCdevkit/VOC20*"))]
    folders = [place for place in places if any((place / SETS / task).is_dir() for task in ("Main", "Action"))]
    if len(folders) > 1:
        raise DataError(f"{root} holds the VOC of several years; choose {' or '.join(map(str, folders))}.")
    return folders[0] if folders else None


def voc_year(folder: Path) -> int:
    """Return the year of a set, by the folder's name or else by the images' ids, which contain it since 2008."""
    if matched := re.fullmatch(r"VOC(20\d\d)", real_path(folder).name):
        return int(matched[1])
    ids = (match for file in (folder / IMAGES).glob("20??_*") if (match := re.match(r"20\d\d", file.name)))
    return max((int(year[0]) for year in ids), default=2007)


def open_voc(folder: Path, name: str) -> Split:
    """Read the images of train, val, trainval or test with their classes.

    Args:
        folder: from ``find_voc``.
        name: of the split; only test may lack labels.

    Raises:
        DataError: a list is missing or damaged, lists an image twice or other images than the split, or an image is
            missing.
    """
    path = folder / SETS / "Main" / f"{name}.txt"
    ids = [image for (image,) in read_list(path, (1,), marked=False)]
    files = find_image_files(folder, ids, path)
    lists = read_class_lists(path, CLASSES, num_names=1)
    for class_name, marks in lists.items():
        if differing := sorted({image for (image,) in marks} ^ set(ids)):
            raise DataError(
                f"Only one of {path} and {class_name}_{name}.txt next to it lists image {differing[0]}; {UNPACK_AGAIN}."
            )
    ids.sort(key=files.__getitem__)
    marks_of_images = np.array([[marks[image,] for marks in lists.values()] for image in ids], np.int8)
    return Split(
        name=name,
        root=folder,
        files=tuple(files[image] for image in ids),
        labels=None,
        class_names=CLASSES,
        class_words=CLASSES,
        layout=f"VOC-{voc_year(folder)} classification, {name}",
        camera_rotation=False,
        relevance=check_relevance(marks_of_images, path),
    )


def read_class_lists(path: Path, classes: Sequence[str], num_names: int) -> dict[str, Marks]:
    """Read ``<class>_<split>.txt`` of each class.

    Args:
        path: ImageSets/<task>/<split>.txt, in the same folder.
        classes: of the task.
        num_names: number of fields before the mark.

    Returns:
        Class -> marks, in the order of the classes; empty for a test split without such lists.

    Raises:
        DataError: a list is missing or damaged.
    """
    paths = {name: path.with_name(f"{name}_{path.name}") for name in classes}
    if path.stem == "test" and not any(one.exists() for one in paths.values()):
        return {}
    return {name: read_list(one, (num_names,), marked=True) for name, one in paths.items()}


def read_list(path: Path, num_names: Sequence[int], *, marked: bool) -> Marks:
    """Read one list; fields are separated by any number of spaces, and empty lines are ignored.

    Args:
        path: of the list.
        num_names: numbers of fields that a line may have, without the mark.
        marked: whether a mark comes last; otherwise all marks are 1.

    Raises:
        DataError: the list is missing, empty or damaged, or lists something twice.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"VOC's list {path} cannot be read ({error}); {UNPACK_AGAIN}.") from None
    marks: Marks = {}
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        names, mark = (tuple(fields[:-1]), fields[-1:]) if marked else (tuple(fields), ["1"])
        if not fields:
            continue
        if len(names) not in num_names or mark[0] not in _MARKS or not all(map(_ID.fullmatch, names)):
            raise DataError(f"Line {number} of VOC's list {path} is damaged ({line.strip()!r:.200}); {UNPACK_AGAIN}.")
        if names in marks:
            raise DataError(f"Line {number} of {path} lists {' '.join(names)} a second time; remove it.")
        marks[names] = _MARKS[mark[0]]
    if not marks:
        raise DataError(f"VOC's list {path} is empty; {UNPACK_AGAIN}.")
    return marks


def find_image_files(folder: Path, ids: Iterable[str], path: Path) -> dict[str, str]:
    """Return image id -> its file below ``folder``.

    Args:
        folder: from ``find_voc``.
        ids: of the images.
        path: of the list that contains them.

    Raises:
        DataError: an image is missing.
    """
    images = folder / IMAGES
    names = (file.name for file in images.iterdir()) if images.is_dir() else ()
    stems = map(os.path.splitext, names)
    files = {stem: f"{IMAGES}/{stem}{suffix}" for stem, suffix in stems if suffix.lower() in FORMATS}
    if missing := set(ids) - set(files):
        raise DataError(f"{path} lists {min(missing)}, but {images} has no such image; {UNPACK_AGAIN}.")
    return files


def check_relevance(relevance: Int8Array, path: Path) -> Int8Array | None:
    """Return the marks of a split; None for a test split that has none, or the same for all images as a placeholder.

    Raises:
        DataError: another split lacks marks.
    """
    if 1 in relevance and -1 in relevance:
        return relevance
    if path.stem == "test":
        return None
    raise DataError(f"The lists of the classes next to {path} mark no image, or all of them; {UNPACK_AGAIN}.")
