"""More than three hundred image files that nobody expects, and the pixels or the sentence that each must give.

The pixels come from a formula, because the pictures are drawn here, or from OpenCV, which has decoders of its own.
"""

import base64
import io
import os
import socket
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pillow_jxl  # noqa: F401 - lets Pillow write JPEG XL
from PIL import Image, ImageCms

from tests.wide_files import png_chunk, write_png16, write_tiff
from verydeep.ops.arrays import AnyArray, UInt8Array

WIDTH, HEIGHT = 70, 96
JPEG_LEVELS = 4
"""Gray levels by which two decoders of JPEG may differ; they round in other places."""


@dataclass(frozen=True)
class AbsurdFile:
    """What a file must give: pixels, a sentence, or one of both where the file ends too early."""

    name: str
    pixels: UInt8Array | None = None
    """(H, W, 3) upright."""
    levels: int = 0
    """Largest difference of the pixels."""
    sentence: str = ""
    """Regular expression."""
    share: float | None = None
    """Share of the bytes that are left."""


def draw(width: int = WIDTH, height: int = HEIGHT) -> UInt8Array:
    """Draw a picture that differs in every direction and channel, and whose values are not 0."""
    y, x = np.mgrid[0:height, 0:width]
    red = 30 + 150 * x / width + 30 * np.sin(y / 3)
    green = 210 - 140 * y / height + 25 * np.cos(x / 4)
    blue = 50 + 80 * x / width + 80 * y / height
    return np.stack([red, green, blue], -1).astype(np.uint8)


def encode(pixels: AnyArray | Image.Image, kind: str, **options: Any) -> bytes:
    """Return the content of a file in one of Pillow's formats."""
    buffer = io.BytesIO()
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def decode_by_opencv(content: bytes) -> UInt8Array:
    """Decode by other code than Pillow's."""
    import cv2

    pixels = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR_RGB | cv2.IMREAD_IGNORE_ORIENTATION)
    assert pixels is not None
    return np.asarray(pixels, np.uint8)


def write_all(folder: Path) -> list[AbsurdFile]:
    """Write all files; most of them take a few kilobytes."""
    files = []
    for number, (file, content) in enumerate(_list_contents()):
        name = file.name if len(os.fsencode(file.name)) > 200 else f"{number:03d} {file.name}"
        (folder / name).write_bytes(content)
        files.append(AbsurdFile(name, file.pixels, file.levels, file.sentence, file.share))
    return [*files, *_write_wide(folder), *_write_special(folder)]


Content = tuple[AbsurdFile, bytes]


def _list_contents() -> Iterator[Content]:
    yield from _list_cut()
    yield from _list_unreadable()
    yield from _list_bombs()
    yield from _list_palettes()
    yield from _list_inks()
    yield from _list_unusual_jpegs()
    yield from _list_sequences()
    yield from _list_notes()
    yield from _list_shapes()
    yield from _list_names()


def _whole_files() -> dict[str, tuple[str, bytes]]:
    picture = draw()
    return {
        "baseline": ("jpg", encode(picture, "JPEG", quality=92, subsampling=0)),
        "progressive": ("jpg", encode(picture, "JPEG", quality=92, progressive=True)),
        "png": ("png", encode(picture, "PNG")),
        "tiff": ("tif", encode(picture, "TIFF")),
        "webp": ("webp", encode(picture, "WEBP", lossless=True)),
        "gif": ("gif", encode(picture[..., 0], "GIF")),
        "bmp": ("bmp", encode(picture, "BMP")),
        "avif": ("avif", encode(picture, "AVIF", quality=100, subsampling="4:4:4")),
        "jxl": ("jxl", encode(picture, "JXL", lossless=True)),
        "jpeg2000": ("jp2", encode(picture, "JPEG2000")),
    }


