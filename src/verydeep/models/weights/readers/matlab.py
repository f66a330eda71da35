"""MATLAB files of level 5, walked through before SciPy is let at them (MathWorks, "MAT-File Format").

SciPy believes a file: 200 bytes that announce a cell of 2^29 places cost 4 GB, and a megabyte of cells within cells
ends the process (SciPy 1.17). So every array is checked first: it lies within what holds it, its dimensions fit its
bytes, it is of a class that a net needs, and neither the number of arrays, their depth nor what compressed ones
inflate to is beyond that of a net. What is compressed is inflated in pieces and thrown away again.
"""

import io
import math
import os
import struct
import zlib
from collections.abc import Collection
from pathlib import Path
from typing import BinaryIO, NoReturn

from verydeep.errors import VerydeepError
from verydeep.models.weights.foreign import MOST_VALUES

_HEADER = 128
_LEVEL_5, _HDF5 = 0x0100, 0x0200
_BLOCK = 1 << 16
_INT32, _UINT32, _MATRIX, _COMPRESSED = 5, 6, 14, 15
_NUMBER_BYTES = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8}
"""Of the types that numbers are stored in: int8, uint8, ... float32, float64, int64, uint64."""
_TEXT_TYPES = (1, 2, 4, 16, 17, 18)
_NAME_TYPES = (1, 16)
_CELL, _STRUCT, _CHAR, _OPAQUE = 1, 2, 4, 17
_NUMERIC = range(6, 16)
_COMPLEX = 1 << 11

_MOST_ARRAYS = 100_000
"""A net has some forty layers of a dozen fields, and two texts for each of its thousand classes."""
_MOST_DEPTH = 16
_MOST_FIELDS = 256
_ALWAYS_INFLATED = 16 << 20
_MOST_RATIO = 50
"""What is compressed below 1/50 are no weights; zlib reaches 1/1000."""


def check_mat_file(path: Path, wanted: Collection[str]) -> tuple[str, ...]:
    """Names of the variables of a MATLAB file, of which the wanted ones can be loaded without harm.

    Raises:
        VerydeepError: it is none of level 5, is damaged, or holds what no net holds.
    """
    try:
        with path.open("rb") as file:
            return _Walk(path, file).variables(wanted)
    except OSError as error:
        raise VerydeepError(f"{path} cannot be read ({error}): give the .mat file itself.") from None


