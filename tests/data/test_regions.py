"""Boxes cut out of photographs: in which frame, how far, and at which resolution."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.conftest import picture
from verydeep.data.loading.testing_images import TestImages, load_test_batches
from verydeep.data.pixels.decoding import Decoding
from verydeep.data.regions import cut_region, region_edges
from verydeep.data.split import Split
from verydeep.errors import VerydeepError

PATH = Path("a.jpg")


def edges(*xyxy: float) -> tuple[int, int, int, int]:
    return region_edges(np.array(xyxy, np.float32), (100, 60), PATH)


def test_the_last_pixel_of_a_box_is_inside() -> None:
    assert edges(10, 20, 30, 40) == (10, 20, 31, 41)
    assert edges(5, 6, 5, 6) == (5, 6, 6, 7)


def test_a_box_between_pixels_has_all_that_it_touches_and_none_outside_the_image() -> None:
    assert edges(44.5, 1.2, 79.5, 30) == (44, 1, 81, 31)
    assert edges(-3, -2, 130, 59) == (0, 0, 100, 60)


@pytest.mark.parametrize("xyxy", [(100, 0, 120, 30), (0, 60, 30, 80), (-9, -9, -1.5, -2), (30, 10, 20, 20)])
def test_a_box_outside_is_an_error(xyxy: tuple[float, ...]) -> None:
    with pytest.raises(VerydeepError, match=r"The box \(.*\) lies outside of a\.jpg, which has 100x60 pixels"):
        edges(*xyxy)


@pytest.fixture
def persons(tmp_path: Path) -> Split:
    """Two on one rectangular photograph, and one on a photograph lying on its side."""
    for name, (height, width) in {"a": (70, 101), "b": (90, 45)}.items():
        Image.fromarray(picture(height, width, seed=height)).save(tmp_path / f"{name}.png")
    boxes = ((5, 10, 44, 62), (60, 3, 100, 69), (0, 20, 44, 58))
    return Split(
        "train", tmp_path, ("a.png", "a.png", "b.png"), None, ("x",), ("x",), "persons", False,
        boxes=tuple(np.array([box], np.float32) for box in boxes),
    )  # fmt: skip


@pytest.mark.parametrize("workers", [0, 2])
def test_what_lies_in_a_box_is_cut_out_and_rescaled_as_a_whole_image(persons: Split, workers: int) -> None:
    """By Pillow alone; what lies around the box is not seen."""
    images = TestImages(persons.cropped_to_boxes(), (37, 64))
    for batch in load_test_batches(images, [[0], [1], [2]], workers):
        (index,) = batch.indices.tolist()
        x1, y1, x2, y2 = map(int, persons.boxes[index][0])  # type: ignore[index]
        with Image.open(persons.path(index)) as file:
            cut_region = file.convert("RGB").crop((x1, y1, x2 + 1, y2 + 1))
        for short, scaled in zip((37, 64), batch.images, strict=True):
            scale = short / min(cut_region.size)
            size = [short if side == min(cut_region.size) else round(side * scale) for side in cut_region.size]
            expected = np.asarray(cut_region.resize(size, Image.Resampling.BILINEAR))
            assert np.array_equal(scaled[0].numpy(), expected)
        assert images.shapes(index) == tuple((each.shape[2], each.shape[1]) for each in batch.images)


def test_whole_images_are_seen_as_long_as_boxes_are_not_asked_for(persons: Split) -> None:
    _, (first,), _ = TestImages(persons, (35,))[0]
    _, (second,), _ = TestImages(persons, (35,))[1]
    assert first.shape[:2] == (35, 50) and np.array_equal(first, second)


def test_a_bad_box_is_skipped_alone(persons: Split) -> None:
    assert persons.boxes is not None
    bad = replace(persons, boxes=(np.array([[200, 1, 210, 9]], np.float32), *persons.boxes[1:])).cropped_to_boxes()
    images = TestImages(bad, (37,), decoding=Decoding("skip"))
    assert images.shapes(0) == ()
    skipped = {}
    for batch in load_test_batches(images, [[0], [1]], 0):
        skipped |= batch.skipped
        assert batch.indices.tolist() in ([], [1])
    assert list(skipped) == ["a.png"] and "lies outside of" in skipped["a.png"]


def test_fast_decoding_sees_the_same_box(tmp_path: Path) -> None:
    """Of a large JPEG at a quarter of its size; the shape is that of the whole file's box."""
    pixels = picture(700, 1001, seed=4)
    Image.fromarray(pixels).save(tmp_path / "a.jpg", quality=95)
    box = np.array([[301, 122, 812, 600]], np.float32)
    split = Split(
        "train", tmp_path, ("a.jpg",), None, ("x",), ("x",), "persons", False, boxes=(box,)
    ).cropped_to_boxes()
    _, (full,), _ = TestImages(split, (100,))[0]
    fast = TestImages(split, (100,), decoding=Decoding(fast=True))
    _, (reduced,), _ = fast[0]
    assert full.shape == reduced.shape == (100, 107, 3) and fast.shapes(0) == ((107, 100),)
    assert np.abs(full.astype(int) - reduced).mean() < 4 < np.abs(full.astype(int) - full[:, ::-1]).mean()
    assert not np.array_equal(full, reduced), "it was decoded smaller"


def test_of_a_reduced_copy_no_more_is_cut_than_there_is() -> None:
    """Pillow would add black pixels; 475 is 237.5 pixels at half the size, which rounding takes for 239."""
    for width in range(300, 620):
        for reduction in (2, 4, 8):
            reduced = Image.new("RGB", (-(-width // reduction), 50), "white")
            whole = cut_region(reduced, (0, 0, width, 50 * reduction), (width, 50 * reduction))
            assert whole.size == reduced.size, (width, reduction)
            assert whole.getextrema() == ((255, 255),) * 3
