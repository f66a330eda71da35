"""Measures of the content of one photograph, from a decode at reduced size."""

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from verydeep.ops.arrays import UInt8Array
from verydeep.ops.photograph_quality import find_percentile, measure_blur, measure_spread

JUDGED_SIDE = 256
"""Short side at which a photograph is judged: the paper's usual S. What is finer does not reach a net."""

THUMBNAIL_SIDE = 32


@dataclass(frozen=True)
class PhotographMeasures:
    """Measures of a photograph's content."""

    width: int
    height: int
    """Size of the whole photograph in pixels, as it is stored."""
    dark_end: int
    """Gray level, 0-255, that 99% of the pixels reach: objects on a white ground are darker."""
    light_end: int
    """Gray level that 95% of the pixels do not exceed."""
    spread: float
    """Standard deviation of the gray levels in the color channel where it is largest."""
    blur: float
    """From 0, sharp, to 1 (``measure_blur``)."""
    thumbnail: bytes
    """32x32 gray levels of the whole photograph, squeezed to a square."""

    @property
    def short_side(self) -> int:
        """The shorter side in pixels."""
        return min(self.width, self.height)

    @property
    def aspect(self) -> float:
        """The longer side as a multiple of the shorter one."""
        return max(self.width, self.height) / self.short_side


def measure_photograph(image: Image.Image, size: tuple[int, int]) -> PhotographMeasures:
    """Measure an upright RGB image.

    Args:
        image: the photograph, whole, perhaps decoded at a reduced size.
        size: (width, height) of the file.
    """
    judged = image
    if min(image.size) > JUDGED_SIDE:
        judged = ImageOps.cover(image, (JUDGED_SIDE, JUDGED_SIDE), Image.Resampling.BILINEAR)
    gray = judged.convert("L")
    histogram = np.array(gray.histogram(), np.int64)
    channels = np.array(judged.histogram(), np.int64).reshape(3, 256)
    thumbnail = gray.resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BILINEAR)
    return PhotographMeasures(
        *size,
        dark_end=find_percentile(histogram, 0.01),
        light_end=find_percentile(histogram, 0.95),
        spread=max(map(measure_spread, channels)),
        blur=measure_blur(np.asarray(gray)),
        thumbnail=thumbnail.tobytes(),
    )


def stack_thumbnails(thumbnails: list[bytes]) -> UInt8Array:
    """Return thumbnails as an array (n, 32, 32)."""
    return np.frombuffer(b"".join(thumbnails), np.uint8).reshape(-1, THUMBNAIL_SIDE, THUMBNAIL_SIDE)
