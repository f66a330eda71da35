"""Files whose pixels are whole, while the text, color profile or EXIF data stored with them are damaged."""

import re
import zlib

_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
"""Begins a segment of a JPEG; other pairs of these bytes belong to pixels or are filling."""

_WEBP_PIXELS = (b"VP8 ", b"VP8L")


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
                places = [content.find(name, note + 8) for name in (b"PLTE", b"IDAT")]
                start = note = min((place - 4 for place in places if place >= 0), default=len(content))
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
    """Keep everything but comments and application segments; of these whole ones of JFIF, EXIF and Adobe (colors)."""
    parts, start = [content[:2]], 2
    while start + 4 <= len(content):
        marker = content[start + 1]
        if content[start] != 0xFF or marker in {0, 0xFF}:  # filling
            start += 1
            continue
        if marker == 0xDA:
            break
        end = start + 2 + max(2, int.from_bytes(content[start + 2 : start + 4]))
        is_note = 0xE0 <= marker <= 0xEF or marker == 0xFE
        kept_notes = ((0xE0, b"JFIF\0", 18), (0xE1, b"Exif\0\0", 18), (0xEE, b"Adobe", 16))
        if not is_note or any(
            marker == kind and content[start + 4 : end].startswith(name) and end - start >= length
            for kind, name, length in kept_notes
        ):
            parts.append(content[start:end])
        start = end
    return b"".join([*parts, content[start:]])


def _remove_notes_of_webp(content: bytes) -> bytes:
    """Keep the pixels of a still picture, and whole EXIF; transparency is not needed."""
    start, chunks = 12, dict[bytes, bytes]()
    while start + 8 <= len(content):
        kind, length = content[start : start + 4], int.from_bytes(content[start + 4 : start + 8], "little")
        chunk = content[start : start + 8 + length]
        start += 8 + length + length % 2
        if len(chunk) == 8 + length or kind in _WEBP_PIXELS:
            chunks.setdefault(kind, chunk + bytes(length % 2))
    if chunks.keys().isdisjoint(_WEBP_PIXELS):  # the length of a note is wrong, and led past the pixels
        found = min((place for kind in _WEBP_PIXELS if (place := content.find(kind, 12)) >= 0), default=len(content))
        chunks = {content[found : found + 4]: content[found:]}
    kept = [chunks[kind] for kind in _WEBP_PIXELS if kind in chunks]
    exif, header = chunks.get(b"EXIF", b""), chunks.get(b"VP8X", b"")
    if exif[8:12] in {b"II*\0", b"MM\0*", b"Exif"} and len(header) == 18:
        kept = [header[:8] + b"\x08" + header[9:], *kept, exif]  # a header that announces EXIF alone
    body = b"WEBP" + b"".join(kept)
    return b"RIFF" + len(body).to_bytes(4, "little") + body


def drop_cut_segment(content: bytes) -> bytes:
    """Return a truncated JPEG without its last segment if the file ends within it; other content as it is.

    A progressive JPEG has segments among its pixels. Its decoder would wait for the rest of the last one.
    """
    start = 2 if content.startswith(b"\xff\xd8") else len(content)
    while (marker := _MARKER.search(content, start)) is not None:
        length = content[marker.end() : marker.end() + 2]
        start = marker.end() + int.from_bytes(length)
        if len(length) < 2 or start > len(content):
            return content[: marker.start()]
    return content
