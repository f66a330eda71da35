"""Decode files of photographs to RGB images, as ILSVRC and people's own folders hold them (docs/choices.md).

Pillow warns about broken EXIF and stops at a truncated file. Both are handled here without a global switch:
LOAD_TRUNCATED_IMAGES would change what every other thread accepts, so the missing end of a JPEG is appended instead.
"""

import io
import os
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile

from verydeep.errors import DataError, VerydeepError
from verydeep.files import special_kind

FORMATS = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".jfif": "JPEG",
    ".png": "PNG",
    ".webp": "WEBP",
    ".bmp": "BMP",
    ".gif": "GIF",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".ppm": "PPM",
    ".pgm": "PPM",
}
"""Suffix of an image file -> the format it promises. No other formats are decoded (EPS runs a program)."""

ROWS_NEEDED = 0.75
"""A damaged file is used if at least this share of its rows can be decoded."""

_FORMAT_NAMES = tuple(dict.fromkeys(FORMATS.values()))
_END_OF_JPEG = b"\xff\xd9"
_ORIENTATION = 0x0112  # the EXIF tag
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_SIDEWAYS = frozenset(_TURNS[orientation] for orientation in (5, 6, 7, 8))
_QUIET = threading.Lock()
if hasattr(os, "register_at_fork"):  # a worker forked while another thread holds the lock would wait forever
    os.register_at_fork(before=_QUIET.acquire, after_in_parent=_QUIET.release, after_in_child=_QUIET.release)


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


def decode(path: Path, *, camera_rotation: bool, at_least: tuple[int, int] | None = None) -> Image.Image:
    """Decode one photograph to RGB; transparency is dropped, and of an animation the first frame is used.

    Args:
        path: the file; its content decides the format, not its name.
        camera_rotation: whether to apply the rotation noted in EXIF.
        at_least: (width, height) that suffice, after rotation. A JPEG is then decoded at 1/2, 1/4 or 1/8 of its size
            if that is no smaller, which changes pixels (docs/choices.md).

    Raises:
        DataError: the file cannot be read or decoded, or fewer than three quarters of its rows can.
    """
    with _naming_errors(path):
        image, turn, _ = _load(path, camera_rotation, at_least)
        rgb = _to_rgb(image)
        return rgb if turn is None else rgb.transpose(turn)


def choose_reduction(side: int, at_least: int) -> int:
    """Return by which factor, 1, 2, 4 or 8, a JPEG of this short side may be reduced if ``at_least`` pixels suffice."""
    return next(reduction for reduction in (8, 4, 2, 1) if side // at_least >= reduction or reduction == 1)


def image_size(path: Path, *, camera_rotation: bool) -> tuple[int, int]:
    """Return (width, height) after rotation, from the file's header alone.

    Raises:
        DataError: the file cannot be read, or has no header of an image.
    """
    with _naming_errors(path):
        image, turn = _open(path, camera_rotation)
        with image:
            width, height = image.size
    return (height, width) if turn in _SIDEWAYS else (width, height)


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
        with _quiet():
            turn = _camera_rotation(image)
        rgb = _to_rgb(image)
        return rgb.copy() if turn is None else rgb.transpose(turn)


def inspect_image(path: Path) -> Inspection:
    """Decode one file as training does, and return what is wrong or unusual about it."""
    try:
        with _naming_errors(path):
            image, _, share = _load(path, False, None)
            _to_rgb(image)
    except VerydeepError as error:
        return Inspection(str(error))
    oddities = []
    promised = FORMATS.get(path.suffix.lower())
    actual = "JPEG" if isinstance(image, JpegImageFile) else str(image.format)
    if promised not in (None, actual):
        oddities.append(f"{actual} under the name {path.suffix}")
    if image.mode == "CMYK":
        oddities.append("CMYK, converted to RGB")
    if share is not None:
        oddities.append(f"damaged, {share:.0%} of its rows were decoded")
    return Inspection(None, tuple(oddities))


def _load(
    path: Path, camera_rotation: bool, at_least: tuple[int, int] | None
) -> tuple[ImageFile, Image.Transpose | None, float | None]:
    """Return the decoded image in its own mode, the rotation to apply, and the share of rows if it is damaged."""
    image, turn = _open(path, camera_rotation)
    with image:
        _draft(image, turn, at_least)
        try:
            image.load()
        except MemoryError:
            raise
        except Exception as error:  # decoders of damaged files raise nearly anything
            damage = error
        else:
            return image, turn, None
    image, _ = _open(io.BytesIO(path.read_bytes() + _END_OF_JPEG), camera_rotation=False)
    with image:
        _draft(image, turn, at_least)
        share = _load_damaged(image)
    if share < ROWS_NEEDED:
        raise DataError(
            f"{path} is damaged: only {share:.0%} of its rows can be decoded ({damage}); replace or remove it."
        )
    return image, turn, share


def _load_damaged(image: ImageFile) -> float:
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


def _open(source: Path | io.BytesIO, camera_rotation: bool) -> tuple[ImageFile, Image.Transpose | None]:
    """Read the header and the rotation noted in EXIF; Pillow rotates a TIFF itself."""
    if isinstance(source, Path) and (kind := special_kind(source)):  # reading a pipe would wait for ever
        raise DataError(f"{source} is a {kind}; give a file.")
    with _quiet():
        image = Image.open(source, formats=_FORMAT_NAMES)
        return image, _camera_rotation(image) if camera_rotation and image.format != "TIFF" else None


def _camera_rotation(image: Image.Image) -> Image.Transpose | None:
    try:
        return _TURNS.get(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # broken EXIF is no reason to lose the photograph
        return None


def _draft(image: ImageFile, turn: Image.Transpose | None, at_least: tuple[int, int] | None) -> None:
    if at_least is not None:
        image.draft(None, at_least[::-1] if turn in _SIDEWAYS else at_least)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I"):  # 16 bits of gray: Pillow would clip them at 255
        gray = np.asarray(image).clip(0, 65535) >> 8
        return Image.fromarray(gray.astype(np.uint8)).convert("RGB")
    if image.mode in {"P", "PA"}:  # straight to RGB, Pillow warns about some kinds of transparency
        return image.convert("RGBA").convert("RGB")
    return image.convert("RGB")


@contextmanager
def _quiet() -> Iterator[None]:
    """Hide Pillow's warnings from the user, and from filters that turn them into errors.

    Filters belong to the whole process, so only one thread at a time is here; reading a header takes a tenth of a
    millisecond, and pixels are decoded outside.
    """
    with _QUIET, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def _naming_errors(name: Path | str) -> Iterator[None]:
    """Turn every error of Pillow into one sentence that names the file or image."""
    try:
        yield
    except (VerydeepError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        raise DataError(f"{name} is not an image, or its header is damaged; replace or remove the file.") from error
    except Image.DecompressionBombError as error:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) // 1_000_000
        raise DataError(
            f"{name} claims more than {limit} million pixels, which may be an attack; shrink or remove it."
        ) from error
    except Exception as error:
        if isinstance(error, OSError) and error.strerror:
            raise DataError(f"{name} cannot be read: {error.strerror}.") from error
        reason = str(error) or type(error).__name__
        raise DataError(f"{name} cannot be decoded ({reason}); replace or remove the file.") from error
