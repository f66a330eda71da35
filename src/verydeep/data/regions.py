"""Regions of photographs: the cropped boxes that stand for whole images (appendix B: VOC's actions).

A region is cut out and then rescaled as a whole image would be. No pixel outside of it is used, not even in resampling.
"""

import math
from pathlib import Path

from PIL import Image

from verydeep.errors import DataError
from verydeep.ops.arrays import Float32Array

Edges = tuple[int, int, int, int]
"""(left, upper, right, lower); right and lower are the first pixels outside."""


def region_edges(region: Float32Array, size: tuple[int, int], path: Path) -> Edges:
    """Return the edges of the whole pixels that a box touches, within its image.

    Args:
        region: (4,) inclusive xyxy, counted from 0.
        size: (width, height) of the image.
        path: the image's file, for error messages.

    Raises:
        DataError: the box lies outside of the image.
    """
    width, height = size
    x1, y1, x2, y2 = map(float, region)
    left, upper = max(0, math.floor(x1)), max(0, math.floor(y1))
    right, lower = min(width, math.ceil(x2) + 1), min(height, math.ceil(y2) + 1)
    if left >= right or upper >= lower:
        raise DataError(
            f"The box ({x1:g}, {y1:g}, {x2:g}, {y2:g}) lies outside of {path}, which has {width}x{height} pixels; "
            "correct its annotation."
        )
    return left, upper, right, lower


def cut_region(image: Image.Image, edges: Edges, size: tuple[int, int]) -> Image.Image:
    """Cut a region out of an image, which may be a reduced copy of the one of ``size`` that the edges refer to."""
    left, upper, right, lower = edges
    return image.crop(
        (
            left * image.width // size[0],
            upper * image.height // size[1],
            -(-right * image.width // size[0]),
            -(-lower * image.height // size[1]),
        )
    )
