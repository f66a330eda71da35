"""Errors of boxes, against sums over images, guesses and instances that are written out."""

from dataclasses import replace

import numpy as np
import pytest

from tests.plain_boxes import best_overlap
from verydeep.data.split import Split
from verydeep.engine.localization.box_errors import measure_box_errors
from verydeep.engine.localization.boxed_split import BoxedSplit
from verydeep.engine.localization.candidate_classes import CandidateClasses
from verydeep.engine.localization.merged_boxes import MergedBoxes
from verydeep.ops.arrays import Float64Array


def draw_boxes(rng: np.random.Generator, *shape: int) -> Float64Array:
    """Return inclusive boxes of which some overlap by half."""
    first = rng.integers(0, 12, (*shape, 2))
    return np.concatenate([first, first + rng.integers(14, 30, (*shape, 2))], axis=-1).astype(np.float64)


@pytest.fixture
def boxed(val_split: Split) -> BoxedSplit:
    """Twelve images of three classes, with one to three instances; four are not counted."""
    rng = np.random.default_rng(3)
    split = replace(val_split, boxes=tuple(draw_boxes(rng, 1 + i % 3).astype(np.float32) for i in range(12)))
    return BoxedSplit(val_split, split, ~np.isin(np.arange(12), [0, 5, 9, 11]))


@pytest.fixture
def candidate_classes(boxed: BoxedSplit) -> CandidateClasses:
    """Ten of the images, with two guesses each, which may be wrong."""
    indices = np.delete(np.arange(12), [4, 9])
    rng = np.random.default_rng(5)
    guesses = np.stack([rng.permutation(3)[:2] for _ in indices])
    assert boxed.split.labels is not None
    return CandidateClasses(indices, guesses, np.ones(guesses.shape, np.float32), boxed.split.labels[indices])


def make_boxes(num_classes: int) -> MergedBoxes:
    xyxy = draw_boxes(np.random.default_rng(9), 10, num_classes)
    return MergedBoxes(xyxy, np.ones((10, num_classes)), np.full(10, 0.5))


def test_errors_are_sums_over_images_and_guesses(boxed: BoxedSplit, candidate_classes: CandidateClasses) -> None:
    merged = make_boxes(3)
    errors = measure_box_errors(merged, candidate_classes, boxed)
    assert errors.counted.tolist() == [i not in (0, 5, 11) for i in candidate_classes.indices]
    assert boxed.split.boxes is not None and boxed.split.labels is not None
    truth_overlaps, guess_overlaps = [], []
    for row, index in enumerate(candidate_classes.indices.tolist()):
        instances, boxes = boxed.split.boxes[index].tolist(), merged.xyxy[row].tolist()
        truth_overlaps.append(best_overlap(boxes[0], instances))
        right = [
            best_overlap(boxes[1 + guess], instances)
            for guess in (0, 1)
            if candidate_classes.guesses[row, guess] == boxed.split.labels[index]
        ]
        guess_overlaps.append(max(right, default=0.0))
    np.testing.assert_allclose(errors.truth_overlaps, truth_overlaps)
    assert errors.guess_overlaps is not None and errors.guesses is not None
    np.testing.assert_allclose(errors.guess_overlaps, guess_overlaps)
    for measured, overlaps in ((errors.truth, truth_overlaps), (errors.guesses, guess_overlaps)):
        counted = [overlap for overlap, is_counted in zip(overlaps, errors.counted, strict=True) if is_counted]
        assert measured.num_images == len(counted) == 7
        assert measured.error.percent == pytest.approx(100 * np.mean([overlap < 0.5 for overlap in counted]))
        assert measured.error.percent != pytest.approx(100 * np.mean([overlap < 0.5 for overlap in overlaps]))
        assert measured.mean_iou.value == pytest.approx(np.mean(counted))
    assert errors.wrong.mean() == pytest.approx(errors.guesses.error.percent / 100)
    assert 0 in guess_overlaps and truth_overlaps != guess_overlaps and 0 < errors.truth.error.percent < 100


def test_without_guesses_there_is_one_error(boxed: BoxedSplit, candidate_classes: CandidateClasses) -> None:
    alone = replace(
        candidate_classes, guesses=candidate_classes.guesses[:, :0], posteriors=candidate_classes.posteriors[:, :0]
    )
    errors = measure_box_errors(make_boxes(1), alone, boxed)
    assert errors.guess_overlaps is None and errors.guesses is None
    assert errors.wrong.mean() == pytest.approx(errors.truth.error.percent / 100)