def _list_cut() -> Iterator[Content]:
    """Files that end after each sixteenth of their bytes, and files that go on after their end."""
    gray = np.repeat(draw()[..., :1], 3, -1)
    for kind, (suffix, content) in _whole_files().items():
        is_jpeg, whole = suffix == "jpg", gray if suffix == "gif" else draw()
        pixels, levels = (decode_by_opencv(content), JPEG_LEVELS) if is_jpeg else (whole, 6 if kind == "avif" else 0)
        for part in range(1, 16):
            end = part * len(content) // 16
            yield AbsurdFile(f"{kind} {part} of 16.{suffix}", pixels, levels, share=part / 16), content[:end]
        for name, more in (("zeros", bytes(3000)), ("noise", np.random.default_rng(0).bytes(3000)), ("twice", content)):
            yield AbsurdFile(f"{kind} {name} behind.{suffix}", pixels, levels), content + more


def _list_unreadable() -> Iterator[Content]:
    nothing = {"empty": "is empty", "text": "is not an image", "page": "is a web page or other text"}
    contents = {"empty": b"", "text": b"no image at all", "page": b"<!DOCTYPE html><html>"}
    for name, reason in nothing.items():
        for suffix in ("jpg", "png", "tif", "heic"):
            yield AbsurdFile(f"{name}.{suffix}", sentence=reason), contents[name]
    yield AbsurdFile("zeros.jpg", sentence="is not an image"), bytes(5000)
    yield AbsurdFile("lfs.jpg", sentence="run `git lfs pull`"), b"version https://git-lfs.github.com/spec/v1\noid"
    starts = {
        "JPEG": b"\xff\xd8\xff\xe0",
        "PNG": b"\x89PNG\r\n\x1a\n",
        "JXL": b"\xff\x0a",
        "AVIF": b"\0\0\0\x18ftypavif",
    }
    for name, start in starts.items():
        content = start + np.random.default_rng(1).bytes(4000)
        yield AbsurdFile(f"noise {name}.jpg", sentence="is a damaged|cannot be decoded|claims more than"), content


def _list_bombs() -> Iterator[Content]:
    """Files of a few kilobytes that claim more pixels than anybody has."""
    sentence = "claims more than 178 million pixels"
    small = {kind: content for kind, (_, content) in _whole_files().items()}
    png = bytearray(small["png"])
    png[16:24] = struct.pack(">II", 50_000, 50_000)
    png[29:33] = struct.pack(">I", zlib.crc32(png[12:29]))
    yield AbsurdFile("bomb.png", sentence=sentence), bytes(png)
    jpeg = bytearray(small["baseline"])
    place = jpeg.index(b"\xff\xc0") + 5
    jpeg[place : place + 4] = struct.pack(">HH", 65_000, 65_000)
    yield AbsurdFile("bomb.jpg", sentence=sentence), bytes(jpeg)
    bmp = bytearray(small["bmp"])
    bmp[18:26] = struct.pack("<ii", 40_000, 40_000)
    yield AbsurdFile("bomb.bmp", sentence=sentence), bytes(bmp)
    gif = bytearray(small["gif"])
    gif[6:10] = struct.pack("<HH", 65_000, 65_000)
    yield AbsurdFile("bomb.gif", sentence=sentence), bytes(gif)
    gif = bytearray(small["gif"])
    place = gif.index(b"\x2c", 13 + 3 * 2 ** ((gif[10] & 7) + 1))
    gif[place + 5 : place + 9] = struct.pack("<HH", 65_000, 65_000)  # the frame is larger than its screen
    yield AbsurdFile("bomb in a frame.gif", sentence=sentence), bytes(gif)
    webp = encode(draw(), "WEBP", lossless=True)
    bits = 16_382 | 16_382 << 14 | int.from_bytes(webp[21:25], "little") >> 28 << 28
    yield (
        AbsurdFile("bomb.webp", sentence=f"{sentence}|is a damaged WEBP"),
        webp[:21] + bits.to_bytes(4, "little") + webp[25:],
    )
    yield AbsurdFile("bomb.ppm", sentence=sentence), b"P6 60000 60000 255\n" + bytes(99)
    yield AbsurdFile("bomb.pfm", sentence=sentence), b"PF 60000 60000 -1.0\n" + bytes(99)
    yield AbsurdFile("bomb of digits.pgm", sentence=sentence), b"P2 60000 60000 65535\n1 2 3"
    tags = bytearray(small["tiff"])
    header = struct.unpack("<I", tags[4:8])[0]
    for entry in range(header + 2, header + 2 + 12 * int.from_bytes(tags[header : header + 2], "little"), 12):
        if struct.unpack("<H", tags[entry : entry + 2])[0] in {256, 257}:
            tags[entry + 2 : entry + 12] = struct.pack("<HII", 4, 1, 60_000)
    yield AbsurdFile("bomb.tif", sentence=sentence), bytes(tags)
    jp2 = bytearray(encode(draw(), "JPEG2000", no_jp2=True))
    jp2[8:16] = struct.pack(">II", 60_000, 60_000)
    yield AbsurdFile("bomb.j2k", sentence=sentence), bytes(jp2)
    text = png_chunk(b"zTXt", b"x\0\0" + zlib.compress(bytes(80_000_000), 9))
    yield AbsurdFile("bomb in text.png", draw()), small["png"][:33] + text + small["png"][33:]
    profile = png_chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(80_000_000), 9))
    yield AbsurdFile("bomb in a profile.png", draw()), small["png"][:33] + profile + small["png"][33:]


