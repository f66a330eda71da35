import numpy as np
import pytest

from verydeep.ops.arrays import Float64Array, Int64Array
from verydeep.ops.confident_learning import (
    count_confident_joint,
    estimate_num_wrong,
    find_thresholds,
    rank_wrong_labels,
)
from verydeep.ops.temperature import fit_posteriors


def noisy(seed: int, num_wrong: int, num_images: int = 300, num_classes: int = 4) -> tuple[Float64Array, Int64Array]:
    """Posteriors of a classifier that is mostly right, and labels of which the first are wrong."""
    rng = np.random.default_rng(seed)
    true = rng.integers(0, num_classes, num_images)
    scores = rng.normal(size=(num_images, num_classes)) + 4 * np.eye(num_classes)[true]
    labels = true.copy()
    labels[:num_wrong] = (true[:num_wrong] + 1) % num_classes
    exponentials = np.exp(scores)
    return exponentials / exponentials.sum(axis=1, keepdims=True), labels


def test_the_confident_joint_is_the_papers() -> None:
    """Equation 1, one image after another."""
    posteriors, labels = noisy(0, 40)
    thresholds = [np.mean([p[k] for p, label in zip(posteriors, labels, strict=True) if label == k]) for k in range(4)]
    np.testing.assert_allclose(find_thresholds(posteriors, labels), thresholds)
    joint = np.zeros((4, 4), int)
    for p, label in zip(posteriors, labels, strict=True):
        confident = [k for k in range(4) if p[k] >= thresholds[k]]
        if confident:
            joint[label, max(confident, key=lambda k: p[k])] += 1
    assert (count_confident_joint(posteriors, labels) == joint).all()
    assert joint.sum() < len(labels)


@pytest.mark.parametrize("num_wrong", [0, 15, 45])
def test_wrong_labels_are_counted_and_found(num_wrong: int) -> None:
    posteriors, labels = noisy(1, num_wrong)
    assert abs(estimate_num_wrong(posteriors, labels) - num_wrong) <= 12
    suspects = rank_wrong_labels(posteriors, labels)
    assert (suspects[: num_wrong // 2] < num_wrong).all()
    assert (suspects < num_wrong).sum() >= 0.9 * num_wrong and len(suspects) <= num_wrong + 8
    doubts = posteriors[suspects, labels[suspects]]
    assert (np.diff(doubts) >= 0).all() and (posteriors[suspects].argmax(axis=1) != labels[suspects]).all()


def test_a_class_that_no_image_is_confident_of() -> None:
    posteriors = np.array([[0.9, 0.1], [0.8, 0.2], [0.7, 0.3]])
    assert estimate_num_wrong(posteriors, np.array([0, 0, 1])) == pytest.approx(1, abs=1)


def test_margins_become_posteriors_of_the_largest_likelihood() -> None:
    """Margins drawn with a known factor give it back."""
    rng = np.random.default_rng(2)
    margins = rng.normal(size=(4000, 3))
    true = np.exp(5 * margins) / np.exp(5 * margins).sum(axis=1, keepdims=True)
    labels = np.array([rng.choice(3, p=p) for p in true])
    np.testing.assert_allclose(fit_posteriors(margins, labels), true, atol=0.04)
