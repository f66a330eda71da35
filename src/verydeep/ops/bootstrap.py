"""95% intervals, over test images and training runs, of an error and of a difference of two errors.

An error varies with the test images and with the runs (seeds). The two effects are measured apart and combined as the
limits of a sum of independent effects (MOVER: Zou and Donner 2008; Howe 1974): distances to the limits add as roots of
sums of squares. The images that a run misses by chance count in both effects, which makes intervals a little too long.

- Images, for fixed runs: Wilson's interval of one error; the percentile bootstrap of a difference, whose two rows are
  tested on the same images. Two images are added to those that are drawn: one that a alone misses, and one that b alone
  misses (after Bonett and Price 2012). Without them the interval would be empty where the rows agree on every image.
- Runs, for fixed images: Student's t interval of the runs' means, with 12.7 standard errors for two runs. A bootstrap
  over few runs underestimates their spread: in a simulation where runs differ more than images do, its 95% intervals
  contained the truth in 68, 78 and 87% of draws for 2, 3 and 5 runs; these contain it in at least 93%
  (tests/ops/test_bootstrap.py).

One run alone tells nothing about runs: its interval is one over images, and reports must say so.
"""

import math
from dataclasses import dataclass

import numpy as np

from verydeep.ops.arrays import BoolArray, FloatArray
from verydeep.ops.metrics import Z95, Share, wilson_interval

BOOTSTRAP_STREAM = 4

T95 = (
    *(12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281),
    *(2.2010, 2.1788, 2.1604, 2.1448, 2.1314, 2.1199, 2.1098, 2.1009, 2.0930, 2.0860),
)
"""Student's quantiles of a two-sided 95% interval for 1, 2, ... degrees of freedom."""


@dataclass(frozen=True)
class Mean:
    """A mean with the half width of its 95% interval."""

    value: float
    margin: float

    def __str__(self) -> str:
        return f"{self.value:.3f} ±{self.margin:.3f}"


@dataclass(frozen=True)
class Difference:
    """A difference of two errors in percentage points with its 95% interval."""

    points: float
    low: float
    high: float

    @property
    def larger_than_chance(self) -> bool:
        """Whether the interval excludes zero."""
        return self.low > 0 or self.high < 0

    def __str__(self) -> str:
        return f"{self.points:+.1f} [{self.low:+.1f},{self.high:+.1f}]"


def error_over_runs(wrong: BoolArray) -> Share:
    """Return the mean error of one protocol over runs, with its interval.

    For one run it is Wilson's interval. For several it is Wilson's interval for the number of images that would give
    the variance of the images' means over the runs, combined with the t interval of the runs.

    Args:
        wrong: (R, N) whether each run is wrong on each image, with one order of images; R and N at least 1.
    """
    num_runs, num_images = wrong.shape
    error = float(wrong.mean())
    variance = float(wrong.mean(axis=0).var())  # for one run: error * (1 - error)
    # Runs that agree on every image count as one run; independent runs count as R times the images.
    common = max(1 / num_runs, variance / (error * (1 - error))) if 0 < error < 1 else 1.0
    images = wilson_interval(error * num_images / common, num_images / common)
    runs = _runs_distance(wrong)
    return Share(
        percent=100 * error,
        low=max(0.0, 100 * error - math.hypot(100 * error - images.low, runs)),
        high=min(100.0, 100 * error + math.hypot(images.high - 100 * error, runs)),
    )


def student_quantile(freedom: int) -> float:
    """Return Student's quantile of a two-sided 95% interval for so many degrees of freedom.

    Beyond the table, the expansion in 1 / freedom errs by less than 1e-4 (Abramowitz and Stegun, 26.7.5).
    """
    if freedom <= len(T95):
        return T95[freedom - 1]
    first, second = (Z95**3 + Z95) / 4, (5 * Z95**5 + 16 * Z95**3 + 3 * Z95) / 96
    third = (3 * Z95**7 + 19 * Z95**5 + 17 * Z95**3 - 15 * Z95) / 384
    return Z95 + first / freedom + second / freedom**2 + third / freedom**3


