import numpy as np
import pytest
from PIL import Image

from verydeep.ops.alignment import align_thumbnails
from verydeep.ops.arrays import UInt8Array


def texture(seed: int) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (14, 18), np.uint8)
    return Image.fromarray(pixels).resize((360, 280), Image.Resampling.BICUBIC)


def thumbnail(image: Image.Image) -> UInt8Array:
    return np.asarray(image.resize((32, 32), Image.Resampling.BILINEAR))


@pytest.mark.parametrize("box", [(0, 0, 360, 280), (20, 0, 360, 260), (10, 14, 350, 270), (0, 20, 330, 280)])
@pytest.mark.parametrize("seed", range(4))
def test_a_crop_fits_its_photograph_in_both_directions_at_any_contrast(
    seed: int, box: tuple[int, int, int, int]
) -> None:
    whole = texture(seed)
    crop = whole.crop(box).point(lambda level: level * 0.6 + 50)
    pair = thumbnail(whole)[None], thumbnail(crop)[None]
    assert align_thumbnails(*pair)[0] > 0.98 and align_thumbnails(*pair[::-1])[0] > 0.98


def test_others_do_not_fit() -> None:
    thumbnails = np.stack([thumbnail(texture(seed)) for seed in range(30)])
    assert align_thumbnails(thumbnails[:15], thumbnails[15:]).max() < 0.8


def test_plain_images_and_none() -> None:
    plain = np.full((1, 32, 32), 90, np.uint8)
    assert align_thumbnails(plain, plain)[0] < 0.98  # nothing to compare
    assert len(align_thumbnails(plain[:0], plain[:0])) == 0
