"""Random crops for training: S, position, flip and color shift, in one decode and one resample (section 3.1).

For localization (appendix A.1) a crop comes with the box of its object; a crop that hardly shows it is drawn again.
"""

from dataclasses import dataclass, replace

import numpy as np
from PIL import Image

from verydeep.ops.arrays import Float32Array, UInt8Array
from verydeep.ops.boxes import POSITIVE_SHARE, encode_boxes, flip_cxcywh, visible_share
from verydeep.ops.images import crop_box, rescaled_size

SAMPLE_STREAM = 1
"""Separates these random numbers from those of other purposes under the same seed."""

BOX_STREAM = 5

NUM_CROPS = 10
"""Largest number of crops drawn before the one that shows most of the box is used (docs/choices.md)."""


@dataclass(frozen=True)
class Augmentation:
    """Random choices for one use of one image; position and flip do not depend on the image's size."""

    short: int
    """S in pixels."""
    x: float
    """Horizontal position of the crop, in [0, 1)."""
    y: float
    """Vertical position of the crop, in [0, 1)."""
    flip: bool
    color: tuple[float, float, float]
    """Three standard normals, to be multiplied by ``color_basis``."""


def draw_augmentation(seed: int, epoch: int, index: int, scale: tuple[int, int]) -> Augmentation:
    """Draw the augmentation of an image in an epoch: a function of (seed, epoch, index) alone.

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
    return Augmentation(short, x, y, bool(flip < 0.5), (red, green, blue))


@dataclass(frozen=True)
class BoxChoice:
    """Random choices for one use of one image with boxes, in addition to its ``Augmentation``."""

    instance: float
    """Position of the chosen box among the image's boxes, in [0, 1)."""
    positions: tuple[tuple[float, float], ...]
    """(x, y) of the crops to try after the one of the ``Augmentation``."""


def draw_box_choice(seed: int, epoch: int, index: int) -> BoxChoice:
    """Draw the box that an image is used for in an epoch, and the crops to try for it.

    They are a function of (seed, epoch, index) alone, as the augmentation is, which is the same with and without boxes.
    """
    bits = np.random.Philox(key=[seed, BOX_STREAM], counter=[0, 0, index, epoch])
    instance, *shares = np.random.Generator(bits).random(1 + 2 * (NUM_CROPS - 1)).tolist()
    return BoxChoice(instance, tuple(zip(shares[::2], shares[1::2], strict=True)))


def crop_offset(position: float, side: int, crop: int) -> int:
    """Return the first pixel of a crop; a uniform position in [0, 1) gives each of side - crop + 1 places equally."""
    return int(position * (side - crop + 1))


def training_crop(image: Image.Image, augmentation: Augmentation, crop: int) -> UInt8Array:
    """Return the crop (crop, crop, 3), uint8 RGB, of a decoded image, before flip, color shift and mean subtraction.

    Resampling is bilinear and antialiased.
    """
    window = crop_window(image.size, augmentation, crop)
    return np.asarray(image.resize((crop, crop), Image.Resampling.BILINEAR, box=window))


def crop_window(size: tuple[int, int], augmentation: Augmentation, crop: int) -> tuple[float, float, float, float]:
    """Return the part of an image of (width, height) that becomes the crop: (left, upper, right, lower) edges."""
    width, height = rescaled_size(*size, augmentation.short)
    left, top = crop_offset(augmentation.x, width, crop), crop_offset(augmentation.y, height, crop)
    return crop_box(*size, augmentation.short, left, top, crop)


@dataclass(frozen=True)
class Sample:
    """A training crop, with the box of its object for localization."""

    pixels: UInt8Array
    """(crop, crop, 3), uint8 RGB, before flip, color shift and mean subtraction."""
    target: Float32Array | None = None
    """(4,) center x, center y, width, height in units of the crop after its flip; None for classification."""
    is_positive: bool = True
    """Whether half of the box is inside the crop, or half of the crop is covered by the box."""


def localization_crop(
    image: Image.Image,
    size: tuple[int, int],
    augmentation: Augmentation,
    choice: BoxChoice,
    boxes: Float32Array,
    crop: int,
) -> Sample:
    """Return the first drawn crop that is positive for the chosen box, or else the one that shows most of it.

    The box is chosen before the crop, so that small instances are learned as often as large ones.

    Args:
        image: the decoded photograph, perhaps at a lower resolution than its file has.
        size: (width, height) of the file, upright.
        augmentation: from ``draw_augmentation``.
        choice: from ``draw_box_choice``.
        boxes: (m, 4) inclusive xyxy in the upright file's pixels, m at least 1.
        crop: side in pixels.
    """
    box = boxes[int(choice.instance * len(boxes))].astype(np.float64)
    candidates = [augmentation, *(replace(augmentation, x=x, y=y) for x, y in choice.positions)]
    scale = np.array([size[0] / image.size[0], size[1] / image.size[1]] * 2)
    windows = np.array([crop_window(image.size, each, crop) for each in candidates])  # (NUM_CROPS, 4)
    windows = windows * scale  # in the file's pixels
    shares = visible_share(box, windows)
    positive = shares >= POSITIVE_SHARE
    chosen = int(positive.argmax() if positive.any() else shares.argmax())
    target = encode_boxes(box, windows[chosen])
    return Sample(
        pixels=training_crop(image, candidates[chosen], crop),
        target=(flip_cxcywh(target) if augmentation.flip else target).astype(np.float32),
        is_positive=bool(positive[chosen]),
    )
