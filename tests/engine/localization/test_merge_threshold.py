"""Choice of the merge threshold, against each candidate merged plainly; never on the images that it is used for."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.ops.test_merging import predictions
from tests.plain_boxes import Rated, best_merged, best_overlap
from verydeep.data.split import Split
from verydeep.engine.localization.boxed_split import BoxedSplit
from verydeep.engine.localization.candidate_boxes import CandidateBoxes
from verydeep.engine.localization.candidate_classes import CandidateClasses
from verydeep.engine.localization.merge_threshold import (
    DEFAULT_THRESHOLD,
    THRESHOLDS,
    choose_threshold,
    choose_thresholds_by_halves,
)
from verydeep.ops.arrays import BoolArray

Case = tuple[list[CandidateBoxes], CandidateClasses, BoxedSplit]


def rate_boxes(image: CandidateBoxes, place: int) -> list[Rated]:
    """Return box and score of each position, for one class."""
    rows = zip(image.xyxy[place].tolist(), image.scores[place].tolist(), strict=True)
    return [((x1, y1, x2, y2), score) for (x1, y1, x2, y2), score in rows]


def make_case(count: int, seed: int, num_guesses: int = 2) -> Case:
    """Return images of three classes with one object each, near the true class's boxes merged up to some distance."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, count)
    guesses = np.stack([rng.permutation(3)[:num_guesses] for _ in range(count)])
    images = []
    for label, image_guesses in zip(labels, guesses, strict=True):
        xyxy = np.stack([predictions(rng, 12) for _ in range(3)]).astype(np.float32)
        scores = rng.random((3, 12)).astype(np.float32)
        rows = [label, *image_guesses]
        images.append(CandidateBoxes(xyxy[rows], scores[rows]))
    classes = CandidateClasses(np.arange(count), guesses, np.zeros(guesses.shape, np.float32), labels)
    merged = [best_merged(rate_boxes(image, 0), rng.uniform(0.4, 1))[0] for image in images]
    objects = tuple((np.array([box]) + rng.normal(0, 10, 4)).astype(np.float32) for box in merged)
    files, names = tuple(f"{number}.png" for number in range(count)), ("ant", "bell", "crab")
    split = Split("val", Path("photos"), files, labels, names, names, "class folders", camera_rotation=True)
    return images, classes, BoxedSplit(split, replace(split, boxes=objects), rng.random(count) > 0.2)


def measure(
    images: list[CandidateBoxes], classes: CandidateClasses, boxed: BoxedSplit, threshold: float
) -> tuple[float, float]:
    """Return the localization error, of the true class's box without guesses, and the mean IoU of that box."""
    assert classes.labels is not None and boxed.split.boxes is not None
    wrong, overlaps = [], []
    for row in np.flatnonzero(boxed.counted).tolist():
        merged = [best_merged(rate_boxes(images[row], place), threshold)[0] for place in range(len(images[row].xyxy))]
        box_overlaps = [best_overlap(box, boxed.split.boxes[row].tolist()) for box in merged]
        overlaps.append(box_overlaps[0])
        right = [
            box_overlaps[1 + place] >= 0.5
            for place, guess in enumerate(classes.guesses[row].tolist())
            if guess == classes.labels[row]
        ]
        wrong.append(not any(right) if classes.guesses.size else box_overlaps[0] < 0.5)
    return 100 * float(np.mean(wrong)), float(np.mean(overlaps))


@pytest.mark.parametrize("num_guesses", [2, 0])
@pytest.mark.parametrize("seed", [1, 2])
def test_the_threshold_of_the_smallest_error_is_chosen(seed: int, num_guesses: int) -> None:
    """Of several the one with the largest mean IoU of the true class's box."""
    images, classes, boxed = make_case(14, seed, num_guesses)
    tuned = choose_threshold(images, classes, boxed)
    errors = {threshold: measure(images, classes, boxed, threshold) for threshold in THRESHOLDS}
    assert tuned.errors == pytest.approx({threshold: error for threshold, (error, _) in errors.items()})
    assert tuned.threshold == min(THRESHOLDS, key=lambda t: (round(errors[t][0], 9), -errors[t][1], t))
    assert len({error for error, _ in errors.values()}) > 1 and tuned.threshold != THRESHOLDS[0]


def test_thresholds_reach_from_equal_boxes_to_boxes_that_are_apart() -> None:
    assert THRESHOLDS[0] == 0 and THRESHOLDS[-1] > 1 and DEFAULT_THRESHOLD in THRESHOLDS
    assert list(THRESHOLDS) == sorted(set(THRESHOLDS))


def test_where_nothing_differs_the_smallest_is_chosen() -> None:
    """All boxes are one box."""
    images, classes, boxed = make_case(4, 1)
    same = [CandidateBoxes(np.broadcast_to(each.xyxy[:, :1], each.xyxy.shape), each.scores) for each in images]
    assert choose_threshold(same, classes, boxed).threshold == 0


def move_objects(boxed: BoxedSplit, rows: BoolArray) -> BoxedSplit:
    """Move the objects of these images elsewhere."""
    assert boxed.split.boxes is not None
    boxes = tuple(box + 60 if move else box for box, move in zip(boxed.split.boxes, rows, strict=True))
    return replace(boxed, split=replace(boxed.split, boxes=boxes))


def test_an_image_has_no_part_in_its_own_threshold() -> None:
    """The halves alternate among the counted images; each has the best threshold of the other."""
    images, classes, boxed = make_case(24, 6)
    thresholds, tuned = choose_thresholds_by_halves(images, classes, boxed)
    counted = np.flatnonzero(boxed.counted)
    halves = [counted[0::2], counted[1::2]]
    assert len(tuned) == 2
    for half, other in (halves, halves[::-1]):
        (threshold,) = set(thresholds[half].tolist())
        expected = choose_threshold([images[i] for i in other], classes.subset(other), boxed)
        assert threshold == expected.threshold and expected in tuned
        again, _ = choose_thresholds_by_halves(images, classes, move_objects(boxed, np.isin(np.arange(24), half)))
        assert again[half].tolist() == thresholds[half].tolist(), "the objects of the half itself do not matter"
        assert again[other].tolist() != thresholds[other].tolist(), "those of the other half do"
    assert len(set(thresholds[counted].tolist())) == 2
    assert set(thresholds.tolist()) == {each.threshold for each in tuned}


@pytest.mark.parametrize("counted", [[True], [True, False, False], [False, False, True]])
def test_a_single_counted_image_keeps_the_default(counted: list[bool]) -> None:
    images, classes, boxed = make_case(len(counted), 3)
    thresholds, tuned = choose_thresholds_by_halves(images, classes, replace(boxed, counted=np.array(counted)))
    assert thresholds.tolist() == [DEFAULT_THRESHOLD] * len(counted) and tuned == []
