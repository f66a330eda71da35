"""Boxes (appendix A): their overlap, and their conversion between a file's pixels and a crop's frame.

A box in a file is (x1, y1, x2, y2), inclusive: its first and last pixels, counted from 0, as in the annotations of
ILSVRC; its right edge is x2 + 1. A net predicts (center x, center y, width, height) in the frame and in units of its
crop, so that one net serves every scale. The window of a crop is the part of the file that it shows: (left, upper,
right, lower) edges, from ``ops.images.crop_box``. Encoding and decoding need only the window.

Everything is NumPy in double precision: a training sample gets its target in the loader, outputs are decoded for images
of different sizes, and whether an IoU reaches 0.5 must not depend on rounding. Arrays broadcast; the last axis has the
four numbers.
"""

import numpy as np
import numpy.typing as npt

from verydeep.configs.networks import STRIDE
from verydeep.ops.arrays import Float64Array, FloatArray
from verydeep.ops.images import crop_box, rescaled_size

POSITIVE_SHARE = 0.5
"""The visible share (``visible_share``) from which a crop is used to learn a box (docs/choices.md)."""


def iou(a: npt.ArrayLike, b: npt.ArrayLike) -> Float64Array:
    """Return the intersection over union of inclusive boxes, in pixels, as the devkit's compute_overlap.m counts.

    Boxes that do not overlap have 0 (-1 in the devkit), as do boxes without pixels (x2 < x1) and boxes with NaN.

    Args:
        a: (..., 4)
        b: (..., 4), with a shape that broadcasts with a's: ``iou(a[:, None], b)`` compares all pairs.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    with np.errstate(invalid="ignore", over="ignore"):  # boxes of a net that overflowed
        sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]) + 1
        intersection = sides.clip(min=0).prod(axis=-1)
        union = _areas(a) + _areas(b) - intersection
        share = np.divide(intersection, union, out=np.zeros_like(intersection), where=intersection > 0)
    return np.asarray(share, np.float64)


def encode_boxes(boxes: npt.ArrayLike, windows: npt.ArrayLike) -> Float64Array:
    """Return the targets of a net: (..., 4) center x, center y, width, height in units of the window's sides.

    A box may reach beyond the window, so centers may lie outside 0..1 and sides may be longer than 1.

    Args:
        boxes: (..., 4) inclusive, in the file's pixels.
        windows: (..., 4) edges, in the file's pixels.
    """
    boxes, windows = np.asarray(boxes, np.float64), np.asarray(windows, np.float64)
    first, last = boxes[..., :2], boxes[..., 2:] + 1
    origin, size = windows[..., :2], windows[..., 2:] - windows[..., :2]
    return np.concatenate([((first + last) / 2 - origin) / size, (last - first) / size], axis=-1)


def decode_boxes(cxcywh: npt.ArrayLike, windows: npt.ArrayLike) -> Float64Array:
    """Return inclusive boxes (..., 4) in the file's pixels from outputs of a net: the inverse of ``encode_boxes``.

    Args:
        cxcywh: (..., 4) in units of the window's sides.
        windows: (..., 4) edges, in the file's pixels.
    """
    cxcywh, windows = np.asarray(cxcywh, np.float64), np.asarray(windows, np.float64)
    origin, size = windows[..., :2], windows[..., 2:] - windows[..., :2]
    center, sides = origin + cxcywh[..., :2] * size, cxcywh[..., 2:] * size
    return np.concatenate([center - sides / 2, center + sides / 2 - 1], axis=-1)


def clip_boxes(boxes: npt.ArrayLike, width: int, height: int) -> Float64Array:
    """Return inclusive boxes (..., 4), cut off at the borders of an image.

    Each keeps at least one pixel, if necessary at the border; so even a predicted box of negative width becomes a box.
    NaN stays NaN.
    """
    boxes = np.asarray(boxes, np.float64)
    limit = np.array([width - 1, height - 1])
    first = boxes[..., :2].clip(0, limit)
    return np.concatenate([first, boxes[..., 2:].clip(first, limit)], axis=-1)


def center_window(size: tuple[int, int], short: int, crop: int) -> Float64Array:
    """Return (4,) the window of the central crop, as ``ops.images.center_crop`` cuts it.

    Args:
        size: width and height of the file.
        short: Q in pixels.
        crop: of the net.
    """
    width, height = rescaled_size(*size, short)
    return np.array(crop_box(*size, short, (width - crop) // 2, (height - crop) // 2, crop))


def dense_windows(rows: int, columns: int, size: tuple[int, int], short: int, crop: int) -> Float64Array:
    """Return (rows, columns, 4) the window of each position of a dense map; windows may reach beyond the image.

    Position (i, j) shows the crop whose first pixel is (32 i, 32 j) of the rescaled image.

    Args:
        rows: of the map.
        columns: of the map.
        size: width and height of the file.
        short: Q in pixels.
        crop: of the net.
    """
    y, x = np.mgrid[:rows, :columns] * STRIDE
    new_width, new_height = rescaled_size(*size, short)
    scale = np.array([size[0] / new_width, size[1] / new_height] * 2)
    return np.asarray(np.stack([x, y, x + crop, y + crop], axis=-1) * scale, np.float64)


def decode_dense_boxes(outputs: FloatArray, size: tuple[int, int], short: int, crop: int) -> Float64Array:
    """Return (..., h, w, 4) inclusive boxes from a dense map of outputs, cut off at the file's borders.

    Args:
        outputs: (..., 4, h, w) center x, center y, width, height in units of the crop, at each position.
        size: width and height of the file.
        short: Q in pixels.
        crop: of the net.
    """
    rows, columns = outputs.shape[-2:]
    windows = dense_windows(rows, columns, size, short, crop)
    return clip_boxes(decode_boxes(np.moveaxis(outputs, -3, -1), windows), *size)


def flip_cxcywh(cxcywh: npt.ArrayLike) -> Float64Array:
    """Return boxes (..., 4) in units of the crop as they are in the mirror image of the crop."""
    flipped = np.array(cxcywh, np.float64)
    flipped[..., 0] = 1 - flipped[..., 0]
    return flipped


def visible_share(boxes: npt.ArrayLike, windows: npt.ArrayLike) -> Float64Array:
    """Return the larger of two shares: of the box inside the window, and of the window covered by the box.

    OverFeat did not learn from crops that show less than half of a box; but of a box larger than the crop they can show
    no more than the crop.

    Args:
        boxes: (..., 4) inclusive, of at least one pixel.
        windows: (..., 4) edges, in the same file's pixels.
    """
    boxes, windows = np.asarray(boxes, np.float64), np.asarray(windows, np.float64)
    first = np.maximum(boxes[..., :2], windows[..., :2])
    last = np.minimum(boxes[..., 2:] + 1, windows[..., 2:])
    inside = (last - first).clip(min=0).prod(axis=-1)
    window = (windows[..., 2:] - windows[..., :2]).prod(axis=-1)
    return np.asarray(inside / np.minimum(_areas(boxes), window), np.float64)


def _areas(boxes: Float64Array) -> Float64Array:
    """Return the numbers of pixels of inclusive boxes."""
    return np.asarray((boxes[..., 2:] - boxes[..., :2] + 1).prod(axis=-1), np.float64)
