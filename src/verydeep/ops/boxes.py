"""Boxes (appendix A): how far two agree, and from a file's pixels into a crop's frame and back.

A box of a file is (x1, y1, x2, y2), inclusive: its first and last pixels, counted from 0, as in the annotations of
ILSVRC. As edges, its right one is x2 + 1. A net speaks of (center x, center y, width, height) in the frame of its crop
and in units of the crop, so one net serves every scale. What a crop is to a box is its window: the crop's pre-image
in the file, (left, upper, right, lower) edges, as ``ops.images.crop_box`` gives it. It holds all that encoding and
decoding need, as the two axes are rescaled apart.

All is NumPy in double precision: a training sample makes its target in the loader, outputs are decoded for images that
each have a size of their own, and whether IoU reaches 0.5 must not hang on rounding. Arrays broadcast; the last axis is
that of the four numbers.
"""

import numpy as np
import numpy.typing as npt

from verydeep.configs.networks import STRIDE
from verydeep.ops.arrays import BoolArray, Float64Array, FloatArray
from verydeep.ops.images import crop_box, rescaled_size

POSITIVE_SHARE = 0.5


def iou(a: npt.ArrayLike, b: npt.ArrayLike) -> Float64Array:
    """Intersection over union of inclusive boxes, pixel by pixel, as the devkit's compute_overlap.m counts them.

    Two apart have 0, where the devkit writes -1; so has a box without pixels (x2 < x1), or one that is no number.

    Args:
        a: (..., 4)
        b: (..., 4), of a shape that broadcasts with a's: ``iou(a[:, None], b)`` compares all pairs.
    """
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    with np.errstate(invalid="ignore", over="ignore"):  # boxes of a net that overflowed
        sides = np.minimum(a[..., 2:], b[..., 2:]) - np.maximum(a[..., :2], b[..., :2]) + 1
        intersection = sides.clip(min=0).prod(axis=-1)
        union = _areas(a) + _areas(b) - intersection
        share = np.divide(intersection, union, out=np.zeros_like(intersection), where=intersection > 0)
    return np.asarray(share, np.float64)


def encode(boxes: npt.ArrayLike, windows: npt.ArrayLike) -> Float64Array:
    """What a net should say of boxes: (..., 4) center x, center y, width, height in units of the window's sides.

    A box may reach beyond the window, so centers may lie outside 0..1 and sides may be longer than 1.

    Args:
        boxes: (..., 4) inclusive, in the file's pixels.
        windows: (..., 4) edges, in the file's pixels.
    """
    boxes, windows = np.asarray(boxes, np.float64), np.asarray(windows, np.float64)
    first, last = boxes[..., :2], boxes[..., 2:] + 1
    origin, size = windows[..., :2], windows[..., 2:] - windows[..., :2]
    return np.concatenate([((first + last) / 2 - origin) / size, (last - first) / size], axis=-1)


def decode(cxcywh: npt.ArrayLike, windows: npt.ArrayLike) -> Float64Array:
    """The inclusive boxes (..., 4) in the file's pixels that these outputs mean: the inverse of ``encode``.

    Args:
        cxcywh: (..., 4) in units of the window's sides.
        windows: (..., 4) edges, in the file's pixels.
    """
    cxcywh, windows = np.asarray(cxcywh, np.float64), np.asarray(windows, np.float64)
    origin, size = windows[..., :2], windows[..., 2:] - windows[..., :2]
    center, sides = origin + cxcywh[..., :2] * size, cxcywh[..., 2:] * size
    return np.concatenate([center - sides / 2, center + sides / 2 - 1], axis=-1)


def clip(boxes: npt.ArrayLike, width: int, height: int) -> Float64Array:
    """Inclusive boxes (..., 4) cut off at the borders of an image.

    Each keeps at least one pixel, at the border if need be: so a net's box of negative width is a box too, though a
    poor one. What is no number stays none.
    """
    boxes = np.asarray(boxes, np.float64)
    limit = np.array([width - 1, height - 1])
    first = boxes[..., :2].clip(0, limit)
    return np.concatenate([first, boxes[..., 2:].clip(first, limit)], axis=-1)


def center_window(size: tuple[int, int], short: int, crop: int) -> Float64Array:
    """(4,): the window of the central crop, as ``ops.images.center_crop`` cuts it.

    Args:
        size: width and height of the file.
        short: Q in pixels.
        crop: of the net.
    """
    width, height = rescaled_size(*size, short)
    return np.array(crop_box(*size, short, (width - crop) // 2, (height - crop) // 2, crop))


def dense_windows(rows: int, columns: int, size: tuple[int, int], short: int, crop: int) -> Float64Array:
    """(rows, columns, 4): the window of each position of a dense map, which may reach beyond the image.

    Position (i, j) sees the crop whose first pixel is (32 i, 32 j) of the rescaled image.

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


def decode_dense(outputs: FloatArray, size: tuple[int, int], short: int, crop: int) -> Float64Array:
    """(..., h, w, 4): the inclusive boxes, cut off at the file's borders, that a dense map of outputs means.

    Args:
        outputs: (..., 4, h, w) center x, center y, width, height in units of the crop, at each position.
        size: width and height of the file.
        short: Q in pixels.
        crop: of the net.
    """
    rows, columns = outputs.shape[-2:]
    windows = dense_windows(rows, columns, size, short, crop)
    return clip(decode(np.moveaxis(outputs, -3, -1), windows), *size)


def flip_xyxy(boxes: npt.ArrayLike, width: int) -> Float64Array:
    """The same inclusive boxes (..., 4) in the mirror image of an image of this width."""
    x1, y1, x2, y2 = np.moveaxis(np.asarray(boxes, np.float64), -1, 0)
    return np.stack([width - 1 - x2, y1, width - 1 - x1, y2], axis=-1)


def flip_cxcywh(cxcywh: npt.ArrayLike) -> Float64Array:
    """The same boxes (..., 4) in units of the crop, in the mirror image of the crop."""
    flipped = np.array(cxcywh, np.float64)
    flipped[..., 0] = 1 - flipped[..., 0]
    return flipped


def visibility(boxes: npt.ArrayLike, windows: npt.ArrayLike) -> Float64Array:
    """The larger of two shares: of the box that lies inside the window, and of the window that the box covers.

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


def is_positive(boxes: npt.ArrayLike, windows: npt.ArrayLike) -> BoolArray:
    """Whether a crop is fit to learn a box from: half of the box inside it, or half of it covered (docs/choices.md).

    OverFeat did not learn from boxes with less than half in view; of a box larger than the crop no more can be in view
    than the whole crop.
    """
    return np.asarray(visibility(boxes, windows) >= POSITIVE_SHARE)


def _areas(boxes: Float64Array) -> Float64Array:
    """Pixels of inclusive boxes."""
    return np.asarray((boxes[..., 2:] - boxes[..., :2] + 1).prod(axis=-1), np.float64)
