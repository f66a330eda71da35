"""Formats are known by content, whatever the name; what is not read is counted and named."""

import base64
import struct
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, features

import verydeep as vd
from tests.peers import need
from verydeep.data.folders.listing import Omissions, list_images
from verydeep.data.folders.photographs import find_photographs
from verydeep.data.pixels.decoding import Inspection, decode, image_size, inspect_image
from verydeep.data.pixels.formats import FORMATS, find_format, identify_format
from verydeep.data.pixels.jxl_size import read_jxl_size
from verydeep.errors import DataError

HEIGHT, WIDTH = 48, 70
Y, X = np.mgrid[0:HEIGHT, 0:WIDTH]
PIXELS = np.stack([40 + 2 * X, 200 - 3 * Y, 60 + X + Y], -1).astype(np.uint8)
UPRIGHT = np.rot90(PIXELS, -1)
"""The same after the rotation that the HEIC below notes."""

HEIC = base64.b64decode(
    """
    AAAAHGZ0eXBoZWljAAAAAG1pZjFoZWljbWlhZgAAAchtZXRhAAAAAAAAACFoZGxyAAAAAAAAAABwaWN0AAAAAAAAAAAAAAAAAAAAADRpbG9jAAAA
    AERAAAIAAQAAAAAB7AABAAAAAAAAAKkAAgAAAAAClQABAAAAAAAAACQAAAA4aWluZgAAAAAAAgAAABVpbmZlAgAAAAABAABodmMxAAAAABVpbmZl
    AgAAAQACAABFeGlmAAAAAA5waXRtAAAAAAABAAABB2lwcnAAAADmaXBjbwAAAHZodmNDAQNwAAAAkAAAAAAAHvAA/P34+AAADwNgAAEAGEABDAH/
    /wNwAAADAJAAAAMAAAMAHroCQGEAAQAqQgEBA3AAAAMAkAAAAwAAAwAeoCSBB15bq5Ka5uAhoMCAAAAMgAAAAwCEYgABAAZEAcFzwYkAAAATY29s
    cm5jbHgAAQANAAaAAAAAFGlzcGUAAAAAAAAARgAAAEAAAAAoY2xhcAAAAEYAAAABAAAAMAAAAAEAAAAAAAAAAv////AAAAACAAAAEHBpeGkAAAAA
    AwgICAAAAAlpcm90AwAAABlpcG1hAAAAAAAAAAEAAQaBAgMFhIYAAAAaaXJlZgAAAAAAAAAOY2RzYwACAAEAAQAAANVtZGF0AAAApSgBrwnR5sA+
    dJr6YYbWW56DMu6lvZxokETfbtkb728h8josNFNmysXgrsM80rrSwC9FFaKSIIFc4J3lFi3HhEfV/U4f1f9b5bdYhxq0tmOLcVpReC1KqEo0KYfD
    ZAM4bBMyqG8bOh8JC51lpWYXqWrCa2iSx7E1GlLTfG9vLtd/DH05wmnOBIHxNBrjMDqFkcotr1q9XElKFf7X/vtvdfv+9wRRIAAAAAZFeGlmAABN
    TQAqAAAACAABARIAAwAAAAEABgAAAAAAAA==
    """
)
"""PIXELS as libheif 1.20 encodes them, with the orientation 6, as a phone would hold it."""


def save(path: Path, pixels: np.ndarray = PIXELS, **options: object) -> Path:
    Image.fromarray(pixels).save(path, **options)
    return path


def close(path: Path, pixels: np.ndarray, levels: int = 8) -> bool:
    image = decode(path, camera_rotation=True)
    assert image.mode == "RGB" and image_size(path, camera_rotation=True) == image.size == pixels.shape[1::-1]
    return bool(np.abs(np.asarray(image).astype(int) - pixels).max() <= levels)


@pytest.fixture
def without_extras(monkeypatch: pytest.MonkeyPatch) -> None:
    """The packages of the extras cannot be imported."""
    for name in ("pi_heif", "pillow_heif", "pillow_jxl", "tifffile"):
        monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.parametrize("name", ["IMG_0001.HEIC", "photo.heif", "photo.jpg", "photo"])
def test_a_heic_is_upright_under_any_name(tmp_path: Path, name: str) -> None:
    need("pi_heif")
    (tmp_path / name).write_bytes(HEIC)
    assert close(tmp_path / name, UPRIGHT)


