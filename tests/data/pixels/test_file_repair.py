"""Damage beside the pixels: text, color profiles and EXIF may be broken in any way, and the pixels are used."""

import io
import struct
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageFile

from tests.wide_files import png_chunk
from verydeep.data.pixels.decoding import decode, image_size, inspect_image
from verydeep.ops.arrays import AnyArray

HEIGHT, WIDTH = 40, 50
PIXELS = np.random.default_rng(0).integers(0, 255, (HEIGHT, WIDTH, 3)).astype(np.uint8)
BOMB = zlib.compress(bytes(5_000_000))

PNG_NOTES = {
    "checksum of text": png_chunk(b"tEXt", b"key\0value", checksum=0),
    "checksum of a private chunk": png_chunk(b"prVt", b"xx", checksum=1),
    "checksum of EXIF": png_chunk(b"eXIf", b"II*\0\x08\0\0\0", checksum=3),
    "text that inflates": png_chunk(b"zTXt", b"key\0\0" + BOMB),
    "international text that inflates": png_chunk(b"iTXt", b"key\0\1\0\0\0" + BOMB),
    "a profile that inflates": png_chunk(b"iCCP", b"key\0\0" + BOMB),
    "garbage for text": png_chunk(b"zTXt", b"key\0\0abcdef"),
    "an unknown method": png_chunk(b"zTXt", b"key\0\7abc"),
    "a short profile": png_chunk(b"iCCP", b"k"),
    "a short gamma": png_chunk(b"gAMA", b"\0"),
    "short colors": png_chunk(b"cHRM", b"\0\0\0"),
    "a short density": png_chunk(b"pHYs", b"\0\0\0"),
    "no color space": png_chunk(b"sRGB", b""),
    "bad transparency": png_chunk(b"tRNS", b"\0"),
    "bad EXIF": png_chunk(b"eXIf", b"II*\0\xff\xff\xff\xff"),
    "bad animation": png_chunk(b"acTL", b"\0\0\0"),
    "a length that is too small": struct.pack(">I", 2) + b"tEXtkey\0value\0\0\0\0",
    "a length that is too large": struct.pack(">I", 100) + b"tEXtkey\0value\0\0\0\0",
    "a length beyond the file": struct.pack(">I", 2**31) + b"tEXtkey\0value\0\0\0\0",
}


def segment(marker: int, content: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(content) + 2) + content


JPEG_NOTES = {
    "cut EXIF": segment(0xE1, b"Exif\0\0II*\0\x08\0\0\0\x09\0"),
    "garbage for EXIF": segment(0xE1, b"Exif\0\0garbage!!!"),
    "EXIF within itself": segment(
        0xE1, b"Exif\0\0II*\0\x08\0\0\0\1\0" + struct.pack("<HHII", 0x8769, 4, 1, 8) + bytes(4)
    ),
    "half a profile": segment(0xE2, b"ICC_PROFILE\0\5\2xx"),
    "other pictures": segment(0xE2, b"MPF\0garbage"),
    "Photoshop": segment(0xED, b"Photoshop 3.0\x008BIM\x03\xed\0\0\0\0\xff\xff12"),
    "short JFIF": segment(0xE0, b"JFIF\0\1"),
    "short Adobe": segment(0xEE, b"Adobe"),
    "a length of zero": b"\xff\xe5\0\0",
    "garbage": b"\0\1\2",
    "half of XMP": segment(0xE1, b"http://ns.adobe.com/xap/1.0/\0<x"),
}

TIFF_TAGS = {
    "a profile beyond the file": (34675, 7, 1000, 10**8),
    "EXIF beyond the file": (34665, 4, 1, 10**8),
    "EXIF within itself": (34665, 4, 1, 8),
    "GPS beyond the file": (34853, 4, 1, 10**7),
    "XMP beyond the file": (700, 1, 10**6, 10**8),
    "an unknown type": (65000, 99, 1, 1),
    "an impossible orientation": (274, 3, 1, 99),
    "a text for the orientation": (274, 2, 1, 0),
    "short text": (306, 2, 3, 0),
}


