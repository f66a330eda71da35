"""Merged boxes: the box of the highest rating of each image and class, after merging candidate boxes."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from verydeep.engine.localization.candidate_boxes import CandidateBoxes
from verydeep.ops.arrays import Float64Array
from verydeep.ops.merging import BoxSets, merge_sets


@dataclass(frozen=True, eq=False)
class MergedBoxes:
    """The best merged box of each of n images and G classes."""

    xyxy: Float64Array
    """(n, G, 4) inclusive, in pixels of the file."""
    ratings: Float64Array
    """(n, G) sum of the posteriors of the candidate boxes that were merged."""
    thresholds: Float64Array
    """(n,) merge threshold of each image."""


def merge_boxes(images: Sequence[CandidateBoxes], thresholds: Float64Array) -> MergedBoxes:
    """Merge the candidate boxes of n images, each with its own threshold (n,)."""
    distinct, places = np.unique(thresholds, return_inverse=True)
    merged, rows = merge_at_thresholds(images, distinct.tolist()), np.arange(len(images))
    xyxy, ratings = np.stack([boxes.xyxy for boxes in merged]), np.stack([boxes.ratings for boxes in merged])
    return MergedBoxes(xyxy[places, rows], ratings[places, rows], thresholds)


def merge_at_thresholds(
    images: Sequence[CandidateBoxes], thresholds: Sequence[float], batch_size: int = 2048
) -> list[MergedBoxes]:
    """Merge the candidate boxes of n images with each of several thresholds.

    Args:
        images: n images, each with boxes of G classes.
        thresholds: merge thresholds, rising.
        batch_size: images whose boxes are merged together; affects memory, not results.
    """
    assert list(thresholds) == sorted(thresholds)
    batches: list[list[tuple[Float64Array, Float64Array]]] = [[] for _ in thresholds]
    for first in range(0, len(images), batch_size):
        batch = images[first : first + batch_size]
        sets = BoxSets.from_predictions(
            np.concatenate([boxes.xyxy.reshape(-1, 4) for boxes in batch]),
            np.concatenate([boxes.scores.reshape(-1) for boxes in batch]),
            [boxes.scores.shape[1] for boxes in batch for _ in boxes.scores],
        )
        for merged, threshold in zip(batches, thresholds, strict=True):
            sets = merge_sets(sets, threshold)  # boxes merged at a smaller threshold stay merged
            xyxy, ratings = sets.best()
            merged.append((xyxy.reshape(len(batch), -1, 4), ratings.reshape(len(batch), -1)))
    return [
        MergedBoxes(
            np.concatenate([xyxy for xyxy, _ in merged]),
            np.concatenate([ratings for _, ratings in merged]),
            np.full(len(images), threshold),
        )
        for merged, threshold in zip(batches, thresholds, strict=True)
    ]
