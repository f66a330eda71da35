"""Boxes for training and testing: what annotations contain, and what is done about boxes that cannot be right.

One rule holds for every source. These are errors that name file and line or object: a box that reaches beyond its
image, whose min is larger than its max, or that has no area (its first pixel is its last); a box of a class that the
set does not have; an image without a box of its class; an annotation without an image; and an annotation that cannot be
read. ``clip`` corrects the order of corners, cuts boxes to the image, and leaves out the rest; ``skip`` leaves out all
of it. Both count and list.

Some corrections are right for any source and need no option. Boxes drawn on the image at another size (which XML
states) are scaled. Numbers may have decimals. A class may be given by its words. One pixel beyond the border is cut
off, because conventions differ there. Boxes of another class than the image's are ignored.

ImageNet's own annotations have known defects (docs/choices.md), which are also corrected without an option, as by
``clip``, and counted apart: boxes beyond the image, corners in the wrong order, boxes of no area (in Tiny-ImageNet,
where the object was cropped away), and training images without boxes, more than half of ILSVRC's.
"""

import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
from torch.utils.data import Dataset

from verydeep.data.annotations import XYXY, Annotation, Instance
from verydeep.data.box_sources import COLUMNS, TABLE, BoxSource, find_box_source
from verydeep.data.folders.listing import normalize_name
from verydeep.data.folders.split_folders import ANNOTATIONS
from verydeep.data.loading.batches import load_items
from verydeep.data.sets.ilsvrc2012 import ilsvrc_classes
from verydeep.data.split import Split
from verydeep.errors import DataError
from verydeep.ops.arrays import Float32Array
from verydeep.paths import is_file
from verydeep.wording import count_of, shorten_list

BadBoxes = Literal["error", "clip", "skip"]
"""Whether boxes that cannot be right are errors, corrected, or left out."""

SHAPE_TOLERANCE = 0.05
"""Largest difference of the ratio of width to height between an XML file and its image."""

_NO_BOXES: Float32Array = np.zeros((0, 4), np.float32)
_TRAINING_IMAGE = re.compile(r"n\d{8}_\d+")
_SIMILAR = re.compile(r".*(?:box|annotation).*\.(?:csv|tsv|txt|json|xlsx?|ods)", re.IGNORECASE)
_BATCH_SIZE = 256

Defect = Literal["order", "beyond", "area"]
_RESCALED = "drawn at another size"
_DEFECT_NAMES: dict[Defect, str] = {"order": "in the wrong order", "beyond": "beyond the image", "area": "of no area"}


@dataclass(frozen=True)
class BoxProblem:
    """An annotation that cannot be right, and what was done about it."""

    description: str
    """'Object 2 of /data/x.xml reaches beyond the image of 500x375'"""
    action: Literal["clipped", "left out"]

    def __str__(self) -> str:
        return f"{self.description}: {self.action}"


@dataclass(frozen=True)
class ImageBoxes:
    """The boxes of one image that can be used, or the problem of an annotation without an image."""

    index: int | None
    """Index of the image in its split; None for an annotation without an image."""
    boxes: Float32Array = field(default_factory=lambda: _NO_BOXES)
    problems: tuple[BoxProblem, ...] = ()
    known_defects: tuple[str, ...] = ()
    """Defects for which ImageNet is known."""


@dataclass(frozen=True)
class BoxReport:
    """Numbers of boxes and of corrections."""

    num_images: int
    num_boxed: int
    """Images that have a box."""
    num_boxes: int
    problems: tuple[BoxProblem, ...]
    known_defects: Mapping[str, int]
    """Defect for which ImageNet is known -> number of corrections."""

    def __str__(self) -> str:
        text = f"{count_of(self.num_boxes, 'box')} on {self.num_boxed:,} of {count_of(self.num_images, 'image')}"
        actions = Counter(problem.action for problem in self.problems)
        text += "".join(f"; {count:,} {action}" for action, count in sorted(actions.items()))
        if self.known_defects:
            counts = (f"{count:,} {defect}" for defect, count in sorted(self.known_defects.items()))
            text += f"; known defects: {', '.join(counts)}"
        return text


def add_boxes(split: Split, boxes_of_images: Iterable[ImageBoxes]) -> tuple[Split, BoxReport]:
    """Return the split with the boxes that ``read_boxes`` yields; images without a box stay in it.

    Raises:
        DataError: no image has a box.
    """
    boxes, problems, known_defects = [_NO_BOXES] * len(split), list[BoxProblem](), Counter[str]()
    for image in boxes_of_images:
        if image.index is not None and len(image.boxes):
            boxes[image.index] = image.boxes
        problems += image.problems
        known_defects.update(image.known_defects)
    report = BoxReport(
        num_images=len(split),
        num_boxed=sum(len(rows) > 0 for rows in boxes),
        num_boxes=sum(map(len, boxes)),
        problems=tuple(problems),
        known_defects=dict(known_defects),
    )
    if not report.num_boxed:
        first = f"; first problem: {problems[0]}" if problems else ""
        raise DataError(f"No image in {split.root} has a box that can be used ({report}{first}).")
    return replace(split, boxes=tuple(boxes)), report


