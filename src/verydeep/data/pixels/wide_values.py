"""Files whose pixel values are not bytes: 16 bits, signed or floating-point numbers, more channels than RGB has.

Pillow reads one channel of most types, and the upper eight of 16 bits of color. The lower ones come from a second look
at the same bytes in the opposite order. TIFF is in ``tiff_values``.
"""

import io
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from PIL import Image
from PIL.ImageFile import ImageFile

from verydeep.ops.arrays import AnyArray
from verydeep.ops.value_ranges import ValueRange, ValueType

Source = Path | bytes
"""A file, or its content."""

Load = Callable[[ImageFile], object]
"""Decodes the pixels of an image, all or as many as possible."""

FULL_RANGE: ValueRange = (0, 65535)
"""Range of files whose decoder scales values to 16 bits."""

_SWAPPED = {"B": "L", "L": "B", "N": "B" if sys.byteorder == "little" else "L"}


@dataclass(frozen=True)
class WideImage:
    """An image whose pixel values are not bytes, as the header of its file describes it."""

    size: tuple[int, int]
    """(width, height) of the values that are read."""
    value_type: ValueType
    read: Callable[[Load], AnyArray]
    """Returns the values, (H, W) or (H, W, C)."""
    limits: ValueRange | None = None
    """Black and white by the file's own header; None: its data set decides."""
    largest: float = 0
    """Largest value that the header mentions."""
    white_is_zero: bool = False
    missing: float | None = None
    """Value of missing pixels."""
    num_channels: int = 1
    turn: Image.Transpose | None = None
    """Rotation to apply after reading; None: none, or Pillow applies it."""


def open_binary(source: Source) -> BinaryIO:
    """Open a file, or its content, for reading."""
    return io.BytesIO(source) if isinstance(source, bytes) else source.open("rb")


def check_size(width: int, height: int) -> None:
    """Refuse a size beyond Pillow's limit, for files that Pillow does not open.

    Raises:
        DecompressionBombError: there are too many pixels.
        ValueError: there are none.
    """
    if Image.MAX_IMAGE_PIXELS is not None and width * height > 2 * Image.MAX_IMAGE_PIXELS:
        raise Image.DecompressionBombError
    if min(width, height) < 1:
        raise ValueError(f"its size is {width} x {height}")


def find_wide_values(image: ImageFile, source: Source, reopen: Callable[[], ImageFile]) -> WideImage | None:
    """Return the image with its values if they are not bytes, for an opened file of any format but TIFF.

    Args:
        image: opened, not loaded.
        source: of the image.
        reopen: opens it once more.
    """
    if image.format == "PPM":
        return _find_in_ppm(image, source)
    if image.format == "PNG" and image.tile and str(image.tile[0].args).endswith(";16B"):
        rawmode = str(image.tile[0].args)
        if rawmode == "LA;16B":  # the bytes of gray and transparency fill four channels
            return WideImage(image.size, "uint16", lambda load: _read_gray_alpha(image, load))
        if image.mode in {"RGB", "RGBA"}:
            return find_wide_color(image, reopen)
    if image.mode == "F":
        return WideImage(image.size, "float", lambda load: _read_whole(image, load))
    if image.mode.startswith("I"):
        limits = None if image.format == "PNG" else FULL_RANGE
        return WideImage(image.size, "uint16", lambda load: _read_whole(image, load), limits)
    return None


def find_wide_color(image: ImageFile, reopen: Callable[[], ImageFile]) -> WideImage:
    """Return an image of 16-bit color, of which Pillow reads the upper eight bits."""

    def read(load: Load) -> AnyArray:
        lower = reopen()
        with lower:
            lower.tile = [tile._replace(args=swap_bytes(tile.args)) for tile in lower.tile]
            load(lower)
        load(image)
        values: AnyArray = np.asarray(image)[..., :3].astype(np.uint16) << 8
        values |= np.asarray(lower)[..., :3]
        return values

    return WideImage(image.size, "uint16", read, num_channels=3)


def swap_bytes(arguments: tuple[Any, ...] | str | None) -> tuple[Any, ...] | str:
    """Return the arguments of Pillow's decoder with the other order of bytes: "RGB;16L" for "RGB;16B"."""
    rawmode, *others = arguments if isinstance(arguments, tuple) else (arguments,)
    swapped = str(rawmode)[:-1] + _SWAPPED[str(rawmode)[-1]]
    return (swapped, *others) if isinstance(arguments, tuple) else swapped


def _read_whole(image: ImageFile, load: Load) -> AnyArray:
    load(image)
    return np.asarray(image)


def _read_gray_alpha(image: ImageFile, load: Load) -> AnyArray:
    image.tile = [tile._replace(args="RGBA") for tile in image.tile]
    load(image)
    pixels = np.asarray(image).astype(np.uint16)
    return pixels[..., 0] << 8 | pixels[..., 1]


def _find_in_ppm(image: ImageFile, source: Source) -> WideImage | None:
    """Binary PGM and PPM with more than eight bits; Pillow reads those in digits, and scales them to 16 bits."""
    tile = image.tile[0]
    if image.mode == "F":
        return WideImage(image.size, "float", lambda load: _read_whole(image, load))
    if tile.codec_name == "ppm_plain":
        return (
            WideImage(image.size, "uint16", lambda load: _read_whole(image, load), FULL_RANGE)
            if image.mode == "I"
            else None
        )
    largest = int(tile.args[1]) if isinstance(tile.args, tuple) else 65535 if tile.args == "I;16B" else 255
    if largest <= 255:
        return None
    (width, height), channels = image.size, 3 if image.mode == "RGB" else 1

    def read(_load: Load) -> AnyArray:
        with open_binary(source) as file:
            file.seek(tile.offset)
            content = file.read(2 * width * height * channels)
        return np.frombuffer(content, ">u2").reshape(height, width, channels)

    limits = None if largest == 65535 else (0, largest)
    return WideImage(image.size, "uint16", read, limits, num_channels=channels)


def open_color_pfm(source: Source) -> WideImage | None:
    """Return an image of floating-point color, which Pillow does not read; None: the file is another one."""
    with open_binary(source) as file:
        header = re.match(rb"PF\s+(\d{1,9})\s+(\d{1,9})\s+(-?[\d.eE+-]{1,20})\s", file.read(100))
    if header is None:
        return None
    width, height = int(header[1]), int(header[2])
    check_size(width, height)
    order = "<f4" if float(header[3]) < 0 else ">f4"

    def read(_load: Load) -> AnyArray:
        with open_binary(source) as file:
            file.seek(header.end())
            content = file.read(12 * width * height)
        return np.frombuffer(content, order).reshape(height, width, 3)[::-1]  # rows begin at the bottom

    return WideImage((width, height), "float", read, num_channels=3)
