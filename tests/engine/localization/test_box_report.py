"""Remarks and figures of a report on boxes."""

import numpy as np

from tests.engine.localization.conftest import make_evaluation
from verydeep.data.split import Split
from verydeep.engine.localization.box_report import constant_box_remarks, evaluation_values


def test_boxes_no_better_than_the_constant_one_are_reported(boxed_split: Split) -> None:
    """By the counted images alone."""
    everything, first_seven = [True] * 12, [i < 7 for i in range(12)]
    for num_missed, last, counted, words in (
        (7, [0.9] * 12, everything, None),
        (7, [0.9] * 5 + [0.1] * 7, everything, "The net is not measurably better"),
        (7, [0.1] * 12, everything, "The net is not measurably better"),  # five of twelve may be chance
        (3, [0.1] * 12, everything, "The net is worse"),
        (7, [0.9] * 7 + [0.1] * 5, first_seven, None),
    ):
        constant = [0.1] * num_missed + [0.9] * (12 - num_missed)
        evaluation = make_evaluation(boxed_split, [constant, last], None, counted, ["constant", "dense"])
        remarks = list(constant_box_remarks(evaluation))
        said = [remark.split(" than the constant box")[0] for remark in remarks if "than the constant box" in remark]
        assert said == ([] if words is None else [words])


def test_images_on_the_blacklist_are_not_counted(boxed_split: Split) -> None:
    overlaps = np.linspace(0, 1, 12).tolist()
    evaluation = make_evaluation(boxed_split, [overlaps], None, [i > 2 for i in range(12)], ["dense"])
    assert evaluation_values(evaluation, boxed_split)["num_images"] == 9
