"""Errors of section 4 and their 95% intervals."""

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

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


def wilson(successes: int, trials: int) -> Share:
    """A share and its Wilson score interval."""
    share, z2 = successes / trials, Z95**2 / trials
    center = (share + z2 / 2) / (1 + z2)
    half = Z95 * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials)) / (1 + z2)
    return Share(100 * share, 100 * max(0.0, center - half), 100 * min(1.0, center + half))


def topk_for(num_classes: int) -> int:
    """5, or with fewer than six classes the largest k whose error is not zero by definition."""
    return max(1, min(5, num_classes - 1))


def ranks(scores: npt.NDArray[np.floating], labels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """(N,) place of the true class, 0 for the best; equal scores count against it, so a constant net is never right.

    Args:
        scores: (N, K), larger is better.
        labels: (N,)
    """
    true = scores[np.arange(len(labels)), labels]
    # Not "at least": a net that overflowed has NaN for scores, which compare as false, and is never right.
    return np.asarray((~(scores < true[:, None])).sum(axis=1) - 1, dtype=np.int64)


def mean_class_recall(right: npt.NDArray[np.bool_], labels: npt.NDArray[np.int64]) -> Share:
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


def classification_errors(scores: npt.NDArray[np.floating], labels: npt.NDArray[np.int64]) -> Errors:
    """Top-1 and top-k error and mean class recall of (N, K) scores, N at least 1."""
    k, place, count = topk_for(scores.shape[1]), ranks(scores, labels), len(labels)
    return Errors(
        top1=wilson(int((place >= 1).sum()), count),
        topk=wilson(int((place >= k).sum()), count),
        k=k,
        class_recall=mean_class_recall(place == 0, labels),
        num_images=count,
    )
