"""One training sample of section 3.1: S, crop, flip and color shift, in one decode and one resample."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from verydeep.data.decoding import decode
from verydeep.ops.images import crop_box, rescaled_size

Pixels = npt.NDArray[np.uint8]

SAMPLE_STREAM = 1
"""Keeps these random numbers apart from those of other purposes under the same seed."""


@dataclass(frozen=True)
class Draw:
    """What is drawn for one use of one image; positions and flip are shares, as the image's size is not yet known."""

    short: int
    """S in pixels."""
    x: float
    y: float
    flip: bool
    color: tuple[float, float, float]
    """Three standard normals, to be multiplied by ``color_basis``."""


def draw_sample(seed: int, epoch: int, index: int, scale: tuple[int, int]) -> Draw:
    """What this image gets in this epoch: a function of (seed, epoch, index) alone.

    Args:
        seed: of the run.
        epoch: counted from 0.
        index: of the image in its split.
        scale: smallest and largest S in pixels, both included, equally likely.
    """
    bits = np.random.Philox(key=[seed, SAMPLE_STREAM], counter=[0, 0, index, epoch])
    generator = np.random.Generator(bits)
    x, y, flip = generator.random(3)
    short = int(generator.integers(scale[0], scale[1], endpoint=True))
    red, green, blue = generator.standard_normal(3)
    return Draw(short, x, y, bool(flip < 0.5), (red, green, blue))


def offset(share: float, side: int, crop: int) -> int:
    """The crop's first pixel: uniform over all side - crop + 1 places for a share uniform in [0, 1)."""
    return int(share * (side - crop + 1))


def training_crop(path: Path, draw: Draw, crop: int, *, camera_rotation: bool, fast_decode: bool = False) -> Pixels:
    """The crop (crop, crop, 3), uint8 RGB, before flip, color shift and mean subtraction.

    Resampling is bilinear and antialiased. ``fast_decode`` lets a JPEG be decoded at a lower resolution that is still
    no smaller than the rescaled image: twice as fast on large photographs, but it changes pixels.

    Raises:
        VerydeepError: the file cannot be decoded.
    """
    image = decode(path, camera_rotation=camera_rotation, at_least=(draw.short, draw.short) if fast_decode else None)
    return crop_of(image, draw, crop)


def crop_of(image: Image.Image, draw: Draw, crop: int) -> Pixels:
    """The same of a decoded image."""
    width, height = rescaled_size(*image.size, draw.short)
    left, top = offset(draw.x, width, crop), offset(draw.y, height, crop)
    box = crop_box(*image.size, draw.short, left, top, crop)
    return np.asarray(image.resize((crop, crop), Image.Resampling.BILINEAR, box=box))
