"""Check of MATLAB files of level 5 before SciPy reads them (MathWorks, "MAT-File Format").

SciPy trusts a file: 200 bytes that announce a cell of 2^29 places cost 4 GB, and a megabyte of cells within cells ends
the process (SciPy 1.17). So every array is checked first: it lies within its container, its dimensions fit its bytes, a
net or a data set needs its class, and the number of arrays, their depth and the inflated size of compressed ones do not
exceed those of a net. Compressed data are inflated in pieces that are not kept.
"""

import io
import math
import os
import struct
import zlib
from collections.abc import Collection
from typing import BinaryIO, NoReturn

from verydeep.errors import VerydeepError

_HEADER = 128
_LEVEL_5, _HDF5 = 0x0100, 0x0200
_BLOCK = 1 << 16
_INT32, _UINT32, _MATRIX, _COMPRESSED = 5, 6, 14, 15
_NUMBER_BYTES = {1: 1, 2: 1, 3: 2, 4: 2, 5: 4, 6: 4, 7: 4, 9: 8, 12: 8, 13: 8}
"""Bytes of a number of each stored type: int8, uint8, ... float32, float64, int64, uint64."""
_TEXT_TYPES = (1, 2, 4, 16, 17, 18)
_NAME_TYPES = (1, 16)
_CELL, _STRUCT, _CHAR, _OPAQUE = 1, 2, 4, 17
_NUMERIC = range(6, 16)
_COMPLEX = 1 << 11

_MAX_ARRAYS = 100_000
"""A net has some forty layers of a dozen fields, and two texts for each of its thousand classes."""
_MAX_DEPTH = 16
_MAX_FIELDS = 256
_MIN_INFLATED = 16 << 20
_MAX_RATIO = 50
"""The largest compression of weights; zlib reaches 1000."""
_MAX_NUMBERS = 512 * 7 * 7 * 4096 * 4
"""Numbers of an array; no tensor of a VGG net has as many."""


def check_mat_file(
    file: BinaryIO, name: object, needed: Collection[str], error: type[VerydeepError]
) -> tuple[str, ...]:
    """Check that the needed variables of a MATLAB file can be loaded safely; return the names of all.

    Args:
        file: that can be read at any place; it is left at its beginning.
        name: of the file, for messages.
        needed: names of the variables that will be loaded.
        error: raised if the file is not of level 5, or is damaged, or has content that no net and no data set has.
    """
    names = _Checker(name, file, error).check_variables(needed)
    file.seek(0)
    return names


class _Inflater(io.RawIOBase):
    """The next bytes of a file, inflated piece by piece."""

    def __init__(self, file: BinaryIO, length: int) -> None:
        self._file, self._left, self._inflate = file, length, zlib.decompressobj()

    def readable(self) -> bool:
        """Return True: it can be read."""
        return True

    def readinto(self, target: bytearray | memoryview) -> int:  # type: ignore[override]
        """Fill the target with the next piece; return its length, 0 at the end, once the checksum is checked."""
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


