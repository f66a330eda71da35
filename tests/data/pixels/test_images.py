"""Images in memory become RGB images; everything else is refused."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import picture
from verydeep.data.pixels.images import to_image, unpack_images
from verydeep.errors import DataError

PIXELS = picture(23, 41)


@pytest.mark.parametrize(
    "value",
    [
        Image.fromarray(PIXELS),
        Image.fromarray(PIXELS).convert("RGBA"),
        PIXELS,
        PIXELS[:, ::-1][:, ::-1],
        torch.from_numpy(PIXELS),
        torch.from_numpy(PIXELS).permute(2, 0, 1),
    ],
)
def test_one_image_of_every_kind(value: object) -> None:
    image = to_image(value)
    assert image.mode == "RGB"
    assert (np.asarray(image) == PIXELS).all()


@pytest.mark.parametrize("value", [PIXELS[..., 1], torch.from_numpy(PIXELS[..., 1]), Image.fromarray(PIXELS[..., 1])])
def test_gray_images(value: object) -> None:
    assert (np.asarray(to_image(value)) == PIXELS[..., 1:2]).all()


def test_an_opened_file_is_turned_as_the_camera_noted(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(PIXELS).save(tmp_path / "turned.png", exif=exif)
    with Image.open(tmp_path / "turned.png") as image:
        assert (np.asarray(to_image(image)) == np.rot90(PIXELS, -1)).all()


def test_sixteen_bits_and_palettes() -> None:
    deep = Image.fromarray(PIXELS[..., 0].astype(np.uint16) * 256 + 255)
    assert (np.asarray(to_image(deep)) == PIXELS[..., :1]).all()
    assert to_image(Image.fromarray(PIXELS).convert("P")).mode == "RGB"


def test_the_image_of_the_caller_stays_as_it_is() -> None:
    pixels = PIXELS.copy()
    image = Image.fromarray(pixels)
    to_image(image).putpixel((0, 0), (1, 2, 3))
    to_image(pixels).putpixel((0, 0), (1, 2, 3))
    assert (np.asarray(image) == PIXELS).all()
    assert (pixels == PIXELS).all()


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (PIXELS / 255, "Image 3 is an array of float64; expected a PIL image, .*. Scale the values to 0-255"),
        (torch.rand(3, 8, 8), "Image 3 is a tensor of float32; expected"),
        (PIXELS.transpose(2, 0, 1), r"Image 3 has shape \(3, 23, 41\); expected"),
        (PIXELS[..., :2], r"Image 3 has shape \(23, 41, 2\)"),
        (PIXELS[0, 0], r"Image 3 has shape \(3,\)"),
        (PIXELS[:0], r"Image 3 has shape \(0, 41, 3\)"),
        (7, "Image 3 is of type int; expected"),
        (None, "Image 3 is of type NoneType; expected"),
    ],
)
def test_other_values_are_refused(value: object, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        to_image(value, "Image 3")


def test_a_truncated_image_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "cut.png"
    Image.fromarray(PIXELS).save(path)
    path.write_bytes(path.read_bytes()[:500])
    with Image.open(path) as image, pytest.raises(DataError, match="Image 1 cannot be decoded"):
        to_image(image, "Image 1")


def test_several_images_in_one_value() -> None:
    batch = np.stack([PIXELS, PIXELS + 1])
    assert [value.tolist() for value in unpack_images(batch)] == batch.tolist()  # type: ignore[attr-defined]
    assert len(list(unpack_images([torch.from_numpy(batch), PIXELS, (PIXELS, PIXELS)]))) == 5
