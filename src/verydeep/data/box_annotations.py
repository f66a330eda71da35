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

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from verydeep.data.box_checks import NO_BOXES, BadBoxes, BoxProblem, BoxReader, ImageBoxes
from verydeep.data.box_remarks import remark_on_boxes
from verydeep.data.box_sources import COLUMNS, TABLE, find_box_source
from verydeep.data.folders.listing import list_files
from verydeep.data.folders.split_folders import ANNOTATIONS
from verydeep.data.loading.batches import load_items
from verydeep.data.split import Split
from verydeep.errors import DataError
from verydeep.wording import count_of, shorten_list

_SIMILAR = re.compile(r".*(?:box|annotation).*\.(?:csv|tsv|txt|json|xlsx?|ods)", re.IGNORECASE)
_BATCH_SIZE = 256


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
    remarks: tuple[str, ...] = ()
    """Sentences about boxes that are possible, but look as if they meant something else."""

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
    boxes, problems, known_defects = [NO_BOXES] * len(split), list[BoxProblem](), Counter[str]()
    written_boxes = []
    for image in boxes_of_images:
        if image.index is not None and len(image.boxes):
            boxes[image.index] = image.boxes
        problems += image.problems
        known_defects.update(image.known_defects)
        written_boxes.append(image.written_boxes)
    report = BoxReport(
        num_images=len(split),
        num_boxed=sum(len(rows) > 0 for rows in boxes),
        num_boxes=sum(map(len, boxes)),
        problems=tuple(problems),
        known_defects=dict(known_defects),
        remarks=remark_on_boxes(written_boxes),
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
    for description in source.unmatched:
        problem = BoxProblem(description, "left out")
        yield _refuse_problems(ImageBoxes(None, problems=(problem,)), bad_boxes)
    reader = BoxReader(split, source, bad_boxes)
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
    remarks: tuple[str, ...]
    """Sentences about boxes that are possible, but look as if they meant something else."""


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
        remarks=remark_on_boxes([image.written_boxes for image in images]),
    )


def describe_similar_files(root: Path) -> str:
    """Return a sentence about files whose names say that they hold boxes, but that are not read; or nothing."""
    unread = [file for file in list_files(root, lambda entry: bool(_SIMILAR.fullmatch(entry.name))) if file != TABLE]
    if not unread:
        return ""
    return f"Not read: {shorten_list(unread)} in {root}; boxes are read from {root / TABLE} with {','.join(COLUMNS)}."


def _refuse_problems(image: ImageBoxes, bad_boxes: BadBoxes) -> ImageBoxes:
    if bad_boxes == "error" and image.problems:
        raise DataError(f"{image.problems[0].description}; correct it, or choose `bad_boxes=clip` or `bad_boxes=skip`.")
    return image
