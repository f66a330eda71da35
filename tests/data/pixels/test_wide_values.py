import io
import warnings
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.peers import need
from tests.wide_files import write_png16, write_tiff
from verydeep.data.pixels.decoding import decode, find_value_type, image_size, inspect_image, measure_values
from verydeep.errors import DataError
from verydeep.ops.arrays import AnyArray, UInt8Array
from verydeep.ops.value_ranges import Extent

HEIGHT, WIDTH = 37, 53
Y, X = np.mgrid[0:HEIGHT, 0:WIDTH]
GRAY = (20 + 197 * X // (WIDTH - 1)).astype(np.uint8)
"""From 20 at the left to 217 at the right."""
COLORS = np.stack([GRAY, 230 - 5 * Y, 40 + X + 2 * Y, 0 * X + 77, 0 * X + 99], -1).astype(np.uint8)


def pixels_of(path: Path) -> UInt8Array:
    image = decode(path, camera_rotation=False)
    assert image.mode == "RGB"
    assert image.size == image_size(path, camera_rotation=False)
    return np.asarray(image)


def wide(gray: AnyArray, kind: str) -> AnyArray:
    """Return gray levels as values of another kind, each in the middle of its step."""
    if kind.startswith("float"):
        name, end = kind.split(" to ")
        return ((gray + 0.5) / 256 * float(end)).astype(name)
    name, bits = kind.split(" of ")
    return (gray.astype(np.int64) << int(bits) - 8 | 1 << int(bits) - 8 >> 1).astype(name)


@pytest.mark.parametrize("big_endian", [False, True])
@pytest.mark.parametrize(
    "kind",
    [
        *("uint16 of 16", "uint16 of 14", "uint16 of 12", "uint16 of 10", "uint16 of 8", "int16 of 15", "int16 of 12"),
        *("uint32 of 32", "uint32 of 12", "uint32 of 24", "int32 of 31", "int32 of 16", "uint64 of 16"),
        *("float32 to 1", "float32 to 255", "float32 to 65535", "float64 to 1", "float16 to 1"),
    ],
)
def test_a_tiff_has_its_gray_levels_whatever_its_numbers(tmp_path: Path, kind: str, big_endian: bool) -> None:
    path = write_tiff(tmp_path / "a.tif", wide(GRAY, kind), big_endian=big_endian)
    assert (pixels_of(path) == GRAY[..., None]).all()
    assert inspect_image(path).error is None
    assert find_value_type(path) == ("float" if "float" in kind else kind.split(maxsplit=1)[0])


@pytest.mark.parametrize("kind", ["uint16 of 16", "uint16 of 12", "uint32 of 32"])
def test_white_may_be_zero(tmp_path: Path, kind: str) -> None:
    path = write_tiff(tmp_path / "a.tif", wide(255 - GRAY, kind), white_is_zero=True)
    assert (pixels_of(path) == GRAY[..., None]).all()


@pytest.mark.parametrize("planar", [False, True])
@pytest.mark.parametrize("kind", ["uint16 of 16", "uint16 of 12", "float32 to 1", "uint32 of 16"])
@pytest.mark.parametrize("channels", [2, 3, 4, 5])
def test_the_first_three_channels_are_colors(tmp_path: Path, kind: str, channels: int, planar: bool) -> None:
    path = write_tiff(tmp_path / "a.tif", wide(COLORS[..., :channels], kind), planar=planar)
    assert (pixels_of(path) == (COLORS[..., :3] if channels > 2 else GRAY[..., None])).all()
    oddities = {4: "4 channels, of which the first three are used", 5: "5 channels, of which the first three are used"}
    oddities[2] = "2 channels, of which the first is used"
    assert inspect_image(path).oddities == ((oddities[channels],) if channels in oddities else ())


def test_five_channels_of_bytes_and_signed_bytes(tmp_path: Path) -> None:
    assert (pixels_of(write_tiff(tmp_path / "a.tif", COLORS)) == COLORS[..., :3]).all()
    assert find_value_type(tmp_path / "a.tif") is None
    signed = write_tiff(tmp_path / "b.tif", (GRAY >> 1).astype(np.int8))
    assert (pixels_of(signed) == (GRAY >> 1 << 1)[..., None]).all()


def test_the_first_of_several_pages_is_used(tmp_path: Path) -> None:
    first, second = (Image.fromarray(wide(gray, "uint16 of 12")) for gray in (GRAY, GRAY // 2))
    first.save(tmp_path / "a.tif", save_all=True, append_images=[second, second])
    assert (pixels_of(tmp_path / "a.tif") == GRAY[..., None]).all()
    assert inspect_image(tmp_path / "a.tif").oddities == ("3 pages, of which the first is used",)


def test_negative_values_span_from_the_smallest_to_the_largest(tmp_path: Path) -> None:
    values = np.linspace(-1024, 3071, HEIGHT * WIDTH).reshape(HEIGHT, WIDTH).round().astype(np.int16)
    pixels = pixels_of(write_tiff(tmp_path / "scan.tif", values))
    assert (pixels[..., 0] == (values.astype(int) + 1024) * 256 // 4096).all()


def test_missing_pixels_are_black_and_do_not_count(tmp_path: Path) -> None:
    values = wide(GRAY, "float32 to 1")
    values[3, 4], values[5, 6], values[7, 8] = np.nan, np.inf, -3.4e38
    pixels = pixels_of(write_tiff(tmp_path / "a.tif", values))
    expected = GRAY.copy()
    expected[3, 4] = expected[5, 6] = expected[7, 8] = 0
    assert (pixels == expected[..., None]).all()


def test_the_largest_value_that_a_tag_mentions_counts(tmp_path: Path) -> None:
    dark = write_tiff(tmp_path / "a.tif", wide(GRAY // 16, "uint16 of 12"), tags={281: 4095})
    assert (pixels_of(dark) == (GRAY // 16)[..., None]).all()


@pytest.mark.parametrize("bits", [12, 16])
@pytest.mark.parametrize("channels", [1, 2, 3, 4])
def test_a_png_of_16_bits(tmp_path: Path, channels: int, bits: int) -> None:
    colors = COLORS[..., :channels] if channels > 1 else GRAY
    path = write_png16(tmp_path / "a.png", wide(colors, f"uint16 of {bits}"))
    assert (pixels_of(path) == (COLORS[..., :3] if channels > 2 else GRAY[..., None])).all()
    assert find_value_type(path) == "uint16"


@pytest.mark.parametrize("color", [False, True])
@pytest.mark.parametrize("largest", [1023, 4095, 50_000, 65_535])
def test_a_netpbm_file_names_its_largest_value(tmp_path: Path, largest: int, color: bool) -> None:
    gray = COLORS[..., :3] if color else GRAY
    values = np.ceil(gray.astype(int) * (largest + 1) / 256).astype(">u2")
    path = tmp_path / "a.pgm"
    path.write_bytes(b"P%d\n# a comment\n%d %d\n%d\n" % (5 + color, WIDTH, HEIGHT, largest) + values.tobytes())
    assert (pixels_of(path) == (gray if color else gray[..., None])).all()
    assert find_value_type(path) == ("uint16" if largest == 65_535 else None)


@pytest.mark.parametrize("color", [False, True])
@pytest.mark.parametrize("order", ["<", ">"])
def test_a_pfm_begins_with_its_last_row(tmp_path: Path, order: str, color: bool) -> None:
    gray = COLORS[..., :3] if color else GRAY
    scale = b"-1.0" if order == "<" else b"1.0"
    values = wide(gray, "float32 to 1")[::-1].astype(f"{order}f4")
    (tmp_path / "a.pfm").write_bytes(
        (b"PF" if color else b"Pf") + b"\n%d %d\n%s\n" % (WIDTH, HEIGHT, scale) + values.tobytes()
    )
    assert (pixels_of(tmp_path / "a.pfm") == (gray if color else gray[..., None])).all()


def test_a_jpeg_2000_has_16_bits_whatever_it_holds(tmp_path: Path) -> None:
    Image.fromarray(wide(GRAY // 16, "uint16 of 16")).save(tmp_path / "a.jp2")
    assert (pixels_of(tmp_path / "a.jp2") == (GRAY // 16)[..., None]).all()


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", None])
@pytest.mark.parametrize("kind", ["uint16 of 12", "int32 of 16", "float32 to 1"])
def test_pillow_reads_one_compressed_channel(tmp_path: Path, kind: str, compression: str | None) -> None:
    values = wide(GRAY, kind)
    Image.fromarray(values).save(tmp_path / "a.tif", compression=compression)
    assert (pixels_of(tmp_path / "a.tif") == GRAY[..., None]).all()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(values).save(tmp_path / "turned.tif", compression=compression, exif=exif)
    assert (pixels_of(tmp_path / "turned.tif") == np.rot90(GRAY, -1)[..., None]).all()


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("compression", [None, "zlib", "lzw"])
@pytest.mark.parametrize("tile", [None, (16, 32)])
@pytest.mark.parametrize("planarconfig", ["contig", "separate"])
@pytest.mark.parametrize(
    ("kind", "channels"),
    [("uint16 of 12", 3), ("uint16 of 16", 5), ("float32 to 1", 1), ("int16 of 15", 1), ("float64 to 1", 4)],
)
def test_what_tifffile_writes(
    tmp_path: Path,
    kind: str,
    channels: int,
    planarconfig: str,
    tile: tuple[int, int] | None,
    compression: str | None,
    byteorder: str,
) -> None:
    need("tifffile")
    need("imagecodecs")
    import tifffile

    colors = COLORS[..., :channels] if channels > 1 else GRAY
    values = wide(colors, kind)
    layout = {"planarconfig": planarconfig, "photometric": "rgb"} if channels > 1 else {}
    tifffile.imwrite(
        tmp_path / "a.tif",
        np.moveaxis(values, -1, 0) if channels > 1 and planarconfig == "separate" else values,
        compression=compression,
        tile=tile,
        byteorder=byteorder,
        metadata=None,
        **layout,
    )
    assert (pixels_of(tmp_path / "a.tif") == (COLORS[..., :3] if channels > 1 else GRAY[..., None])).all()


def test_an_uncommon_compressed_tiff_names_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need("tifffile")
    import tifffile

    path = tmp_path / "a.tif"
    tifffile.imwrite(path, COLORS.astype(np.uint16), compression="zlib", photometric="rgb")
    monkeypatch.setitem(__import__("sys").modules, "tifffile", None)
    with pytest.raises(DataError, match=r"a\.tif is a compressed TIFF with 5 channels of 16 bits: pip install 'veryd"):
        decode(path, camera_rotation=False)


def test_a_range_holds_for_all_files(tmp_path: Path) -> None:
    """A dark photograph stays dark next to a light one, and what is beyond the range is white."""
    dark, light = (write_tiff(tmp_path / f"{n}.tif", wide(GRAY // n, "uint16 of 12")) for n in (8, 1))
    assert measure_values(light) == Extent(328, 3480)
    for path, gray in ((dark, GRAY // 8), (light, GRAY)):
        pixels = np.asarray(decode(path, camera_rotation=False, value_ranges={"uint16": (0, 4095)}))
        assert (pixels == gray[..., None]).all()
    narrow = np.asarray(decode(light, camera_rotation=False, value_ranges={"uint16": (0, 2047)}))
    assert (narrow == np.minimum(GRAY.astype(int) * 2 + 1, 255)[..., None]).all()


def test_a_name_that_hides_the_values_is_an_error(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.jpg", wide(GRAY, "uint16 of 12"))
    with pytest.raises(
        DataError, match=r"a\.jpg has 16-bit values, but its suffix says otherwise: rename it to end in \.tif"
    ):
        decode(path, camera_rotation=False, value_ranges={})
    assert "rename it" in str(inspect_image(path, {}).error)


def test_no_more_is_read_than_the_file_holds(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif", wide(GRAY, "uint32 of 32"))
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(DataError, match=r"a\.tif"):
        decode(path, camera_rotation=False)
    (tmp_path / "a.pfm").write_bytes(b"PF\n100000 100000\n-1.0\n")
    write_tiff(tmp_path / "b.tif", np.zeros((2, 2, 5), np.uint16), tags={256: 60_000, 257: 60_000})
    for name in ("a.pfm", "b.tif"):
        for read in (decode, image_size):
            with pytest.raises(DataError, match="claims more than 178 million pixels"):
                read(tmp_path / name, camera_rotation=False)


def test_wide_values_are_read_without_warnings(tmp_path: Path) -> None:
    path = write_tiff(tmp_path / "a.tif", wide(COLORS, "float16 to 1"))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pixels_of(path)
    buffer = io.BytesIO()
    Image.fromarray(GRAY).save(buffer, "TIFF")
    (tmp_path / "b.tif").write_bytes(buffer.getvalue())
    assert find_value_type(tmp_path / "b.tif") is None