def _list_palettes() -> Iterator[Content]:
    """Bits, palettes and transparency; the colors stay, and transparency is dropped."""
    picture = draw()
    rgba = np.dstack([picture, np.arange(HEIGHT * WIDTH).reshape(HEIGHT, WIDTH) % 256]).astype(np.uint8)
    gray = np.repeat(picture[..., :1], 3, -1)
    yield AbsurdFile("alpha.png", picture), encode(rgba, "PNG")
    yield AbsurdFile("alpha.webp", picture), encode(rgba, "WEBP", lossless=True, exact=True)
    yield AbsurdFile("alpha.tif", picture), encode(rgba, "TIFF")
    yield AbsurdFile("gray alpha.png", gray), encode(rgba[..., [0, 3]], "PNG")
    yield AbsurdFile("color that is transparent.png", picture), encode(picture, "PNG", transparency=(9, 9, 9))
    bits = (picture[..., 0] > 110).astype(np.uint8) * 255
    black = np.repeat(bits[..., None], 3, -1)
    for kind, suffix in (("PNG", "png"), ("TIFF", "tif"), ("BMP", "bmp"), ("PPM", "pbm")):
        yield AbsurdFile(f"one bit.{suffix}", black), encode(Image.fromarray(bits).convert("1"), kind)
    yield (
        AbsurdFile("one bit transparent.png", black),
        encode(Image.fromarray(bits).convert("1"), "PNG", transparency=0),
    )
    yield AbsurdFile("group4.tif", black), encode(Image.fromarray(bits).convert("1"), "TIFF", compression="group4")
    palette = Image.fromarray(picture).quantize(64)
    table = np.array(palette.getpalette(), np.uint8).reshape(-1, 3)
    colors = table[np.asarray(palette)]
    for name, transparency in (("one", 3), ("several", bytes([0, 128] * 32))):
        yield AbsurdFile(f"palette {name}.png", colors), encode(palette, "PNG", transparency=transparency)
    yield AbsurdFile("palette.gif", colors), encode(palette, "GIF", transparency=3)
    yield AbsurdFile("palette.bmp", colors), encode(palette, "BMP")
    yield AbsurdFile("palette.tif", colors), encode(palette, "TIFF")
    few = Image.fromarray(picture).quantize(4)
    table = np.array(few.getpalette(), np.uint8).reshape(-1, 3)
    yield AbsurdFile("two bits.png", table[np.asarray(few)]), encode(few, "PNG", bits=2)
    for compression in ("tiff_lzw", "tiff_adobe_deflate", "packbits"):
        yield AbsurdFile(f"{compression}.tif", picture), encode(picture, "TIFF", compression=compression)
    yield AbsurdFile("lossless.jp2", picture), encode(picture, "JPEG2000")
    yield AbsurdFile("text.ppm", picture), _write_digits(picture)
    yield AbsurdFile("upside down.bmp", picture), _turn_bmp(encode(picture, "BMP"))


