"""The sample path against "rescale the whole image, then crop", and the laws of what is drawn."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scipy.stats import chisquare, kstest

from tests.conftest import SHAPES, picture
from verydeep.data.loading.augmentation import (
    Augmentation,
    crop_offset,
    draw_augmentation,
    draw_box_choice,
    localization_crop,
    training_crop,
)
from verydeep.data.loading.training_images import TrainSamples
from verydeep.data.pixels.decoding import Decoding, decode
from verydeep.data.split import Split
from verydeep.ops.arrays import Float32Array, Float64Array, UInt8Array
from verydeep.ops.images import flip_where

JITTER = {64: (73, 146), 224: (256, 512)}
"""[Smin; Smax] in pixels by crop."""


def whole_then_crop(image: Image.Image, short: int, x: float, y: float, crop: int) -> UInt8Array:
    """What everybody does: rescale everything, then cut; the offset uniform over all of its places."""
    width, height = image.size
    scale = short / min(width, height)
    size = (short, round(height * scale)) if width < height else (round(width * scale), short)
    whole = np.asarray(image.resize(size, Image.Resampling.BILINEAR))
    top, left = int(y * (whole.shape[0] - crop + 1)), int(x * (whole.shape[1] - crop + 1))
    return whole[top : top + crop, left : left + crop]


@pytest.fixture(scope="module")
def both_orientations(
    real_photographs: list[Path], tmp_path_factory: pytest.TempPathFactory
) -> list[tuple[Path, Image.Image]]:
    """Two landscape photographs, and two portrait ones made of them without recompression."""
    folder, found = tmp_path_factory.mktemp("portrait"), []
    for path in real_photographs:
        with Image.open(path) as image:
            image.load()
        turned = image.transpose(Image.Transpose.ROTATE_90).crop((0, 7, 427, 600))
        turned.save(folder / f"{path.stem}.png")
        found += [(path, image), (folder / f"{path.stem}.png", turned)]
    return found


def assert_within_one_level(ours: UInt8Array, theirs: UInt8Array) -> None:
    """All but two of the crop's values, which may differ by two: Pillow rounds twice, once for each direction."""
    difference = np.abs(ours.astype(int) - theirs)
    assert difference.max() <= 2
    assert (difference > 1).sum() <= 2


