import numpy as np
import pytest

from verydeep.engine.verification.wrong_labels import NUM_FOLDS, assign_folds, find_judged


def test_folds_are_balanced_and_keep_groups_together() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, 200)
    units = np.arange(200)
    units[20:40] = units[:20]  # near-duplicates, some with other labels
    folds = assign_folds(labels, units)
    assert (folds[20:40] == folds[:20]).all()
    for label in range(3):
        counts = np.bincount(folds[labels == label], minlength=NUM_FOLDS)
        assert counts.min() >= 0.5 * counts.max()
    assert (assign_folds(labels, units) == folds).all()


def test_classes_in_one_fold_are_not_judged() -> None:
    labels = np.array([0, 0, 0, 1, 2, 2])
    folds = np.array([0, 1, 2, 3, 4, 4])
    assert find_judged(labels, folds).tolist() == [True, True, True, False, False, False]


@pytest.mark.parametrize("count", [2, 7])
def test_small_classes_lie_in_several_folds(count: int) -> None:
    labels = np.repeat([0, 1], count)
    folds = assign_folds(labels, np.arange(2 * count))
    assert find_judged(labels, folds).all()
