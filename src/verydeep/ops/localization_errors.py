"""The ILSVRC localization error (appendix A.2), exactly as the devkit's eval_clsloc.m counts it.

An image has up to five guesses, a class and a box each. It is right when a guess of the true class has an IoU of at
least 0.5 with any of the instances of that class (the paper says "above", the devkit counts 0.5 itself as right). The
images on the devkit's blacklist are left out; the top-5 classification error counts them.

Everything follows from one number an image, the largest IoU of a guess of the true class with an instance: the error,
what it would be at other thresholds, and with one guess of the true class each, the ground-truth-class error of Table 8
and the mean IoU.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from verydeep.ops.arrays import BoolArray, Float64Array, FloatArray, Int64Array
from verydeep.ops.bootstrap import Mean, mean_over_runs
from verydeep.ops.boxes import iou
from verydeep.ops.metrics import Share, wilson

RIGHT_AT = 0.5
"""The IoU from which on a box is right."""


@dataclass(frozen=True)
class Instances:
    """The objects of N images that belong to the image's true class, image after image in M rows."""

    labels: Int64Array
    """(N,) the true class."""
    boxes: Float64Array
    """(M, 4) inclusive x1, y1, x2, y2 in the file's pixels."""
    counts: Int64Array
    """(N,) instances in each image, at least 1."""

    @classmethod
    def of(cls, labels: Int64Array, boxes: Sequence[FloatArray]) -> "Instances":
        """From labels (N,) and the boxes (m, 4) of each of the N images."""
        counts = np.array([len(those) for those in boxes], np.int64)
        return cls(labels, np.concatenate(boxes).astype(np.float64), counts)


@dataclass(frozen=True)
class LocalizationErrors:
    """What one protocol gives on one set of images."""

    error: Share
    """At an IoU of 0.5."""
    mean_iou: Mean
    """An image without a guess of the true class counts 0; of the ground-truth-class protocol, of one box an image."""
    num_images: int
    """Without those on the blacklist."""


def best_overlaps(labels: Int64Array, boxes: FloatArray, truth: Instances) -> Float64Array:
    """(N,) the largest IoU of a guess of the true class with an instance; 0 where no guess is of that class.

    Args:
        labels: (N, G) the classes guessed; one that is no class, as -1, stands for a guess that was not made.
        boxes: (N, G, 4) inclusive, in the file's pixels.
        truth: of the same images.
    """
    assert (truth.counts > 0).all(), "an image without an instance of its class cannot be localized"
    image = np.repeat(np.arange(len(truth.counts)), truth.counts)  # (M,)
    overlaps = iou(boxes[image], truth.boxes[:, None])  # (M, G)
    overlaps[labels[image] != truth.labels[image, None]] = 0
    starts = np.cumsum(truth.counts) - truth.counts
    return np.asarray(np.maximum.reduceat(overlaps.max(axis=1), starts), np.float64)


def ground_truth_overlaps(boxes: FloatArray, truth: Instances) -> Float64Array:
    """(N,) the same of one box an image (N, 4), predicted for the true class (Table 8)."""
    return best_overlaps(truth.labels[:, None], boxes[:, None], truth)


def localization_errors(overlaps: Float64Array, blacklisted: BoolArray | None = None) -> LocalizationErrors:
    """The error with its interval and the mean IoU.

    Args:
        overlaps: (N,) of ``best_overlaps`` or ``ground_truth_overlaps``.
        blacklisted: (N,) images to leave out.
    """
    counted = overlaps if blacklisted is None else overlaps[~blacklisted]
    wrong = int((counted < RIGHT_AT).sum())
    return LocalizationErrors(wilson(wrong, len(counted)), mean_over_runs(counted[None]), len(counted))


def success(overlaps: Float64Array, thresholds: npt.ArrayLike) -> list[Share]:
    """For each threshold of IoU, the share of images whose best overlap reaches it, as ``localization_errors`` counts.

    Args:
        overlaps: (N,), without the images to leave out.
        thresholds: (T,) above 0; at 0 an image would be right that has no guess of its class.
    """
    least = np.asarray(thresholds, np.float64)
    assert (least > 0).all()
    reached = len(overlaps) - np.searchsorted(np.sort(overlaps), least)
    return [wilson(int(count), len(overlaps)) for count in reached]
