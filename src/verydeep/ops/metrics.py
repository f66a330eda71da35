"""Errors of section 4 with 95% intervals, also class by class, and the calibration error of posteriors."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from verydeep.ops.arrays import BoolArray, FloatArray, Int64Array

Z95 = 1.959963984540054
"""The normal quantile of a two-sided 95% interval."""


@dataclass(frozen=True)
class Share:
    """A share in percent with its 95% interval."""

    percent: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.percent:.1f} [{self.low:.1f},{self.high:.1f}]"


@dataclass(frozen=True)
class ClassificationErrors:
    """Errors of one protocol on one set of images."""

    top1: Share
    topk: Share
    """Top-5 error, or top-k error for fewer than six classes."""
    k: int
    class_recall: Share
    """Mean over the classes of the share of their images that are predicted right."""
    num_images: int


@dataclass(frozen=True)
class ClassError:
    """The share of images of one class that are predicted as another class."""

    label: int
    error: Share
    num_images: int


def wilson_interval(successes: float, trials: float) -> Share:
    """Return a share with its Wilson score interval; an effective number of trials need not be whole."""
    share, z2 = successes / trials, Z95**2 / trials
    center = (share + z2 / 2) / (1 + z2)
    half = Z95 * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials)) / (1 + z2)
    return Share(100 * share, 100 * max(0.0, center - half), 100 * min(1.0, center + half))


def topk_for(num_classes: int) -> int:
    """Return 5, or for fewer than six classes the largest k whose error is not zero by definition."""
    return max(1, min(5, num_classes - 1))


def order_classes(scores: FloatArray) -> Int64Array:
    """Return (N, K) classes from the highest to the lowest score (N, K); of equal scores the first class comes first.

    Every list of predicted classes has this order, so that errors, files and pictures agree.
    """
    return np.argsort(-scores, axis=1, kind="stable").astype(np.int64)


def predicted_classes(scores: FloatArray) -> Int64Array:
    """Return (N,) the first class in the order of ``order_classes``."""
    return np.asarray(scores.argmax(axis=1), np.int64)


def ranks(scores: FloatArray, labels: Int64Array) -> Int64Array:
    """Return (N,) place of the true class in the order of ``order_classes``, counted from 0.

    Args:
        scores: (N, K), larger is better.
        labels: (N,)
    """
    true = scores[np.arange(len(labels)), labels][:, None]
    is_later = np.arange(scores.shape[1]) > labels[:, None]
    # Not ">": a score that is not a number compares as false, and is never right.
    is_worse = (scores < true) | ((scores == true) & is_later)
    return np.asarray((~is_worse).sum(axis=1) - 1, dtype=np.int64)


def mean_class_recall(right: BoolArray, labels: Int64Array) -> Share:
    """Return the mean recall over classes, with the interval of ``mean_of_shares``.

    Args:
        right: (N,) whether each image was classified correctly.
        labels: (N,); classes without images are ignored.
    """
    return mean_of_shares(
        [
            wilson_interval(int(right[labels == label].sum()), int((labels == label).sum()))
            for label in np.unique(labels)
        ]
    )


def mean_of_shares(shares: Sequence[Share]) -> Share:
    """Return the mean of independent shares; its interval combines theirs (MOVER, Zou and Donner 2008)."""
    mean = sum(share.percent for share in shares) / len(shares)
    low_distance = math.sqrt(sum((share.percent - share.low) ** 2 for share in shares)) / len(shares)
    high_distance = math.sqrt(sum((share.high - share.percent) ** 2 for share in shares)) / len(shares)
    return Share(mean, max(0.0, mean - low_distance), min(100.0, mean + high_distance))


def classification_errors(scores: FloatArray, labels: Int64Array) -> ClassificationErrors:
    """Return top-1 and top-k error and mean class recall of (N, K) scores, N at least 1."""
    k, rank, count = topk_for(scores.shape[1]), ranks(scores, labels), len(labels)
    return ClassificationErrors(
        top1=wilson_interval(int((rank >= 1).sum()), count),
        topk=wilson_interval(int((rank >= k).sum()), count),
        k=k,
        class_recall=mean_class_recall(rank == 0, labels),
        num_images=count,
    )


def confusion_matrix(scores: FloatArray, labels: Int64Array) -> Int64Array:
    """Return (K, K) numbers of images of the row's class that are predicted as the column's class.

    Args:
        scores: (N, K), larger is better; of equal scores the first class is predicted.
        labels: (N,)
    """
    num_classes = scores.shape[1]
    cells = labels * num_classes + predicted_classes(scores)
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes).astype(np.int64)


def class_errors(confusion: Int64Array) -> list[ClassError]:
    """Return the error of each class of a confusion matrix (K, K), in order; classes without images are left out."""
    counts, right = confusion.sum(axis=1), confusion.diagonal()
    return [
        ClassError(label, wilson_interval(int(counts[label] - right[label]), int(counts[label])), int(counts[label]))
        for label in range(len(confusion))
        if counts[label]
    ]


def expected_calibration_error(posteriors: FloatArray, labels: Int64Array, bins: int = 15) -> float:
    """Return the calibration error in percentage points (Guo et al. 2017).

    It is the mean over bins of equal width, (m - 1) / bins < posterior <= m / bins, of |share right - mean posterior of
    the best class|, weighted by their numbers of images. A posterior that is not a number counts as certain, so that a
    net that overflowed has the largest calibration error.

    Args:
        posteriors: (N, K), N at least 1.
        labels: (N,)
        bins: their number.
    """
    confidence = np.nan_to_num(posteriors.max(axis=1).astype(np.float64), nan=1.0)
    right = ranks(posteriors, labels) == 0
    place = np.digitize(confidence, np.linspace(0, 1, bins + 1)[1:-1], right=True)
    gaps = np.bincount(place, weights=right - confidence, minlength=bins)
    return float(100 * np.abs(gaps).sum() / len(labels))
