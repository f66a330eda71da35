"""Average precision as Pascal VOC computes it (appendix B; docs/choices.md): at 11 points until 2009, then at all.

Both definitions follow VOCevalcls.m and VOCap.m of the devkit. Images are ranked by falling score; of equal scores the
one that comes first in the data set ranks first. An image that counts as neither (VOC's 'difficult') has no rank.
scikit-learn's ``average_precision_score`` is a third definition: it sums precisions as they are, while VOC uses the
best precision at that recall or any higher one, and it gives equal scores one rank.
"""

import math
from dataclasses import dataclass

import numpy as np

from verydeep.ops.arrays import Float64Array, FloatArray, Int8Array, Int64Array
from verydeep.ops.metrics import Z95, Share, mean_of_shares, wilson_interval

INTERVAL_STREAM = 9
DRAWS_AT_ONCE = 100


def average_precision_11_points(scores: FloatArray, relevance: Int8Array) -> float:
    """Return the mean of the best precision at recall 0, 0.1, ..., 1 or higher (VOC-2007 to 2009).

    Recall is compared in whole numbers; the devkit's 0.3 is a little more than 3 of 10, as 3 * 0.1 is in binary.

    Args:
        scores: (n,) larger is more certain; an image without a result has minus infinity, and NaN comes last.
        relevance: (n,) 1 the class is on the image, -1 it is not, 0 it counts as neither.

    Returns:
        A number in [0, 1]; NaN if the class is on no image.
    """
    num_hits, best = _best_precisions(scores, relevance)
    if not len(num_hits):
        return float("nan")
    first = np.searchsorted(10 * num_hits, np.arange(11) * num_hits[-1])  # the first rank of each recall
    return float(best[first].mean())


def average_precision(scores: FloatArray, relevance: Int8Array) -> float:
    """Return the area under the best precision at each recall or higher (VOC-2010 and later).

    Args:
        scores: (n,) as for ``average_precision_11_points``.
        relevance: (n,) as for ``average_precision_11_points``.

    Returns:
        A number in [0, 1]; NaN if the class is on no image.
    """
    num_hits, best = _best_precisions(scores, relevance)
    if not len(num_hits):
        return float("nan")
    return float((np.diff(num_hits, prepend=0) * best).sum() / num_hits[-1])


def _best_precisions(scores: FloatArray, relevance: Int8Array) -> tuple[Int64Array, Float64Array]:
    """Return, down the ranking, the number of images of the class so far, and the best precision there or further down.

    Both are empty if the class is on no image.
    """
    assert scores.shape == relevance.shape
    order = np.argsort(-scores, kind="stable")
    ranked = relevance[order]
    num_hits = np.cumsum(ranked[ranked != 0] > 0, dtype=np.int64)
    if not len(num_hits) or not num_hits[-1]:
        return np.zeros(0, np.int64), np.zeros(0)
    precision = num_hits / np.arange(1, len(num_hits) + 1)
    return num_hits, np.maximum.accumulate(precision[::-1])[::-1]


@dataclass(frozen=True)
class MeasuredPrecision:
    """Average precision in percent, with 95% intervals over test sets of this size."""

    mean: Share
    """Mean over the classes that are on an image."""
    classes: tuple[Share | None, ...]
    """Of each class; None for a class that is on no image."""


