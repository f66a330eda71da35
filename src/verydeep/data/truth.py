"""The boxes that are learned and tested on: what the annotations say, and what becomes of those that cannot be right.

One rule for every source. A box that reaches beyond its image, whose min is larger than its max, or that has no area
(its first pixel being its last), one of a class that the set does not have, an image without a box of its class, an
annotation without an image, and one that cannot be read: each is an error that names file and line or object. ``clip``
mends what can be mended (the order of the corners, the part beyond the image) and leaves out the rest; ``skip`` leaves
out all of it. Both count and list.

Mended without asking, for any source, because it is right however the file came to be: boxes drawn on the image at
another size (XML tells it) are scaled; numbers may have decimals; a class may be given by its words; one pixel beyond
the border, in which conventions differ, is cut off. Boxes of another class than the image's are not looked at.

For ImageNet's own annotations the defects that they are known for (docs/choices.md) are mended without asking too, as
by ``clip``, and counted apart: boxes beyond the image, corners in the wrong order, boxes of no area (of Tiny-ImageNet,
those whose object was cropped away) and, of ILSVRC's training images, the more than half that have none.
"""

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
from torch.utils.data import DataLoader, Dataset

from verydeep.data.annotations import Annotation
from verydeep.data.box_sources import BoxList, Source, find_source
from verydeep.data.decoding import image_size
from verydeep.data.ilsvrc2012 import known_classes
from verydeep.data.split import Split
from verydeep.errors import VerydeepError
from verydeep.ops.arrays import Float32Array

BadBoxes = Literal["error", "clip", "skip"]

SHAPE_TOLERANCE = 0.05
"""By how much an XML's ratio of width to height may differ from the image's before it belongs to another image."""

_NO_BOXES: Float32Array = np.zeros((0, 4), np.float32)
_TRAINING_IMAGE = re.compile(r"n\d{8}_\d+")
_AT_ONCE = 256

Defect = Literal["order", "beyond", "area"]
_RESCALED = "drawn at another size"
_KNOWN: dict[Defect, str] = {"order": "in the wrong order", "beyond": "beyond the image", "area": "of no area"}

XYXY = tuple[float, float, float, float]


@dataclass(frozen=True)
class BoxProblem:
    """Something about a box that cannot be right, and what was done."""

    what: str
    """'Object 2 of /data/x.xml reaches beyond the image of 500x375'"""
    done: Literal["clipped", "left out"]

    def __str__(self) -> str:
        return f"{self.what}: {self.done}"


@dataclass(frozen=True)
class ReadBoxes:
    """What became of the boxes of one image, or of an annotation without one."""

    index: int | None
    """Of the image in its split."""
    boxes: Float32Array = field(default_factory=lambda: _NO_BOXES)
    problems: tuple[BoxProblem, ...] = ()
    known: tuple[str, ...] = ()
    """Defects that the set is known for."""


@dataclass(frozen=True)
class BoxReport:
    """How many boxes there are and what was mended."""

    num_images: int
    num_boxed: int
    """Images that have a box."""
    num_boxes: int
    problems: tuple[BoxProblem, ...]
    known: Mapping[str, int]
    """Defect that the set is known for -> how often it was mended."""

    def __str__(self) -> str:
        explanation = f"{self.num_boxes:,} boxes on {self.num_boxed:,} of {self.num_images:,} images"
        done = Counter(problem.done for problem in self.problems)
        explanation += "".join(f"; {count:,} {what}" for what, count in sorted(done.items()))
        if self.known:
            explanation += "; known defects: " + ", ".join(
                f"{count:,} {what}" for what, count in sorted(self.known.items())
            )
        return explanation


def with_boxes(split: Split, found: Iterable[ReadBoxes]) -> tuple[Split, BoxReport]:
    """The split with what ``read_boxes`` found; images without a box stay (``Split.boxed`` leaves them out).

    Raises:
        VerydeepError: not one image has a box.
    """
    boxes, problems, known = [_NO_BOXES] * len(split), list[BoxProblem](), Counter[str]()
    for one in found:
        if one.index is not None and len(one.boxes):
            boxes[one.index] = one.boxes
        problems += one.problems
        known.update(one.known)
    report = BoxReport(
        num_images=len(split),
        num_boxed=sum(len(rows) > 0 for rows in boxes),
        num_boxes=sum(map(len, boxes)),
        problems=tuple(problems),
        known=dict(known),
    )
    if not report.num_boxed:
        first = f"; the first of them: {problems[0]}" if problems else ""
        raise VerydeepError(f"No image in {split.root} has a box that can be used ({report}{first}).")
    return replace(split, boxes=tuple(boxes)), report


def read_boxes(split: Split, root: Path, bad_boxes: BadBoxes = "error", num_workers: int = 0) -> Iterator[ReadBoxes]:
    """Annotations without an image first, then each image of the split in order.

    An XML file takes about 0.1 ms and the header of its image as much, so ILSVRC's half a million take two to four
    minutes of one core once the files are in memory; from a disk that seeks, ``num_workers`` waits for several at once.

    Args:
        split: a part with labels.
        root: the folder of the whole data set, where boxes.csv or Annotations/ lie.
        bad_boxes: what becomes of boxes that cannot be right.
        num_workers: processes that read; the result is the same for any number.

    Raises:
        VerydeepError: there are no boxes, or one is bad and that is an error.
    """
    source = find_source(split, root)
    for where in source.strangers():
        yield _strict(ReadBoxes(None, problems=(BoxProblem(f"{where} has no image", "left out"),)), bad_boxes)
    reader = _Reader(split, source, bad_boxes)
    for batch in DataLoader(reader, batch_size=_AT_ONCE, num_workers=num_workers, collate_fn=list):
        for found in batch:
            yield _strict(found, bad_boxes)


