"""The part of a photograph that is looked at, where its box is all that counts (appendix B: VOC's actions).

The box is cut out and then rescaled as a whole image would be; nothing around it is seen, not even by resampling.
"""

import math
from pathlib import Path

from PIL import Image

from verydeep.errors import VerydeepError
from verydeep.ops.arrays import Float32Array

Edges = tuple[int, int, int, int]
"""(left, upper, right, lower), right and lower being the first pixels outside."""


def edges_of(region: Float32Array, size: tuple[int, int], path: Path) -> Edges:
    """The whole pixels that a box touches, within its image.

    Args:
        region: (4,) inclusive xyxy, counted from 0.
        size: (width, height) of the image.
        path: of the image, for messages.

    Raises:
        VerydeepError: the box touches none.
    """
    width, height = size
    x1, y1, x2, y2 = map(float, region)
    left, upper = max(0, math.floor(x1)), max(0, math.floor(y1))
    right, lower = min(width, math.ceil(x2) + 1), min(height, math.ceil(y2) + 1)
    if left >= right or upper >= lower:
        raise VerydeepError(
            f"The box ({x1:g}, {y1:g}, {x2:g}, {y2:g}) lies outside of {path}, which has {width}x{height} pixels: "
            "correct its annotation."
        )
    return left, upper, right, lower


def cut_region(image: Image.Image, edges: Edges, size: tuple[int, int]) -> Image.Image:
    """What lies between edges that were given in an image of ``size``, of which this may be a reduced copy."""
    left, upper, right, lower = edges
    return image.crop(
        (
            left * image.width // size[0],
            upper * image.height // size[1],
            -(-right * image.width // size[0]),
            -(-lower * image.height // size[1]),
        )
    )
