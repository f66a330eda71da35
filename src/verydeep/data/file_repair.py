"""Files whose pixels are whole, but not what is stored with them: text, color profiles, EXIF."""

import zlib


def remove_notes(content: bytes) -> bytes | None:
    """Return a PNG, JPEG or WEBP without what its pixels do not need; None for other formats.

    EXIF stays where it is whole, because it has the camera's rotation.
    """
    if content.startswith(b"\x89PNG\r\n\x1a\n"):
        return _remove_notes_of_png(content)
    if content.startswith(b"\xff\xd8"):
        return _remove_notes_of_jpeg(content)
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return _remove_notes_of_webp(content)
    return None


def _remove_notes_of_png(content: bytes) -> bytes:
    """Keep the chunks IHDR, PLTE, IDAT, IEND, and eXIf with the right checksum."""
    parts, start = [content[:8]], 8
    note = start  # where the note before this chunk begins, or this chunk
    while start + 8 <= len(content):
        kind, end = content[start + 4 : start + 8], start + 12 + int.from_bytes(content[start : start + 4])
        is_needed = kind in {b"IHDR", b"PLTE", b"IDAT", b"IEND"}
        if not is_needed:
            if not kind.isalpha() or end > len(content):  # a wrong length led here: go on where the pixels are
                found = content.find(b"IDAT", note + 8)
                if found < 0:
                    break
                start = note = found - 4
                continue
            note = start
        checksum = int.from_bytes(content[end - 4 : end])
        if is_needed or (kind == b"eXIf" and zlib.crc32(content[start + 4 : end - 4]) == checksum):
            parts.append(content[start:end])
        if is_needed:
            note = end
        start = end
    return b"".join(parts)


def _remove_notes_of_jpeg(content: bytes) -> bytes:
    """Keep everything but comments and application segments; of these JFIF, EXIF and Adobe's, which has the colors."""
    parts, start = [content[:2]], 2
    while content[start : start + 1] == b"\xff" and content[start + 1 : start + 2] not in {b"", b"\xda"}:
        marker = content[start + 1]
        if marker == 0xFF:  # filling
            start += 1
            continue
        end = start + 2 + int.from_bytes(content[start + 2 : start + 4])
        is_exif = marker == 0xE1 and content[start + 4 : start + 8] == b"Exif"
        if marker in {0xE0, 0xEE} or is_exif or not (0xE0 <= marker <= 0xEF or marker == 0xFE):
            parts.append(content[start:end])
        start = end
    return b"".join([*parts, content[start:]])


def _remove_notes_of_webp(content: bytes) -> bytes:
    """Keep the pixels of a still picture alone; transparency is not needed."""
    start, pixels = 12, b""
    while start + 8 <= len(content) and not pixels:
        kind, length = content[start : start + 4], int.from_bytes(content[start + 4 : start + 8], "little")
        if kind in {b"VP8 ", b"VP8L"}:
            pixels = content[start : start + 8 + length]
        start += 8 + length + length % 2
    return b"RIFF" + (4 + len(pixels)).to_bytes(4, "little") + b"WEBP" + pixels