@pytest.mark.skipif(not features.check("avif"), reason="this build of Pillow reads no AVIF")
@pytest.mark.parametrize("name", ["photo.avif", "PHOTO.AVIF", "photo.jpg", "photo"])
def test_an_avif_is_upright_under_any_name(tmp_path: Path, name: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    save(tmp_path / name, format="AVIF", quality=95, exif=exif)
    assert close(tmp_path / name, UPRIGHT, 12)


@pytest.mark.parametrize("name", ["photo.jxl", "photo.JXL", "photo.png", "photo"])
def test_a_jpeg_xl_under_any_name(tmp_path: Path, name: str) -> None:
    need("pillow_jxl")
    import pillow_jxl  # noqa: F401 - lets Pillow write the format

    save(tmp_path / name, format="JXL", lossless=True)
    assert close(tmp_path / name, PIXELS, 0)
    assert read_jxl_size((tmp_path / name).read_bytes()) == (WIDTH, HEIGHT)


def test_a_jpeg_in_a_jpeg_xl_is_turned_by_its_exif(tmp_path: Path) -> None:
    need("pillow_jxl")
    import pillow_jxl  # noqa: F401

    exif = Image.Exif()
    exif[0x0112] = 6
    with Image.open(save(tmp_path / "photo.jpg", quality=98, exif=exif)) as image:
        image.save(tmp_path / "photo.jxl", lossless_jpeg=True)
    assert close(tmp_path / "photo.jxl", UPRIGHT)


@pytest.mark.parametrize(("values", "white"), [("uint16", 65535), ("float32", 1)])
def test_a_gray_jpeg_xl_that_is_not_of_bytes_is_whole(tmp_path: Path, values: str, white: float) -> None:
    need("pillow_jxl")
    imagecodecs = pytest.importorskip("imagecodecs")
    gray = np.arange(20, 220, 2, dtype=np.uint8).reshape(10, 10)
    content = imagecodecs.jpegxl_encode((gray / 255 * white).astype(values), lossless=True)
    (tmp_path / "a.jxl").write_bytes(content)
    inspection = inspect_image(tmp_path / "a.jxl")
    assert replace(inspection, measures=None) == Inspection(None)
    pixels = np.asarray(decode(tmp_path / "a.jxl", camera_rotation=True))[..., 0].astype(int)
    assert np.abs(pixels - gray).max() <= 1


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "is empty; replace or remove the file."),
        (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(500), "is a damaged HEIF file; replace or remove the file."),
        (b"\x89PNG\r\n\x1a\n\0\0", "is a damaged PNG file; replace or remove the file."),
        (b"\n<!DOCTYPE html><html>", "is a web page or other text, not an image; replace or remove the file."),
        (
            b"version https://git-lfs.github.com/spec/v1\n",
            "is a pointer of Git LFS, not the image itself: run `git lfs pull`.",
        ),
    ],
)
def test_a_file_that_is_no_image_is_called_what_it_is(tmp_path: Path, content: bytes, kind: str) -> None:
    need("pi_heif")
    (tmp_path / "a.jpg").write_bytes(content)
    assert inspect_image(tmp_path / "a.jpg").error == f"{tmp_path / 'a.jpg'} {kind}"


@pytest.mark.parametrize(("width", "height"), [(1, 1), (8, 256), (300, 200), (5000, 3), (70_000, 4), (640, 480)])
def test_the_size_of_a_jpeg_xl(tmp_path: Path, width: int, height: int) -> None:
    need("pillow_jxl")
    import pillow_jxl  # noqa: F401

    for container in (False, True):
        Image.new("L", (width, height)).save(tmp_path / "a.jxl", use_container=container, effort=1)
        assert read_jxl_size((tmp_path / "a.jxl").read_bytes()) == (width, height)


def test_a_jpeg_xl_that_claims_too_many_pixels_is_not_decoded(tmp_path: Path) -> None:
    need("pillow_jxl")
    side = (1 << 20) - 1
    bits = 0 | 3 << 1 | side << 3 | 1 << 33  # not small, 30 bits of height, as wide as high
    (tmp_path / "a.jxl").write_bytes(b"\xff\x0a" + struct.pack("<Q", bits) + bytes(50))
    assert read_jxl_size((tmp_path / "a.jxl").read_bytes()) == (side + 1, side + 1)
    with pytest.raises(DataError, match=r"a\.jxl claims more than 178 million pixels"):
        decode(tmp_path / "a.jxl", camera_rotation=True)


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "JPEG2000", "AVIF"])
@pytest.mark.parametrize("name", ["photo", "photo.1", "photo.jpg_large", "photo.JPEG", "photo.gif"])
def test_content_decides(tmp_path: Path, kind: str, name: str) -> None:
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("this build of Pillow reads no AVIF")
    path = save(tmp_path / name, format=kind)
    assert identify_format(path.read_bytes()[:32]) == kind
    assert list_images(tmp_path) == [name]
    assert np.abs(np.asarray(decode(path, camera_rotation=True)).astype(int) - PIXELS).max() <= 40
    oddities = inspect_image(path).oddities
    promised = FORMATS.get(path.suffix.lower())
    assert oddities == ((f"{kind} under the name {path.suffix}",) if promised not in (None, kind) else ())