def _write_digits(pixels: UInt8Array) -> bytes:
    return b"P3 # a comment\n%d %d\n255\n" % pixels.shape[1::-1] + b" ".join(b"%d" % value for value in pixels.ravel())


def _turn_bmp(content: bytes) -> bytes:
    """Store the rows from top to bottom, as a negative height says."""
    stride = (3 * WIDTH + 3) // 4 * 4
    rows = [content[54 + stride * row : 54 + stride * (row + 1)] for row in range(HEIGHT)]
    return content[:22] + struct.pack("<i", -HEIGHT) + content[26:54] + b"".join(reversed(rows))


def _list_inks() -> Iterator[Content]:
    """CMYK and YCCK, stored as inks or inverted, as Adobe's programs do; white minus ink is the color."""
    import imagecodecs

    inks = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    bands = ((0, 0, 0, 0), (200, 30, 60, 0), (0, 120, 40, 90), (15, 15, 180, 40), (0, 0, 0, 160), (90, 9, 9, 9))
    for number, ink in enumerate(bands):
        inks[16 * number : 16 * (number + 1)] = ink  # a whole number of JPEG's blocks
    colors = ((255 - inks[..., :3].astype(float)) * (255 - inks[..., 3:]) / 255).round().astype(np.uint8)
    cmyk = Image.fromarray(inks, "CMYK")
    yield AbsurdFile("cmyk.jpg", colors, 3), encode(cmyk, "JPEG", quality=98)
    yield AbsurdFile("cmyk.tif", colors, 1), encode(cmyk, "TIFF")
    for space in ("CMYK", "YCCK"):
        for name, values in (("inverted", 255 - inks), ("not inverted", inks)):
            # Nothing in a file tells; common decoders take all of them as inverted. Between bands they interpolate.
            content = bytes(imagecodecs.jpeg8_encode(values, 98, colorspace="CMYK", outcolorspace=space))
            pixels = decode_by_opencv(content)
            assert name != "inverted" or np.abs(pixels[8::16].astype(int) - colors[8::16]).max() <= 3
            yield AbsurdFile(f"{space.lower()} {name}.jpg", pixels, JPEG_LEVELS), content
    content = encode(cmyk, "JPEG", quality=98)
    place = content.index(b"\xff\xee")
    without = content[:place] + content[place + 2 + int.from_bytes(content[place + 2 : place + 4]) :]
    yield AbsurdFile("cmyk without adobe.jpg", colors, 3), without


_ARITHMETIC = {
    "arithmetic": """
    /9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAEBAQEBAQEBAQEBAQECAgMCAgICAgQDAwIDBQQFBQUEBAQFBgcGBQUHBgQEBgkGBwgICAgIBQYJCgkI
    CgcICAj/2wBDAQEBAQICAgQCAgQIBQQFCAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAj/yQAR
    CAAYACgDAREAAhEBAxEB/9oADAMBAAIRAxEAPwDSorsXdfBdMBNyxRkwg0972vCsLuOshpKzFC7zGWYQgjpBT7EKde1Te04rCFr80qScu96VgAOv
    wlHvjU7K38d/a3yufbOx7qK0to2e/BR0cBRvFU35xJy6vI05hDUiwhZLLI+v8i2YG8CEdmpn+sVuDcqQIwsr1dPNF5WLejYiLEBSYNbeWTjJKgGl
    v94r4r2f5ZcgtNoaV/2Ludp/8YjP/X59eEq1gGTDCbbZ+81Rzya3M5TvfpkE8SO+bYv6y64l/9k=""",
    "progressive arithmetic": """
    /9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAAEBAQEBAQEBAQEBAQECAgMCAgICAgQDAwIDBQQFBQUEBAQFBgcGBQUHBgQEBgkGBwgICAgIBQYJCgkI
    CgcICAj/2wBDAQEBAQICAgQCAgQIBQQFCAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAgICAj/ygAR
    CAAYACgDAREAAhEBAxEB/8wABgAQARD/2gAMAwEAAhADEAAAAdI+K3/tj2o/QY62noX0eTcRxxHL1VQ51i3h0jHSwQonONlAIlweST+VRhptgTKt
    j+ek/8wABBAF/9oACAEBAAEFAhVN0ZV/L7PEMgOoUwhqP5sUWjG0pSH5FDD/zAAEEQX/2gAIAQMBAT8BFjE4nE4Q78UM2UxZwD+YNI94+HUcIquH
    MPZ3yZhLxsD/zAAEEQX/2gAIAQIBAT8BEmtFIXcIW0J8f6ftqtjskgvm/LkmyV9Iuv/MAAQQBf/aAAgBAQAGPwIKPji1R8Y3rsHwU6D/zAAEEAX/
    2gAIAQEAAT8hpiuheALjxKEM/9oADAMBAAIAAwAAABC1xY0tzCj/zAAEEQX/2gAIAQMBAT8QJ3S1RhzKZhttSjhQ/8wABBEF/9oACAECAQE/ENM4
    25HjgP/MAAQQBf/aAAgBAQABPxCnS3f/AOnQ9iXwnWshSNIoLID/2Q==""",
}
"""A picture of 40x24 pixels as libjpeg-turbo 2.1 encodes it with `arith_code`."""


