"""Parser of protocol buffers: fields with a number, a wire type and a value, where bytes may be a message.

It walks through messages without their library. It builds no objects, and no field may reach beyond its message.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
MAX_FIELDS = 10_000
"""Fields in one message. A net has some forty layers of a dozen fields; a run of numbers, not packed, counts as one."""
_SCAN = 4096


class DamagedError(Exception):
    """The bytes are not a message of protocol buffers; the text names the place."""


class Field(NamedTuple):
    """A field of a message: the number itself if it is a varint, otherwise the place of its bytes."""

    number: int
    wire: int
    value: int
    start: int
    end: int


def bytes_field(found: Field) -> Field:
    """Return the field; its value must be bytes."""
    if found.wire != BYTES:
        raise DamagedError(f"field {found.number} before byte {found.end} is of another type than Caffe's")
    return found


def fields(buffer: memoryview, start: int, end: int) -> Iterator[Field]:
    """Yield the fields of a message."""
    at = start
    for _ in range(MAX_FIELDS):
        if at == end:
            return
        found, at = next_field(buffer, at, end)
        yield found
    if at < end:
        raise DamagedError(f"the message at byte {start} has more than {MAX_FIELDS} fields")


def next_field(buffer: memoryview, at: int, end: int) -> tuple[Field, int]:
    """Return the field at this place, and the place of the next one."""
    number, wire, start = read_tag(buffer, at, end)
    value = 0
    if wire == VARINT:
        value, stop = read_varint(buffer, start, end)
    elif wire == BYTES:
        length, start = read_varint(buffer, start, end)
        stop = start + length
    else:
        stop = start + (4 if wire == FIXED32 else 8)
    if stop > end:
        raise DamagedError(f"a field at byte {at} reaches beyond its message")
    return Field(number, wire, value, start, stop), stop


def read_tag(buffer: memoryview, at: int, end: int) -> tuple[int, int, int]:
    """Return number and wire type of a field, and the place of its value."""
    tag, start = read_varint(buffer, at, end)
    number, wire = tag >> 3, tag & 7
    if number == 0 or wire not in (VARINT, FIXED64, BYTES, FIXED32):
        raise DamagedError(f"no field begins at byte {at}")
    return number, wire, start


def read_varint(buffer: memoryview, at: int, end: int) -> tuple[int, int]:
    """Return a number of 7 bits per byte, the lowest first, and the place after it."""
    value = 0
    for index, byte in enumerate(buffer[at : min(at + 10, end)]):
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value, at + index + 1
    raise DamagedError(f"a number at byte {at} has no end")


def append_singles(numbers: bytearray, buffer: memoryview, at: int, end: int, first: Field) -> int:
    """Append a run of numbers, each a field with the same tag; return the place after them."""
    stride = first.end - at
    count = (end - at) // stride
    rows = np.frombuffer(buffer, np.uint8, count * stride, at).reshape(count, stride)
    tag, done = rows[0, : first.start - at], 0
    while done < count:
        other = np.flatnonzero((rows[done : done + _SCAN, : len(tag)] != tag).any(axis=1))
        if len(other):
            done += int(other[0])
            break
        done = min(done + _SCAN, count)
    numbers += rows[:done, len(tag) :].tobytes()
    return at + done * stride
