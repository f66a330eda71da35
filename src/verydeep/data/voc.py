"""Pascal VOC: which of 20 classes are on an image (appendix B, Table 11), and what its two tasks share.

A set (train, val, trainval or test) is ``ImageSets/Main/<set>.txt``; ``<class>_<set>.txt`` marks the same images: 1 the
class is there, -1 it is not, 0 only 'difficult' objects of it are, which counts as neither. The labels of the test sets
since 2008 are with the evaluation server alone (voc_results.py): there are no marks, or they are all the same.
"""

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from verydeep.data.decoding import FORMATS
from verydeep.data.split import Split
from verydeep.errors import VerydeepError
from verydeep.ops.arrays import Int8Array

CLASSES = (
    *("aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair", "cow"),
    *("diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa", "train", "tvmonitor"),
)

SETS = Path("ImageSets")
IMAGES = "JPEGImages"

_MARKS = {"1": 1, "+1": 1, "0": 0, "-1": -1}
AGAIN = "unpack VOC's archive again"

Marks = dict[tuple[str, ...], int]
"""What a list names, image or image and object, and its mark: 1, -1 or 0."""


def find_voc(root: Path) -> Path | None:
    """The folder of one year's set: ``root`` or one in it or in its VOCdevkit/; None if there is none.

    Raises:
        VerydeepError: there are several.
    """
    places = [root, *sorted(root.glob("VOC20*")), *sorted(root.glob("VOCdevkit/VOC20*"))]
    found = [place for place in places if any((place / SETS / task).is_dir() for task in ("Main", "Action"))]
    if len(found) > 1:
        raise VerydeepError(f"{root} holds the VOC of several years; name one: {' or '.join(map(str, found))}.")
    return found[0] if found else None


def voc_year(folder: Path) -> int:
    """Of a set: as its folder is called, or else told by the images' ids, which have the year since 2008."""
    if named := re.fullmatch(r"VOC(20\d\d)", folder.resolve().name):
        return int(named[1])
    ids = (match for file in (folder / IMAGES).glob("20??_*") if (match := re.match(r"20\d\d", file.name)))
    return max((int(year[0]) for year in ids), default=2007)


def open_voc(folder: Path, name: str) -> Split:
    """The images of train, val, trainval or test with their classes.

    Args:
        folder: of ``find_voc``.
        name: of the set; test alone may lack the labels.

    Raises:
        VerydeepError: a list is missing or damaged, names an image twice or other images than the set has, or an image
            is not there.
    """
    path = folder / SETS / "Main" / f"{name}.txt"
    ids = [image for (image,) in read_list(path, (1,), marked=False)]
    lists = read_class_lists(path, CLASSES, num_names=1)
    for class_name, marks in lists.items():
        if differing := sorted({image for (image,) in marks} ^ set(ids)):
            raise VerydeepError(
                f"Only one of {path} and {class_name}_{name}.txt beside it lists image {differing[0]}: {AGAIN}."
            )
    files = image_files(folder, ids, path)
    ids.sort(key=files.__getitem__)
    return Split(
        name=name,
        root=folder,
        files=tuple(files[image] for image in ids),
        labels=None,
        class_names=CLASSES,
        class_words=CLASSES,
        layout=f"VOC-{voc_year(folder)} classification, {name}",
        camera_rotation=False,
        relevance=known(np.array([[marks[image,] for marks in lists.values()] for image in ids], np.int8), path),
    )


def read_class_lists(path: Path, classes: Sequence[str], num_names: int) -> dict[str, Marks]:
    """What ``<class>_<set>.txt`` says of each class.

    Args:
        path: ImageSets/<task>/<set>.txt, beside which they lie.
        classes: of the task.
        num_names: how many fields come before the mark.

    Returns:
        By class, in their order; empty where a test set has no such lists.

    Raises:
        VerydeepError: as ``read_list``.
    """
    paths = {name: path.with_name(f"{name}_{path.name}") for name in classes}
    if path.stem == "test" and not any(one.exists() for one in paths.values()):
        return {}
    return {name: read_list(one, (num_names,), marked=True) for name, one in paths.items()}


def read_list(path: Path, num_names: Sequence[int], *, marked: bool) -> Marks:
    """Read one list; fields are divided by any number of spaces, and empty lines are left out.

    Args:
        path: of the list.
        num_names: how many fields a line may have, without the mark.
        marked: whether a mark comes last; without, all marks are 1.

    Raises:
        VerydeepError: it is missing, empty or damaged, or names something twice.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise VerydeepError(f"VOC's list {path} cannot be read ({error}): {AGAIN}.") from None
    found: Marks = {}
    for number, line in enumerate(lines, start=1):
        fields = line.split()
        names, mark = (tuple(fields[:-1]), fields[-1:]) if marked else (tuple(fields), ["1"])
        if not fields:
            continue
        if len(names) not in num_names or mark[0] not in _MARKS:
            raise VerydeepError(f"Line {number} of VOC's list {path} is damaged ({line.strip()!r}): {AGAIN}.")
        if names in found:
            raise VerydeepError(f"Line {number} of {path} lists {' '.join(names)} a second time: remove it.")
        found[names] = _MARKS[mark[0]]
    if not found:
        raise VerydeepError(f"VOC's list {path} is empty: {AGAIN}.")
    return found


def image_files(folder: Path, ids: Iterable[str], path: Path) -> dict[str, str]:
    """The file of each image, below ``folder``.

    Args:
        folder: of ``find_voc``.
        ids: of the images.
        path: of the list that names them.

    Raises:
        VerydeepError: one is not there.
    """
    images = folder / IMAGES
    files = (file.name for file in images.iterdir()) if images.is_dir() else ()
    stems = map(os.path.splitext, files)
    there = {stem: f"{IMAGES}/{stem}{suffix}" for stem, suffix in stems if suffix.lower() in FORMATS}
    if lacking := set(ids) - set(there):
        raise VerydeepError(f"{path} lists {min(lacking)}, but {images} has no image of that name: {AGAIN}.")
    return there


def known(relevance: Int8Array, path: Path) -> Int8Array | None:
    """The marks; None for a test set that has none, or the same for all as a placeholder.

    Raises:
        VerydeepError: another set lacks them.
    """
    if 1 in relevance and -1 in relevance:
        return relevance
    if path.stem == "test":
        return None
    raise VerydeepError(f"The lists of the classes beside {path} mark no image or all of them: {AGAIN}.")