def _list_unusual_jpegs() -> Iterator[Content]:
    y, x = np.mgrid[:24, :40]
    simple = np.stack([20 + 5 * x, 230 - 8 * y, 40 + 2 * x + 3 * y], -1).astype(np.uint8)
    for name, text in _ARITHMETIC.items():
        yield AbsurdFile(f"{name}.jpg", simple, 3), base64.b64decode(text)
    picture = draw()
    for name, options in {
        "subsampled": {"subsampling": 2},
        "restarts": {"restart_marker_rows": 1},
        "rgb": {"keep_rgb": True},
        "gray progressive": {"progressive": True},
        "worst": {"quality": 1},
    }.items():
        pixels = picture[..., 1] if "gray" in name else picture
        content = encode(pixels, "JPEG", **{"quality": 95, **options})
        yield AbsurdFile(f"{name}.jpg", decode_by_opencv(content), 8), content
    tables = encode(picture, "JPEG", quality=95, subsampling=0)
    filled = tables[:2] + b"\xff" * 40 + tables[2:]
    yield AbsurdFile("filling before a marker.jpg", decode_by_opencv(filled), JPEG_LEVELS), filled


def _list_sequences() -> Iterator[Content]:
    """Animations and pages, of which the first is used."""
    picture = draw()
    others = [Image.fromarray(255 - picture), Image.fromarray(picture[::-1].copy())]
    options: dict[str, Any] = {"save_all": True, "append_images": others}
    yield AbsurdFile("animated.png", picture), encode(picture, "PNG", **options)
    yield AbsurdFile("animated.webp", picture), encode(picture, "WEBP", lossless=True, **options)
    yield AbsurdFile("pages.tif", picture), encode(picture, "TIFF", **options)
    mpo = encode(picture, "MPO", quality=95, subsampling=0, **options)
    yield AbsurdFile("several.mpo", decode_by_opencv(mpo), JPEG_LEVELS), mpo
    yield AbsurdFile("several.jpg", decode_by_opencv(mpo), JPEG_LEVELS), mpo
    first = Image.fromarray(picture).quantize(32)
    frames = [Image.fromarray(255 - picture).quantize(32)]
    colors = np.asarray(first.convert("RGB"))
    yield AbsurdFile("animated.gif", colors), encode(first, "GIF", save_all=True, append_images=frames)


