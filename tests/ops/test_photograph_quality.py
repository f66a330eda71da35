import numpy as np
import pytest
from PIL import Image, ImageFilter

from verydeep.ops.photograph_quality import find_percentile, measure_blur, measure_spread


def test_blur_grows_with_the_radius_and_ignores_contrast() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (90, 120), np.uint8)
    image = Image.fromarray(pixels).resize((240, 180), Image.Resampling.NEAREST)
    measured = [measure_blur(np.asarray(image.filter(ImageFilter.GaussianBlur(radius)))) for radius in (0, 1, 2, 4)]
    assert measured == sorted(measured) and measured[0] < 0.3 and measured[3] > 0.6
    dull = image.filter(ImageFilter.GaussianBlur(1)).point(lambda level: level // 2 + 40)
    assert measure_blur(np.asarray(dull)) == pytest.approx(measured[1], abs=0.03)


def test_blur_follows_its_definition() -> None:
    """A step loses nothing but 8/9 of itself to the blur; a ramp loses nothing."""
    step = np.repeat(np.where(np.arange(60) < 30, 0, 180), 50).reshape(60, 50).astype(np.uint8)
    assert measure_blur(step) == pytest.approx(1 / 9, abs=1e-6)
    ramp = np.tile(np.arange(0, 120, 2, dtype=np.uint8), (40, 1))
    assert measure_blur(ramp) == pytest.approx(1, abs=0.1)
    assert measure_blur(np.full((50, 50), 7, np.uint8)) == 0


def test_percentiles_and_spread_are_those_of_the_pixels() -> None:
    pixels = np.random.default_rng(1).normal(120, 30, 5000).clip(0, 255).astype(np.uint8)
    histogram = np.bincount(pixels, minlength=256)
    assert measure_spread(histogram) == pytest.approx(float(pixels.std()))
    for share in (0.01, 0.5, 0.95):
        expected = np.percentile(pixels, 100 * share, method="inverted_cdf")
        assert find_percentile(histogram, share) == expected
