"""VOC's average precision: by hand, as the devkit step by step, and where scikit-learn's differs."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import average_precision_score

from verydeep.ops.average_precision import (
    average_precision,
    average_precision_11_points,
    measure_precision,
    precisions_of_draws,
)

BOTH = (average_precision_11_points, average_precision)


def ranked(*marks: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores that rank these marks in their order."""
    return np.arange(len(marks), 0, -1, dtype=np.float32), np.array(marks, np.int8)


@pytest.mark.parametrize(
    ("marks", "eleven", "every"),
    [
        ((1,), 1, 1),
        ((1, 1, -1), 1, 1),
        ((-1, 1), Fraction(1, 2), Fraction(1, 2)),
        # Recall 1/2 with precision 1, recall 1 with 2/3: six points of eleven reach no further than the first.
        ((1, -1, 1), Fraction(6 * 3 + 5 * 2, 33), Fraction(5, 6)),
        # The best precision at any recall is that of the last rank.
        ((-1, 1, 1), Fraction(2, 3), Fraction(2, 3)),
        # Four found at ranks 1, 3, 4, 8: best precisions 1, 3/4, 3/4, 1/2 at recall 1/4, 1/2, 3/4, 1.
        ((1, -1, 1, 1, -1, -1, -1, 1), Fraction(3 * 4 + 5 * 3 + 3 * 2, 44), Fraction(4 + 3 + 3 + 2, 16)),
    ],
)
def test_by_hand(marks: tuple[int, ...], eleven: Fraction, every: Fraction) -> None:
    scores, relevance = ranked(*marks)
    assert average_precision_11_points(scores, relevance) == pytest.approx(float(eleven), abs=1e-12)
    assert average_precision(scores, relevance) == pytest.approx(float(every), abs=1e-12)


@pytest.mark.parametrize("precision", BOTH)
def test_difficult_images_take_no_rank(precision) -> None:
    without = precision(*ranked(1, -1, 1, -1, 1))
    assert precision(*ranked(0, 0, 1, 0, -1, 1, 0, -1, 1, 0)) == without
    assert precision(*ranked(-1, 1, -1, 1, -1, 1)) != without


@pytest.mark.parametrize("precision", BOTH)
def test_equal_scores_rank_in_the_order_of_the_data_set(precision) -> None:
    """As MATLAB's stable sort leaves them."""
    same = np.zeros(2, np.float32)
    assert precision(same, np.array([1, -1], np.int8)) == 1
    assert precision(same, np.array([-1, 1], np.int8)) == 0.5


@pytest.mark.parametrize("precision", BOTH)
def test_images_without_a_result_come_last(precision) -> None:
    relevance = np.array([1, -1, 1, -1], np.int8)
    expected = precision(np.array([-9.0, 3.0, 5.0, 4.0]), relevance)
    assert precision(np.array([-np.inf, 3.0, 5.0, 4.0]), relevance) == expected
    assert precision(np.array([np.nan, 3.0, 5.0, 4.0]), relevance) == expected
    assert precision(np.array([9.0, 3.0, 5.0, 4.0]), relevance) != expected


@pytest.mark.parametrize("precision", BOTH)
def test_a_class_on_no_image_has_none(precision) -> None:
    for marks in ((-1, 0, -1), (0, 0), ()):
        assert math.isnan(precision(*ranked(*marks)))


def test_three_of_ten_reach_recall_three_tenths() -> None:
    """In binary 3 * 0.1 is more than 0.3; here the precision falls right behind the third."""
    marks = (1, 1, 1, *[-1] * 20, *[1] * 7)
    assert 3 / 10 < 3 * 0.1
    assert average_precision_11_points(*ranked(*marks)) == pytest.approx((4 * 1 + 7 * 10 / 30) / 11, abs=1e-12)


def devkit(scores: list[float], marks: list[int]) -> tuple[Fraction, Fraction]:
    """VOCevalcls.m until 2009 and VOCap.m since, step by step."""
    order = sorted(range(len(scores)), key=lambda i: -scores[i])
    num_relevant = sum(mark > 0 for mark in marks)
    tp = fp = 0
    recall, precision = [], []
    for i in order:
        tp += marks[i] > 0
        fp += marks[i] < 0
        if tp + fp:  # 0/0, which max() passes over in MATLAB
            recall.append(Fraction(tp, num_relevant))
            precision.append(Fraction(tp, tp + fp))
    eleven = Fraction(0)
    for t in range(11):
        reached = [p for r, p in zip(recall, precision, strict=True) if r >= Fraction(t, 10)]
        eleven += (max(reached) if reached else 0) / Fraction(11)
    mrec, mpre = [Fraction(0), *recall, Fraction(1)], [Fraction(0), *precision, Fraction(0)]
    for i in reversed(range(len(mpre) - 1)):
        mpre[i] = max(mpre[i], mpre[i + 1])
    steps = [i for i in range(1, len(mrec)) if mrec[i] != mrec[i - 1]]
    return eleven, sum(((mrec[i] - mrec[i - 1]) * mpre[i] for i in steps), Fraction(0))


