"""Parts of a data set whose boxes are learned or tested on."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from verydeep.data.imagenet import read_blacklist, validation_number
from verydeep.data.split import Split
from verydeep.data.truth import BadBoxes, read_boxes, with_boxes
from verydeep.engine.datasets import data_folder, open_data_split
from verydeep.engine.log import Log
from verydeep.engine.progress import track
from verydeep.engine.runtime import Runtime
from verydeep.files import write_json
from verydeep.ops.arrays import BoolArray

MANY = 20
"""Bad boxes that are told one by one."""


@dataclass(frozen=True, eq=False)
class BoxedSplit:
    """Images that have boxes, and which of them the localization error counts."""

    whole: Split
    """The part as it was opened, without boxes."""
    split: Split
    """The images of it that have boxes."""
    blacklisted: BoolArray
    """(N,) those that it does not count."""


def read_boxed_split(
    split: Split, data: str, bad_boxes: BadBoxes, runtime: Runtime, log: Log, listed: Path | None = None
) -> Split:
    """The images of a part that have a box, with their boxes.

    Args:
        split: the part.
        data: what it is of, as the command line names it.
        bad_boxes: what becomes of boxes that cannot be right.
        runtime: of this process.
        log: to tell how many there are, and the first of the bad ones.
        listed: a JSON file for all of the bad ones, if there are any.

    Raises:
        VerydeepError: there are no boxes, or one is bad and that is an error.
    """
    found = read_boxes(split, data_folder(data), bad_boxes, runtime.num_workers)
    each = track(found, f"Reading boxes of {split.name}", len(split)) if runtime.is_main else found
    with_their_boxes, report = with_boxes(split, each)
    log.info(f"Boxes of {split.name}: {report}.")
    for problem in report.problems[:MANY]:
        log.info(f"  {problem}")
    if len(report.problems) > MANY:
        log.info(f"  and {len(report.problems) - MANY:,} more.")
    if report.problems and listed is not None:
        if runtime.is_main:
            write_json(listed, [str(problem) for problem in report.problems])
        log.info(f"  Listed in {listed}.")
    return with_their_boxes.boxed()


def open_boxed_split(split: Split, data: str, bad_boxes: BadBoxes, runtime: Runtime, log: Log) -> BoxedSplit:
    """A part to test on, its boxes read; of ILSVRC's validation images the devkit's blacklist is left out.

    Raises:
        VerydeepError: as ``read_boxed_split``.
    """
    part = read_boxed_split(split, data, bad_boxes, runtime, log)
    numbers = [validation_number(file) for file in part.files]
    if all(number is None for number in numbers):
        return BoxedSplit(split, part, np.zeros(len(part), np.bool_))
    listed = read_blacklist(data_folder(data))
    if listed is None:
        log.info(
            "Note: the devkit's blacklist is not there, so the 1,762 images on it count, too: put "
            "ILSVRC2014_clsloc_validation_blacklist.txt into the folder of the data."
        )
    blacklisted = np.array([number in (listed or ()) for number in numbers], np.bool_)
    if listed is not None:
        log.info(f"The devkit's blacklist leaves out {int(blacklisted.sum()):,} images.")
    return BoxedSplit(split, part, blacklisted)


def holds_val(split: Split) -> bool:
    """Whether the validation images are among these, so that what is chosen on them is not reported on others alone."""
    return split.name in ("val", "all")


def open_table_splits(
    split: Split, data: str, bad_boxes: BadBoxes, runtime: Runtime, log: Log, *, tune: bool
) -> tuple[BoxedSplit, BoxedSplit | None]:
    """The part to test on, and the one to choose a threshold of merging on: the validation part, or the same.

    Raises:
        VerydeepError: there are no validation images, or as ``read_boxed_split``.
    """
    part = open_boxed_split(split, data, bad_boxes, runtime, log)
    if not tune or holds_val(split):
        return part, part if tune else None
    return part, open_boxed_split(open_data_split(data, "val"), data, bad_boxes, runtime, log)
