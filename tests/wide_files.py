"""Files whose pixel values are not bytes, written byte by byte, so that no reader checks itself."""

import struct
import zlib
from pathlib import Path

import numpy as np

from verydeep.ops.arrays import AnyArray

_KINDS = {"u": 1, "i": 2, "f": 3}


def write_tiff(
    path: Path,
    values: AnyArray,
    *,
    white_is_zero: bool = False,
    planar: bool = False,
    tags: dict[int, int] | None = None,
    big_endian: bool = False,
) -> Path:
    """Write (H, W) or (H, W, C) values as one strip, or one for each channel; of three channels or more, as RGB."""
    order = ">" if big_endian else "<"
    planes = values if values.ndim == 3 else values[..., None]
    height, width, channels = planes.shape
    data = np.moveaxis(planes, -1, 0) if planar else planes
    data = data.astype(values.dtype.newbyteorder(order))
    strips = [plane.tobytes() for plane in data] if planar else [data.tobytes()]
    photometric = 2 if channels >= 3 else int(not white_is_zero)
    fields = {
        256: [width],
        257: [height],
        258: [values.dtype.itemsize * 8] * channels,
        259: [1],
        262: [photometric],
        273: [0] * len(strips),
        277: [channels],
        278: [height],
        279: [len(strip) for strip in strips],
        284: [2 if planar else 1],
        339: [_KINDS[values.dtype.kind]] * channels,
        **({338: [0] * (channels - 3)} if channels > 3 else {}),
        **{tag: [value] for tag, value in (tags or {}).items()},
    }
    end = 8 + 2 + 12 * len(fields) + 4
    behind = sum(4 * len(numbers) for numbers in fields.values() if len(numbers) > 1)
    fields[273] = [end + behind + sum(map(len, strips[:index])) for index in range(len(strips))]
    entries, far = b"", b""
    for tag, numbers in sorted(fields.items()):
        packed = struct.pack(f"{order}{len(numbers)}I", *numbers)
        if len(numbers) > 1:
            place, far = struct.pack(f"{order}I", end + len(far)), far + packed
        else:
            place = packed
        entries += struct.pack(f"{order}HHI", tag, 4, len(numbers)) + place
    head = (b"MM" if big_endian else b"II") + struct.pack(f"{order}HI", 42, 8)
    path.write_bytes(head + struct.pack(f"{order}H", len(fields)) + entries + bytes(4) + far + b"".join(strips))
    return path


def write_png16(path: Path, values: AnyArray) -> Path:
    """Write (H, W) gray, (H, W, 2) gray and transparency, (H, W, 3) RGB or (H, W, 4) RGBA of 16 bits."""
    channels = values.shape[2] if values.ndim == 3 else 1
    rows = values.astype(">u2").reshape(len(values), -1)
    content = zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))
    header = struct.pack(">IIBBBBB", values.shape[1], len(values), 16, {1: 0, 2: 4, 3: 2, 4: 6}[channels], 0, 0, 0)
    chunks = png_chunk(b"IHDR", header) + png_chunk(b"IDAT", content) + png_chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    return path


def png_chunk(kind: bytes, content: bytes, checksum: int | None = None) -> bytes:
    """Return a chunk of a PNG, with its checksum or a wrong one."""
    right = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", right if checksum is None else checksum)
