"""Geometry of class score maps: the window that each position sees, and a map laid over its photograph."""

import numpy as np

from verydeep.ops.arrays import Float32Array, Float64Array, FloatArray


def window_edges(
    shape: tuple[int, int], stride: int, side: int, scale: tuple[float, float] = (1.0, 1.0)
) -> Float64Array:
    """Return the edges (h, w, 4) of the window of each position: left, upper, right, lower, in pixels.

    Position (i, j) sees rows [stride * i, stride * i + side) and columns [stride * j, stride * j + side) of the
    rescaled image (docs/dense-evaluation.md). The last windows may reach beyond the image.

    Args:
        shape: h and w of the map.
        stride: pixels of the rescaled image between two positions.
        side: of a window, in pixels of the rescaled image.
        scale: pixels of the photograph for each pixel of the rescaled image, along its width and along its height.
    """
    rows, columns = np.meshgrid(*(stride * np.arange(count) for count in shape), indexing="ij")
    edges = np.stack([columns, rows, columns + side, rows + side], axis=2).astype(np.float64)
    return np.asarray(edges * np.tile(scale, 2), np.float64)


def spread_map(
    values: FloatArray, stride: int, side: int, size: tuple[int, int], shape: tuple[int, int]
) -> Float32Array:
    """Return a map as an image of this shape that covers the whole photograph.

    The center of each window has the value of its position; between centers values are interpolated linearly, and the
    outermost ones continue to the borders.

    Args:
        values: (h, w) of a map.
        stride: pixels of the rescaled image between two positions.
        side: of a window, in pixels of the rescaled image.
        size: height and width of the rescaled image.
        shape: height and width of the result.
    """
    rows, columns = (
        _interpolation_weights(count, stride, side, length, target)
        for count, length, target in zip(values.shape, size, shape, strict=True)
    )
    return np.asarray(rows @ values @ columns.T, np.float32)


def _interpolation_weights(count: int, stride: int, side: int, length: int, target: int) -> Float64Array:
    """Return the weights (target, count) of positions for each pixel along one side."""
    centers = (np.arange(target) + 0.5) * length / target
    places = ((centers - side / 2) / stride).clip(0, count - 1)
    return np.asarray(np.maximum(0, 1 - np.abs(places[:, None] - np.arange(count))), np.float64)


def soft_max(scores: Float32Array, axis: int) -> Float32Array:
    """Return the probabilities of scores, which sum to 1 along an axis: that of the classes."""
    powers = np.exp(scores - scores.max(axis=axis, keepdims=True))
    return np.asarray(powers / powers.sum(axis=axis, keepdims=True), np.float32)
