import struct
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageFile, ImageOps

from verydeep.data.pixels.decoding import decode, image_size, inspect_image
from verydeep.errors import VerydeepError

WIDTH, HEIGHT = 149, 211
BROKEN_EXIF = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 9) + b"\x12\x01"


def photograph(width: int = WIDTH, height: int = HEIGHT) -> np.ndarray:
    """Smooth, and different in every direction and channel; never 0 and never one gray along a row."""
    y, x = np.mgrid[0:height, 0:width]
    red, green, blue = 20 + 200 * x / width, 230 - 180 * y / height, 40 + 90 * x / width + 90 * y / height
    return np.stack([red, green, blue], axis=-1).astype(np.uint8)


def save(path: Path, pixels: np.ndarray | None = None, **options) -> Path:
    Image.fromarray(photograph() if pixels is None else pixels).save(path, **options)
    return path


def pixels_of(path: Path, **options) -> np.ndarray:
    image = decode(path, **{"camera_rotation": False, **options})
    assert image.mode == "RGB"
    return np.asarray(image)


def cut_region(path: Path, share: float) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    return path


def close(a: np.ndarray, b: np.ndarray, levels: float) -> bool:
    return a.shape == b.shape and np.abs(a.astype(float) - b).max() <= levels


def test_a_tiff_is_turned_once(tmp_path: Path) -> None:
    """Pillow turns TIFFs while loading, whatever we ask for; sizes and pixels have to agree with that."""
    pixels = np.zeros((30, 50, 3), np.uint8)
    pixels[:10] = 255  # the sensor's upper edge, which tag 6 puts on the right
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(pixels).save(tmp_path / "turned.tif", exif=exif)
    for camera_rotation in (True, False):
        image = decode(tmp_path / "turned.tif", camera_rotation=camera_rotation)
        assert image.size == image_size(tmp_path / "turned.tif", camera_rotation=camera_rotation) == (30, 50)
        assert np.asarray(image)[25, 29, 0] == 255 and np.asarray(image)[25, 0, 0] == 0


def test_an_rgb_jpeg_keeps_size_and_channels(tmp_path):
    assert close(pixels_of(save(tmp_path / "a.jpg", quality=98, subsampling=0)), photograph(), 6)


def test_grayscale_becomes_three_equal_channels(tmp_path):
    gray = photograph()[..., 0]
    pixels = pixels_of(save(tmp_path / "a.png", gray))
    assert (pixels == gray[..., None]).all()


def test_adobes_inverted_cmyk_comes_out_as_the_inks_say(tmp_path):
    inks = np.zeros((40, 72, 4), np.uint8)  # cyan, magenta, yellow, black; no ink is white
    inks[:, 8:16, 0] = inks[:, 16:24, 1] = inks[:, 24:32, 2] = inks[:, 32:40, 3] = 255
    inks[:, 40:56] = (102, 51, 0, 51)
    Image.fromarray(inks, "CMYK").save(tmp_path / "a.jpg", quality=98)
    with Image.open(tmp_path / "a.jpg") as stored:  # the file as it lies, nothing undone: white is 255
        tile = stored.tile[0]
        stored.tile = [tile._replace(args=("CMYK", ""))]
        assert np.asarray(stored)[20, 3].min() > 250
    pixels = pixels_of(tmp_path / "a.jpg").astype(int)
    expected = {4: (255, 255, 255), 12: (0, 255, 255), 20: (255, 0, 255), 28: (255, 255, 0), 36: (0, 0, 0)}
    expected[48] = tuple(round(255 * (1 - ink / 255) * 0.8) for ink in (102, 51, 0))
    for column, color in expected.items():
        assert np.abs(pixels[20, column] - color).max() <= 6, (column, pixels[20, column])


@pytest.mark.parametrize("transparency", [None, 3, bytes([0, 128] * 128)])
def test_palette_gives_its_colors_with_and_without_transparency(tmp_path, transparency):
    palette = Image.fromarray(photograph()).quantize(64)
    options = {} if transparency is None else {"transparency": transparency}
    palette.save(tmp_path / "a.png", **options)
    table = np.array(palette.getpalette(), np.uint8).reshape(-1, 3)
    assert (pixels_of(tmp_path / "a.png") == table[np.asarray(palette)]).all()


def test_alpha_is_dropped(tmp_path):
    rgba = np.dstack([photograph(), np.full((HEIGHT, WIDTH), 7, np.uint8)])
    assert (pixels_of(save(tmp_path / "a.png", rgba)) == photograph()).all()


