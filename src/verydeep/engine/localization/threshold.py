"""Up to which distance boxes are merged, and how that is chosen, never on the images that are reported on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from verydeep.engine.localization.box_errors import BoxErrors, GroundTruth
from verydeep.engine.localization.candidate_classes import CandidateClasses
from verydeep.engine.localization.candidates import Candidates, Merged, merge_images
from verydeep.ops.arrays import Float64Array

DEFAULT_THRESHOLD = 0.5
"""OverFeat and the paper tell none (docs/choices.md)."""

THRESHOLDS = tuple(round(0.1 * step, 1) for step in range(16))
"""What is tried; the distance of two boxes is 0 where they are equal and above 1 where they do not overlap."""


@dataclass(frozen=True)
class TunedThreshold:
    """A threshold that was chosen on some images."""

    threshold: float
    errors: dict[float, float]
    """Threshold tried -> localization error in percent."""


Merging = float | TunedThreshold | Literal["by halves"]
"""Up to which distance boxes are merged: so far, as was chosen on other images, or as is best on the other half."""


def choose_best_threshold(
    images: Sequence[Candidates], candidate_classes: CandidateClasses, truth: GroundTruth
) -> TunedThreshold:
    """The threshold with the smallest localization error; of equals the one with the largest mean IoU, then the first.

    Without guesses it is the error of the true class's box.

    Args:
        images: pooled boxes of n images.
        candidate_classes: of them.
        truth: of them.
    """
    figures: list[tuple[float, float, float]] = []
    for threshold, merged in zip(THRESHOLDS, merge_images(images, THRESHOLDS), strict=True):
        of_truth, of_guesses = BoxErrors.of(merged, candidate_classes, truth).errors(truth)
        error = of_truth.error if of_guesses is None else of_guesses.error
        figures.append((error.percent, -of_truth.mean_iou.value, threshold))
    return TunedThreshold(min(figures)[2], {threshold: error for error, _, threshold in figures})


def choose_thresholds_by_halves(
    images: Sequence[Candidates], candidate_classes: CandidateClasses, truth: GroundTruth
) -> tuple[Float64Array, list[TunedThreshold]]:
    """(n,) thresholds for images of which there are no others to choose on: each half's is chosen on the other half.

    The halves are every second of the images that count; where but one does, all keep the default.
    """
    places = np.cumsum(truth.counted)
    thresholds, tuned = np.full(len(images), DEFAULT_THRESHOLD), []
    for half in (0, 1) if truth.counted.sum() > 1 else ():
        others = np.flatnonzero(places % 2 != half)
        found = choose_best_threshold(
            [images[place] for place in others.tolist()], candidate_classes.subset(others), truth.subset(others)
        )
        thresholds[places % 2 == half] = found.threshold
        tuned.append(found)
    return thresholds, tuned


def threshold_of_each(
    merging: Merging, images: Sequence[Candidates], candidate_classes: CandidateClasses, truth: GroundTruth
) -> tuple[Float64Array, list[TunedThreshold]]:
    """(n,) the threshold of each image, and how it was chosen, where it was."""
    if merging == "by halves":
        return choose_thresholds_by_halves(images, candidate_classes, truth)
    if isinstance(merging, TunedThreshold):
        return np.full(len(images), merging.threshold), [merging]
    return np.full(len(images), merging), []


def merge_by_image(images: Sequence[Candidates], thresholds: Float64Array) -> Merged:
    """The best merged boxes, where each of n images has a threshold (n,) of its own."""
    kinds, place = np.unique(thresholds, return_inverse=True)
    each, rows = merge_images(images, kinds.tolist()), np.arange(len(images))
    boxes, scores = np.stack([one.boxes for one in each]), np.stack([one.scores for one in each])
    return Merged(boxes[place, rows], scores[place, rows])
