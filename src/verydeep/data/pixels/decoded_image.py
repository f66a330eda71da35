"""Decode the pixels of image files: whole, without damaged metadata, or only the rows that are left.

Pillow refuses files with damaged notes and stops at a truncated one. Both are handled here without a global switch:
LOAD_TRUNCATED_IMAGES would change what every other thread accepts, so a copy without notes is decoded, and the missing
end of a JPEG is appended.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image
from PIL.ImageFile import ImageFile

from verydeep.data.pixels.file_repair import drop_cut_segment, remove_notes
from verydeep.data.pixels.formats import MissingPackageError
from verydeep.data.pixels.image_files import SIDEWAYS, OpenedImage, open_image_file
from verydeep.data.pixels.wide_values import Source
from verydeep.errors import DataError, VerydeepError
from verydeep.ops.arrays import AnyArray
from verydeep.ops.value_ranges import Extent, ValueRanges, choose_range, measure_extent, name_values, scale_values

ROWS_NEEDED = 0.75
"""A damaged file is used if at least this share of its rows can be decoded."""

_END_OF_JPEG = b"\xff\xd9"


@dataclass(frozen=True, eq=False)
class DecodedImage:
    """A file whose pixels were decoded."""

    opened: OpenedImage
    size: tuple[int, int]
    """(width, height) of the whole image after rotation, also where it was decoded at a lower resolution."""
    values: AnyArray | None = None
    """(H, W) or (H, W, C) values that are not bytes; None: the image has the pixels."""
    share: float | None = None
    """Share of rows that could be decoded, if the file is damaged."""

    @property
    def turn(self) -> Image.Transpose | None:
        """Rotation to apply."""
        return self.opened.turn

    @property
    def extent(self) -> Extent | None:
        """Extent of values that are not bytes."""
        wide = self.opened.wide
        if wide is None or self.values is None or (extent := measure_extent(self.values, wide.missing)) is None:
            return None
        return replace(extent, largest=max(extent.largest, wide.largest))

    def to_rgb(self, path: Path, value_ranges: ValueRanges | None) -> Image.Image:
        """Convert the image to RGB, before rotation.

        Args:
            path: of the file, for messages.
            value_ranges: of the data set; None: values have the range that is chosen for this file alone.

        Raises:
            DataError: no range was chosen for values of this type.
        """
        wide, values = self.opened.wide, self.values
        if wide is None or values is None:
            assert self.opened.image is not None
            return convert_to_rgb(self.opened.image)
        if wide.limits is not None:
            value_range = wide.limits
        elif value_ranges is None:
            value_range = choose_range(wide.value_type, self.extent)
        elif wide.value_type in value_ranges:
            value_range = value_ranges[wide.value_type]
        else:
            raise DataError(
                f"{path} has {name_values(wide.value_type)}, but its suffix says otherwise: rename it to end in "
                f"{'.png' if self.opened.format == 'PNG' else '.tif'}."
            )
        channels = values if values.ndim == 2 or values.shape[2] > 2 else values[..., 0]
        levels = scale_values(channels[..., :3] if channels.ndim == 3 else channels, value_range, missing=wide.missing)
        return Image.fromarray(255 - levels if wide.white_is_zero else levels).convert("RGB")


def decode_pixels(path: Path, camera_rotation: bool, at_least: tuple[int, int] | None) -> DecodedImage:
    """Decode a file: as it is, without its metadata, or as many of its rows as possible."""
    try:
        return _decode_whole(path, camera_rotation, at_least)
    except (MemoryError, VerydeepError, Image.DecompressionBombError, MissingPackageError):
        raise
    except Exception as error:  # decoders of damaged files raise nearly anything
        if isinstance(error, OSError) and error.strerror:
            raise
        damage = error
    content = path.read_bytes()
    without_notes = remove_notes(content)
    if without_notes is not None:
        try:
            return _decode_whole(without_notes, camera_rotation, at_least)
        except MemoryError:
            raise
        except Exception:  # the pixels are damaged too
            content = without_notes
    decoded = _decode_damaged(drop_cut_segment(content) + _END_OF_JPEG, camera_rotation, at_least)
    if decoded.share is not None and decoded.share < ROWS_NEEDED:
        raise DataError(
            f"{path} is damaged: only {decoded.share:.0%} of its rows can be decoded ({damage}); replace or remove it."
        )
    return decoded


def _decode_whole(source: Source, camera_rotation: bool, at_least: tuple[int, int] | None) -> DecodedImage:
    with open_image_file(source, camera_rotation=camera_rotation) as opened:
        size = opened.size
        if opened.wide is not None:
            return DecodedImage(opened, size, opened.wide.read(lambda image: image.load()))  # plug-ins have their own
        assert opened.image is not None
        _draft(opened.image, opened.turn, at_least)
        opened.image.load()
        return DecodedImage(opened, size)


def _decode_damaged(content: bytes, camera_rotation: bool, at_least: tuple[int, int] | None) -> DecodedImage:
    """Decode as many rows as possible."""
    shares = []

    def load(image: ImageFile) -> None:
        shares.append(_decode_rows(image))

    with open_image_file(content, camera_rotation=camera_rotation) as opened:
        size = opened.size
        if opened.wide is not None:
            values = opened.wide.read(load)
            return DecodedImage(opened, size, values, min(shares, default=0.0))
        assert opened.image is not None
        _draft(opened.image, opened.turn, at_least)
        load(opened.image)
        return DecodedImage(opened, size, None, shares[0])


def _decode_rows(image: ImageFile) -> float:
    """Decode as many rows as possible, and return their share.

    Rows that were never written are zero; in a JPEG with its end appended they have one gray, that of the last pixel. A
    progressive JPEG has all its rows once its first scan is complete; later scans only refine them.
    """
    try:
        image.load()
    except MemoryError:
        raise
    except Exception:
        image.tile = []  # the rows decoded so far stay
    pixels = np.asarray(image).reshape(image.height, image.width, -1)
    missing = (pixels == 0).all(axis=(1, 2)) | (pixels == pixels[-1, -1]).all(axis=(1, 2))
    return float(1 - missing.mean())


def _draft(image: ImageFile, turn: Image.Transpose | None, at_least: tuple[int, int] | None) -> None:
    if at_least is not None:
        image.draft(None, at_least[::-1] if turn in SIDEWAYS else at_least)


def convert_to_rgb(image: Image.Image) -> Image.Image:
    """Convert an image of bytes to RGB; transparency is dropped."""
    if image.mode == "RGB":
        return image
    if image.mode in {"P", "PA"}:  # straight to RGB, Pillow warns about some kinds of transparency
        return image.convert("RGBA").convert("RGB")
    return image.convert("RGB")
