"""Errors of section 4 and their 95% intervals, class by class too; how far posteriors can be believed."""

import math
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
class Errors:
    """What one protocol gives on one set of images. ``topk`` is top-5, or what fewer than six classes allow."""

    top1: Share
    topk: Share
    k: int
    class_recall: Share
    """Mean over the classes of the share of their images that are right."""
    num_images: int


@dataclass(frozen=True)
class ClassError:
    """How often images of one class are taken for another class."""

    label: int
    error: Share
    num_images: int


def wilson(successes: float, trials: float) -> Share:
    """A share and its Wilson score interval; an effective number of trials need not be whole."""
    share, z2 = successes / trials, Z95**2 / trials
    center = (share + z2 / 2) / (1 + z2)
    half = Z95 * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials)) / (1 + z2)
    return Share(100 * share, 100 * max(0.0, center - half), 100 * min(1.0, center + half))


def topk_for(num_classes: int) -> int:
    """5, or with fewer than six classes the largest k whose error is not zero by definition."""
    return max(1, min(5, num_classes - 1))


def ranks(scores: FloatArray, labels: Int64Array) -> Int64Array:
    """(N,) place of the true class, 0 for the best; equal scores count against it, so a constant net is never right.

    Args:
        scores: (N, K), larger is better.
        labels: (N,)
    """
    true = scores[np.arange(len(labels)), labels]
    # Not "at least": a net that overflowed has NaN for scores, which compare as false, and is never right.
    return np.asarray((~(scores < true[:, None])).sum(axis=1) - 1, dtype=np.int64)


def mean_class_recall(right: BoolArray, labels: Int64Array) -> Share:
    """Mean over classes of recall; the interval combines the classes' Wilson intervals (MOVER, Zou and Donner 2008).

    Args:
        right: (N,) whether each image was classified correctly.
        labels: (N,); classes without images are left out.
    """
    shares = [wilson(int(right[labels == label].sum()), int((labels == label).sum())) for label in np.unique(labels)]
    mean = sum(share.percent for share in shares) / len(shares)
    below = math.sqrt(sum((share.percent - share.low) ** 2 for share in shares)) / len(shares)
    above = math.sqrt(sum((share.high - share.percent) ** 2 for share in shares)) / len(shares)
    return Share(mean, max(0.0, mean - below), min(100.0, mean + above))


def classification_errors(scores: FloatArray, labels: Int64Array) -> Errors:
    """Top-1 and top-k error and mean class recall of (N, K) scores, N at least 1."""
    k, place, count = topk_for(scores.shape[1]), ranks(scores, labels), len(labels)
    return Errors(
        top1=wilson(int((place >= 1).sum()), count),
        topk=wilson(int((place >= k).sum()), count),
        k=k,
        class_recall=mean_class_recall(place == 0, labels),
        num_images=count,
    )


def predicted_classes(scores: FloatArray, labels: Int64Array) -> Int64Array:
    """(N,) the class of the best score, the true one only where ``ranks`` calls it right.

    So where the true class ties with another, or the scores are not numbers, another class is predicted.

    Args:
        scores: (N, K), larger is better.
        labels: (N,)
    """
    predicted: Int64Array = scores.argmax(axis=1).astype(np.int64)
    doubtful = np.flatnonzero((predicted == labels) & (ranks(scores, labels) > 0))
    is_other = np.arange(scores.shape[1]) != labels[doubtful, None]
    best = scores[doubtful][is_other].reshape(len(doubtful), scores.shape[1] - 1).argmax(axis=1)
    predicted[doubtful] = best + (best >= labels[doubtful])
    return predicted


def confusion_matrix(scores: FloatArray, labels: Int64Array) -> Int64Array:
    """(K, K) how many images of the row's class are predicted as the column's; the diagonal is right.

    Args:
        scores: (N, K), larger is better; ties and NaN are errors, as in ``ranks``.
        labels: (N,)
    """
    num_classes = scores.shape[1]
    cells = labels * num_classes + predicted_classes(scores, labels)
    return np.bincount(cells, minlength=num_classes**2).reshape(num_classes, num_classes).astype(np.int64)


def class_errors(confusion: Int64Array) -> list[ClassError]:
    """The error of each class of a confusion matrix (K, K), in order; classes without images are left out."""
    counts, right = confusion.sum(axis=1), confusion.diagonal()
    return [
        ClassError(label, wilson(int(counts[label] - right[label]), int(counts[label])), int(counts[label]))
        for label in range(len(confusion))
        if counts[label]
    ]


def expected_calibration_error(posteriors: FloatArray, labels: Int64Array, bins: int = 15) -> float:
    """How far the posterior of the best class is from how often it is right, in percentage points (Guo et al. 2017).

    The mean over bins of equal width, (m - 1) / bins < posterior <= m / bins, of |share right - mean posterior|,
    weighted by their images. What is right is as in ``ranks``; a posterior that is not a number counts as certain, so
    a net that overflowed, being never right, is not believed at all.

    Args:
        posteriors: (N, K), N at least 1.
        labels: (N,)
        bins: how many.
    """
    confidence = np.nan_to_num(posteriors.max(axis=1).astype(np.float64), nan=1.0)
    right = ranks(posteriors, labels) == 0
    place = np.digitize(confidence, np.linspace(0, 1, bins + 1)[1:-1], right=True)
    gaps = np.bincount(place, weights=right - confidence, minlength=bins)
    return float(100 * np.abs(gaps).sum() / len(labels))
