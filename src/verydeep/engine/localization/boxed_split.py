"""Splits whose images have boxes, to train or test localization nets on."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from verydeep.data.box_annotations import add_boxes, read_boxes
from verydeep.data.box_checks import BadBoxes
from verydeep.data.sets.imagenet import read_blacklist, validation_number
from verydeep.data.split import Split
from verydeep.engine.datasets import choose_value_ranges, data_folder, open_data_split
from verydeep.engine.log import Log
from verydeep.engine.progress import track
from verydeep.engine.runtime import Runtime
from verydeep.json_files import write_json
from verydeep.ops.arrays import BoolArray
from verydeep.ops.value_ranges import RecordedRanges
from verydeep.wording import count_of

MAX_LOGGED = 5
"""Bad boxes that are logged one by one."""


@dataclass(frozen=True, eq=False)
class BoxedSplit:
    """The images of a split that have boxes."""

    full_split: Split
    """All images of the split, without their boxes."""
    split: Split
    """The images that have boxes."""
    counted: BoolArray
    """(N,) whether the localization error counts each image of ``split``: the devkit's blacklist is left out."""


def read_split_boxes(
    split: Split, data: str, bad_boxes: BadBoxes, runtime: Runtime, log: Log, problem_file: Path | None = None
) -> Split:
    """Return the images of a split that have a box, with their boxes.

    Args:
        split: a split of the data set.
        data: the data set, as the user named it.
        bad_boxes: the treatment of impossible boxes.
        runtime: of this process.
        log: counts boxes and lists the first bad ones.
        problem_file: a JSON file for a list of all bad boxes, if there are any.

    Raises:
        DataError: there are no boxes, or one is bad and ``bad_boxes`` is "error".
    """
    boxes = read_boxes(split, data_folder(data), bad_boxes, runtime.num_workers)
    if runtime.is_main:
        boxes = track(boxes, f"Reading boxes of {split.name}", len(split))
    with_boxes, report = add_boxes(split, boxes)
    log.info(f"Boxes of {split.name}: {report}.")
    for remark in report.remarks:
        log.info(remark)
    for problem in report.problems[:MAX_LOGGED]:
        log.info(f"  {problem}")
    if len(report.problems) > MAX_LOGGED:
        log.info(f"  and {len(report.problems) - MAX_LOGGED:,} more.")
    if report.problems and problem_file is not None:
        if runtime.is_main:
            write_json(problem_file, [str(problem) for problem in report.problems])
        log.info(f"  All are listed in {problem_file}.")
    return with_boxes.boxed()


def open_boxed_split(split: Split, data: str, bad_boxes: BadBoxes, runtime: Runtime, log: Log) -> BoxedSplit:
    """Read the boxes of a split to test on, and the devkit's blacklist for ILSVRC's validation images.

    Raises:
        DataError: there are no boxes, one is bad and ``bad_boxes`` is "error", or the blacklist is damaged.
    """
    with_boxes = read_split_boxes(split, data, bad_boxes, runtime, log)
    numbers = [validation_number(file) for file in with_boxes.files]
    if all(number is None for number in numbers):
        return BoxedSplit(split, with_boxes, np.ones(len(with_boxes), np.bool_))
    blacklist = read_blacklist(data_folder(data))
    if blacklist is None:
        log.info(
            "The devkit's blacklist is missing, so the errors count the 1,762 images on it: put "
            "ILSVRC2014_clsloc_validation_blacklist.txt into the folder of the data set."
        )
    counted = np.array([number not in (blacklist or ()) for number in numbers], np.bool_)
    if blacklist is not None:
        log.info(f"The devkit's blacklist leaves out {count_of(int((~counted).sum()), 'image')}.")
    return BoxedSplit(split, with_boxes, counted)


def contains_val(split: Split) -> bool:
    """Whether the split contains the validation images, on which a merge threshold would be chosen."""
    return split.name in ("val", "all")


def open_table_splits(
    split: Split, data: str, bad_boxes: BadBoxes, runtime: Runtime, log: Log, *, tune: bool
) -> tuple[BoxedSplit, BoxedSplit | None]:
    """Read the boxes of a split to test on and of the one to choose the merge threshold on.

    The latter is the validation split, or the former where that contains it, or None without ``tune``.

    Raises:
        DataError: there are no validation images or no boxes, or one is bad and ``bad_boxes`` is "error".
    """
    boxed_split = open_boxed_split(split, data, bad_boxes, runtime, log)
    if not tune or contains_val(split):
        return boxed_split, boxed_split if tune else None
    ranges = RecordedRanges(split.value_ranges or {}, "test images")
    (val,) = choose_value_ranges([open_data_split(data, "val")], [ranges], runtime, log)
    return boxed_split, open_boxed_split(val, data, bad_boxes, runtime, log)
