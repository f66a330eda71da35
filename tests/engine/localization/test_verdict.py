"""How good boxes are, against sums over images, guesses and instances that are written out."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest

from tests.plain_boxes import best_overlap
from verydeep.data.split import Split
from verydeep.engine.localization.candidates import Merged
from verydeep.engine.localization.classes import Asked
from verydeep.engine.localization.verdict import Truth, Verdict

Floats = npt.NDArray[np.float64]


def boxes_about(rng: np.random.Generator, *shape: int) -> Floats:
    """Inclusive boxes of which some agree by half."""
    first = rng.integers(0, 12, (*shape, 2))
    return np.concatenate([first, first + rng.integers(14, 30, (*shape, 2))], axis=-1).astype(np.float64)


@pytest.fixture
def split(val_split: Split) -> Split:
    """Twelve images of three classes, with one to three instances."""
    rng = np.random.default_rng(3)
    return replace(val_split, boxes=tuple(boxes_about(rng, 1 + i % 3).astype(np.float32) for i in range(12)))


@pytest.fixture
def asked(split: Split) -> Asked:
    """About ten of the images; two guesses each, which may be wrong."""
    indices = np.delete(np.arange(12), [4, 9])
    rng = np.random.default_rng(5)
    guesses = np.stack([rng.permutation(3)[:2] for _ in indices])
    assert split.labels is not None
    return Asked(indices, guesses, np.ones(guesses.shape, np.float32), split.labels[indices])


BLACKLISTED = np.isin(np.arange(12), [0, 5, 9, 11])


def test_errors_are_sums_over_images_and_guesses(split: Split, asked: Asked) -> None:
    truth = Truth.of(split, asked, BLACKLISTED)
    assert truth.counted.tolist() == [i not in (0, 5, 11) for i in asked.indices]
    merged = Merged(boxes_about(np.random.default_rng(9), 10, 3), np.ones((10, 3)))
    verdict = Verdict.of(merged, asked, truth)
    assert split.boxes is not None and split.labels is not None
    of_truth, of_guesses = [], []
    for row, index in enumerate(asked.indices.tolist()):
        instances, boxes = split.boxes[index].tolist(), merged.boxes[row].tolist()
        of_truth.append(best_overlap(boxes[0], instances))
        right = [best_overlap(boxes[1 + g], instances) for g in (0, 1) if asked.guesses[row, g] == split.labels[index]]
        of_guesses.append(max(right, default=0.0))
    np.testing.assert_allclose(verdict.truth_overlaps, of_truth)
    assert verdict.guess_overlaps is not None
    np.testing.assert_allclose(verdict.guess_overlaps, of_guesses)
    first, second = verdict.errors(truth)
    assert second is not None
    for found, overlaps in ((first, of_truth), (second, of_guesses)):
        counted = [overlap for overlap, counts in zip(overlaps, truth.counted, strict=True) if counts]
        assert found.num_images == len(counted) == 7
        assert found.error.percent == pytest.approx(100 * np.mean([overlap < 0.5 for overlap in counted]))
        assert found.error.percent != pytest.approx(100 * np.mean([overlap < 0.5 for overlap in overlaps]))
        assert found.mean_iou.value == pytest.approx(np.mean(counted))
    assert 0 in of_guesses and of_truth != of_guesses and 0 < first.error.percent < 100


def test_without_guesses_there_is_one_error(split: Split, asked: Asked) -> None:
    alone = replace(asked, guesses=asked.guesses[:, :0], posteriors=asked.posteriors[:, :0])
    truth = Truth.of(split, alone, BLACKLISTED)
    merged = Merged(boxes_about(np.random.default_rng(9), 10, 1), np.ones((10, 1)))
    verdict = Verdict.of(merged, alone, truth)
    assert verdict.guess_overlaps is None and verdict.errors(truth)[1] is None


def test_of_some_of_the_images_the_same_is_true(split: Split, asked: Asked) -> None:
    rows = np.array([1, 2, 6, 9])
    some, anew = Truth.of(split, asked, BLACKLISTED).subset(rows), Truth.of(split, asked.subset(rows), BLACKLISTED)
    assert some.counted.tolist() == anew.counted.tolist()
    for name in ("labels", "boxes", "counts"):
        assert getattr(some.instances, name).tolist() == getattr(anew.instances, name).tolist()
    assert split.boxes is not None
    assert some.instances.boxes.tolist() == [b for i in asked.indices[rows] for b in split.boxes[i].tolist()]
