"""Thresholds of merging against every one that is tried, merged plainly; and never chosen on what it is used for."""

from dataclasses import replace

import numpy as np
import pytest

from tests.ops.test_merging import predictions
from tests.plain_boxes import Rated, best_merged, best_overlap
from verydeep.engine.localization import threshold as module
from verydeep.engine.localization.box_errors import GroundTruth
from verydeep.engine.localization.candidate_classes import CandidateClasses
from verydeep.engine.localization.candidates import Candidates, merge_images
from verydeep.engine.localization.threshold import (
    DEFAULT_THRESHOLD,
    THRESHOLDS,
    choose_best_threshold,
    choose_thresholds_by_halves,
    merge_by_image,
)
from verydeep.ops.arrays import BoolArray
from verydeep.ops.localization_errors import Instances

Case = tuple[list[Candidates], CandidateClasses, GroundTruth]


def rated(image: Candidates, place: int) -> list[Rated]:
    """Box and score, of one class."""
    rows = zip(image.boxes[place].tolist(), image.scores[place].tolist(), strict=True)
    return [((x1, y1, x2, y2), score) for (x1, y1, x2, y2), score in rows]


def case(count: int, seed: int, guesses: int = 2) -> Case:
    """Images of three classes; the object is near what the true class's boxes give, merged up to some distance."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count)
    named = np.stack([rng.permutation(3)[:guesses] for _ in range(count)])
    images = []
    for label, others in zip(labels, named, strict=True):
        boxes = np.stack([predictions(rng, 12) for _ in range(3)]).astype(np.float32)
        scores = rng.random((3, 12)).astype(np.float32)
        images.append(Candidates(boxes[[label, *others]], scores[[label, *others]]))
    candidate_classes = CandidateClasses(np.arange(count), named, np.zeros(named.shape, np.float32), labels)
    near = [best_merged(rated(each, 0), rng.uniform(0.4, 1))[0] for each in images]
    instances = [np.array([box]) + rng.normal(0, 10, 4) for box in near]
    return images, candidate_classes, GroundTruth(Instances.of(labels, instances), rng.random(count) > 0.2)


def figures(
    images: list[Candidates], candidate_classes: CandidateClasses, truth: GroundTruth, threshold: float
) -> tuple[float, float]:
    """Localization error, of the true class's box where nothing was guessed, and mean IoU of that box."""
    assert candidate_classes.labels is not None
    wrong, overlaps = [], []
    for row in np.flatnonzero(truth.counted).tolist():
        # One object an image.
        instance = truth.instances.boxes[row].tolist()
        merged = [best_merged(rated(images[row], place), threshold)[0] for place in range(len(images[row].boxes))]
        found = [best_overlap(box, [instance]) for box in merged]
        overlaps.append(found[0])
        right = [
            found[1 + place] >= 0.5
            for place, guess in enumerate(candidate_classes.guesses[row].tolist())
            if guess == candidate_classes.labels[row]
        ]
        wrong.append(not any(right) if candidate_classes.guesses.size else found[0] < 0.5)
    return 100 * float(np.mean(wrong)), float(np.mean(overlaps))


@pytest.mark.parametrize("guesses", [2, 0])
@pytest.mark.parametrize("seed", [1, 2])
def test_the_threshold_of_the_smallest_error_is_chosen(seed: int, guesses: int) -> None:
    """Of several the one with the largest mean IoU of the true class's box."""
    images, candidate_classes, truth = case(14, seed, guesses)
    tuned = choose_best_threshold(images, candidate_classes, truth)
    errors = {threshold: figures(images, candidate_classes, truth, threshold) for threshold in THRESHOLDS}
    assert tuned.errors == pytest.approx({threshold: error for threshold, (error, _) in errors.items()})
    assert tuned.threshold == min(THRESHOLDS, key=lambda t: (round(errors[t][0], 9), -errors[t][1], t))
    assert len({error for error, _ in errors.values()}) > 1 and tuned.threshold != THRESHOLDS[0]


def test_what_is_tried_reaches_from_equal_boxes_to_boxes_that_are_apart() -> None:
    assert THRESHOLDS[0] == 0 and THRESHOLDS[-1] > 1 and DEFAULT_THRESHOLD in THRESHOLDS
    assert list(THRESHOLDS) == sorted(set(THRESHOLDS))


def test_where_nothing_differs_the_smallest_is_chosen() -> None:
    """All boxes are one box."""
    images, candidate_classes, truth = case(4, 1)
    same = [Candidates(np.broadcast_to(each.boxes[:, :1], each.boxes.shape), each.scores) for each in images]
    assert choose_best_threshold(same, candidate_classes, truth).threshold == 0


def moved(truth: GroundTruth, rows: BoolArray) -> GroundTruth:
    """Other objects on these images."""
    boxes = truth.instances.boxes.copy()
    boxes[rows] += 60
    return replace(truth, instances=replace(truth.instances, boxes=boxes))


def test_an_image_has_no_part_in_its_own_threshold() -> None:
    """The halves alternate among the images that count; each has what is best on the other."""
    images, candidate_classes, truth = case(24, 6)
    thresholds, tuned = choose_thresholds_by_halves(images, candidate_classes, truth)
    counted = np.flatnonzero(truth.counted)
    halves = [counted[0::2], counted[1::2]]
    assert len(tuned) == 2
    for half, other in (halves, halves[::-1]):
        (mine,) = set(thresholds[half].tolist())
        expected = choose_best_threshold(
            [images[i] for i in other], candidate_classes.subset(other), truth.subset(other)
        )
        assert mine == expected.threshold and expected in tuned
        inside = np.isin(np.arange(24), half)
        again, _ = choose_thresholds_by_halves(images, candidate_classes, moved(truth, inside))
        assert again[half].tolist() == thresholds[half].tolist(), "its own truth does not matter"
        assert again[other].tolist() != thresholds[other].tolist(), "that of the others does"
    assert len(set(thresholds[counted].tolist())) == 2
    assert set(thresholds.tolist()) == {each.threshold for each in tuned}


@pytest.mark.parametrize("counted", [[True], [True, False, False], [False, False, True]])
def test_one_image_has_no_other(counted: list[bool]) -> None:
    images, candidate_classes, truth = case(len(counted), 3)
    thresholds, tuned = choose_thresholds_by_halves(
        images, candidate_classes, replace(truth, counted=np.array(counted))
    )
    assert thresholds.tolist() == [DEFAULT_THRESHOLD] * len(counted) and tuned == []


def test_images_are_merged_each_with_its_own_threshold(monkeypatch: pytest.MonkeyPatch) -> None:
    images, _, _ = case(7, 5)
    thresholds = np.array([0.5, 0.0, 1.2, 0.5, 0.3, 1.2, 0.0])
    asked_for: list[list[float]] = []

    def noted(some: list[Candidates], wanted: list[float]) -> object:
        asked_for.append(wanted)
        return merge_images(some, wanted)

    monkeypatch.setattr(module, "merge_images", noted)
    merged = merge_by_image(images, thresholds)
    assert asked_for == [[0.0, 0.3, 0.5, 1.2]], "each threshold once"
    for place, (image, threshold) in enumerate(zip(images, thresholds.tolist(), strict=True)):
        (alone,) = merge_images([image], [threshold])
        assert merged.boxes[place].tolist() == alone.boxes[0].tolist()
        assert merged.scores[place].tolist() == alone.scores[0].tolist()
