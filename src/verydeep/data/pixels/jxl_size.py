"""Size of a JPEG XL file from its header: the decoder decodes all pixels before it says how many there are."""

from collections.abc import Iterator

_RATIOS = {1: (1, 1), 2: (12, 10), 3: (4, 3), 4: (3, 2), 5: (16, 9), 6: (5, 4), 7: (2, 1)}


def read_jxl_size(content: bytes) -> tuple[int, int]:
    """Return (width, height) as stored, before rotation.

    Raises:
        ValueError: the file has no header.
    """
    header = next((part for part in _codestreams(content) if part[:2] == b"\xff\x0a"), b"")
    if not header:
        raise ValueError("it has no pixels")
    bits, used = int.from_bytes(header[2:12], "little"), 0

    def read(count: int) -> int:
        nonlocal used
        value = bits >> used & (1 << count) - 1
        used += count
        return value

    is_small = read(1)

    def read_side() -> int:
        return 8 * (read(5) + 1) if is_small else 1 + read((9, 13, 18, 30)[read(2)])

    height = read_side()
    ratio = read(3)
    if ratio == 0:
        return read_side(), height
    numerator, denominator = _RATIOS[ratio]
    return height * numerator // denominator, height


def _codestreams(content: bytes) -> Iterator[bytes]:
    """Yield the beginnings of what may hold the pixels: the whole file, or the boxes of a container."""
    yield content[:12]
    start = 0
    while start + 8 <= len(content):
        length, kind, header = int.from_bytes(content[start : start + 4]), content[start + 4 : start + 8], 8
        if length == 1:
            length, header = int.from_bytes(content[start + 8 : start + 16]), 16
        if kind in {b"jxlc", b"jxlp"}:
            first = start + header + 4 * (kind == b"jxlp")
            yield content[first : first + 12]
        if length < header:
            return
        start += length