@given(st.lists(st.tuples(st.integers(0, 6), st.sampled_from((-1, -1, -1, 0, 1, 1))), min_size=1, max_size=60))
def test_as_the_devkit_step_by_step(rows: list[tuple[int, int]]) -> None:
    """Scores of seven values, so that most are ties."""
    scores, marks = [float(score) for score, _ in rows], [mark for _, mark in rows]
    if 1 not in marks:
        return
    eleven, every = devkit(scores, marks)
    values, relevance = np.array(scores, np.float32), np.array(marks, np.int8)
    assert average_precision_11_points(values, relevance) == pytest.approx(float(eleven), abs=1e-12)
    assert average_precision(values, relevance) == pytest.approx(float(every), abs=1e-12)


def test_scikit_learn_counts_otherwise() -> None:
    """It sums the precisions as they are, and ranks equal scores together; without either case it agrees."""
    falling, tied = ranked(1, -1, 1), (np.zeros(2), np.array([1, -1], np.int8))
    rising = ranked(-1, 1, 1)
    assert average_precision_score(falling[1] > 0, falling[0]) == pytest.approx(average_precision(*falling))
    assert average_precision_score(rising[1] > 0, rising[0]) == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert average_precision(*rising) == pytest.approx(2 / 3)
    assert average_precision_score(tied[1] > 0, tied[0]) == pytest.approx(1 / 2)
    assert average_precision(*tied) == 1
    assert average_precision_11_points(*falling) != pytest.approx(average_precision(*falling))


# Intervals.


@pytest.mark.parametrize("at_11_points", [True, False])
def test_the_precision_of_a_draw_is_that_of_its_images(at_11_points: bool) -> None:
    """Each image written down as often as it was drawn; with ties, images that count in neither, and empty draws."""
    rng = np.random.default_rng(3)
    plainly = average_precision_11_points if at_11_points else average_precision
    for _ in range(30):
        scores = rng.normal(size=25).round(1)
        relevance = rng.choice([-1, 0, 1], p=[0.6, 0.2, 0.2], size=25).astype(np.int8)
        relevance[0] = 1
        times = rng.multinomial(25, np.full(25, 1 / 25), size=9)
        times[0, relevance > 0] = 0
        expected = [plainly(np.repeat(scores, each), np.repeat(relevance, each)) for each in times]
        found = precisions_of_draws(scores, relevance, times, at_11_points=at_11_points)
        assert math.isnan(found[0])
        assert found == pytest.approx(expected, nan_ok=True)


