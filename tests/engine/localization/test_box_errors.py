"""How good boxes are, against sums over images, guesses and instances that are written out."""

from dataclasses import replace

import numpy as np
import pytest

from tests.plain_boxes import best_overlap
from verydeep.data.split import Split
from verydeep.engine.localization.box_errors import BoxErrors, GroundTruth
from verydeep.engine.localization.candidate_classes import CandidateClasses
from verydeep.engine.localization.candidates import Merged
from verydeep.ops.arrays import Float64Array


def boxes_about(rng: np.random.Generator, *shape: int) -> Float64Array:
    """Inclusive boxes of which some agree by half."""
    first = rng.integers(0, 12, (*shape, 2))
    return np.concatenate([first, first + rng.integers(14, 30, (*shape, 2))], axis=-1).astype(np.float64)


@pytest.fixture
def split(val_split: Split) -> Split:
    """Twelve images of three classes, with one to three instances."""
    rng = np.random.default_rng(3)
    return replace(val_split, boxes=tuple(boxes_about(rng, 1 + i % 3).astype(np.float32) for i in range(12)))


@pytest.fixture
def candidate_classes(split: Split) -> CandidateClasses:
    """About ten of the images; two guesses each, which may be wrong."""
    indices = np.delete(np.arange(12), [4, 9])
    rng = np.random.default_rng(5)
    guesses = np.stack([rng.permutation(3)[:2] for _ in indices])
    assert split.labels is not None
    return CandidateClasses(indices, guesses, np.ones(guesses.shape, np.float32), split.labels[indices])


BLACKLISTED = np.isin(np.arange(12), [0, 5, 9, 11])


def test_errors_are_sums_over_images_and_guesses(split: Split, candidate_classes: CandidateClasses) -> None:
    truth = GroundTruth.of(split, candidate_classes, BLACKLISTED)
    assert truth.counted.tolist() == [i not in (0, 5, 11) for i in candidate_classes.indices]
    merged = Merged(boxes_about(np.random.default_rng(9), 10, 3), np.ones((10, 3)))
    box_errors = BoxErrors.of(merged, candidate_classes, truth)
    assert split.boxes is not None and split.labels is not None
    of_truth, of_guesses = [], []
    for row, index in enumerate(candidate_classes.indices.tolist()):
        instances, boxes = split.boxes[index].tolist(), merged.boxes[row].tolist()
        of_truth.append(best_overlap(boxes[0], instances))
        right = [
            best_overlap(boxes[1 + g], instances)
            for g in (0, 1)
            if candidate_classes.guesses[row, g] == split.labels[index]
        ]
        of_guesses.append(max(right, default=0.0))
    np.testing.assert_allclose(box_errors.truth_overlaps, of_truth)
    assert box_errors.guess_overlaps is not None
    np.testing.assert_allclose(box_errors.guess_overlaps, of_guesses)
    first, second = box_errors.errors(truth)
    assert second is not None
    for found, overlaps in ((first, of_truth), (second, of_guesses)):
        counted = [overlap for overlap, counts in zip(overlaps, truth.counted, strict=True) if counts]
        assert found.num_images == len(counted) == 7
        assert found.error.percent == pytest.approx(100 * np.mean([overlap < 0.5 for overlap in counted]))
        assert found.error.percent != pytest.approx(100 * np.mean([overlap < 0.5 for overlap in overlaps]))
        assert found.mean_iou.value == pytest.approx(np.mean(counted))
    assert 0 in of_guesses and of_truth != of_guesses and 0 < first.error.percent < 100


def test_without_guesses_there_is_one_error(split: Split, candidate_classes: CandidateClasses) -> None:
    alone = replace(
        candidate_classes, guesses=candidate_classes.guesses[:, :0], posteriors=candidate_classes.posteriors[:, :0]
    )
    truth = GroundTruth.of(split, alone, BLACKLISTED)
    merged = Merged(boxes_about(np.random.default_rng(9), 10, 1), np.ones((10, 1)))
    box_errors = BoxErrors.of(merged, alone, truth)
    assert box_errors.guess_overlaps is None and box_errors.errors(truth)[1] is None


def test_of_some_of_the_images_the_same_is_true(split: Split, candidate_classes: CandidateClasses) -> None:
    rows = np.array([1, 2, 6, 9])
    some, anew = (
        GroundTruth.of(split, candidate_classes, BLACKLISTED).subset(rows),
        GroundTruth.of(split, candidate_classes.subset(rows), BLACKLISTED),
    )
    assert some.counted.tolist() == anew.counted.tolist()
    for name in ("labels", "boxes", "counts"):
        assert getattr(some.instances, name).tolist() == getattr(anew.instances, name).tolist()
    assert split.boxes is not None
    assert some.instances.boxes.tolist() == [
        b for i in candidate_classes.indices[rows] for b in split.boxes[i].tolist()
    ]