def encode(pixels: AnyArray, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def oriented() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


def check(path: Path, content: bytes, pixels: AnyArray) -> None:
    """The pixels are there, without a warning, and the file is not called damaged."""
    path.write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        image = decode(path, camera_rotation=True)
        assert image_size(path, camera_rotation=True) == image.size
    assert (np.asarray(image) == pixels).all()
    assert inspect_image(path).error is None and not inspect_image(path).oddities
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


@pytest.mark.parametrize("name", PNG_NOTES)
def test_a_png_with_broken_notes(tmp_path: Path, name: str) -> None:
    note, whole = PNG_NOTES[name], encode(PIXELS, "PNG")
    places = (33, whole.index(b"IDAT") - 4, len(whole) - 12)  # after the header, before and after the pixels
    for place in places:
        check(tmp_path / "a.png", whole[:place] + note + whole[place:], PIXELS)
    palette = Image.fromarray(PIXELS).quantize(32)
    buffer = io.BytesIO()
    palette.save(buffer, "PNG")
    content = buffer.getvalue()
    check(tmp_path / "a.png", content[:33] + note + content[33:], np.asarray(palette.convert("RGB")))


def test_a_png_with_a_broken_end(tmp_path: Path) -> None:
    whole = encode(PIXELS, "PNG")
    for content in (whole[:-12], whole[:-4] + bytes(4), whole + b"more" * 100, whole[:-16] + bytes(4) + whole[-12:]):
        check(tmp_path / "a.png", content, PIXELS)


def test_the_cameras_rotation_survives(tmp_path: Path) -> None:
    upright = np.rot90(PIXELS, -1)
    png = encode(PIXELS, "PNG", exif=oriented())
    check(tmp_path / "a.png", png[:33] + PNG_NOTES["checksum of text"] + png[33:], upright)
    webp = encode(PIXELS, "WEBP", lossless=True, exif=oriented(), icc_profile=b"x" * 99)
    check(tmp_path / "a.webp", webp[:4] + b"\xff\xff\0\0" + webp[8:], upright)
    jpeg = encode(PIXELS, "JPEG", exif=oriented())
    pixels = np.rot90(np.asarray(Image.open(io.BytesIO(jpeg))), -1)
    check(tmp_path / "a.jpg", jpeg[:2] + JPEG_NOTES["short Adobe"] + jpeg[2:], pixels)


@pytest.mark.parametrize("name", JPEG_NOTES)
def test_a_jpeg_with_broken_notes(tmp_path: Path, name: str) -> None:
    whole = encode(PIXELS, "JPEG", quality=95)
    pixels = np.asarray(Image.open(io.BytesIO(whole)))
    for place in (2, 20):
        check(tmp_path / "a.jpg", whole[:place] + JPEG_NOTES[name] + whole[place:], pixels)


def test_cmyk_of_adobe_keeps_its_colors(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    Image.fromarray(PIXELS).convert("CMYK").save(buffer, "JPEG", quality=95)
    whole = buffer.getvalue()
    (tmp_path / "whole.jpg").write_bytes(whole)
    (tmp_path / "broken.jpg").write_bytes(whole[:2] + JPEG_NOTES["short JFIF"] + whole[2:])
    first, second = (np.asarray(decode(tmp_path / f"{n}.jpg", camera_rotation=True)) for n in ("whole", "broken"))
    assert (first == second).all()


def test_a_webp_with_broken_notes(tmp_path: Path) -> None:
    whole = encode(PIXELS, "WEBP", lossless=True, exif=Image.Exif(), icc_profile=b"x" * 99, xmp=b"<x/>")
    xmp, profile = whole.index(b"XMP "), whole.index(b"ICCP")
    for content in (
        whole[: xmp + 10],
        whole[: xmp + 4] + b"\xff\xff\xff\x7f" + whole[xmp + 8 :],
        whole[: profile + 4] + struct.pack("<I", 7) + whole[profile + 8 :],
        whole[:4] + struct.pack("<I", 30) + whole[8:],
        whole + b"more",
    ):
        check(tmp_path / "a.webp", content, PIXELS)


@pytest.mark.parametrize("name", TIFF_TAGS)
def test_a_tiff_with_broken_notes(tmp_path: Path, name: str) -> None:
    tags = [(256, 3, 1, WIDTH), (257, 3, 1, HEIGHT), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 2)]
    tags += [(277, 3, 1, 3), (278, 3, 1, HEIGHT), (279, 4, 1, PIXELS.nbytes), TIFF_TAGS[name]]
    start = 8 + 2 + 12 * (len(tags) + 1) + 4
    entries = b"".join(struct.pack("<HHII", *tag) for tag in sorted([*tags, (273, 4, 1, start)]))
    header = b"II*\0" + struct.pack("<IH", 8, len(tags) + 1)
    check(tmp_path / "a.tif", header + entries + bytes(4) + PIXELS.tobytes(), PIXELS)


def test_a_gif_with_a_broken_end(tmp_path: Path) -> None:
    palette = Image.fromarray(PIXELS).quantize(32)
    buffer = io.BytesIO()
    palette.save(buffer, "GIF")
    whole, pixels = buffer.getvalue(), np.asarray(palette.convert("RGB"))
    for content in (whole[:-1], whole + b"more", whole[:-1] + b"\x21\xfe\xff"):
        check(tmp_path / "a.gif", content, pixels)


def test_a_progressive_jpeg_may_end_anywhere_after_its_first_scan(tmp_path: Path) -> None:
    smooth = np.asarray(Image.fromarray(PIXELS[:8, :10]).resize((150, 120), Image.Resampling.BICUBIC))
    whole = encode(smooth, "JPEG", quality=90, progressive=True)
    scans = [place for place in range(len(whole)) if whole[place : place + 2] == b"\xff\xda"]
    assert len(scans) > 5
    for scan in scans[2:]:
        for end in range(scan - 30, scan + 12):  # within tables and headers, which stand before every scan
            (tmp_path / "a.jpg").write_bytes(whole[:end])
            pixels = np.asarray(decode(tmp_path / "a.jpg", camera_rotation=True)).astype(int)
            assert np.abs(pixels - smooth).mean() < 30, end
