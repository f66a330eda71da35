"""Mean and covariance of a training set's pixels against numpy on all of them at once."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.stats import chisquare

from tests.conftest import picture
from verydeep.data.loading.statistics import MAX_IMAGES, PixelSums, pixel_sums, sample_indices
from verydeep.data.pixels.decoding import BadImages
from verydeep.data.split import Split
from verydeep.errors import VerydeepError
from verydeep.ops.arrays import Float64Array, Int64Array

SHORT = 37


def total(split: Split, indices: Int64Array, *, bad_images: BadImages = "error", num_workers: int = 0) -> PixelSums:
    sums = PixelSums.zeros()
    for one in pixel_sums(split, indices, SHORT, bad_images, num_workers):
        sums.add(one)
    return sums


def all_pixels(split: Split, indices: Int64Array) -> Float64Array:
    """(n, 3) of every image rescaled to SHORT, by Pillow alone."""
    found = []
    for index in indices:
        with Image.open(split.root / split.files[index]) as file:
            image = file.convert("RGB")
        scale = SHORT / min(image.size)
        size = [SHORT if side == min(image.size) else round(side * scale) for side in image.size]
        found.append(np.asarray(image.resize(size, Image.Resampling.BILINEAR), np.float64).reshape(-1, 3))
    return np.concatenate(found)


def test_sums_are_numpys(train_split: Split) -> None:
    indices = np.arange(len(train_split))
    sums, pixels = total(train_split, indices), all_pixels(train_split, indices)
    assert sums.count == len(pixels)
    assert sums.mean == pytest.approx(pixels.mean(axis=0), rel=1e-12)
    assert sums.covariance == pytest.approx(np.cov(pixels.T, bias=True), rel=1e-9)
    assert sums.mean[0] > sums.mean[1] > sums.mean[2]  # RGB: red photographs


def test_only_the_named_images_count(train_split: Split) -> None:
    indices = np.array([0, 7, 20])
    assert total(train_split, indices).mean == pytest.approx(all_pixels(train_split, indices).mean(axis=0))


def test_bright_pixels_lose_no_digits() -> None:
    """Pixels of 254 and 255 only: in single precision the covariance would come out wrong, or negative."""
    sums = PixelSums.zeros()
    rng = np.random.default_rng(0)
    stack = rng.integers(254, 256, (20, 200, 300, 3)).astype(np.uint8)
    for pixels in stack:
        sums.add(PixelSums.of_image(Image.fromarray(pixels)))
    assert sums.covariance == pytest.approx(np.cov(stack.reshape(-1, 3).T, bias=True), abs=1e-8)


def test_the_number_of_workers_changes_nothing(train_split: Split) -> None:
    alone, shared = (total(train_split, np.arange(len(train_split)), num_workers=workers) for workers in (0, 2))
    assert alone.count == shared.count
    assert np.array_equal(alone.total, shared.total)
    assert np.array_equal(alone.products, shared.products)


def split_of(root: Path, files: list[str], train_split: Split) -> Split:
    return replace(train_split, root=root, files=tuple(files), labels=np.zeros(len(files), np.int64))


def test_grey_photographs_count_in_all_three_channels(tmp_path: Path, train_split: Split) -> None:
    for i in range(3):
        Image.fromarray(picture(41, 60, seed=i)).convert("L").save(tmp_path / f"{i}.jpg")
    sums = total(split_of(tmp_path, ["0.jpg", "1.jpg", "2.jpg"], train_split), np.arange(3))
    assert sums.mean == pytest.approx(np.full(3, sums.mean[0]))
    assert sums.covariance == pytest.approx(np.full((3, 3), sums.covariance[0, 0]))
    assert sums.covariance[0, 0] > 1


def test_broken_files_are_an_error_or_left_out(tmp_path: Path, train_split: Split) -> None:
    Image.fromarray(picture(41, 60)).save(tmp_path / "good.jpg")
    (tmp_path / "bad.jpg").write_bytes(b"no photograph")
    split = split_of(tmp_path, ["bad.jpg", "good.jpg"], train_split)
    for num_workers in (0, 2):
        with pytest.raises(VerydeepError, match=r"bad\.jpg") as caught:
            total(split, np.arange(2), num_workers=num_workers)
        assert "\n" not in str(caught.value), f"a traceback, with {num_workers} workers"
    skipped, good = total(split, np.arange(2), bad_images="skip"), total(split, np.array([1]))
    assert (skipped.count, *skipped.total) == (good.count, *good.total)


def test_small_sets_are_measured_whole() -> None:
    assert MAX_IMAGES == 10_000
    for count in (1, 9_999, 10_000):
        assert sample_indices(count, seed=4).tolist() == list(range(count))


def test_large_sets_by_at_most_ten_thousand_images_drawn_by_the_seed() -> None:
    drawn = sample_indices(1_281_167, seed=4)
    assert len(drawn) == 10_000
    assert (np.diff(drawn) > 0).all()
    assert drawn[0] >= 0 and drawn[-1] < 1_281_167
    assert chisquare(np.histogram(drawn, bins=20, range=(0, 1_281_167))[0]).pvalue > 1e-3
    assert np.array_equal(drawn, sample_indices(1_281_167, seed=4))
    assert len(np.intersect1d(drawn, sample_indices(1_281_167, seed=5))) < 200  # 78 by chance