def read_boxes(split: Split, root: Path, bad_boxes: BadBoxes = "error", num_workers: int = 0) -> Iterator[ImageBoxes]:
    """Yield the problems of annotations without an image, then the boxes of each image of the split, in order.

    An XML file takes about 0.1 ms and the header of its image as much, so ILSVRC's half a million take two to four
    minutes of one core once the files are in memory. From a disk that seeks, several workers read several at once.

    Args:
        split: a split with labels.
        root: the folder of the whole data set, which holds boxes.csv or Annotations/.
        bad_boxes: what to do about boxes that cannot be right.
        num_workers: number of processes that read; the result does not depend on it.

    Raises:
        DataError: there are no boxes, or one cannot be right and bad boxes are errors.
    """
    source = find_box_source(split, root)
    if source is None:
        raise DataError(
            f"{root} holds no boxes; write them to {root / TABLE} with the columns {','.join(COLUMNS)}, or put XML "
            f"files with the images' names into {root / ANNOTATIONS}."
        )
    for where in source.unmatched:
        problem = BoxProblem(f"{where} has no image in the data set", "left out")
        yield _refuse_problems(ImageBoxes(None, problems=(problem,)), bad_boxes)
    reader = _BoxReader(split, source, bad_boxes)
    for image in load_items(reader, _BATCH_SIZE, num_workers):
        yield _refuse_problems(image, bad_boxes)


@dataclass(frozen=True)
class BoxSurvey:
    """The boxes of a split that can be used, and what training would refuse."""

    place: Path | None
    """The table or the folder that holds the annotations; None if they were read with the split."""
    num_boxes: int
    num_boxed: int
    """Images that have a box."""
    refused: tuple[tuple[str, str], ...]
    """(file or nothing, description) of each annotation that cannot be used."""


def survey_boxes(split: Split, root: Path) -> BoxSurvey | None:
    """Read and check all boxes of a split; None if there are none.

    Raises:
        DataError: a table is damaged.
    """
    source = find_box_source(split, root)
    if source is None:
        return None
    images = list(read_boxes(split, root, "skip"))
    return BoxSurvey(
        place=source.place,
        num_boxes=sum(len(image.boxes) for image in images),
        num_boxed=sum(len(image.boxes) > 0 for image in images),
        refused=tuple(
            ("" if image.index is None else str(split.path(image.index)), problem.description)
            for image in images
            for problem in image.problems
        ),
    )


def describe_similar_files(root: Path) -> str:
    """Return a sentence about files of a folder whose names say that they hold boxes, but that are not read."""
    names = sorted(entry.name for entry in os.scandir(root) if _SIMILAR.fullmatch(entry.name) and is_file(entry))
    unread = [name for name in names if name != TABLE]
    if not unread:
        return ""
    return f"Not read: {shorten_list(unread)} in {root}; boxes are read from {TABLE} with {','.join(COLUMNS)}."


def _refuse_problems(image: ImageBoxes, bad_boxes: BadBoxes) -> ImageBoxes:
    if bad_boxes == "error" and image.problems:
        raise DataError(f"{image.problems[0].description}; correct it, or choose `bad_boxes=clip` or `bad_boxes=skip`.")
    return image


