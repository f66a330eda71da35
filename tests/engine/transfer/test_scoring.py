"""Scores by hand."""

from pathlib import Path

import numpy as np
import pytest

from tests.engine.transfer.samples import NAMES, make_split
from verydeep.data.split import Split
from verydeep.engine.transfer.scoring import get_targets, mean_and_deviation, score, score_classes


def test_recall_is_a_mean_over_classes_of_unequal_size() -> None:
    """Right: 3 of 4 ants, the bell (which is as much a crab, a later class); accuracy would be 80%."""
    labels = np.array([0, 0, 0, 0, 1])
    margins = np.array([[1, 0, 0], [1, 0, 0], [1, 0, 0], [1, 2, 0], [-2, -1, -1]], np.float32)
    targets = np.where(labels[:, None] == np.arange(3), 1, -1).astype(np.int8)
    recalls = score_classes("mean class recall", margins, targets)
    assert recalls[:2] == [75, 100] and np.isnan(recalls[2])
    assert score("mean class recall", margins, targets) == pytest.approx(87.5)


def test_precision_is_averaged_over_classes_and_difficult_images_count_in_neither() -> None:
    """Ranked by the first column: hit, neither, miss, hit: 1 and 2/3, the mean 5/6; the other is found at once."""
    margins = np.array([[4, 0], [3, 1], [2, 3], [1, 2]], np.float32)
    targets = np.array([[1, -1], [0, -1], [-1, 1], [1, -1]], np.int8)
    assert score_classes("AP, all points", margins, targets) == pytest.approx([100 * 5 / 6, 100])
    assert score("AP, all points", margins, targets) == pytest.approx((500 / 6 + 100) / 2)
    eleven = (6 * 1 + 5 * 2 / 3) / 11  # recall up to one half: 1; above: 2/3
    assert score_classes("AP, 11 points", margins, targets)[0] == pytest.approx(100 * eleven)


def test_targets_are_one_against_the_rest_or_the_sets_own() -> None:
    assert get_targets(make_split([2, 0], "train")).tolist() == [[-1, -1, 1], [1, -1, -1]]  # type: ignore[union-attr]
    relevance = [[1, 0, -1], [1, 1, -1]]
    assert get_targets(make_split(None, "train", relevance=relevance)).tolist() == relevance  # type: ignore[union-attr]
    assert get_targets(Split("test", Path(), ("a",), None, NAMES, NAMES, "", True)) is None


def test_deviation_is_that_of_a_sample() -> None:
    assert mean_and_deviation([90.0]) == (90.0, None)
    assert mean_and_deviation([90.0, 92.0, 94.0]) == (92.0, pytest.approx(2.0))