class _Checker:
    """A check of one file, from its beginning to its end."""

    def __init__(self, name: object, file: BinaryIO, error: type[VerydeepError]) -> None:
        self.name, self.file, self.error = name, file, error
        self.size = file.seek(0, os.SEEK_END)
        self.order = ""
        self.stream: BinaryIO = file
        self.at = 0
        """The place in the stream, from the beginning of the variable."""
        self.arrays = 0
        self.inflated = 0

    def check_variables(self, needed: Collection[str]) -> tuple[str, ...]:
        """Check the needed variables, and return the names of all."""
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
                name = self._variable(kind, count, needed)
            except (zlib.error, EOFError):
                self._damaged("compressed data cannot be inflated")
            if name in names and name in needed:
                self._damaged(f"two variables are called {name}")
            names[name] = None
        return tuple(names)

    def _byte_order(self) -> str:
        """Return the byte order, as struct writes it."""
        self.file.seek(0)
        head = self.file.read(_HEADER)
        mark = head[126:]
        if not head.startswith(b"MATLAB") or mark not in (b"IM", b"MI"):
            raise self.error(f"{self.name} is not a MATLAB file of level 5: in MATLAB, save it again with '-v7'.")
        order = "<" if mark == b"IM" else ">"
        (version,) = struct.unpack(f"{order}H", head[124:126])
        if version == _HDF5:
            raise self.error(
                f"{self.name} is a MATLAB file of version 7.3 (HDF5), which is not supported: in MATLAB, load it and "
                "save it again with '-v7'."
            )
        if version != _LEVEL_5:
            self._damaged(f"its header says version {version:#x}")
        return order

    def _variable(self, kind: int, count: int, needed: Collection[str]) -> str:
        """Check one variable after its tag, and return its name."""
        self.at = 0
        if kind == _COMPRESSED:
            self.stream = io.BufferedReader(_Inflater(self.file, count), _BLOCK)
            kind, count = self._unpack("II", 8)
            self.at = 0
        if kind != _MATRIX or count == 0:
            self._damaged("a variable is not an array")
        name = self._body(count, 0, needed)
        if self.stream is not self.file and name in needed and self.stream.read(1):
            self._damaged("compressed data go on after their array")
        return name

    def _body(self, end: int, depth: int, needed: Collection[str] | None = None) -> str:
        """Check one array after its tag up to its end; only the header of a variable that is not needed."""
        tag_type, tag_bytes, flags, _ = self._unpack("IIII", end)
        kind = flags & 0xFF
        if (tag_type, tag_bytes) != (_UINT32, 8):
            self._damaged("an array has no flags")
        if kind == _OPAQUE and needed is not None:
            return ""
        dims_type, dims = self._small(end)
        if dims_type not in (_INT32, _UINT32) or len(dims) % 4 or not 8 <= len(dims) <= 4 * 32:
            self._damaged("an array has no dimensions")
        places = math.prod(shape := struct.unpack(f"{self.order}{len(dims) // 4}i", dims))
        name_type, text = self._small(end)
        name = text.decode("latin-1")
        if min(shape) < 0 or name_type not in _NAME_TYPES:
            self._damaged("an array has no name, or a dimension below 0")
        if needed is not None and name not in needed:
            return name
        if needed is not None and self.stream is not self.file:
            self._allow(end)
        if kind in (_CELL, _STRUCT):
            self._nested(places if kind == _CELL else places * self._fields(end, places), end, depth)
        elif kind == _CHAR or kind in _NUMERIC:
            self._leaf(kind, places, bool(flags & _COMPLEX), end)
        else:
            raise self.error(
                f"{self.name} has an array of MATLAB's class {kind} (an object, a function or a sparse matrix), "
                "which is not supported: save it with plain arrays only."
            )
        if self.at != end:
            self._damaged("an array is longer than its content")
        return name

    def _allow(self, inflated: int) -> None:
        """Count the inflated size of a variable; refuse more than weights in a file of this size can have."""
        self.inflated += inflated
        if self.inflated > min(4 * _MAX_NUMBERS, max(_MIN_INFLATED, _MAX_RATIO * self.size)):
            raise self.error(
                f"{self.name} inflates to {self.inflated} bytes or more, unlike weights: it is not of MatConvNet or "
                "ILSVRC."
            )

    def _nested(self, count: int, end: int, depth: int) -> None:
        """Check the arrays of a cell, or the fields of structures."""
        self._count(count)
        if depth == _MAX_DEPTH:
            raise self.error(f"{self.name} has cells nested more than {depth} deep: it is not of MatConvNet or ILSVRC.")
        for _ in range(count):
            kind, length = self._unpack("II", end)
            if kind != _MATRIX or self.at + length > end:
                self._damaged("an array reaches beyond its container")
            if length:  # none: an empty array
                self._body(self.at + length, depth + 1)

    def _count(self, arrays: int) -> None:
        self.arrays += arrays
        if self.arrays > _MAX_ARRAYS:
            raise self.error(f"{self.name} declares {self.arrays} arrays: it is not of MatConvNet or ILSVRC.")

    def _fields(self, end: int, places: int) -> int:
        """Return the number of fields of structures."""
        kind, length = self._small(end)
        if kind != _INT32 or len(length) != 4:
            self._damaged("a structure has no fields")
        name_bytes: int = struct.unpack(f"{self.order}i", length)[0]
        kind, names = self._small(end)
        if kind not in _NAME_TYPES or not 0 < name_bytes <= 64 or len(names) % name_bytes:
            self._damaged("a structure has no fields")
        fields = len(names) // name_bytes
        if fields > _MAX_FIELDS or places > _MAX_ARRAYS:
            self._damaged(f"{places} structures of {fields} fields are declared")
        return fields

    def _leaf(self, kind: int, places: int, is_complex: bool, end: int) -> None:
        """Check an array of numbers or a text."""
        if is_complex:
            raise self.error(f"{self.name} has complex numbers, unlike any net: it is not of MatConvNet or ILSVRC.")
        if places > _MAX_NUMBERS:
            self._damaged(f"an array of {places} numbers is declared")
        stored, count, inside = self._tag(end)
        if kind == _CHAR:
            fits = stored in _TEXT_TYPES and places <= max(count, 1)  # old writers gave empty texts one place
        else:
            fits = stored in _NUMBER_BYTES and places * _NUMBER_BYTES[stored] == count
        if not fits:
            self._damaged(f"an array of {places} numbers has {count} bytes")
        if inside is None:
            self._skip(count + -count % 8, end)

    def _small(self, end: int) -> tuple[int, bytes]:
        """Return type and bytes of an element that describes an array."""
        kind, count, inside = self._tag(end)
        if inside is not None:
            return kind, inside
        if count > _BLOCK:
            self._damaged("a name is too long")
        return kind, self._take(count + -count % 8, end)[:count]

    def _tag(self, end: int) -> tuple[int, int, bytes | None]:
        """Return type and number of bytes of an element, and the bytes if they are in the tag itself."""
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
        """Return the next bytes."""
        if self.at + count > end:
            self._damaged("an element reaches beyond its array")
        self.at += count
        data = self.stream.read(count)
        if len(data) < count:
            self._damaged("it ends early")
        return data

    def _skip(self, count: int, end: int) -> None:
        """Skip bytes piece by piece, so that compressed ones are checked but not kept."""
        if self.at + count > end:
            self._damaged("an element reaches beyond its array")
        while count:
            count -= len(self._take(min(count, _BLOCK), end))

    def _damaged(self, reason: str) -> NoReturn:
        raise self.error(f"{self.name} is damaged or incomplete ({reason}): download it again.")
