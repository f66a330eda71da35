"""Open image files: the header, the rotation noted in EXIF, and values that are not bytes."""

import io
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.TiffImagePlugin import TiffImageFile
from PIL.TiffTags import TAGS_V2_GROUPS

from verydeep.data.pixels.formats import (
    BEGINNING,
    PILLOW_FORMATS,
    PLUGINS,
    MissingPackageError,
    describe_remedy,
    identify_format,
    is_decodable,
    load_plugin,
)
from verydeep.data.pixels.jxl_size import read_jxl_size
from verydeep.data.pixels.tiff_values import find_wide_tiff
from verydeep.data.pixels.wide_values import (
    Source,
    WideImage,
    check_size,
    find_wide_values,
    open_binary,
    open_color_pfm,
)
from verydeep.errors import DataError
from verydeep.paths import special_kind

_ORIENTATION = 0x0112  # the EXIF tag
TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""Orientation in EXIF -> the rotation that makes the image upright."""
SIDEWAYS = frozenset(TURNS[orientation] for orientation in (5, 6, 7, 8))
"""Rotations that exchange width and height."""

_QUIET = threading.Lock()
if hasattr(os, "register_at_fork"):  # a worker forked while another thread holds the lock would wait forever
    os.register_at_fork(before=_QUIET.acquire, after_in_parent=_QUIET.release, after_in_child=_QUIET.release)


@dataclass(frozen=True)
class OpenedImage:
    """An image file whose header was read."""

    image: ImageFile | None
    """The image as Pillow opened it; None if Pillow cannot."""
    wide: WideImage | None
    """The image with its values if they are not bytes."""
    turn: Image.Transpose | None
    """Rotation to apply after decoding."""
    format: str
    """Format of the file; "JPEG" also if it holds several of them."""

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) after rotation."""
        stored = self.wide or self.image
        assert stored is not None
        width, height = stored.size
        return (height, width) if self.turn in SIDEWAYS else (width, height)

    def __enter__(self) -> "OpenedImage":
        return self

    def __exit__(self, *error: object) -> None:
        if self.image is not None:
            self.image.__exit__(*error)  # closes the file; the pixels stay


def open_image_file(source: Source, *, camera_rotation: bool) -> OpenedImage:
    """Read the header of a file, and whether its values are bytes.

    Args:
        source: the file, or its content.
        camera_rotation: whether to apply the rotation noted in EXIF; Pillow always rotates a TIFF.

    Raises:
        DataError: it is a pipe, a socket or a device.
        UnidentifiedImageError: it is not an image, or its format is not read.
        MissingPackageError: it needs a package that is not installed.
        Exception: whatever the decoders of damaged files raise.
    """
    if isinstance(source, Path) and (kind := special_kind(source)):  # reading a pipe would wait for ever
        raise DataError(f"{source} is a {kind}; give a file.")
    with quiet():
        try:
            image = _open_by_pillow(source, PILLOW_FORMATS)
        except UnidentifiedImageError:
            return _open_otherwise(source, camera_rotation)
        return _examine(image, source, PILLOW_FORMATS, camera_rotation)


def _open_by_pillow(source: Source, formats: tuple[str, ...]) -> ImageFile:
    image = Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=formats)
    image.filename = ""  # else Pillow may use pixels where they lie in the file, and crash if it becomes shorter
    return image


def _open_otherwise(source: Source, camera_rotation: bool) -> OpenedImage:
    """Open a file that Pillow does not open by itself."""
    with open_binary(source) as file:
        name = identify_format(file.read(BEGINNING))
    if name in PLUGINS or name == "AVIF":
        if not is_decodable(name):
            raise MissingPackageError(f"a file of the format {name}", describe_remedy(name))
        if name == "JXL":
            with open_binary(source) as file:
                check_size(*read_jxl_size(file.read()))
        if name in PLUGINS:
            load_plugin(name)
        return _examine(_open_by_pillow(source, (name,)), source, (name,), camera_rotation)
    wide = None
    if name == "TIFF":
        wide = find_wide_tiff(None, source, lambda: _open_by_pillow(source, PILLOW_FORMATS), TURNS)
    elif name == "PPM":
        wide = open_color_pfm(source)
    if wide is None:
        raise UnidentifiedImageError
    return OpenedImage(None, wide, wide.turn, name or "")


def _examine(image: ImageFile, source: Source, formats: tuple[str, ...], camera_rotation: bool) -> OpenedImage:
    """Find values that are not bytes, and the rotation to apply."""

    def reopen() -> ImageFile:
        return _open_by_pillow(source, formats)

    if isinstance(image, TiffImageFile):
        _read_tiff_notes(image)
        wide = find_wide_tiff(image, source, reopen, TURNS)
        return OpenedImage(image, wide, None if wide is None else wide.turn, "TIFF")
    wide = find_wide_values(image, source, reopen)
    # A JPEG XL is rotated by its decoder, unless it is a JPEG in another coat.
    is_rotated = not camera_rotation or (image.format == "JXL" and not getattr(image, "jpeg", False))
    name = "JPEG" if isinstance(image, JpegImageFile) else str(image.format)
    return OpenedImage(image, wide, None if is_rotated else read_rotation(image), name)


def _read_tiff_notes(image: TiffImageFile) -> None:
    """Read what Pillow reads of EXIF when it loads a TIFF, so that it warns here, where nobody hears it."""
    try:
        exif = image.getexif()
        for group in TAGS_V2_GROUPS:
            if group in exif:
                exif.get_ifd(group)
    except Exception:  # loading reports it
        return


def read_rotation(image: Image.Image) -> Image.Transpose | None:
    """Return the rotation that a camera noted in EXIF; to be called within ``quiet``."""
    try:
        return TURNS.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # broken EXIF is no reason to lose the photograph
        return None


@contextmanager
def quiet() -> Iterator[None]:
    """Hide Pillow's warnings from the user, and from filters that turn them into errors.

    Filters belong to the whole process, so only one thread at a time is here; reading a header takes a tenth of a
    millisecond, and pixels are decoded outside.
    """
    with _QUIET, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