def drawn(rng: np.random.Generator, count: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores (n, 8) of images that are of each class with 8%, which the scores tell with some success."""
    relevance = np.where(rng.random((count, 8)) < 0.08, 1, -1).astype(np.int8)
    return rng.normal(size=(count, 8)) + 2.5 * (relevance > 0), relevance


@pytest.mark.parametrize("at_11_points", [True, False])
def test_the_interval_holds_the_mean_over_test_sets_of_this_size(at_11_points: bool) -> None:
    """Of 120 sets of 400 images at least 87%, where 95% are meant; and it is no wider than it has to be."""
    rng = np.random.default_rng(8)
    measured = [measure_precision(*drawn(rng, 400), at_11_points=at_11_points, seed=i, draws=150) for i in range(120)]
    shares = [each.mean for each in measured]
    found = np.array([(share.percent, share.low, share.high) for share in shares])
    mean = found[:, 0].mean()
    assert ((found[:, 1] <= mean) & (mean <= found[:, 2])).mean() >= 0.87
    assert 0.7 < (found[:, 2] - found[:, 1]).mean() / (2 * 1.96 * found[:, 0].std()) < 1.4


def test_the_interval_is_about_the_mean_over_classes_that_are_there() -> None:
    """A class that is on no image is left out; a seed decides the draws."""
    rng = np.random.default_rng(2)
    scores, relevance = drawn(rng, 300)
    relevance[:, 3] = -1
    share = measure_precision(scores, relevance, at_11_points=False).mean
    expected = np.mean([average_precision(scores[:, k], relevance[:, k]) for k in range(8) if k != 3])
    assert share.percent == pytest.approx(100 * expected)
    assert share.high - share.percent == pytest.approx(share.percent - share.low)
    assert measure_precision(scores, relevance, at_11_points=False).mean == share
    assert measure_precision(scores, relevance, at_11_points=False, seed=1).mean != share
    assert measure_precision(scores, relevance, at_11_points=True).mean.percent != share.percent


def test_photographs_are_drawn_with_all_that_is_on_them() -> None:
    """Four persons who are alike tell as little as one: the interval is as wide as of a quarter of the samples."""
    scores, relevance = drawn(np.random.default_rng(5), 200)
    photographs = np.arange(800) % 200
    every = np.tile(scores, (4, 1)), np.tile(relevance, (4, 1))
    once, apart, together = (
        share.high - share.low
        for share in (
            measure_precision(scores, relevance, at_11_points=False).mean,
            measure_precision(*every, at_11_points=False).mean,
            measure_precision(*every, at_11_points=False, photographs=photographs).mean,
        )
    )
    assert together == pytest.approx(once, rel=0.15)
    assert together > 1.6 * apart


def test_draws_that_show_no_class_are_left_out_of_the_interval() -> None:
    """Of one image of a class among three, eight draws in twenty-seven; the class is found in all others."""
    scores, relevance = np.array([[1.0], [0.0], [0.5]]), np.array([[1], [-1], [-1]], np.int8)
    share = measure_precision(scores, relevance, at_11_points=False).mean
    limits = binomtest(1, 1).proportion_ci(method="wilson")
    assert (share.percent, share.low, share.high) == pytest.approx((100, 100 * limits.low, 100))


@pytest.mark.parametrize("at_11_points", [True, False])
def test_the_interval_of_a_perfect_ranking_is_that_of_as_many_shares(at_11_points: bool) -> None:
    """Three classes of two photographs each: the distance of Wilson's limit of 2 of 2, divided by the root of 3."""
    relevance = np.where(np.repeat(np.eye(3), 2, axis=0) > 0, 1, -1).astype(np.int8)
    share = measure_precision(relevance.astype(float), relevance, at_11_points=at_11_points).mean
    low = 100 * binomtest(2, 2).proportion_ci(method="wilson").low
    assert (share.percent, share.low, share.high) == pytest.approx((100, 100 - (100 - low) / math.sqrt(3), 100))
    twice = np.arange(12) % 6  # each photograph with two persons
    again = measure_precision(
        np.tile(relevance, (2, 1)).astype(float),
        np.tile(relevance, (2, 1)),
        at_11_points=at_11_points,
        photographs=twice,
    ).mean
    assert (again.low, again.high) == pytest.approx((share.low, share.high))


@pytest.mark.parametrize("distance", [2.5, 1.0])
@pytest.mark.parametrize("count", [6, 12])
def test_the_interval_of_few_photographs_holds_the_mean_over_such_test_sets(count: int, distance: float) -> None:
    """Where most rankings are perfect; the bootstrap alone holds it in 48 to 90% of cases."""
    rng = np.random.default_rng(4)
    relevance = np.where(np.arange(count)[:, None] % 3 == np.arange(3), 1, -1).astype(np.int8)
    sets = [rng.normal(size=(count, 3)) + distance * (relevance > 0) for _ in range(200)]
    found = [
        measure_precision(each, relevance, at_11_points=False, draws=100, seed=i).mean for i, each in enumerate(sets)
    ]
    mean = np.mean([each.percent for each in found])
    assert np.mean([each.low <= mean <= each.high for each in found]) >= 0.92


@pytest.mark.parametrize("at_11_points", [False, True])
def test_classes_have_the_intervals_that_they_have_alone(at_11_points: bool) -> None:
    scores, relevance = drawn(np.random.default_rng(4), 90)
    relevance[:, 1] = np.minimum(relevance[:, 1], 0)  # on no image
    measured = measure_precision(scores, relevance, at_11_points=at_11_points)
    for k, share in enumerate(measured.classes):
        if k == 1:
            assert share is None
            continue
        alone = measure_precision(scores[:, [k]], relevance[:, [k]], at_11_points=at_11_points).mean
        assert share is not None and share.low <= share.percent <= share.high
        np.testing.assert_allclose([share.percent, share.low, share.high], [alone.percent, alone.low, alone.high])
    shares = [share.percent for share in measured.classes if share is not None]
    assert measured.mean.percent == pytest.approx(np.mean(shares))
