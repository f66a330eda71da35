"""Loaders: what they hand over is what each image gives alone, in order, whoever decodes it."""

import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import picture
from verydeep.data.folders.folder import open_folder
from verydeep.data.loading.augmentation import draw_augmentation, draw_box_choice, localization_crop, training_crop
from verydeep.data.loading.sampling import StepSampler
from verydeep.data.loading.statistics import pixel_sums
from verydeep.data.loading.testing_images import TestImages, group_by_shape, load_test_batches
from verydeep.data.loading.training_images import TrainSamples, load_train_batches
from verydeep.data.pixels.decoding import Decoding
from verydeep.data.split import Split
from verydeep.errors import VerydeepError

SCALE, CROP, SEED = (37, 73), 32, 5
SKIP = Decoding("skip")


@pytest.fixture
def damaged(train_split: Split, tmp_path: Path) -> Split:
    """The training part with two files that cannot be decoded: one without a header, one cut behind it."""
    for file in train_split.files:
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_bytes((train_split.root / file).read_bytes())
    (tmp_path / train_split.files[3]).write_bytes(b"no photograph")
    whole = (train_split.root / train_split.files[10]).read_bytes()
    (tmp_path / train_split.files[10]).write_bytes(whole[: len(whole) // 3])
    return replace(train_split, root=tmp_path)


def sampler(split: Split, steps: int = 4) -> StepSampler:
    return StepSampler(len(split), 10, SEED, 0, steps)


@pytest.mark.parametrize("workers", [0, 2])
def test_training_batches_are_the_samples_in_order(train_split: Split, workers: int) -> None:
    """Every row is the function of (seed, epoch, index) that it should be, across the end of an epoch too."""
    samples = TrainSamples(train_split, SCALE, CROP, SEED)
    rows = list(sampler(train_split))
    assert {epoch for row in rows for epoch, _ in row} == {0, 1}
    batches = list(load_train_batches(samples, rows, workers))
    assert len(batches) == len(rows)
    for batch, keys in zip(batches, rows, strict=True):
        assert batch.images.shape == (10, CROP, CROP, 3)
        assert (batch.images.dtype, batch.targets.dtype) == (torch.uint8, torch.int64)
        assert batch.valid.tolist() == [1] * 10
        assert batch.skipped == {}
        for row, (epoch, index) in enumerate(keys):
            draw = draw_augmentation(SEED, epoch, index, SCALE)
            expected = training_crop(train_split.open_image(index), draw, CROP)
            assert np.array_equal(batch.images[row].numpy(), expected)
            folder = train_split.files[index].split("/")[0]
            assert train_split.class_names[int(batch.targets[row])] == folder
            assert bool(batch.flip[row]) == draw.flip
            assert batch.color[row].tolist() == pytest.approx(draw.color)


def test_micro_batches_are_rows(train_split: Split) -> None:
    (batch,) = load_train_batches(TrainSamples(train_split, SCALE, CROP, SEED), sampler(train_split, 1), 0)
    parts = [batch.rows(first, 4) for first in (0, 4, 8)]
    assert [len(part.targets) for part in parts] == [4, 4, 2]
    for name in ("images", "targets", "flip", "color", "valid"):
        assert torch.equal(torch.cat([getattr(part, name) for part in parts]), getattr(batch, name))


@pytest.mark.parametrize("workers", [0, 2])
def test_skipped_images_stand_in_empty_and_are_named(damaged: Split, workers: int) -> None:
    samples = TrainSamples(damaged, SCALE, CROP, SEED, SKIP)
    rows = list(sampler(damaged))
    named: dict[str, str] = {}
    for batch, keys in zip(list(load_train_batches(samples, rows, workers)), rows, strict=True):
        bad = [index in (3, 10) for _, index in keys]
        assert batch.valid.tolist() == [0.0 if is_bad else 1.0 for is_bad in bad]
        assert all(int(batch.images[row].max()) == 0 for row, is_bad in enumerate(bad) if is_bad)
        assert len(batch.targets) == 10
        named |= batch.skipped
    assert set(named) == {damaged.files[3], damaged.files[10]}
    assert all(damaged.files[index] in named[damaged.files[index]] for index in (3, 10))


def sentence_of(batches: Iterable[object]) -> str:
    """Return the error message; no traceback outlives this call and keeps worker processes waiting."""
    try:
        list(batches)
    except VerydeepError as error:
        return str(error)
    return "no error"


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_training_image_is_one_sentence_that_names_it(damaged: Split, workers: int) -> None:
    samples = TrainSamples(damaged, SCALE, CROP, SEED)
    sentence = sentence_of(load_train_batches(samples, [[(0, 3), (0, 4)]], workers))
    assert damaged.files[3] in sentence and "`verydeep verify DATA`" in sentence and "`bad_images=skip`" in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize("workers", [0, 2])
def test_a_bad_test_image_is_one_sentence_that_names_it(damaged: Split, workers: int) -> None:
    sentence = sentence_of(load_test_batches(TestImages(damaged, (37,)), [[10], [11]], workers))
    assert damaged.files[10] in sentence
    assert "\n" not in sentence


@pytest.mark.parametrize("workers", [0, 2])
def test_several_bad_images_are_counted_and_three_of_them_named(damaged: Split, workers: int) -> None:
    for index in (1, 2, 7):
        (damaged.root / damaged.files[index]).write_bytes(b"")
    number = f"5 of {len(damaged)} files of {damaged.root} cannot be used"
    names = f": {', '.join(damaged.files[index] for index in (1, 2, 3))} and 2 more. The first: {damaged.root}"
    sentence = sentence_of(load_train_batches(TrainSamples(damaged, SCALE, CROP, SEED), [[(0, 10), (0, 4)]], workers))
    assert sentence.startswith(f"{number}{names}/{damaged.files[1]} is empty; replace or remove")
    assert sentence_of(load_test_batches(TestImages(damaged, (37,)), [[3], [11]], workers)) == sentence
    assert sentence_of(pixel_sums(damaged, np.arange(len(damaged)), 37, "error", workers)) == sentence


def test_workers_end_with_a_process_that_still_holds_its_loader(damaged: Split) -> None:
    """They let signals pass so that the main process can save; they must not outlast it, or it never exits."""
    script = f"""
import sys, torch
from pathlib import Path
from verydeep.data.folders.folder import open_folder
from verydeep.data.pixels.decoding import Decoding
from verydeep.data.loading.testing_images import TestImages, load_test_batches
split = open_folder(Path({str(damaged.root.parent)!r}) / {damaged.root.name!r}, "all", seed=0, val_fraction=0.2)
images = TestImages(split, (37,), decoding=Decoding("skip"))
batches = iter(load_test_batches(images, [[i] for i in range(len(split))], 2))
sys.kept = batches  # as a traceback keeps it
print(next(batches).indices)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("pixels", [1, 5_000, 20_000, 10**9])
def test_batches_hold_every_image_once_and_one_shape_each(train_split: Split, pixels: int) -> None:
    images = TestImages(train_split, (37, 73))
    indices = list(range(len(train_split)))[::-1]
    batches = group_by_shape(images, indices, pixels)
    assert sorted(index for batch in batches for index in batch) == sorted(indices)
    fullest: dict[object, int] = {}
    areas = []
    for batch in batches:
        (shapes,) = {images.shapes(index) for index in batch}
        area = max(width * height for width, height in shapes)
        areas.append(area * len(batch))
        full = max(1, (2 * pixels + area - 1) // (2 * area))  # the nearest whole number, halves down
        assert len(batch) <= full
        fullest[shapes] = fullest.get(shapes, 0) + (len(batch) < full)
    assert max(fullest.values()) <= 1  # at most the last batch of a shape is not full
    assert len(fullest) == 5
    assert areas == sorted(areas, reverse=True)


@pytest.mark.parametrize("workers", [0, 2])
def test_test_batches_are_whole_images_at_every_scale(train_split: Split, workers: int) -> None:
    images = TestImages(train_split, (37, 73))
    batches = group_by_shape(images, range(len(train_split)), 20_000)
    loaded = list(load_test_batches(images, batches, workers))
    assert [batch.indices.tolist() for batch in loaded] == batches
    for batch in loaded:
        assert batch.skipped == {}
        for row, index in enumerate(batch.indices):
            with Image.open(train_split.path(int(index))) as file:
                whole = file.convert("RGB")
            for short, scaled in zip((37, 73), batch.images, strict=True):
                scale = short / min(whole.size)
                size = [short if side == min(whole.size) else round(side * scale) for side in whole.size]
                expected = np.asarray(whole.resize(size, Image.Resampling.BILINEAR))
                assert scaled.dtype == torch.uint8
                assert np.array_equal(scaled[row].numpy(), expected)


@pytest.mark.parametrize("workers", [0, 2])
def test_test_batches_leave_out_and_name_what_is_broken(damaged: Split, workers: int) -> None:
    images = TestImages(damaged, (37, 73), decoding=SKIP)
    batches = group_by_shape(images, range(len(damaged)), 20_000)
    assert sorted(index for batch in batches for index in batch) == list(range(len(damaged)))
    loaded = list(load_test_batches(images, batches, workers))
    decoded = sorted(int(index) for batch in loaded for index in batch.indices)
    assert decoded == [index for index in range(len(damaged)) if index not in (3, 10)]
    named = {file: reason for batch in loaded for file, reason in batch.skipped.items()}
    assert set(named) == {damaged.files[3], damaged.files[10]}
    for batch in loaded:
        assert all(len(scaled) == len(batch.indices) for scaled in batch.images)


def test_fast_decoding_keeps_the_shapes_that_headers_promise(tmp_path: Path) -> None:
    """Decoded at a quarter, 480x336 and 480x337 would round to other sizes than they do whole."""
    (tmp_path / "ant").mkdir()
    for height in range(330, 345):
        Image.fromarray(picture(height, 480, seed=height)).save(tmp_path / "ant" / f"{height}.jpg")
    split = open_folder(tmp_path, "all", seed=0, val_fraction=0.2)
    images = TestImages(split, (37, 73), decoding=Decoding(fast=True))
    for index in range(len(split)):
        _, scaled, problem = images[index]
        assert problem is None
        assert [(pixels.shape[1], pixels.shape[0]) for pixels in scaled] == list(images.shapes(index))


@pytest.fixture
def boxed_split(train_split: Split) -> Split:
    """The training part with one or two boxes in each photograph (the smallest is 41 pixels high)."""
    rows = [[[3 + i % 7, 5, 30 + i % 5, 38]] + [[0, 0, 12, 9 + i % 9]] * (i % 2) for i in range(len(train_split))]
    return replace(train_split, boxes=tuple(np.array(row, np.float32) for row in rows))


@pytest.mark.parametrize("workers", [0, 2])
def test_batches_with_boxes_are_the_samples_in_order(boxed_split: Split, workers: int) -> None:
    samples = TrainSamples(boxed_split, (37, 110), CROP, SEED, with_boxes=True)
    rows = list(sampler(boxed_split, 8))
    off_target = 0
    for batch, keys in zip(list(load_train_batches(samples, rows, workers)), rows, strict=True):
        assert batch.boxes is not None
        assert batch.off_target is not None
        assert (batch.boxes.shape, batch.boxes.dtype, batch.off_target.dtype) == ((10, 4), torch.float32, torch.bool)
        for row, (epoch, index) in enumerate(keys):
            draw = draw_augmentation(SEED, epoch, index, (37, 110))
            assert boxed_split.boxes is not None
            expected = localization_crop(
                boxed_split.open_image(index),
                boxed_split.image_size(index),
                draw,
                draw_box_choice(SEED, epoch, index),
                boxed_split.boxes[index],
                CROP,
            )
            assert np.array_equal(batch.images[row].numpy(), expected.pixels)
            assert np.array_equal(batch.boxes[row].numpy(), expected.target)  # type: ignore[arg-type]
            assert bool(batch.off_target[row]) != expected.is_positive
            assert bool(batch.flip[row]) == draw.flip
            assert batch.color[row].tolist() == pytest.approx(draw.color)
        off_target += int(batch.off_target.sum())
        part = batch.rows(8, 4)
        assert part.boxes is not None
        assert part.off_target is not None
        assert torch.equal(part.boxes, batch.boxes[8:])
        assert torch.equal(part.off_target, batch.off_target[8:])
    assert 0 < off_target < 40


def test_classification_has_no_boxes_though_the_split_has(boxed_split: Split) -> None:
    (batch,) = load_train_batches(TrainSamples(boxed_split, SCALE, CROP, SEED), sampler(boxed_split, 1), 0)
    assert (batch.boxes, batch.off_target) == (None, None)
    (moved,) = load_train_batches(TrainSamples(replace(boxed_split, boxes=None), SCALE, CROP, SEED), [[(0, 1)]], 0)
    assert moved.map(lambda tensor: tensor.clone()).boxes is None


def test_a_file_that_cannot_be_decoded_counts_as_no_crop_in_vain(boxed_split: Split, damaged: Split) -> None:
    samples = TrainSamples(replace(damaged, boxes=boxed_split.boxes), SCALE, CROP, SEED, SKIP, with_boxes=True)
    (batch,) = load_train_batches(samples, [[(0, 3), (0, 4)]], 0)
    assert batch.boxes is not None
    assert batch.off_target is not None
    assert batch.valid.tolist() == [0, 1]
    assert batch.boxes[0].tolist() == [0, 0, 0, 0]
    assert not batch.off_target[0]
    assert batch.boxes[1].abs().sum() > 0