def measure_precision(
    scores: FloatArray,
    relevance: Int8Array,
    *,
    at_11_points: bool,
    photographs: Int64Array | None = None,
    seed: int = 0,
    draws: int = 1000,
) -> MeasuredPrecision:
    """Return the average precision of each class and its mean, with 95% intervals over test sets of this size.

    An interval is 1.96 standard deviations of a bootstrap to both sides; the bootstrap draws photographs with
    replacement, for all classes together. Of a perfect ranking every draw is perfect, too, and the bootstrap would
    claim certainty. So a class with a perfect ranking has Wilson's interval of as many photographs that are all right,
    and adds it to that of the mean as a root of a sum of squares, as in the mean class recall.

    Percentiles of the bootstrap would not be such an interval: copies of an image raise the precision, at 11 points by
    as much as few images do. In a simulation percentiles contained the mean over test sets in 77 to 90% of cases, this
    interval in 86 to 98% (tests/ops/test_average_precision.py). The interval does not cover the choice of training
    images.

    Args:
        scores: (n, K) larger is more certain.
        relevance: (n, K) as for ``average_precision_11_points``; a class that is on no image is ignored.
        at_11_points: whether to use ``average_precision_11_points``.
        photographs: (n,) number of the photograph of each sample, from 0, if persons share some.
        seed: of the bootstrap.
        draws: number of draws of the bootstrap.
    """
    generator = np.random.Generator(np.random.Philox(key=[seed, INTERVAL_STREAM]))
    if photographs is None:
        photographs = np.arange(len(scores))
    num_photographs, parts = int(photographs.max()) + 1, []
    shown = np.flatnonzero((relevance > 0).any(axis=0))
    for start in range(0, draws, DRAWS_AT_ONCE):
        size = min(DRAWS_AT_ONCE, draws - start)
        times = generator.multinomial(num_photographs, np.full(num_photographs, 1 / num_photographs), size=size)
        times = times[:, photographs]  # (draws, n)
        parts.append(
            [precisions_of_draws(scores[:, k], relevance[:, k], times, at_11_points=at_11_points) for k in shown]
        )
    precisions = np.concatenate(parts, axis=1)  # (classes, draws)
    some = ~np.isnan(precisions).all(axis=0)  # with few images a draw may have no class at all
    precision = average_precision_11_points if at_11_points else average_precision
    points = [precision(scores[:, k], relevance[:, k]) for k in shown]
    counts = [len(np.unique(photographs[relevance[:, k] > 0])) for k in shown]
    shares = [_share_of_class(*each) for each in zip(points, counts, precisions, strict=True)]
    fixed = [share if point == 1 else Share(*[100 * point] * 3) for point, share in zip(points, shares, strict=True)]
    mean, drawn = mean_of_shares(fixed), np.nanmean(precisions[:, some], axis=0)
    below, above = (math.hypot(each, _half(drawn)) for each in (mean.percent - mean.low, mean.high - mean.percent))
    mean = Share(mean.percent, max(0.0, mean.percent - below), min(100.0, mean.percent + above))
    share_of = dict(zip(shown.tolist(), shares, strict=True))
    return MeasuredPrecision(mean, tuple(share_of.get(k) for k in range(scores.shape[1])))


def _share_of_class(point: float, count: int, drawn: Float64Array) -> Share:
    """Return the precision of a class on so many photographs, in percent, with its interval."""
    if point == 1:
        return wilson_interval(count, count)
    percent, half = 100 * point, _half(drawn)
    return Share(percent, max(0.0, percent - half), min(100.0, percent + half))


def _half(drawn: Float64Array) -> float:
    """Return 1.96 standard deviations of what was drawn, in percent."""
    return 100 * Z95 * float(np.nanstd(drawn))


def precisions_of_draws(
    scores: FloatArray, relevance: Int8Array, times: Int64Array, *, at_11_points: bool
) -> Float64Array:
    """Return (draws,) the average precision if every image occurs so many times; NaN if the class is on none.

    Precision rises from one copy of an image of the class to the next and falls over copies of others, so the last copy
    of each image of the class suffices.

    Args:
        scores: (n,)
        relevance: (n,)
        times: (draws, n) how often each image occurs.
        at_11_points: whether to use ``average_precision_11_points``.
    """
    order = np.argsort(-scores, kind="stable")
    order = order[relevance[order] != 0]
    ranked, hits = times[:, order], relevance[order] > 0
    num_hits = np.cumsum(ranked[:, hits], axis=1)  # (draws, P)
    ranks = np.cumsum(ranked, axis=1)[:, hits]
    precision = num_hits / np.maximum(ranks, 1)
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    total = num_hits[:, -1]
    with np.errstate(invalid="ignore"):
        if not at_11_points:
            return np.asarray((ranked[:, hits] * best).sum(axis=1) / total)
    first = [(10 * num_hits >= recall * total[:, None]).argmax(axis=1) for recall in range(11)]  # (11, draws)
    mean = np.take_along_axis(best, np.stack(first, axis=1), axis=1).mean(axis=1)
    return np.asarray(np.where(total > 0, mean, np.nan))