def _strict(found: ReadBoxes, bad_boxes: BadBoxes) -> ReadBoxes:
    if bad_boxes == "error" and found.problems:
        first = found.problems[0]
        raise VerydeepError(f"{first.what}; mend it, or let --bad-boxes clip or skip deal with it.")
    return found


class _Reader(Dataset[ReadBoxes]):
    """Reads and judges the boxes of one image after another."""

    def __init__(self, split: Split, source: Source, bad_boxes: BadBoxes) -> None:
        self.split, self.source, self.bad_boxes = split, source, bad_boxes
        self.labels = labels_by_name(split)

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, index: int) -> ReadBoxes:
        split, path = self.split, self.split.path(index)
        try:
            annotation = self.source.read(index)
        except VerydeepError as error:
            return ReadBoxes(index, problems=(BoxProblem(str(error).rstrip("."), "left out"),))
        if annotation is None:
            return self.without_box(index, "has no annotation")
        try:
            size = image_size(path, camera_rotation=split.camera_rotation)
        except VerydeepError:  # no matter of boxes: --bad-images decides when it is decoded
            size = None
        return self.judge(index, annotation, size)

    def judge(self, index: int, annotation: Annotation, size: tuple[int, int] | None) -> ReadBoxes:
        """Keep, mend or leave out each box; ``size`` is the file's, None where it has no readable header."""
        assert self.split.labels is not None
        lenient, label = self.source.from_imagenet, self.split.labels[index]
        drawn = annotation.size or size
        boxes, problems, known = [], [], list[str]()
        if size is not None and drawn is not None and drawn != size:
            if not _same_shape(drawn, size) and not lenient:
                what = (
                    f"{self.split.path(index)} has {_times(size)} pixels, but its boxes were drawn on {_times(drawn)}"
                )
                return ReadBoxes(index, problems=(BoxProblem(what, "left out"),))
            known += [_RESCALED] * lenient
        for instance in annotation.instances:
            classes = self.labels.get(_normalized(instance.name))
            if classes is None:
                what = f"{instance.where} is of a class that the set does not have, {instance.name!r}"
                problems.append(BoxProblem(what, "left out"))
            elif label in classes:
                defects, box = mend(instance.xyxy, drawn)
                if defects and lenient:
                    known += [_KNOWN[defect] for defect in defects]
                elif defects:
                    box = box if self.bad_boxes == "clip" else None
                    what = f"{instance.where} {_scaled_remark(defects, drawn)}"
                    problems.append(BoxProblem(what, "left out" if box is None else "clipped"))
                if box is not None:
                    boxes.append(box if size is None or drawn is None else _scaled(box, drawn, size))
        if not (boxes or problems or set(known) - {_RESCALED}):
            return self.without_box(index, "has no box of its class")
        return ReadBoxes(index, np.array(boxes, np.float32).reshape(-1, 4), tuple(problems), tuple(known))

    def without_box(self, index: int, what: str) -> ReadBoxes:
        """An image without a box: more than half of ILSVRC's training images have none."""
        from_ilsvrc = self.source.from_imagenet and not isinstance(self.source, BoxList)
        if from_ilsvrc and _TRAINING_IMAGE.fullmatch(PurePosixPath(self.split.files[index]).stem):
            return ReadBoxes(index, known=("training images without boxes",))
        return ReadBoxes(index, problems=(BoxProblem(f"{self.split.path(index)} {what}", "left out"),))


def labels_by_name(split: Split) -> dict[str, set[int]]:
    """What an annotation may call each class: its name, its words, or one of them; two classes may share words."""
    known = known_classes()
    labels: dict[str, set[int]] = {}
    for label, (name, words) in enumerate(zip(split.class_names, split.class_words, strict=True)):
        of_imagenet = known[name].words if name in known else ""
        for text in {name, words, of_imagenet, *words.split(","), *of_imagenet.split(",")} - {""}:
            labels.setdefault(_normalized(text), set()).add(label)
    return labels


def mend(box: XYXY, size: tuple[float, float] | None) -> tuple[tuple[Defect, ...], XYXY | None]:
    """What cannot be right about a box, and the box with its corners in order and cut to the image; None without area.

    Args:
        box: inclusive xyxy, counted from 0.
        size: width and height of the image that it was drawn on; None if unknown.
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


def _scaled_remark(defects: Iterable[Defect], size: tuple[float, float] | None) -> str:
    explanation = {"order": "has a min larger than its max", "area": "has no area"}
    if size is not None:
        explanation["beyond"] = f"reaches beyond the image of {_times(size)}"
    return " and ".join(explanation[defect] for defect in defects)


def _scaled(box: XYXY, drawn: tuple[float, float], size: tuple[int, int]) -> XYXY:
    """The same box in the file; its edges scale, not its last pixels."""
    x, y = size[0] / drawn[0], size[1] / drawn[1]
    return box[0] * x, box[1] * y, (box[2] + 1) * x - 1, (box[3] + 1) * y - 1


def _same_shape(drawn: tuple[float, float], size: tuple[int, int]) -> bool:
    """Whether an image of one size can be the other's at another scale: sides were rounded, perhaps both."""
    rounding = 1 / min(*drawn, *size)
    return abs(math.log(drawn[0] * size[1] / (drawn[1] * size[0]))) <= SHAPE_TOLERANCE + rounding


def _times(size: tuple[float, float]) -> str:
    return f"{size[0]:g}x{size[1]:g}"


def _normalized(name: str) -> str:
    """'Scottish_deerhound ' as 'scottish deerhound'."""
    return " ".join(name.replace("_", " ").casefold().split())
