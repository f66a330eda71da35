"""Errors and intervals: by hand, against scipy, and by simulation."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import confusion_matrix as sklearns_confusion_matrix

from verydeep.ops.metrics import (
    class_errors,
    classification_errors,
    confusion_matrix,
    expected_calibration_error,
    mean_class_recall,
    order_classes,
    predicted_classes,
    ranks,
    topk_for,
    wilson_interval,
)


@given(trials=st.integers(1, 60_000), share=st.floats(0, 1))
def test_wilson_is_scipys(trials: int, share: float) -> None:
    successes = round(share * trials)
    ours = wilson_interval(successes, trials)
    theirs = binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    assert ours.percent == pytest.approx(100 * successes / trials)
    assert (ours.low, ours.high) == pytest.approx((100 * theirs.low, 100 * theirs.high), abs=1e-9)


def test_wilson_by_hand() -> None:
    """0 of 10: [0, z^2 / (10 + z^2)] = [0, 27.75]; 81 of 263: [25.5, 36.6] (Newcombe 1998, table I)."""
    none = wilson_interval(0, 10)
    assert (none.percent, none.low) == (0, 0)
    assert none.high == pytest.approx(27.75, abs=0.005)
    newcombe = wilson_interval(81, 263)
    assert (newcombe.low, newcombe.high) == pytest.approx((25.53, 36.62), abs=0.005)
    assert str(newcombe) == "30.8 [25.5,36.6]"


@pytest.mark.parametrize(("classes", "k"), [(1000, 5), (7, 5), (6, 5), (5, 4), (3, 2), (2, 1), (1, 1)])
def test_top_k_is_never_an_error_that_cannot_happen(classes: int, k: int) -> None:
    assert topk_for(classes) == k


def test_ranks_by_hand() -> None:
    scores = np.array([[0.1, 0.7, 0.2], [0.1, 0.7, 0.2], [0.1, 0.7, 0.2], [0.4, 0.4, 0.2], [1 / 3, 1 / 3, 1 / 3]])
    assert ranks(scores, np.array([1, 2, 0, 0, 1])).tolist() == [0, 1, 2, 0, 1]


@given(st.data())
def test_ranks_are_places_in_the_order_of_classes(data: st.DataObject) -> None:
    """The order is that of a stable sort: of equal scores the first class comes first."""
    classes, count = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 6))
    cells = st.lists(st.integers(-3, 3), min_size=classes, max_size=classes)
    scores = np.array(data.draw(st.lists(cells, min_size=count, max_size=count)), np.float32)
    labels = np.array(data.draw(st.lists(st.integers(0, classes - 1), min_size=count, max_size=count)))
    rows = zip(ranks(scores, labels), order_classes(scores), scores.tolist(), labels.tolist(), strict=True)
    for place, order, row, label in rows:
        expected = sorted(range(classes), key=lambda k: -row[k])
        assert order.tolist() == expected
        assert place == expected.index(label)


def test_scores_that_are_not_numbers_are_never_right() -> None:
    """They must not count as 0% error."""
    scores = np.full((4, 10), np.nan, np.float32)
    labels = np.array([0, 3, 3, 9])
    assert (ranks(scores, labels) >= 5).all()
    errors = classification_errors(scores, labels)
    assert (errors.top1.percent, errors.topk.percent, errors.class_recall.percent) == (100, 100, 0)


def test_errors_by_hand() -> None:
    """Seven classes, four images: ranks 0, 4, 5, 6: three wrong at top-1, two at top-5."""
    row = np.array([0.30, 0.25, 0.15, 0.12, 0.09, 0.06, 0.03])
    errors = classification_errors(np.tile(row, (4, 1)), np.array([0, 4, 5, 6]))
    assert (errors.k, errors.num_images) == (5, 4)
    assert (errors.top1.percent, errors.topk.percent) == (75, 50)
    assert errors.class_recall.percent == 25
    three = classification_errors(np.array([[0.5, 0.3, 0.2]] * 3), np.array([0, 1, 2]))
    assert three.k == 2
    assert three.topk.percent == pytest.approx(100 / 3)


def test_mean_class_recall_weighs_classes_not_images() -> None:
    """Classes of 4, 1 and 5 images with 3, 0 and 5 right, and one without images: (3/4 + 0 + 1) / 3.

    MOVER: the distances of each class's Wilson limits, in root of sum of squares, divided by 3.
    """
    labels = np.array([0, 0, 2, 2, 2, 2, 2, 0, 0, 1])
    right = np.array([1, 1, 1, 1, 1, 1, 1, 1, 0, 0], bool)
    recall = mean_class_recall(right, labels)
    assert recall.percent == pytest.approx(100 * (0.75 + 0 + 1) / 3)
    limits = [binomtest(k, n).proportion_ci(0.95, method="wilson") for k, n in ((3, 4), (0, 1), (5, 5))]
    below = math.hypot(*(share - limit.low for share, limit in zip((0.75, 0, 1), limits, strict=True))) / 3
    above = math.hypot(*(limit.high - share for share, limit in zip((0.75, 0, 1), limits, strict=True))) / 3
    assert recall.low == pytest.approx(recall.percent - 100 * below)
    assert recall.high == pytest.approx(recall.percent + 100 * above)


def test_of_one_class_the_interval_is_wilsons() -> None:
    right = np.arange(40) < 31
    recall, share = mean_class_recall(right, np.full(40, 3)), wilson_interval(31, 40)
    assert (recall.percent, recall.low, recall.high) == pytest.approx((share.percent, share.low, share.high))


@pytest.mark.parametrize("truth", [(0.5, 0.7, 0.9, 0.8), (0.95, 0.99, 0.9, 0.6)])
def test_the_interval_of_mean_class_recall_covers_the_truth(truth: tuple[float, ...]) -> None:
    """In 93 to 98% of 3,000 simulated test sets of unequal classes."""
    rng = np.random.default_rng(2)
    counts = (25, 60, 40, 110)
    labels = np.repeat(np.arange(4), counts)
    covered = 0
    for _ in range(3000):
        right = rng.random(len(labels)) < np.repeat(truth, counts)
        interval = mean_class_recall(right, labels)
        covered += interval.low <= 100 * float(np.mean(truth)) <= interval.high
    assert 0.93 <= covered / 3000 <= 0.98


def test_the_confusion_matrix_is_scikit_learns() -> None:
    rng = np.random.default_rng(0)
    scores, labels = rng.random((300, 7)), rng.integers(0, 6, 300)  # class 6 has no images
    theirs = sklearns_confusion_matrix(labels, scores.argmax(axis=1), labels=range(7))
    ours = confusion_matrix(scores, labels)
    assert ours.dtype == np.int64
    assert (ours != ours.T).any()
    assert np.array_equal(ours, theirs)


@given(st.data())
def test_what_is_on_the_diagonal_is_right_by_its_rank(data: st.DataObject) -> None:
    """With ties, and with scores that are infinite."""
    classes, count = data.draw(st.integers(2, 5)), data.draw(st.integers(1, 8))
    cells = st.lists(st.sampled_from([0.0, 0.25, 0.5, math.inf, -math.inf]), min_size=classes, max_size=classes)
    scores = np.array(data.draw(st.lists(cells, min_size=count, max_size=count)), np.float32)
    before = scores.copy()
    labels = np.array(data.draw(st.lists(st.integers(0, classes - 1), min_size=count, max_size=count)))
    right = ranks(scores, labels) == 0
    assert np.array_equal(predicted_classes(scores) == labels, right)
    assert np.array_equal(predicted_classes(scores), order_classes(scores)[:, 0])
    confusion = confusion_matrix(scores, labels)
    assert np.trace(confusion) == right.sum()
    assert np.array_equal(confusion.sum(axis=1), np.bincount(labels, minlength=classes))
    assert np.array_equal(scores, before)


def test_of_equal_scores_the_first_class_is_predicted() -> None:
    scores = np.array([[0.4, 0.4, 0.2], [0.2, 0.4, 0.4], [0.1, 0.8, 0.1], [0.5, 0.5, 0.5]])
    assert predicted_classes(scores).tolist() == [0, 1, 1, 0]
    assert confusion_matrix(scores, np.array([1, 2, 1, 0])).tolist() == [[1, 0, 0], [1, 1, 0], [0, 1, 0]]


def test_the_errors_of_each_class_by_hand() -> None:
    confusion = np.array([[3, 1, 0], [0, 0, 0], [2, 4, 4]])
    errors = class_errors(confusion)
    assert [(each.label, each.num_images) for each in errors] == [(0, 4), (2, 10)]
    assert errors[0].error == wilson_interval(1, 4)
    assert errors[1].error == wilson_interval(6, 10)


def test_calibration_by_hand() -> None:
    """Two bins, the posterior 0.5 in the lower one: |0 - 0.5| and |1 - 0.6|, and (0.5 + 0.4) / 2; in one bin 5%."""
    posteriors = np.array([[0.5, 0.3, 0.2], [0.25, 0.6, 0.15]])
    labels = np.array([1, 1])
    assert expected_calibration_error(posteriors, labels, bins=2) == pytest.approx(45)
    assert expected_calibration_error(posteriors, labels, bins=1) == pytest.approx(5)
    assert expected_calibration_error(np.array([[1.0, 0.0]]), np.array([0])) == 0
    assert expected_calibration_error(np.array([[0.5, 0.5]]), np.array([0])) == pytest.approx(50)


def test_calibration_is_the_definition() -> None:
    """Equations 2 to 5 of Guo et al. 2017, bin after bin, with 15 bins."""
    rng = np.random.default_rng(4)
    posteriors = rng.dirichlet(np.full(6, 0.4), 500).astype(np.float32)
    labels = rng.integers(0, 6, 500)
    expected = 0.0
    for m in range(1, 16):
        inside = [i for i in range(500) if (m - 1) / 15 < posteriors[i].max() <= m / 15]
        if inside:
            accuracy = np.mean([posteriors[i].argmax() == labels[i] for i in inside])
            confidence = np.mean([float(posteriors[i].max()) for i in inside])
            expected += len(inside) / 500 * abs(accuracy - confidence)
    assert expected > 0.1
    assert expected_calibration_error(posteriors, labels) == pytest.approx(100 * expected)


def test_posteriors_that_say_the_truth_are_calibrated() -> None:
    """Labels drawn from the posteriors themselves; of 15 bins of some 3,000 images each is about half a point off."""
    rng = np.random.default_rng(5)
    posteriors = rng.dirichlet((0.5, 0.5, 0.5), 40_000)
    labels = (rng.random(40_000)[:, None] > posteriors.cumsum(axis=1)).sum(axis=1)
    assert expected_calibration_error(posteriors, labels) < 1


def test_a_net_that_overflowed_is_not_calibrated_at_all() -> None:
    assert expected_calibration_error(np.full((4, 10), np.nan, np.float32), np.array([0, 3, 3, 9])) == 100
