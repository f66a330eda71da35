"""Measures of a photograph's quality: how dark, how bright, how uniform and how blurred it is."""

import numpy as np

from verydeep.ops.arrays import Float32Array, Int64Array, UInt8Array

BLUR_KERNEL = 9
"""Pixels over which the photograph is blurred once more, as in the source."""
MIN_SIDE = 32
"""Pixels along an axis below which no blur can be told."""


def measure_blur(gray: UInt8Array) -> float:
    """Return how blurred a gray image (H, W) is: 0 if sharp, 1 if nothing but smooth.

    The measure of Crete, Dolmiere, Ladret and Nicolas (The blur effect: perception and estimation with a new
    no-reference perceptual blur metric, 2007): an image that is blurred once more along an axis loses less of the
    differences between neighbors the more blurred it was. The larger of both axes holds. Contrast does not matter. An
    axis of fewer than 32 pixels, or without differences, gives 0.
    """
    values = gray.astype(np.float32)
    return max(_measure_along_rows(values), _measure_along_rows(np.ascontiguousarray(values.T)))


def _measure_along_rows(values: Float32Array) -> float:
    half = BLUR_KERNEL // 2
    if values.shape[1] < MIN_SIDE:
        return 0.0
    sums = np.cumsum(np.pad(values, ((0, 0), (half + 1, half)), mode="edge"), axis=1)
    blurred = (sums[:, BLUR_KERNEL:] - sums[:, :-BLUR_KERNEL]) / BLUR_KERNEL
    differences = abs(np.diff(values, axis=1))
    lost = np.maximum(0, differences - abs(np.diff(blurred, axis=1)))
    total = float(differences.sum())
    return 1 - float(lost.sum()) / total if total else 0.0


def find_percentile(histogram: Int64Array, share: float) -> int:
    """Return the gray level below or at which at least this share of the pixels lies.

    Args:
        histogram: (256,) numbers of pixels.
        share: from 0 to 1.
    """
    cumulative = np.cumsum(histogram)
    return int(np.searchsorted(cumulative, share * cumulative[-1]))


def measure_spread(histogram: Int64Array) -> float:
    """Return the standard deviation of the gray levels whose numbers (256,) are given."""
    levels = np.arange(len(histogram))
    mean = np.average(levels, weights=histogram)
    return float(np.sqrt(np.average((levels - mean) ** 2, weights=histogram)))
