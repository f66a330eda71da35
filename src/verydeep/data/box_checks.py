"""The checks of boxes, one image after another: each box is used, corrected or left out."""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Literal

import numpy as np
from torch.utils.data import Dataset

from verydeep.data.annotations import XYXY, Annotation, Instance
from verydeep.data.box_remarks import WrittenBox
from verydeep.data.box_sources import BoxSource
from verydeep.data.folders.listing import normalize_name
from verydeep.data.sets.ilsvrc2012 import ilsvrc_classes
from verydeep.data.split import Split
from verydeep.errors import DataError
from verydeep.ops.arrays import Float32Array

BadBoxes = Literal["error", "clip", "skip"]
"""Whether boxes that cannot be right are errors, corrected, or left out."""

SHAPE_TOLERANCE = 0.05
"""Largest difference of the ratio of width to height between an XML file and its image."""

NO_BOXES: Float32Array = np.zeros((0, 4), np.float32)
_TRAINING_IMAGE = re.compile(r"n\d{8}_\d+")

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
    boxes: Float32Array = field(default_factory=lambda: NO_BOXES)
    problems: tuple[BoxProblem, ...] = ()
    known_defects: tuple[str, ...] = ()
    """Defects for which ImageNet is known."""
    written_boxes: tuple[WrittenBox, ...] = ()
    """Boxes as they were written, also those with problems; none of ImageNet's, which are known."""


class BoxReader(Dataset[ImageBoxes]):
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
        written_boxes = list[WrittenBox]()
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
            if drawn is not None and not self.source.is_imagenet and (box is not None or problem is not None):
                written_boxes.append((instance.xyxy, drawn))
        if not (boxes or problems or set(known_defects) - {_RESCALED}):
            return self.without_box(index, "has no box of its class")
        xyxy = np.array(boxes, np.float32).reshape(-1, 4)
        return ImageBoxes(index, xyxy, tuple(problems), tuple(known_defects), tuple(written_boxes))

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