def mean_over_runs(values: FloatArray) -> Mean:
    """Return the mean of a figure per image over runs, with Student's t interval over images.

    Images that are all alike have no spread. The margin is then the upper limit, by Wilson's interval, of the share of
    other images, which may lie anywhere.

    Args:
        values: (R, N) from 0 to 1, with one order of images; R and N at least 1.
    """
    num_images = values.shape[1]
    if num_images == 1:
        images = 1.0
    elif (spread := float(values.mean(axis=0).std(ddof=1))) > 0:
        images = student_quantile(num_images - 1) * spread / math.sqrt(num_images)
    else:
        images = wilson_interval(0, num_images).high / 100
    return Mean(float(values.mean()), min(1.0, math.hypot(images, _runs_distance(values) / 100)))


def paired_difference(
    wrong_a: BoolArray, wrong_b: BoolArray, *, same_seeds: bool = True, seed: int = 0, draws: int = 10_000
) -> Difference:
    """Return error a minus error b on the same images, with a bootstrap over images and a t interval over runs.

    Args:
        wrong_a: (R, N) whether each run is wrong on each image.
        wrong_b: (R', N), with the same order of images.
        same_seeds: whether run r of a and run r of b share their seed (or are the same run) and are compared in pairs;
            otherwise they are compared as two samples of equal spread.
        seed: of the bootstrap.
        draws: number of draws of the bootstrap.
    """
    assert wrong_a.shape[1] == wrong_b.shape[1]
    assert not same_seeds or len(wrong_a) == len(wrong_b)
    a, b = wrong_a.astype(np.float64), wrong_b.astype(np.float64)
    points = 100 * float(a.mean() - b.mean())
    low, high = _bootstrap_over_images(wrong_a, wrong_b, seed, draws)
    runs = _runs_distance(a - b) if same_seeds else _runs_distance(a, b)
    return Difference(points, points - math.hypot(points - low, runs), points + math.hypot(high - points, runs))


def _bootstrap_over_images(wrong_a: BoolArray, wrong_b: BoolArray, seed: int, draws: int) -> tuple[float, float]:
    """Return the percentiles, in points, of the difference over N + 2 images drawn with replacement from as many.

    One of the two that are added has the smallest difference that there can be, the other the largest.
    The difference of one image has one of few values. How often each value is drawn follows a multinomial distribution
    exactly, however many images there are.
    """
    runs_a, runs_b, num_images = len(wrong_a), len(wrong_b), wrong_a.shape[1]
    largest = runs_a * runs_b
    of_image = runs_b * wrong_a.sum(axis=0) - runs_a * wrong_b.sum(axis=0)  # (N,) whole, within -largest..largest
    counts = np.bincount(of_image + largest, minlength=2 * largest + 1)
    counts[[0, -1]] += 1
    values = np.flatnonzero(counts) - largest
    generator = np.random.Generator(np.random.Philox(key=[seed, BOOTSTRAP_STREAM]))
    total = num_images + 2
    drawn = generator.multinomial(total, counts[counts > 0] / total, size=draws)  # (draws, values)
    low, high = np.quantile(drawn @ values, (0.025, 0.975)) * 100 / (largest * total)
    return float(low), float(high)


def _runs_distance(*rows: FloatArray | BoolArray) -> float:
    """Return the half width, in points, of the t interval over runs of one row's mean or two rows' difference.

    The spread of runs is pooled over the rows; 0 if every row has one run.

    Args:
        rows: each (R, N)
    """
    freedom = sum(len(row) - 1 for row in rows)
    if freedom == 0:
        return 0.0
    spread = sum(float(row.mean(axis=1).var()) * len(row) for row in rows) / freedom
    return 100 * student_quantile(freedom) * math.sqrt(spread * sum(1 / len(row) for row in rows))