class _BoxReader(Dataset[ImageBoxes]):
    """Reads and checks the boxes of images, by their index."""

    def __init__(self, split: Split, source: BoxSource, bad_boxes: BadBoxes) -> None:
        self.split, self.source, self.bad_boxes = split, source, bad_boxes
        self.labels = labels_by_name(split)

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> ImageBoxes:
        try:
            annotation = self.source.read(index)
        except DataError as error:
            return ImageBoxes(index, problems=(BoxProblem(str(error).rstrip("."), "left out"),))
        if annotation is None:
            return self.without_box(index, "has no annotation")
        try:
            size = self.split.image_size(index)
        except DataError:  # not a problem of boxes: `bad_images` decides when the image is decoded
            size = None
        return self.check_annotation(index, annotation, size)

    def check_annotation(self, index: int, annotation: Annotation, size: tuple[int, int] | None) -> ImageBoxes:
        """Keep, correct or leave out each box; ``size`` is the file's, None if it has no readable header."""
        drawn = annotation.size or size
        boxes, problems, known_defects = list[XYXY](), list[BoxProblem](), list[str]()
        if size is not None and drawn is not None and drawn != size:
            if not _same_shape(drawn, size) and not self.source.is_imagenet:
                path = self.split.path(index)
                text = f"{path} has {_times(size)} pixels, but its boxes were drawn on {_times(drawn)}"
                return ImageBoxes(index, problems=(BoxProblem(text, "left out"),))
            known_defects += [_RESCALED] * self.source.is_imagenet
        for instance in annotation.instances:
            box, problem, defects = self.check_instance(index, instance, drawn)
            known_defects += defects
            if problem is not None:
                problems.append(problem)
            if box is not None:
                boxes.append(box if size is None or drawn is None else _scale_box(box, drawn, size))
        if not (boxes or problems or set(known_defects) - {_RESCALED}):
            return self.without_box(index, "has no box of its class")
        return ImageBoxes(index, np.array(boxes, np.float32).reshape(-1, 4), tuple(problems), tuple(known_defects))

    def check_instance(
        self, index: int, instance: Instance, drawn: tuple[float, float] | None
    ) -> tuple[XYXY | None, BoxProblem | None, list[str]]:
        """Return the box if it can be used, its problem, and the known defects that were corrected."""
        assert self.split.labels is not None
        labels = self.labels.get(_normalize(instance.name))
        if labels is None:
            text = f"{instance.where} has a class that the set does not have, {instance.name!r}"
            return None, BoxProblem(text, "left out"), []
        if self.split.labels[index] not in labels:
            return None, None, []
        defects, box = correct_box(instance.xyxy, drawn)
        if not defects:
            return box, None, []
        if self.source.is_imagenet:
            return box, None, [_DEFECT_NAMES[defect] for defect in defects]
        box = box if self.bad_boxes == "clip" else None
        text = f"{instance.where} {_describe_defects(defects, drawn)}"
        return box, BoxProblem(text, "left out" if box is None else "clipped"), []

    def without_box(self, index: int, text: str) -> ImageBoxes:
        """Report an image without a box, a problem except for training images of ILSVRC."""
        is_ilsvrc = self.source.is_imagenet and not self.source.is_complete
        if is_ilsvrc and _TRAINING_IMAGE.fullmatch(PurePosixPath(self.split.files[index]).stem):
            return ImageBoxes(index, known_defects=("training images without boxes",))
        return ImageBoxes(index, problems=(BoxProblem(f"{self.split.path(index)} {text}", "left out"),))


def labels_by_name(split: Split) -> dict[str, set[int]]:
    """Return the labels that an annotation may mean by a name: a class name, its words, or one of them."""
    classes = ilsvrc_classes()
    labels: dict[str, set[int]] = {}
    for label, (name, words) in enumerate(zip(split.class_names, split.class_words, strict=True)):
        imagenet_words = classes[name].words if name in classes else ""
        for text in {name, words, imagenet_words, *words.split(","), *imagenet_words.split(",")} - {""}:
            labels.setdefault(_normalize(text), set()).add(label)
    return labels


def correct_box(box: XYXY, size: tuple[float, float] | None) -> tuple[tuple[Defect, ...], XYXY | None]:
    """Return the defects of a box, and the box with its corners in order and cut to the image; None without area.

    Args:
        box: inclusive xyxy, counted from 0.
        size: (width, height) of the image on which it was drawn; None if unknown.
    """
    defects: list[Defect] = []
    x1, y1, x2, y2 = box
    if x1 > x2 or y1 > y2:
        defects.append("order")
        x1, y1, x2, y2 = min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)
    if size is not None:
        right, bottom = size[0] - 1, size[1] - 1
        if min(x1, y1) < -1 or x2 > right + 1 or y2 > bottom + 1:
            defects.append("beyond")
        x1, x2 = (min(max(x, 0.0), right) for x in (x1, x2))
        y1, y2 = (min(max(y, 0.0), bottom) for y in (y1, y2))
    if x1 >= x2 or y1 >= y2:
        return (*defects, "area"), None
    return tuple(defects), (x1, y1, x2, y2)


def _describe_defects(defects: Iterable[Defect], size: tuple[float, float] | None) -> str:
    texts = {"order": "has a min larger than its max", "area": "has no area"}
    if size is not None:
        texts["beyond"] = f"reaches beyond the image of {_times(size)}"
    return " and ".join(texts[defect] for defect in defects)


def _scale_box(box: XYXY, drawn: tuple[float, float], size: tuple[int, int]) -> XYXY:
    """Scale a box from the image on which it was drawn to the file; its edges scale, not its last pixels."""
    x, y = size[0] / drawn[0], size[1] / drawn[1]
    return box[0] * x, box[1] * y, (box[2] + 1) * x - 1, (box[3] + 1) * y - 1


def _same_shape(drawn: tuple[float, float], size: tuple[int, int]) -> bool:
    """Whether one size can be the other at another scale, with sides that were rounded."""
    rounding = 1 / min(*drawn, *size)
    return abs(math.log(drawn[0] * size[1] / (drawn[1] * size[0]))) <= SHAPE_TOLERANCE + rounding


def _times(size: tuple[float, float]) -> str:
    return f"{size[0]:g}x{size[1]:g}"


def _normalize(name: str) -> str:
    """Change 'Scottish_deerhound ' to 'scottish deerhound'."""
    return " ".join(normalize_name(name).replace("_", " ").casefold().split())