def _list_notes() -> Iterator[Content]:
    """Color profiles, which are not applied, EXIF that is large or damaged, and the rotation that a camera noted."""
    picture, whole = draw(), encode(draw(), "PNG")
    profiles = {
        "srgb": ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes(),
        "damaged": b"no profile" * 9,
    }
    for name, profile in profiles.items():
        yield AbsurdFile(f"profile {name}.png", picture), encode(picture, "PNG", icc_profile=profile)
        content = encode(picture, "JPEG", quality=95, subsampling=0, icc_profile=profile * 40)
        yield AbsurdFile(f"profile {name}.jpg", decode_by_opencv(content), JPEG_LEVELS), content
    for orientation in range(10):
        exif = Image.Exif()
        exif[0x0112] = orientation
        for kind, options in (("PNG", {}), ("WEBP", {"lossless": True}), ("JPEG", {"quality": 95, "subsampling": 0})):
            content = encode(picture, kind, exif=exif, **options)
            stored = decode_by_opencv(content) if kind == "JPEG" else picture
            upright = _turn(stored, orientation)
            levels = JPEG_LEVELS if kind == "JPEG" else 0
            yield AbsurdFile(f"orientation {orientation}.{kind.lower()}", upright, levels), content
        if 1 <= orientation <= 8:
            content = encode(picture, "TIFF", exif=exif)
            yield AbsurdFile(f"orientation {orientation}.tif", _turn(picture, orientation)), content
    large = Image.Exif()
    large[0x010E] = "x" * 60_000
    content = encode(picture, "JPEG", quality=95, subsampling=0, exif=large)
    yield AbsurdFile("large exif.jpg", decode_by_opencv(content), JPEG_LEVELS), content
    circle = b"Exif\0\0II*\0" + struct.pack("<IHHHIII", 8, 1, 0x8769, 4, 1, 8, 8)  # leads back to itself
    yield AbsurdFile("circle in exif.png", picture), whole[:33] + png_chunk(b"eXIf", circle[6:]) + whole[33:]
    content = encode(picture, "JPEG", quality=95, subsampling=0, exif=circle)
    yield AbsurdFile("circle in exif.jpg", decode_by_opencv(content), JPEG_LEVELS), content
    many = b"".join(b"\xff\xe2\xff\xff" + bytes(65_533) for _ in range(20))
    plain = encode(picture, "JPEG", quality=95, subsampling=0)
    yield AbsurdFile("much else.jpg", decode_by_opencv(plain), JPEG_LEVELS), plain[:2] + many + plain[2:]
    yield AbsurdFile("wrong checksum.png", picture), whole[:33] + png_chunk(b"tEXt", b"a\0b", 1) + whole[33:]


def _turn(pixels: UInt8Array, orientation: int) -> UInt8Array:
    """Turn stored pixels upright, by the table of the EXIF standard."""
    turned = {
        2: pixels[:, ::-1],
        3: pixels[::-1, ::-1],
        4: pixels[::-1],
        5: pixels.swapaxes(0, 1),
        6: pixels.swapaxes(0, 1)[:, ::-1],
        7: pixels[::-1, ::-1].swapaxes(0, 1),
        8: pixels.swapaxes(0, 1)[::-1],
    }
    return turned.get(orientation, pixels)


def _list_shapes() -> Iterator[Content]:
    elongated = "one side more than 100 times the other"
    for width, height in ((1, 10_000), (10_000, 1), (101, 1)):
        yield AbsurdFile(f"{width} by {height}.png", sentence=elongated), encode(draw(width, height), "PNG")
    for width, height in ((1, 1), (1, 100), (3, 2), (2000, 20)):
        yield AbsurdFile(f"{width} by {height}.png", draw(width, height)), encode(draw(width, height), "PNG")
    for name, start in (("png", 16), ("bmp", 18)):
        content = bytearray(_whole_files()[name][1])
        content[start : start + 8] = bytes(8)
        if name == "png":
            content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
        yield AbsurdFile(f"no pixels.{name}", sentence=f"is a damaged {name.upper()} file"), bytes(content)


def _list_names() -> Iterator[Content]:
    picture, png = draw(), encode(draw(), "PNG")
    names = [
        "a  name ",
        "two\nlines",
        "tab\tand\rreturn",
        "🐈‍⬛ кот 猫",
        "caf\udce9",
        "-dash",
        "[a] *?",
        "quote\"'`$x",
        "e\u0301",
        "\x1b[31m",
    ]
    for name in names:
        yield AbsurdFile(f"{name}.png", picture), png
    yield AbsurdFile(f"{'n' * 251}.png", picture), png
    yield AbsurdFile(f"{'ü' * 125}.png", picture), png
    for suffix in ("jpg", "gif", "tif", "webp", "heic", "JPEG", "xyz"):
        yield AbsurdFile(f"wrong name.{suffix}", picture), png
    yield AbsurdFile("no suffix", picture), png
    for name in ("broken\nlines", "broken \x1b[31m red", "broken caf\udce9"):
        yield AbsurdFile(f"{name}.png", sentence="cannot be decoded"), png[:20]


