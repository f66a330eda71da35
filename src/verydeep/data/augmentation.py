"""One training sample: S, crop, flip and color shift, in one decode and one resample (section 3.1).

For localization (appendix A.1) a crop also says where its object is; crops that hardly see it are drawn again.
"""

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from verydeep.ops.arrays import Float32Array, UInt8Array
from verydeep.ops.boxes import POSITIVE_SHARE, encode, flip_cxcywh, visibility
from verydeep.ops.images import crop_box, rescaled_size

SAMPLE_STREAM = 1
"""Keeps these random numbers apart from those of other purposes under the same seed."""

BOX_STREAM = 5

NUM_CROPS = 10
"""How many crops are drawn before the one that sees most of the box is taken (docs/choices.md)."""


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


@dataclass(frozen=True)
class BoxDraw:
    """What is drawn beyond ``Draw`` for one use of one image with boxes."""

    instance: float
    """The share that chooses the box, in [0, 1)."""
    places: tuple[tuple[float, float], ...]
    """(x, y) shares of the crops that follow the first, which is that of ``Draw``."""


def draw_box(seed: int, epoch: int, index: int) -> BoxDraw:
    """Which of its boxes this image is to learn in this epoch, and the crops that are tried for it, one by one.

    A function of (seed, epoch, index) alone; S, flip, color shift and the first crop are those of classification.
    """
    bits = np.random.Philox(key=[seed, BOX_STREAM], counter=[0, 0, index, epoch])
    instance, *shares = np.random.Generator(bits).random(1 + 2 * (NUM_CROPS - 1)).tolist()
    return BoxDraw(instance, tuple(zip(shares[::2], shares[1::2], strict=True)))


def offset(share: float, side: int, crop: int) -> int:
    """The crop's first pixel: uniform over all side - crop + 1 places for a share uniform in [0, 1)."""
    return int(share * (side - crop + 1))


def training_crop(image: Image.Image, draw: Draw, crop: int) -> UInt8Array:
    """Return the crop (crop, crop, 3), uint8 RGB, of a decoded image, before flip, color shift and mean subtraction.

    Resampling is bilinear and antialiased.
    """
    window = window_of(image.size, draw, crop)
    return np.asarray(image.resize((crop, crop), Image.Resampling.BILINEAR, box=window))


def window_of(size: tuple[int, int], draw: Draw, crop: int) -> tuple[float, float, float, float]:
    """The crop's pre-image in an image of this width and height: (left, upper, right, lower) edges."""
    width, height = rescaled_size(*size, draw.short)
    left, top = offset(draw.x, width, crop), offset(draw.y, height, crop)
    return crop_box(*size, draw.short, left, top, crop)


@dataclass(frozen=True)
class Sample:
    """A crop, and where boxes are learned the one of its object."""

    pixels: UInt8Array
    """(crop, crop, 3), uint8 RGB, before flip, color shift and mean subtraction."""
    target: Float32Array | None = None
    """(4,) center x, center y, width, height in units of the crop, of the crop as it is after the flip."""
    is_positive: bool = True
    """Whether half of the box is inside the crop, or half of the crop covered by it; if not, all were drawn in vain."""


def localization_crop(
    image: Image.Image,
    size: tuple[int, int],
    draw: Draw,
    box_draw: BoxDraw,
    boxes: Float32Array,
    crop: int,
) -> Sample:
    """Return the first drawn crop that is positive for the chosen box, or else the one that shows most of it.

    The box is chosen before the crop, so that small instances are learned as often as large ones.

    Args:
        image: the decoded photograph, perhaps at a lower resolution than its file has.
        size: (width, height) of the file, upright.
        draw: from ``draw_sample``.
        box_draw: from ``draw_box``.
        boxes: (m, 4) inclusive xyxy in the upright file's pixels, m at least 1.
        crop: side in pixels.
    """
    box = boxes[int(box_draw.instance * len(boxes))].astype(np.float64)
    draws = [draw, *(replace(draw, x=x, y=y) for x, y in box_draw.places)]
    scale = np.array([size[0] / image.size[0], size[1] / image.size[1]] * 2)
    windows = np.array([window_of(image.size, one, crop) for one in draws]) * scale  # (NUM_CROPS, 4), file's pixels
    seen = visibility(box, windows)
    positive = seen >= POSITIVE_SHARE
    chosen = int(positive.argmax() if positive.any() else seen.argmax())
    target = encode(box, windows[chosen])
    return Sample(
        pixels=training_crop(image, draws[chosen], crop),
        target=(flip_cxcywh(target) if draw.flip else target).astype(np.float32),
        is_positive=bool(positive[chosen]),
    )