def samples(crop: int, images: list[tuple[Path, Image.Image]]) -> Iterator[tuple[Image.Image, Augmentation]]:
    """Every S of the range, the photographs in turn, every third crop in a corner."""
    rng = np.random.default_rng(crop)
    ends = (0.0, float(np.nextafter(1.0, 0.0)))
    for short in range(JITTER[crop][0], JITTER[crop][1] + 1):
        x, y = rng.random(2) if short % 3 else (ends[short % 2], ends[short // 2 % 2])
        yield images[short % 4][1], Augmentation(short, float(x), float(y), False, (0, 0, 0))


@pytest.mark.parametrize("crop", JITTER)
def test_the_crop_is_that_of_the_whole_rescaled_image(
    crop: int, both_orientations: list[tuple[Path, Image.Image]]
) -> None:
    for image, draw in samples(crop, both_orientations):
        ours, theirs = training_crop(image, draw, crop), whole_then_crop(image, draw.short, draw.x, draw.y, crop)
        assert ours.shape == theirs.shape == (crop, crop, 3)
        assert_within_one_level(ours, theirs)


@pytest.mark.parametrize("crop", JITTER)
def test_before_rounding_the_two_are_the_same(crop: int, both_orientations: list[tuple[Path, Image.Image]]) -> None:
    """Pillow resamples single-precision images without rounding: what is left is the precision of the box."""
    for image, draw in samples(crop, both_orientations):
        exact = image.getchannel("G").convert("F")
        ours, theirs = training_crop(exact, draw, crop), whole_then_crop(exact, draw.short, draw.x, draw.y, crop)
        assert np.abs(ours - theirs).max() < 0.02


@pytest.mark.parametrize("crop", JITTER)
def test_the_same_from_the_file(crop: int, both_orientations: list[tuple[Path, Image.Image]]) -> None:
    """Neither flipped nor shifted in color: that is the device's work."""
    for path, image in both_orientations:
        for short in (*JITTER[crop], crop):
            augmentation = Augmentation(short, 0.3, 0.8, True, (1, 2, 3))
            ours = training_crop(decode(path, camera_rotation=True), augmentation, crop)
            assert ours.dtype == np.uint8
            assert_within_one_level(ours, whole_then_crop(image, short, 0.3, 0.8, crop))


@pytest.mark.parametrize("shape", [*SHAPES, (1, 300), (300, 1), (32, 32), (33, 1000)])
def test_small_and_long_images_give_full_crops_at_their_very_ends(shape: tuple[int, int]) -> None:
    image, last = Image.fromarray(picture(*shape)), float(np.nextafter(1.0, 0.0))
    for short in (32, 37, 55, 73):
        for x, y in ((0.0, 0.0), (last, last), (0.0, last), (last, 0.0)):
            ours = training_crop(image, Augmentation(short, x, y, False, (0, 0, 0)), 32)
            assert ours.shape == (32, 32, 3)
            assert_within_one_level(ours, whole_then_crop(image, short, x, y, 32))


def test_fast_decoding_changes_pixels_a_little(real_photographs: list[Path]) -> None:
    """Only where it can: a quarter of the size suffices at S=73 of 427, nothing smaller at S=256."""
    for path in real_photographs:
        for short, crop in ((73, 64), (256, 224)):
            draw = Augmentation(short, 0.4, 0.6, False, (0, 0, 0))
            slow, fast = (
                TrainSamples(Split.of_photographs([path]), (short, short), crop, 0, Decoding(fast=fast)).sample(
                    0, 0, draw
                )
                for fast in (False, True)
            )
            difference = np.abs(slow.pixels.astype(int) - fast.pixels)
            assert (difference.max() > 0) == (short == 73)
            assert difference.mean() < 4


@pytest.fixture(scope="module")
def draws() -> list[Augmentation]:
    """Fifty epochs of 400 images."""
    return [draw_augmentation(3, epoch, index, (73, 146)) for epoch in range(50) for index in range(400)]


def test_s_is_uniform_over_the_range_with_both_ends(draws: list[Augmentation]) -> None:
    counts = Counter(draw.short for draw in draws)
    assert sorted(counts) == list(range(73, 147))
    assert chisquare(list(counts.values())).pvalue > 1e-3


def test_crops_cover_every_offset_equally(draws: list[Augmentation]) -> None:
    """At S=73 and crop 64 there are ten rows, of an image of 4:3 (97 pixels) 34 columns; the last one too."""
    for shares, side, places in (([d.y for d in draws], 73, 10), ([d.x for d in draws], 97, 34)):
        counts = Counter(crop_offset(share, side, 64) for share in shares)
        assert sorted(counts) == list(range(places))
        assert chisquare(list(counts.values())).pvalue > 1e-3


def test_where_s_is_the_crop_there_is_one_offset(draws: list[Augmentation]) -> None:
    assert {crop_offset(draw.x, 64, 64) for draw in draws} == {0}


@given(share=st.floats(0, 1, exclude_max=True), crop=st.integers(1, 600), more=st.integers(0, 5000))
def test_offsets_lie_within_the_image(share: float, crop: int, more: int) -> None:
    assert 0 <= crop_offset(share, crop + more, crop) <= more


def test_half_of_the_images_are_flipped(draws: list[Augmentation]) -> None:
    share = np.mean([draw.flip for draw in draws])
    assert abs(share - 0.5) < 4 * 0.5 / len(draws) ** 0.5


def test_the_color_is_three_standard_normals(draws: list[Augmentation]) -> None:
    color = np.array([draw.color for draw in draws])
    assert all(kstest(color[:, k], "norm").pvalue > 1e-3 for k in range(3))


def test_nothing_that_is_drawn_depends_on_the_rest(draws: list[Augmentation]) -> None:
    values = np.array([(draw.short, draw.x, draw.y, draw.flip, *draw.color) for draw in draws], float)
    correlation = np.corrcoef(values.T) - np.eye(7)
    assert np.abs(correlation).max() < 5 / len(draws) ** 0.5
    by_epoch = values[:, 1].reshape(50, 400)
    assert abs(np.corrcoef(by_epoch[:-1].ravel(), by_epoch[1:].ravel())[0, 1]) < 5 / len(draws) ** 0.5
    assert abs(np.corrcoef(by_epoch[:, :-1].ravel(), by_epoch[:, 1:].ravel())[0, 1]) < 5 / len(draws) ** 0.5


def test_a_draw_is_a_function_of_seed_epoch_and_index(draws: list[Augmentation]) -> None:
    assert [draw_augmentation(3, epoch, index, (73, 146)) for index in (7, 3) for epoch in (9, 0)] == [
        draws[400 * epoch + index] for index in (7, 3) for epoch in (9, 0)
    ]
    near = [(3, 0, 1), (3, 1, 0), (4, 0, 0), (3, 0, 0), (0, 3, 0), (0, 0, 3), (1, 0, 3)]
    assert len({draw_augmentation(*key, (73, 146)).x for key in near}) == len(near)
    assert len({draw.x for draw in draws}) == len(draws)


def test_a_fixed_scale_draws_the_same_crops() -> None:
    """S alone changes with the range: where the crop lies and whether it is flipped stay what they are."""
    fixed, jittered = (draw_augmentation(3, 2, 5, scale) for scale in ((73, 73), (73, 146)))
    assert fixed.short == 73
    assert (fixed.x, fixed.y, fixed.flip) == (jittered.x, jittered.y, jittered.flip)


# Crops with a box (appendix A.1)

SIZES = ((45, 61), (70, 50), (24, 31), (41, 98))
"""(height, width) of the files with a rectangle; the third is enlarged up to threefold: a file's pixel then counts."""


@dataclass(frozen=True)
class Rectangles:
    """Files of a bright rectangle on a dark ground, each with its inclusive box."""

    paths: list[Path]
    boxes: list[Float32Array]
    sizes: list[tuple[int, int]]
    """(width, height) as they are decoded."""


@pytest.fixture(scope="module")
def rectangles(tmp_path_factory: pytest.TempPathFactory) -> Rectangles:
    """Sixty of them, every fifth turned by its EXIF."""
    folder, rng = tmp_path_factory.mktemp("rectangles"), np.random.default_rng(7)
    made = Rectangles([], [], [])
    for number in range(60):
        height, width = SIZES[number % 4]
        pixels = np.full((height, width, 3), 20, np.uint8)
        x1, y1 = (int(rng.integers(0, side - 8)) for side in (width, height))
        x2, y2 = int(rng.integers(x1 + 6, width)), int(rng.integers(y1 + 6, height))
        pixels[y1 : y2 + 1, x1 : x2 + 1] = 220
        exif, image = Image.Exif(), Image.fromarray(pixels)
        if number % 5 == 0:  # stored lying on its side
            exif[0x0112], image = 6, image.transpose(Image.Transpose.ROTATE_90)
        made.paths.append(folder / f"{number}.png")
        image.save(made.paths[-1], exif=exif)
        made.boxes.append(np.array([[x1, y1, x2, y2]], np.float32))
        made.sizes.append((width, height))
    return made


def visible_range(profile: Float64Array) -> tuple[float, float]:
    """First and last edge of what is bright, to parts of a pixel: as long as its sum, around its center of mass."""
    length = profile.sum()
    center = (profile * (np.arange(len(profile)) + 0.5)).sum() / length
    return center - length / 2, center + length / 2


@pytest.mark.parametrize("crop", [32, 64])
def test_the_target_is_where_the_pixels_of_the_object_are(rectangles: Rectangles, crop: int) -> None:
    """Through the real path: file, crop, flip on the device; then the rectangle is looked for in the picture."""
    seen = Counter[bool]()
    for index, path in enumerate(rectangles.paths):
        photograph = decode(path, camera_rotation=True)
        for epoch in range(4):
            draw = draw_augmentation(1, epoch, index, (crop, crop * 5 // 2))
            sample = localization_crop(
                photograph, photograph.size, draw, draw_box_choice(1, epoch, index), rectangles.boxes[index], crop
            )
            image = torch.from_numpy(sample.pixels.copy())[None].permute(0, 3, 1, 2)
            (flipped,) = flip_where(image, torch.tensor([draw.flip])).double().numpy()
            bright = (flipped[0] - 20) / 200
            assert sample.target is not None
            centers, sides = sample.target[:2] * crop, sample.target[2:] * crop
            first, last = (centers - sides / 2).clip(min=0), (centers + sides / 2).clip(max=crop)
            if min(last - first) < 4:  # too thin to be as bright anywhere as it is in the file
                continue
            for axis in (0, 1):
                found = visible_range(bright.max(axis=axis))
                assert found == pytest.approx((first[axis], last[axis]), abs=0.5)
            seen[draw.flip] += 1
    assert min(seen.values()) > 80


def plain_share(box: Float32Array, size: tuple[int, int], draw: Augmentation, crop: int) -> float:
    """The larger of the shares of the box in the crop and of the crop in the box, in the rescaled image's pixels."""
    short = min(size)
    new = [draw.short if side == short else round(side * draw.short / short) for side in size]
    left, top = (int(share * (side - crop + 1)) for share, side in zip((draw.x, draw.y), new, strict=True))
    x1, y1, x2, y2 = box[0] * new[0] / size[0], box[1] * new[1] / size[1], 0.0, 0.0
    x2, y2 = (box[2] + 1) * new[0] / size[0], (box[3] + 1) * new[1] / size[1]
    common = max(0, min(x2, left + crop) - max(x1, left)) * max(0, min(y2, top + crop) - max(y1, top))
    return float(max(common / ((x2 - x1) * (y2 - y1)), common / crop**2))


def test_crops_are_drawn_until_half_of_the_box_is_seen_or_ten_are_drawn(rectangles: Rectangles) -> None:
    """The first crop is that of classification; the pixels tell which one was taken."""
    tried = Counter[tuple[bool, bool]]()
    for index, path in enumerate(rectangles.paths):
        photograph = decode(path, camera_rotation=True)
        for epoch in range(8):
            draw, choice = draw_augmentation(2, epoch, index, (80, 160)), draw_box_choice(2, epoch, index)
            sample = localization_crop(photograph, photograph.size, draw, choice, rectangles.boxes[index], 32)
            assert len(choice.positions) == 9
            draws = [draw, *(replace(draw, x=x, y=y) for x, y in choice.positions)]
            shares = [plain_share(rectangles.boxes[index][0], rectangles.sizes[index], one, 32) for one in draws]
            good = [place for place, share in enumerate(shares) if share >= 0.5]
            expected = good[0] if good else shares.index(max(shares))
            assert sample.is_positive == bool(good)
            taken = training_crop(photograph, draws[expected], 32)
            assert np.array_equal(sample.pixels, taken)
            tried[bool(good), expected > 0] += 1
    assert all(tried[kind] > 5 for kind in ((True, False), (True, True), (False, True)))


def test_one_of_several_boxes_is_learned_each_as_often(rectangles: Rectangles) -> None:
    boxes = np.concatenate([rectangles.boxes[1], rectangles.boxes[1] - [0, 0, 3, 2], rectangles.boxes[1] + 1])
    taken, photograph = Counter[int](), decode(rectangles.paths[1], camera_rotation=True)
    for epoch in range(300):
        draw, choice = draw_augmentation(3, epoch, 1, (37, 73)), draw_box_choice(3, epoch, 1)
        sample, *each = (
            localization_crop(photograph, photograph.size, draw, choice, some.astype(np.float32), 32)
            for some in (boxes, boxes[:1], boxes[1:2], boxes[2:])
        )
        (same,) = [place for place, one in enumerate(each) if np.array_equal(one.target, sample.target)]  # type: ignore[arg-type]
        taken[same] += 1
    assert chisquare([taken[place] for place in range(3)]).pvalue > 1e-4


def test_what_is_drawn_for_boxes_is_even_and_independent_of_order() -> None:
    draws = [draw_box_choice(3, epoch, index) for epoch in range(20) for index in range(50)]
    shares = np.array([[one.instance, *(share for place in one.positions for share in place)] for one in draws])
    assert shares.shape == (1000, 19)
    assert all(kstest(column, "uniform").pvalue > 1e-4 for column in shares.T)
    assert np.abs(np.corrcoef(shares.T) - np.eye(19)).max() < 0.15
    assert draw_box_choice(3, 7, 21) == draws[7 * 50 + 21]
    assert len({draw_box_choice(*key).instance for key in ((3, 1, 2), (3, 2, 1), (4, 1, 2), (3, 1, 3))}) == 4


def test_fast_decoding_moves_no_target(real_photographs: list[Path]) -> None:
    """640x427 is decoded at 160x107; the box is still in the file's pixels."""
    box = np.array([[200, 90, 480, 300]], np.float32)
    split = replace(Split.of_photographs(real_photographs[:1]), boxes=(box,))
    samples = [TrainSamples(split, (73, 100), 64, 0, Decoding(fast=fast), with_boxes=True) for fast in (False, True)]
    for epoch in range(20):
        slow, fast = (each.sample(epoch, 0, draw_augmentation(0, epoch, 0, (73, 100))) for each in samples)
        assert not np.array_equal(slow.pixels, fast.pixels)
        assert slow.target == pytest.approx(fast.target, abs=0.03)