def test_16_bits_of_gray_are_scaled_not_clipped(tmp_path):
    gray = np.linspace(0, 65535, WIDTH * HEIGHT).astype(np.uint16).reshape(HEIGHT, WIDTH)
    pixels = pixels_of(save(tmp_path / "a.png", gray))
    assert (pixels == (gray // 256)[..., None]).all()


def test_png_under_a_jpeg_name(tmp_path):
    path = save(tmp_path / "n02105855_2933.JPEG", format="PNG")
    assert (pixels_of(path) == photograph()).all()
    assert image_size(path, camera_rotation=False) == (WIDTH, HEIGHT)


@pytest.mark.parametrize("action", ["error", "always"])
@pytest.mark.parametrize("camera_rotation", [False, True])
def test_broken_exif_is_silent_whatever_the_warnings_filter(tmp_path, action, camera_rotation):
    path = save(tmp_path / "a.jpg", exif=BROKEN_EXIF)
    with pytest.warns(UserWarning, match="Corrupt EXIF"), Image.open(path):
        pass  # so the file is one that Pillow complains about
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter(action)
        before = list(warnings.filters)
        assert pixels_of(path, camera_rotation=camera_rotation).shape == (HEIGHT, WIDTH, 3)
        assert image_size(path, camera_rotation=camera_rotation) == (WIDTH, HEIGHT)
        assert warnings.filters == before
    assert caught == []


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_the_cameras_rotation_is_applied_when_asked_and_only_then(tmp_path, orientation, suffix):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / f"a.{suffix}", exif=exif)
    with Image.open(path) as image:
        stored, upright = np.asarray(image), np.asarray(ImageOps.exif_transpose(image))
    assert (pixels_of(path, camera_rotation=True) == upright).all()
    assert (pixels_of(path, camera_rotation=False) == stored).all()
    assert image_size(path, camera_rotation=True) == upright.shape[1::-1]
    assert image_size(path, camera_rotation=False) == (WIDTH, HEIGHT)


@pytest.mark.parametrize("orientation", [0, 9, 77])
def test_an_orientation_that_does_not_exist_is_none(tmp_path, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "a.png", exif=exif)
    assert (pixels_of(path, camera_rotation=True) == photograph()).all()


@pytest.mark.parametrize(
    ("name", "options"), [("a.jpg", {}), ("a.jpg", {"quality": 95, "subsampling": 0}), ("a.png", {}), ("a.tif", {})]
)
def test_a_truncated_file_is_used_as_far_as_it_goes(tmp_path, name, options):
    noise = np.random.default_rng(0).integers(0, 12, (HEIGHT, WIDTH, 3), np.uint8)
    pixels = photograph() + noise
    whole = pixels_of(save(tmp_path / name, pixels, **options))
    usable_part = pixels_of(cut_region(tmp_path / name, 0.9))
    good = int(0.75 * HEIGHT)
    assert usable_part.shape == whole.shape
    assert (usable_part[:good] == whole[:good]).all()
    assert (usable_part[-3:] != whole[-3:]).any()
    assert image_size(tmp_path / name, camera_rotation=False) == (WIDTH, HEIGHT)
    assert not ImageFile.LOAD_TRUNCATED_IMAGES


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("share", [0.85, 0.65])
def test_three_quarters_of_the_rows_decide(tmp_path, mode, share):
    """With rows of like content, a file's share of bytes is its share of rows."""
    noise = np.random.default_rng(0).integers(30, 200, (480, 64, 3), np.uint8)
    path = tmp_path / "a.jpg"
    Image.fromarray(noise).convert(mode).save(path, quality=90)
    cut_region(path, share)
    if share > 0.75:
        assert pixels_of(path).shape == (480, 64, 3)
    else:
        with pytest.raises(VerydeepError, match=r"a\.jpg is damaged: only 6\d% of its rows") as raised:
            pixels_of(path)
        assert str(path) in str(raised.value)


def test_a_truncated_progressive_jpeg_has_all_its_rows_but_coarser(tmp_path):
    whole = pixels_of(save(tmp_path / "a.jpg", progressive=True, quality=95))
    assert close(pixels_of(cut_region(tmp_path / "a.jpg", 0.7)), whole, 60)


def test_threads_do_not_see_each_others_tolerance(tmp_path):
    noise = np.random.default_rng(1).integers(30, 200, (480, 64, 3), np.uint8)
    usable_part = cut_region(save(tmp_path / "kept.jpg", noise), 0.9)
    lost = cut_region(save(tmp_path / "lost.jpg", noise), 0.5)
    whole = save(tmp_path / "whole.jpg", noise, exif=BROKEN_EXIF)

    def usable(path: Path) -> bool:
        try:
            decode(path, camera_rotation=True)
        except VerydeepError:
            return False
        return True

    before = list(warnings.filters)
    paths = [usable_part, lost, whole] * 40
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(usable, paths)) == [path != lost for path in paths]
    assert warnings.filters == before