@pytest.mark.parametrize("suffix", [".jpe", ".jfif", ".JPG", ".Jpeg", ".tif", ".TIFF", ".jp2", ".webp", ".PNG", ".bmp"])
def test_common_suffixes_are_listed_without_a_look_inside(tmp_path: Path, suffix: str) -> None:
    (tmp_path / f"photo{suffix}").write_bytes(b"")
    assert list_images(tmp_path) == [f"photo{suffix}"]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"P",
        b"PK\3\4",
        b"BMW and others",
        b"Photographs",
        b"#!/bin/sh\n",
        b"\0\0\0\x18ftypmp42\0\0\0\0mp42",
        b"%PDF-1.4",
    ],
)
def test_other_files_are_no_images(tmp_path: Path, content: bytes) -> None:
    for name in ("README", "notes.1", "video"):
        (tmp_path / name).write_bytes(content)
    omissions = Omissions()
    assert list_images(tmp_path, omissions) == [] and not omissions.unread


def test_what_is_not_read_is_counted(tmp_path: Path, without_extras: None) -> None:
    for name in ("1.HEIC", "2.HEIC", "3.heic", "4", "5.jxl", "6.CR2", "7.psd"):
        (tmp_path / name).write_bytes(HEIC if name == "4" else b"")
    (tmp_path / "notes.txt").write_text("8.HEIC")
    save(tmp_path / "photo.jpg")
    split = find_photographs(str(tmp_path))
    assert [Path(file).name for file in split.files] == ["photo.jpg"]
    heif, jxl, one = "pip install 'verydeep[heif]'", "pip install 'verydeep[jxl]'", "convert it to JPEG or PNG"
    assert split.notes == tuple(
        f"In {tmp_path} {text}."
        for text in (
            f"1 .CR2 file is not read: {one}",
            f"2 .HEIC files are not read: {heif}",
            f"1 .heic file is not read: {heif}",
            f"1 .jxl file is not read: {jxl}",
            f"1 .psd file is not read: {one}",
            f"1 HEIF file is not read: {heif}",
        )
    )


def test_a_file_that_is_not_read_says_what_to_do(tmp_path: Path, without_extras: None) -> None:
    contents = {"a.heic": HEIC, "b.jpg": HEIC, "c.jxl": b"\xff\x0a" + bytes(40), "d.psd": b"8BPS"}
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    for name, reason in {
        "a.heic": "is a file of the format HEIF: pip install 'verydeep[heif]'.",
        "b.jpg": "is a file of the format HEIF: pip install 'verydeep[heif]'.",
        "c.jxl": "is a file of the format JXL: pip install 'verydeep[jxl]'.",
        "d.psd": "is in a format that verydeep cannot read: convert it to JPEG or PNG.",
    }.items():
        for read in (decode, image_size):
            with pytest.raises(DataError) as raised:
                read(tmp_path / name, camera_rotation=True)
            assert str(raised.value) == f"{tmp_path / name} {reason}"


def test_a_class_of_files_that_are_not_read_is_named(tmp_path: Path, without_extras: None) -> None:
    for name in ("blue", "red"):
        (tmp_path / name).mkdir()
        for number in range(4):
            (tmp_path / name / f"{number}.HEIC").write_bytes(HEIC)
    for number in range(4):
        save(tmp_path / "blue" / f"{number}.jpg")
    verified = vd.verify(tmp_path, workers=1)
    assert any("8 .HEIC files are not read: pip install 'verydeep[heif]'." in note for note in verified.footer())
    with pytest.raises(
        DataError, match=r"red holds only images that are not read; convert.*8 \.HEIC files are not read: pip install"
    ):
        vd.train(tmp_path, crop=32, epochs=1, out=tmp_path / "run")
    with pytest.raises(DataError, match=r"4 \.HEIC files are not read"):
        find_photographs(str(tmp_path / "red"))


def test_heics_are_listed_where_they_are_read(tmp_path: Path) -> None:
    need("pi_heif")
    (tmp_path / "IMG_1.HEIC").write_bytes(HEIC)
    (tmp_path / "IMG_2").write_bytes(HEIC)
    assert list_images(tmp_path) == ["IMG_1.HEIC", "IMG_2"]


def test_a_pipe_is_not_opened(tmp_path: Path) -> None:
    os = pytest.importorskip("os")
    os.mkfifo(tmp_path / "pipe")
    (entry,) = os.scandir(tmp_path)
    assert find_format(entry) is None


def test_no_eps_is_opened(tmp_path: Path) -> None:
    for name in ("a.eps", "a.jpg", "a"):
        (tmp_path / name).write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
        with pytest.raises(DataError, match=r"not an image|not read"):
            decode(tmp_path / name, camera_rotation=True)
