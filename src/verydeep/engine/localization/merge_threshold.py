"""The merge threshold, and its choice on images that are not reported on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from verydeep.engine.localization.box_errors import measure_box_errors
from verydeep.engine.localization.boxed_split import BoxedSplit
from verydeep.engine.localization.candidate_boxes import CandidateBoxes
from verydeep.engine.localization.candidate_classes import CandidateClasses
from verydeep.engine.localization.merged_boxes import merge_at_thresholds
from verydeep.ops.arrays import Float64Array

DEFAULT_THRESHOLD = 0.5
"""OverFeat and the paper give no value (docs/choices.md)."""

THRESHOLDS = tuple(round(0.1 * step, 1) for step in range(16))
"""Thresholds to choose from: the distance of two boxes is 0 if they are equal, and above 1 if they do not overlap."""


@dataclass(frozen=True)
class TunedThreshold:
    """A merge threshold that was chosen by its error on some images."""

    threshold: float
    errors: dict[float, float]
    """Threshold -> localization error in percent."""


Merging = float | TunedThreshold | Literal["by halves"]
"""The merge threshold: a value, one chosen on other images, or for each half of the images one chosen on the other."""


def choose_threshold(
    images: Sequence[CandidateBoxes], candidate_classes: CandidateClasses, boxed_split: BoxedSplit
) -> TunedThreshold:
    """Choose the threshold of the smallest localization error, or of the true class's box without guesses.

    Among equals it is the one with the largest mean IoU, then the smallest.

    Args:
        images: pooled candidate boxes of n images.
        candidate_classes: images and classes of these boxes.
        boxed_split: the split of these images.
    """
    choices: list[tuple[float, float, float]] = []
    for threshold, merged in zip(THRESHOLDS, merge_at_thresholds(images, THRESHOLDS), strict=True):
        errors = measure_box_errors(merged, candidate_classes, boxed_split)
        error = (errors.guesses or errors.truth).error.percent
        choices.append((error, -errors.truth.mean_iou.value, threshold))
    return TunedThreshold(min(choices)[2], {threshold: error for error, _, threshold in choices})


def choose_thresholds_by_halves(
    images: Sequence[CandidateBoxes], candidate_classes: CandidateClasses, boxed_split: BoxedSplit
) -> tuple[Float64Array, list[TunedThreshold]]:
    """Choose the threshold of each half of the images on the other half.

    The counted images belong to the halves in turn. With a single counted image all keep the default.

    Returns:
        (n,) threshold of each image, and the thresholds chosen on the halves.
    """
    counted = boxed_split.counted[candidate_classes.indices]
    places = np.cumsum(counted)
    thresholds, tuned_thresholds = np.full(len(images), DEFAULT_THRESHOLD), []
    for half in (0, 1) if counted.sum() > 1 else ():
        other_half = np.flatnonzero(places % 2 != half)
        tuned = choose_threshold(
            [images[row] for row in other_half.tolist()], candidate_classes.subset(other_half), boxed_split
        )
        thresholds[places % 2 == half] = tuned.threshold
        tuned_thresholds.append(tuned)
    return thresholds, tuned_thresholds


def assign_thresholds(
    merging: Merging, images: Sequence[CandidateBoxes], candidate_classes: CandidateClasses, boxed_split: BoxedSplit
) -> tuple[Float64Array, list[TunedThreshold]]:
    """Return the threshold of each image (n,), and the thresholds that were chosen on images, if any."""
    if merging == "by halves":
        return choose_thresholds_by_halves(images, candidate_classes, boxed_split)
    if isinstance(merging, TunedThreshold):
        return np.full(len(images), merging.threshold), [merging]
    return np.full(len(images), merging), []