def claim_size(path, width, height):
    """Write another size into the header of a PNG."""
    data = bytearray(path.read_bytes())
    data[16:24] = struct.pack(">II", width, height)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
    path.write_bytes(data)


def test_a_decompression_bomb_is_refused_from_its_header(tmp_path):
    path = save(tmp_path / "a.png")
    claim_size(path, 20_000, 10_000)
    for read in (decode, image_size):
        with pytest.raises(VerydeepError, match=r"a\.png claims more than 178 million pixels"):
            read(path, camera_rotation=True)
    claim_size(path, 10_000, 10_000)  # Pillow only warns, which here would be an error
    assert image_size(path, camera_rotation=True) == (10_000, 10_000)


@pytest.mark.parametrize("content", [b"", b"no image at all", b"\xff\xd8\xff\xe0\x00\x10JFIF", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_image_is_named(tmp_path, content):
    path = tmp_path / "a photo.jpg"
    path.write_bytes(content)
    for read in (decode, image_size):
        with pytest.raises(VerydeepError, match=r"a photo\.jpg"):
            read(path, camera_rotation=True)
    assert "a photo.jpg" in str(inspect_image(path).error)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(VerydeepError, match=r"gone\.jpg cannot be read: No such file"):
        decode(tmp_path / "gone.jpg", camera_rotation=False)


def test_a_png_with_damage_in_the_middle_is_an_error(tmp_path):
    path = save(tmp_path / "a.png")
    data = bytearray(path.read_bytes())
    middle = len(data) // 3
    data[middle : middle + 40] = b"\xff" * 40  # no code of deflate
    path.write_bytes(data)
    with pytest.raises(VerydeepError, match=r"a\.png is damaged: only \d+% of its rows"):
        decode(path, camera_rotation=False)


@given(st.integers(1, 900), st.integers(1, 900), st.integers(1, 400), st.integers(1, 400))
def test_fast_decoding_never_goes_below_what_suffices(tmp_path_factory, width, height, enough_wide, enough_high):
    path = tmp_path_factory.getbasetemp() / "fast.jpg"
    Image.new("RGB", (width, height)).save(path)
    image = decode(path, camera_rotation=False, at_least=(enough_wide, enough_high))
    assert image.width >= min(width, enough_wide)
    assert image.height >= min(height, enough_high)
    if width >= 2 * enough_wide and height >= 2 * enough_high:
        assert image.width <= -(-width // 2)
        assert image.height <= -(-height // 2)


def test_fast_decoding_counts_in_the_upright_image(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn: 800 high, 400 wide once upright
    path = save(tmp_path / "a.jpg", photograph(800, 400), exif=exif)
    assert decode(path, camera_rotation=True, at_least=(200, 400)).size == (200, 400)
    assert decode(path, camera_rotation=True, at_least=(201, 400)).size == (400, 800)
    assert decode(path, camera_rotation=False, at_least=(400, 200)).size == (400, 200)


def test_fast_decoding_leaves_other_formats_alone(tmp_path):
    path = save(tmp_path / "a.png")
    assert (pixels_of(path, at_least=(10, 10)) == photograph()).all()


def test_an_inspection_tells_what_is_unusual(tmp_path):
    assert inspect_image(save(tmp_path / "plain.jpg")).oddities == ()
    assert inspect_image(save(tmp_path / "a.JPEG", format="PNG")).oddities == ("PNG under the name .JPEG",)
    Image.new("CMYK", (20, 30)).save(tmp_path / "c.jpg")
    assert inspect_image(tmp_path / "c.jpg").oddities == ("CMYK, converted to RGB",)
    noise = np.random.default_rng(0).integers(30, 200, (480, 64, 3), np.uint8)
    (oddity,) = inspect_image(cut_region(save(tmp_path / "t.jpg", noise), 0.9)).oddities
    assert oddity in {f"damaged, {percent}% of its rows were decoded" for percent in range(86, 94)}
