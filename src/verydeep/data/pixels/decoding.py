"""Decode files of photographs to RGB images, as ILSVRC and people's own folders hold them (docs/photographs.md)."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, UnidentifiedImageError

from verydeep.data.pixels.decoded_image import convert_to_rgb, decode_pixels
from verydeep.data.pixels.file_repair import remove_notes
from verydeep.data.pixels.formats import (
    FORMATS,
    VIDEO,
    MissingPackageError,
    describe_unidentified,
    find_holder,
    is_unread_suffix,
)
from verydeep.data.pixels.image_files import open_image_file, quiet, read_rotation
from verydeep.data.pixels.photograph_measures import JUDGED_SIDE, PhotographMeasures, measure_photograph
from verydeep.data.pixels.shapes import check_shape
from verydeep.data.pixels.wide_values import FULL_RANGE
from verydeep.data.pixels.workers import forget_file, note_file
from verydeep.errors import DataError, VerydeepError
from verydeep.ops.value_ranges import (
    Clipping,
    Extent,
    ValueRange,
    ValueRanges,
    ValueType,
    choose_range,
    measure_clipping,
    measure_extent,
    scale_values,
)
from verydeep.paths import describe_read_error

BadImages = Literal["error", "skip"]
"""Whether a file that cannot be decoded is an error, or is skipped, counted and listed."""


@dataclass(frozen=True)
class Decoding:
    """Options of decoding image files."""

    bad_images: BadImages = "error"
    fast: bool = False
    """Whether large JPEGs are decoded at a lower resolution if that suffices."""


STRICT = Decoding()
"""Decode every file in full; a file that cannot be decoded is an error."""


@dataclass(frozen=True)
class Inspection:
    """Properties of one file, for `verydeep verify`."""

    error: str | None
    """Reason why the file cannot be decoded; None if it can."""
    oddities: tuple[str, ...] = ()
    """Unusual properties of a file that can be decoded."""
    measures: PhotographMeasures | None = None
    """Of its content, if it can be decoded."""


def decode(
    path: Path,
    *,
    camera_rotation: bool,
    at_least: tuple[int, int] | None = None,
    value_ranges: ValueRanges | None = None,
) -> Image.Image:
    """Decode one photograph to RGB; transparency is dropped, and of an animation the first frame is used.

    Args:
        path: the file; its content decides the format, not its name.
        camera_rotation: whether to apply the rotation noted in EXIF.
        at_least: (width, height) that suffice, after rotation. A JPEG is then decoded at 1/2, 1/4 or 1/8 of its size
            if that is no smaller, which changes pixels (docs/choices.md).
        value_ranges: of values that are not bytes, as they were chosen for the data set; None: by this file alone.

    Raises:
        DataError: the file cannot be read or decoded, or fewer than three quarters of its rows can.
    """
    with _naming_errors(path):
        decoded = decode_pixels(path, camera_rotation, at_least)
        rgb = decoded.to_rgb(path, value_ranges)
        return rgb if decoded.turn is None else rgb.transpose(decoded.turn)


def choose_reduction(side: int, at_least: int) -> int:
    """Return by which factor, 1, 2, 4 or 8, a JPEG of this short side may be reduced if ``at_least`` pixels suffice."""
    return next(reduction for reduction in (8, 4, 2, 1) if side // at_least >= reduction or reduction == 1)


def image_size(path: Path, *, camera_rotation: bool) -> tuple[int, int]:
    """Return (width, height) after rotation, from the file's header alone.

    Raises:
        DataError: the file cannot be read, or has no header of an image.
    """
    with _naming_errors(path):
        try:
            opened = open_image_file(path, camera_rotation=camera_rotation)
        except (OSError, SyntaxError, ValueError) as error:
            without_notes = None if isinstance(error, OSError) and error.strerror else remove_notes(path.read_bytes())
            if without_notes is None:
                raise
            opened = open_image_file(without_notes, camera_rotation=camera_rotation)
        with opened:
            return opened.size


def find_value_type(path: Path) -> ValueType | None:
    """Return the type of a file's values if a range of the data set turns them into gray levels, by its header.

    None for a file of bytes, one whose header tells the range, and one that cannot be read, which decoding reports.
    """
    note_file(path)
    try:
        with open_image_file(path, camera_rotation=False) as opened:
            wide = opened.wide
    except Exception:
        return None
    finally:
        forget_file()
    return None if wide is None or wide.limits is not None else wide.value_type


def measure_values(path: Path) -> Extent | None:
    """Return the extent of the values of a file that has a value type; None if it cannot be decoded."""
    try:
        decoded = decode_pixels(path, False, None)
    except MemoryError:
        raise
    except Exception:
        return None
    return decoded.extent


def measure_file_clipping(path: Path, value_range: ValueRange) -> Clipping | None:
    """Count the values of a file that lie outside of a range; None if it cannot be decoded, or holds bytes."""
    try:
        decoded = decode_pixels(path, False, None)
    except MemoryError:
        raise
    except Exception:
        return None
    wide, values = decoded.opened.wide, decoded.values
    return None if wide is None or values is None else measure_clipping(values, value_range, wide.missing)


def upright_rgb(image: Image.Image, name: str) -> Image.Image:
    """Return an RGB copy of an image that a program opened, rotated as its EXIF data say.

    Args:
        image: any PIL image, perhaps not decoded yet.
        name: how error messages call it.

    Raises:
        DataError: the image cannot be decoded.
    """
    with _naming_errors(name):
        image.load()  # Pillow itself rotates a TIFF here, and removes the note
        with quiet():
            turn = read_rotation(image)
        if image.mode == "F" or image.mode.startswith("I"):
            image = _scale_16_bits(image, name)
        rgb = convert_to_rgb(image)
        return rgb.copy() if turn is None else rgb.transpose(turn)


def _scale_16_bits(image: Image.Image, name: str) -> Image.Image:
    """Return the gray levels of an image of 16-bit values; the range of others in memory is not known.

    Raises:
        DataError: the image has other values, or uses less than a quarter of the range.
    """
    values = np.asarray(image)
    if not image.mode.startswith("I;16") or choose_range("uint16", measure_extent(values)) != FULL_RANGE:
        raise DataError(
            f"{name} has mode {image.mode} and values up to {values.max():.6g}, so that the white value is unknown: "
            "give the path of its file, or scale the values to 0-255 and convert them to uint8."
        )
    return Image.fromarray(scale_values(values, FULL_RANGE))


def inspect_image(path: Path, value_ranges: ValueRanges | None = None, camera_rotation: bool = True) -> Inspection:
    """Decode one file, a large JPEG at a reduced size, and return what is wrong or unusual about it, and its measures.

    Args:
        path: the file.
        value_ranges: of values that are not bytes, as they were chosen for the data set.
        camera_rotation: whether to apply the rotation noted in EXIF.
    """
    try:
        with _naming_errors(path):
            decoded = decode_pixels(path, camera_rotation, (JUDGED_SIDE, JUDGED_SIDE))
            check_shape(*decoded.size, path)
            rgb = decoded.to_rgb(path, value_ranges)
            measures = measure_photograph(rgb if decoded.turn is None else rgb.transpose(decoded.turn), decoded.size)
    except MemoryError:
        return Inspection(f"{path} takes more memory than is free; shrink it.")
    except VerydeepError as error:
        return Inspection(str(error))
    opened, oddities = decoded.opened, []
    promised = FORMATS.get(path.suffix.lower())
    if promised not in {None, opened.format}:
        oddities.append(f"{opened.format} under the name {path.suffix}")
    if opened.image is not None and opened.image.mode == "CMYK":
        oddities.append("CMYK, converted to RGB")
    if opened.wide is not None and (num_channels := opened.wide.num_channels) not in {1, 3}:
        used = "first is" if num_channels == 2 else "first three are"
        oddities.append(f"{num_channels} channels, of which the {used} used")
    if opened.format == "TIFF" and (num_pages := _count_pages(path)) > 1:
        oddities.append(f"{num_pages:,} pages, of which the first is used")
    if decoded.share is not None:
        oddities.append(f"damaged, {decoded.share:.0%} of its rows were decoded")
    return Inspection(None, tuple(oddities), measures)


def _count_pages(path: Path) -> int:
    """Return the number of pages of a TIFF; 1 if it cannot be told."""
    try:
        with quiet(), Image.open(path, formats=("TIFF",)) as image:
            return getattr(image, "n_frames", 1)
    except Exception:  # Pillow does not read its first page, or a later one is damaged
        return 1


@contextmanager
def _naming_errors(name: Path | str) -> Iterator[None]:
    """Turn every error of Pillow into one sentence that names the file or image."""
    note_file(name)
    try:
        yield
    except (VerydeepError, MemoryError):
        raise
    except MissingPackageError as error:
        raise DataError(f"{name} {error}.") from error
    except UnidentifiedImageError as error:
        if holder := find_holder(str(name)):
            kind = "a video: extract pictures from" if holder == VIDEO else "a packed folder: unpack"
            raise DataError(f"{name} is {kind} it.") from error
        if is_unread_suffix(Path(name).suffix):
            raise DataError(f"{name} is in a format that verydeep cannot read: convert it to JPEG or PNG.") from error
        raise DataError(f"{name} {describe_unidentified(Path(name))}.") from error
    except Image.DecompressionBombError as error:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 1_000_000
        raise DataError(
            f"{name} claims more than {limit} million pixels, which may be an attack; shrink or remove it."
        ) from error
    except Exception as error:
        if isinstance(error, OSError) and error.strerror:
            raise DataError(describe_read_error(name, error)) from error
        reason = re.split(r"\n|\. ", str(error))[0] or type(error).__name__  # libjxl's goes on about how to build it
        raise DataError(f"{name} cannot be decoded ({reason}); replace or remove the file.") from error
    finally:
        forget_file()
