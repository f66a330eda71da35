"""The ILSVRC localization error (appendix A.2), exactly as the devkit's eval_clsloc.m counts it.

An image has up to five guesses of a class and a box each. It is right if a guess of the true class has an IoU of at
least 0.5 with any true box (the paper says "above"; the devkit counts 0.5 itself as right). Images on the devkit's
blacklist are left out here, but not in the top-5 classification error.

Everything follows from one number per image, the largest IoU of a guess of the true class with a true box: the error,
also at other thresholds; and, with one guess of the true class per image, the ground-truth-class error of Table 8 and
the mean IoU.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from verydeep.ops.arrays import Float64Array, FloatArray, Int64Array
from verydeep.ops.bootstrap import Mean, mean_over_runs
from verydeep.ops.boxes import iou
from verydeep.ops.metrics import Share, wilson_interval

RIGHT_AT = 0.5
"""The smallest IoU of a right box."""


@dataclass(frozen=True)
class TrueBoxes:
    """The boxes of N images that belong to the image's true class, in M rows, image by image."""

    labels: Int64Array
    """(N,) true class of each image."""
    boxes: Float64Array
    """(M, 4) inclusive x1, y1, x2, y2 in the file's pixels."""
    counts: Int64Array
    """(N,) number of boxes of each image, at least 1."""

    @classmethod
    def from_images(cls, labels: Int64Array, boxes: Sequence[FloatArray]) -> "TrueBoxes":
        """Join the boxes (m, 4) of each of N images with labels (N,)."""
        counts = np.array([len(each) for each in boxes], np.int64)
        return cls(labels, np.concatenate(boxes).astype(np.float64), counts)


@dataclass(frozen=True)
class LocalizationErrors:
    """Errors of one protocol on one set of images."""

    error: Share
    """At an IoU of 0.5."""
    mean_iou: Mean
    """Mean of the largest IoU of a guess of the true class; an image without such a guess counts 0."""
    num_images: int
    """Number of images, without those on the blacklist."""


def best_overlaps(labels: Int64Array, boxes: FloatArray, truth: TrueBoxes) -> Float64Array:
    """Return (N,) the largest IoU of a guess of the true class with a true box; 0 if no guess has that class.

    Args:
        labels: (N, G) the guessed classes; a number that is not a class, such as -1, means no guess.
        boxes: (N, G, 4) inclusive, in the file's pixels.
        truth: of the same images.
    """
    assert (truth.counts > 0).all(), "an image without a true box cannot be localized"
    image = np.repeat(np.arange(len(truth.counts)), truth.counts)  # (M,)
    overlaps = iou(boxes[image], truth.boxes[:, None])  # (M, G)
    overlaps[labels[image] != truth.labels[image, None]] = 0
    starts = np.cumsum(truth.counts) - truth.counts
    return np.asarray(np.maximum.reduceat(overlaps.max(axis=1), starts), np.float64)


def ground_truth_overlaps(boxes: FloatArray, truth: TrueBoxes) -> Float64Array:
    """Return (N,) the largest IoU with a true box, for one box per image (N, 4) of the true class (Table 8)."""
    return best_overlaps(truth.labels[:, None], boxes[:, None], truth)


def localization_errors(overlaps: Float64Array) -> LocalizationErrors:
    """Return the error and the mean IoU, with intervals.

    Args:
        overlaps: (N,) from ``best_overlaps`` or ``ground_truth_overlaps``, without the images to leave out.
    """
    wrong = int((overlaps < RIGHT_AT).sum())
    return LocalizationErrors(wilson_interval(wrong, len(overlaps)), mean_over_runs(overlaps[None]), len(overlaps))


def success_rates(overlaps: Float64Array, thresholds: npt.ArrayLike) -> list[Share]:
    """Return, for each threshold of IoU, the share of images whose largest IoU reaches it.

    Args:
        overlaps: (N,), without the images to leave out.
        thresholds: (T,) above 0; at 0, images without a guess of their class would be right.
    """
    least = np.asarray(thresholds, np.float64)
    assert (least > 0).all()
    reached = len(overlaps) - np.searchsorted(np.sort(overlaps), least)
    return [wilson_interval(int(count), len(overlaps)) for count in reached]