def _write_wide(folder: Path) -> list[AbsurdFile]:
    """Write files whose values are not bytes; each has the range that its own values give (docs/photographs.md)."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    gray = (65_000 * (x + y) / (HEIGHT + WIDTH)).astype(np.uint16)
    color = np.stack([gray, 65_535 - gray, gray // 2], -1)
    levels = {"gray": np.repeat((gray // 256)[..., None], 3, -1), "color": color // 256}
    unit = (gray / 65_535).astype(np.float32)
    signed = np.repeat(np.floor((gray / 65_535).astype(np.float32).clip(0, 1) * 256).clip(0, 255)[..., None], 3, -1)
    files = []

    def add(name: str, pixels: AnyArray, levels: int = 0) -> Path:
        files.append(AbsurdFile(name, pixels.astype(np.uint8), levels))
        return folder / name

    write_png16(add("w1 gray 16.png", levels["gray"]), gray)
    write_png16(add("w2 color 16.png", levels["color"]), color)
    write_png16(add("w3 gray alpha 16.png", levels["gray"]), np.dstack([gray, 65_535 - gray]))
    write_png16(add("w4 color alpha 16.png", levels["color"]), np.dstack([color, gray]))
    write_tiff(add("w5 gray 16.tif", levels["gray"]), gray)
    write_tiff(add("w6 color 16.tif", levels["color"]), color, big_endian=True)
    write_tiff(add("w7 float.tif", signed, 1), unit)
    path = add("w8 inverted.tif", 255 - levels["gray"])
    write_tiff(path, gray, white_is_zero=True)
    unit.astype("<f4")[::-1].tofile(path := add("w9 float.pfm", signed, 1))
    path.write_bytes(b"Pf\n%d %d\n-1.0\n" % (WIDTH, HEIGHT) + path.read_bytes())
    infinite = unit.copy()
    infinite[:5] = np.nan
    infinite[5:9] = np.inf
    missing = signed.copy()
    missing[:9] = 0
    write_tiff(add("x1 not numbers.tif", missing, 1), infinite)
    return files


def _write_special(folder: Path) -> list[AbsurdFile]:
    """Make what is no file: links, pipes, sockets, devices; and a folder with the name of a file."""
    (folder / "target").mkdir()
    (folder / "target" / "photo.png").write_bytes(encode(draw(), "PNG"))
    (folder / "y1 link.png").symlink_to(folder / "target" / "photo.png")
    (folder / "y2 broken link.png").symlink_to(folder / "nowhere.png")
    (folder / "y3 circle.png").symlink_to(folder / "y4 circle.png")
    (folder / "y4 circle.png").symlink_to(folder / "y3 circle.png")
    os.mkfifo(folder / "y5 pipe.png")
    listener = socket.socket(socket.AF_UNIX)
    descriptor = os.open(folder, os.O_RDONLY)
    listener.bind(f"/proc/self/fd/{descriptor}/y6 socket.png")  # a name of a socket has 108 bytes at most
    os.close(descriptor)
    listener.close()
    (folder / "y7 device.png").symlink_to("/dev/zero")
    (folder / "y8 terminal.png").symlink_to("/dev/tty")
    (folder / "target" / "back").symlink_to(folder)
    return [
        AbsurdFile("y1 link.png", draw()),
        AbsurdFile("y2 broken link.png", sentence="cannot be read: No such file"),
        AbsurdFile("y3 circle.png", sentence="cannot be read: Too many levels of symbolic links"),
        AbsurdFile("y5 pipe.png", sentence="is a pipe; give a file"),
        AbsurdFile("y6 socket.png", sentence="is a socket; give a file"),
        AbsurdFile("y7 device.png", sentence="is a device; give a file"),
        AbsurdFile("y8 terminal.png", sentence="is a device; give a file"),
        AbsurdFile("target", sentence="is a folder|cannot be read: Is a directory"),
    ]