class _Inflating(io.RawIOBase):
    """The next bytes of a file, inflated as they are asked for."""

    def __init__(self, file: BinaryIO, length: int) -> None:
        self._file, self._left, self._inflate = file, length, zlib.decompressobj()

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, target: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill the target as far as one piece does; 0 at the end, whose checksum is then known to be right."""
        piece = b""
        while not piece and not self._inflate.eof:
            waiting = self._inflate.unconsumed_tail
            fresh = b"" if waiting else self._file.read(min(_BLOCK, self._left))
            self._left -= len(fresh)
            piece = self._inflate.decompress(waiting or fresh, len(target))
            if not (piece or waiting or fresh or self._inflate.eof):
                raise EOFError
        target[: len(piece)] = piece
        return len(piece)


class _Walk:
    """One pass through a file."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path, self.file = path, file
        self.size = os.fstat(file.fileno()).st_size
        self.order = ""
        self.stream: BinaryIO = file
        self.at = 0
        """Place in the stream, from the beginning of the variable."""
        self.arrays = 0
        self.inflated = 0

    def variables(self, wanted: Collection[str]) -> tuple[str, ...]:
        """All names; the bodies of the wanted ones are checked."""
        self.order = self._byte_order()
        names: dict[str, None] = {}
        start = _HEADER
        while start < self.size:
            self._count(1)
            self.stream, self.at = self.file, 0
            self.file.seek(start)
            kind, count = self._unpack("II", self.size - start)
            start += 8 + count
            if start > self.size:
                self._damaged("a variable reaches beyond the file's end")
            try:
                name = self._variable(kind, count, wanted)
            except (zlib.error, EOFError):
                self._damaged("what is compressed cannot be inflated")
            if name in names and name in wanted:
                self._damaged(f"two variables are called {name}")
            names[name] = None
        return tuple(names)

    def _byte_order(self) -> str:
        """As struct writes it."""
        head = self.file.read(_HEADER)
        mark = head[126:]
        if not head.startswith(b"MATLAB") or mark not in (b"IM", b"MI"):
            raise VerydeepError(f"{self.path} is not a MATLAB file of level 5: in MATLAB, save it again with '-v7'.")
        order = "<" if mark == b"IM" else ">"
        (version,) = struct.unpack(f"{order}H", head[124:126])
        if version == _HDF5:
            raise VerydeepError(
                f"{self.path} is a MATLAB file of version 7.3 (HDF5), which is not read: in MATLAB, load it and save "
                "it again with '-v7'."
            )
        if version != _LEVEL_5:
            self._damaged(f"its header says version {version:#x}")
        return order

    def _variable(self, kind: int, count: int, wanted: Collection[str]) -> str:
        """Check one variable, the file standing behind its tag."""
        self.at = 0
        if kind == _COMPRESSED:
            self.stream = io.BufferedReader(_Inflating(self.file, count), _BLOCK)
            kind, count = self._unpack("II", 8)
            self.at = 0
        if kind != _MATRIX or count == 0:
            self._damaged("a variable is no array")
        name = self._body(count, 0, wanted)
        if self.stream is not self.file and name in wanted and self.stream.read(1):
            self._damaged("more is compressed than its array")
        return name

    def _body(self, end: int, depth: int, wanted: Collection[str] | None = None) -> str:
        """Check one array, whose tag is read, up to its end; of a variable that is not wanted its header only."""
        tag_type, tag_bytes, flags, _ = self._unpack("IIII", end)
        kind = flags & 0xFF
        if (tag_type, tag_bytes) != (_UINT32, 8):
            self._damaged("an array has no flags")
        if kind == _OPAQUE and wanted is not None:
            return ""
        dims_type, dims = self._small(end)
        if dims_type not in (_INT32, _UINT32) or len(dims) % 4 or not 8 <= len(dims) <= 4 * 32:
            self._damaged("an array has no dimensions")
        places = math.prod(shape := struct.unpack(f"{self.order}{len(dims) // 4}i", dims))
        name_type, text = self._small(end)
        name = text.decode("latin-1")
        if min(shape) < 0 or name_type not in _NAME_TYPES:
            self._damaged("an array has no name, or a dimension below 0")
        if wanted is not None and name not in wanted:
            return name
        if wanted is not None and self.stream is not self.file:
            self._allow(end)
        if kind in (_CELL, _STRUCT):
            self._nested(places if kind == _CELL else places * self._fields(end, places), end, depth)
        elif kind == _CHAR or kind in _NUMERIC:
            self._leaf(kind, places, bool(flags & _COMPLEX), end)
        else:
            raise VerydeepError(
                f"{self.path} holds an array of MATLAB's class {kind} (an object, a function or a sparse matrix), "
                "which is not read: save layers and meta with plain arrays only."
            )
        if self.at != end:
            self._damaged("an array is longer than what it holds")
        return name

    def _allow(self, inflated: int) -> None:
        """Let a variable be inflated, unless it is more than weights of this file's size could give."""
        self.inflated += inflated
        if self.inflated > min(4 * MOST_VALUES, max(_ALWAYS_INFLATED, _MOST_RATIO * self.size)):
            raise VerydeepError(
                f"{self.path} inflates to {self.inflated} bytes or more, as no weights do: it is no net of MatConvNet."
            )

    def _nested(self, count: int, end: int, depth: int) -> None:
        """Check the arrays of a cell, or the fields of structures."""
        self._count(count)
        if depth == _MOST_DEPTH:
            raise VerydeepError(
                f"{self.path} holds cells within more than {depth} cells: it is no net that can be read."
            )
        for _ in range(count):
            kind, length = self._unpack("II", end)
            if kind != _MATRIX or self.at + length > end:
                self._damaged("an array reaches beyond what holds it")
            if length:  # none: an empty array
                self._body(self.at + length, depth + 1)

    def _count(self, arrays: int) -> None:
        self.arrays += arrays
        if self.arrays > _MOST_ARRAYS:
            raise VerydeepError(f"{self.path} announces {self.arrays} arrays, as no net does: it cannot be read.")

    def _fields(self, end: int, places: int) -> int:
        """How many fields structures have."""
        kind, length = self._small(end)
        if kind != _INT32 or len(length) != 4:
            self._damaged("a structure has no fields")
        name_bytes: int = struct.unpack(f"{self.order}i", length)[0]
        kind, names = self._small(end)
        if kind not in _NAME_TYPES or not 0 < name_bytes <= 64 or len(names) % name_bytes:
            self._damaged("a structure has no fields")
        fields = len(names) // name_bytes
        if fields > _MOST_FIELDS or places > _MOST_ARRAYS:
            self._damaged(f"{places} structures of {fields} fields are announced")
        return fields

    def _leaf(self, kind: int, places: int, is_complex: bool, end: int) -> None:
        """Check numbers or text."""
        if is_complex:
            raise VerydeepError(f"{self.path} holds complex numbers, as no net does: it cannot be read.")
        if places > MOST_VALUES:
            self._damaged(f"an array of {places} numbers is announced")
        stored, count, inside = self._tag(end)
        if kind == _CHAR:
            fits = stored in _TEXT_TYPES and places <= max(count, 1)  # old writers gave empty texts one place
        else:
            fits = stored in _NUMBER_BYTES and places * _NUMBER_BYTES[stored] == count
        if not fits:
            self._damaged(f"an array of {places} numbers has {count} bytes")
        if inside is None:
            self._pass(count + -count % 8, end)

    def _small(self, end: int) -> tuple[int, bytes]:
        """Type and bytes of an element that describes an array."""
        kind, count, inside = self._tag(end)
        if inside is not None:
            return kind, inside
        if count > _BLOCK:
            self._damaged("a name is longer than any")
        return kind, self._take(count + -count % 8, end)[:count]

    def _tag(self, end: int) -> tuple[int, int, bytes | None]:
        """Type and number of bytes of an element, and the bytes where they lie in the tag itself."""
        tag = self._take(8, end)
        first, second = struct.unpack(f"{self.order}II", tag)
        if first >> 16 == 0:
            return first, second, None
        if first >> 16 > 4:
            self._damaged("a short element is longer than 4 bytes")
        return first & 0xFFFF, first >> 16, tag[4 : 4 + (first >> 16)]

    def _unpack(self, form: str, end: int) -> tuple[int, ...]:
        return struct.unpack(self.order + form, self._take(struct.calcsize(self.order + form), end))

    def _take(self, count: int, end: int) -> bytes:
        """The next bytes."""
        if self.at + count > end:
            self._damaged("an element reaches beyond its array")
        self.at += count
        data = self.stream.read(count)
        if len(data) < count:
            self._damaged("it ends early")
        return data

    def _pass(self, count: int, end: int) -> None:
        """Leave bytes out, a piece at a time, so that compressed ones are checked and never held."""
        if self.at + count > end:
            self._damaged("an element reaches beyond its array")
        while count:
            count -= len(self._take(min(count, _BLOCK), end))

    def _damaged(self, reason: str) -> NoReturn:
        raise VerydeepError(f"{self.path} is damaged or incomplete ({reason}): get it again.")
