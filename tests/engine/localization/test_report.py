"""What a reader is told of boxes before he quotes their figures."""

import numpy as np

from tests.engine.localization.conftest import evaluation_of
from verydeep.data.split import Split
from verydeep.engine.localization.report import as_values, evaluation_remarks


def test_boxes_no_better_than_the_constant_one_are_told(read_boxed_split: Split) -> None:
    """By the images that count alone."""
    for last, is_told in (([0.9] * 12, False), ([0.9] * 5 + [0.1] * 7, True), ([0.1] * 12, True)):
        constant = [0.1] * 7 + [0.9] * 5
        found = evaluation_of(read_boxed_split, [constant, last], None, [True] * 12, ["constant", "dense"])
        assert (
            any(
                "Not better than the constant box" in line
                for line in evaluation_remarks(found, read_boxed_split, "last")
            )
            == is_told
        )
    counted = [i < 7 for i in range(12)]
    found = evaluation_of(read_boxed_split, [constant, [0.9] * 7 + [0.1] * 5], None, counted, ["constant", "dense"])
    assert not any("Not better" in line for line in evaluation_remarks(found, read_boxed_split, "last"))


def test_images_that_do_not_count_are_not_counted(read_boxed_split: Split) -> None:
    overlaps = np.linspace(0, 1, 12).tolist()
    found = evaluation_of(read_boxed_split, [overlaps], None, [i > 2 for i in range(12)], ["dense"])
    assert as_values(found, read_boxed_split)["num_images"] == 9
