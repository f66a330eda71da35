"""Values of TIFF files that are not bytes, or that have other channels than gray or RGB.

Uncompressed files are read here, whatever their numbers. Of compressed ones Pillow reads one channel, and color of 16
bits; tifffile, an extra, reads the others. Pillow reads some of them wrongly without an error, so each is named here.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec

import numpy as np
from PIL import Image
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import ImageFileDirectory_v2, TiffImageFile

from verydeep.data.pixels.formats import MissingPackageError
from verydeep.data.pixels.wide_values import Load, Source, WideImage, check_size, find_wide_color, open_binary
from verydeep.ops.arrays import AnyArray
from verydeep.ops.value_ranges import ValueRange, ValueType

_WHITE_IS_ZERO, _RGB = 0, 2
_TYPES: dict[int, str] = {1: "u", 2: "i", 3: "f", 4: "u"}
"""SampleFormat -> kind of numbers."""


@dataclass(frozen=True)
class TiffHeader:
    """The tags of the first page of a TIFF file that its values depend on."""

    size: tuple[int, int]
    """(width, height) as stored."""
    bits: int
    kind: str
    """Kind of numbers: u, i or f."""
    num_channels: int
    is_planar: bool
    """Whether each channel is stored by itself."""
    photometric: int
    compression: int
    byte_order: str
    is_reversed: bool
    """Whether the bits of each byte are in reverse order."""
    orientation: int
    is_tiled: bool
    """Whether the image is stored in tiles, which may reach beyond it, and not in strips."""
    segment: tuple[int, int]
    """(width, height) of the strips or tiles."""
    offsets: tuple[int, ...]
    largest: float
    """Largest value that a tag mentions, other than that of the type; 0: none."""
    missing: float | None
    """Value of missing pixels."""

    @classmethod
    def from_tags(cls, tags: ImageFileDirectory_v2) -> "TiffHeader":
        """Interpret tags.

        Raises:
            ValueError: a tag is missing or impossible.
        """

        def first(tag: int, default: int = 0) -> int:
            value = tags.get(tag, default)
            value = value[0] if isinstance(value, tuple) else value
            return int(value) if isinstance(value, int | float) else default

        width, height, num_channels = first(256), first(257), first(277, 1)
        check_size(width, height * max(1, num_channels // 4))
        bits, kind, offsets = first(258, 1), _TYPES.get(first(339, 1), "?"), tags.get(324, tags.get(273, ()))
        noted = max(first(281), first(341)) if kind in "ui" else 0
        return cls(
            size=(width, height),
            bits=bits,
            kind=kind,
            num_channels=num_channels,
            is_planar=first(284, 1) == 2,
            photometric=first(262),
            compression=first(259, 1),
            byte_order="<" if tags.prefix == b"II" else ">",
            is_reversed=first(266, 1) == 2,
            orientation=first(274, 1),
            is_tiled=324 in tags,
            segment=(first(322), first(323)) if 324 in tags else (width, min(height, first(278, height) or height)),
            offsets=tuple(offsets) if isinstance(offsets, tuple) else (offsets,),
            largest=noted if noted < 2 ** (bits - (kind == "i")) - 1 else 0,
            missing=_read_missing(tags),
        )

    @property
    def is_plain(self) -> bool:
        """Whether Pillow reads the pixels as they are: gray or RGB of up to eight bits, or palettes and the like."""
        if self.photometric > _RGB:
            return True
        has_bytes = self.bits <= 8 and self.kind == "u"
        return has_bytes and (self.photometric == _RGB or self.num_channels <= 2 - self.is_planar)

    @property
    def value_type(self) -> ValueType | None:
        """Type of the values; None if there is no such type."""
        if self.kind == "f":
            return "float"
        size = next((size for size in (8, 16, 32, 64) if self.bits <= size), 0)
        return f"{'u' * (self.kind == 'u')}int{size}" if size and self.kind in "ui" else None  # type: ignore[return-value]

    @property
    def limits(self) -> ValueRange | None:
        """Black and white, where the number of bits tells them."""
        has_own_bits = self.kind == "u" and self.bits not in {16, 32, 64}
        return (0, 2**self.bits - 1) if has_own_bits else None

    @property
    def is_uncompressed(self) -> bool:
        """Whether the values lie in the file as NumPy has them."""
        return self.compression == 1 and self.bits in {8, 16, 32, 64} and not self.is_reversed

    def is_read_by_pillow(self, image: ImageFile | None) -> bool:
        """Whether Pillow reads the values rightly; it swaps bytes of compressed signed numbers and floats."""
        if image is None:
            return False
        if self.num_channels == 1:
            return self.byte_order == "<" or (self.bits <= 16 and self.kind == "u") or self.compression == 1
        return self.photometric == _RGB and image.mode in {"RGB", "RGBA"} and self.bits == 16 and not self.is_planar


def _read_missing(tags: ImageFileDirectory_v2) -> float | None:
    """Return the value of missing pixels, which GDAL writes as text."""
    try:
        return float(str(tags.get(42113, "")).strip("\0 "))
    except ValueError:
        return None


def read_tags(source: Source) -> ImageFileDirectory_v2:
    """Read the tags of the first page of a file that Pillow does not open."""
    with open_binary(source) as file:
        beginning = file.read(16)
        tags = ImageFileDirectory_v2(beginning if beginning[2] == 43 else beginning[:8])
        file.seek(tags.next)
        tags.load(file)
    return tags


def find_wide_tiff(
    image: TiffImageFile | None, source: Source, reopen: Callable[[], ImageFile], turns: "dict[int, Image.Transpose]"
) -> WideImage | None:
    """Return a TIFF with its values, or None if Pillow reads them as they are.

    Args:
        image: opened, not loaded; None if Pillow does not open it.
        source: of the image.
        reopen: opens it once more.
        turns: orientation -> rotation to apply.

    Raises:
        ValueError: a tag is missing or impossible.
    """
    header = TiffHeader.from_tags(read_tags(source) if image is None else image.tag_v2)
    if image is not None and header.is_plain:
        return None
    value_type = header.value_type
    if value_type is None or header.photometric > _RGB:
        raise ValueError("its kind of TIFF is not known")
    common = {
        "value_type": value_type,
        "limits": header.limits,
        "largest": header.largest,
        "white_is_zero": header.photometric == _WHITE_IS_ZERO,
        "missing": header.missing,
        "num_channels": header.num_channels,
    }
    if not header.is_uncompressed and image is not None and header.is_read_by_pillow(image):
        wide = find_wide_color(image, reopen) if header.num_channels > 1 else None
        read = wide.read if wide is not None else partial(_read_by_pillow, image, value_type)
        return WideImage(size=image.size, read=read, **common)  # type: ignore[arg-type]
    turn = turns.get(header.orientation)
    read = partial(_read_segments if header.is_uncompressed else _read_by_tifffile, source, header)
    return WideImage(size=header.size, read=read, turn=turn, **common)  # type: ignore[arg-type]


def _read_by_pillow(image: ImageFile, value_type: ValueType, load: Load) -> AnyArray:
    load(image)
    values = np.asarray(image)
    return values.view(np.uint32) if value_type == "uint32" else values


def _read_segments(source: Source, header: TiffHeader, _load: Load) -> AnyArray:
    """Read the first three channels of an uncompressed file, strip by strip or tile by tile."""
    number = np.dtype(f"{header.byte_order}{header.kind}{header.bits // 8}")
    (width, height), (segment_width, segment_height) = header.size, header.segment
    samples = 1 if header.is_planar else header.num_channels
    planes = min(3, header.num_channels) if header.is_planar else 1
    values = np.zeros((height, width, planes * min(3, samples)), number)
    with open_binary(source) as file:
        corners = [(p, y, x) for p in range(planes) for y, x in _corners(header)]
        for (plane, top, left), offset in zip(corners, header.offsets, strict=False):
            rows = segment_height if header.is_tiled else min(segment_height, height - top)
            file.seek(offset)
            content = file.read(rows * segment_width * samples * number.itemsize)
            part = np.frombuffer(content, number).reshape(rows, segment_width, samples)
            target = values[top : top + rows, left : left + segment_width, plane : plane + min(3, samples)]
            target[:] = part[: target.shape[0], : target.shape[1], :3]
    if len(header.offsets) < len(corners):
        raise ValueError("it is cut off")
    return values


def _corners(header: TiffHeader) -> Iterator[tuple[int, int]]:
    (width, height), (segment_width, segment_height) = header.size, header.segment
    for top in range(0, height, segment_height):
        for left in range(0, width, segment_width):
            yield top, left


def _read_by_tifffile(source: Source, header: TiffHeader, _load: Load) -> AnyArray:
    """Read a compressed file.

    Raises:
        MissingPackageError: tifffile is not installed.
    """
    if find_spec("tifffile") is None or find_spec("imagecodecs") is None:
        kind = f"a compressed TIFF with {header.num_channels} channels of {header.bits} bits"
        raise MissingPackageError(kind, "pip install 'verydeep[tiff]'")
    import tifffile  # noqa: PLC0415 - an extra

    with open_binary(source) as file, tifffile.TiffFile(file) as tiff:
        page = tiff.pages[0]
        values: AnyArray = page.asarray()
    return np.moveaxis(values, 0, -1) if header.is_planar and values.ndim == 3 else values
