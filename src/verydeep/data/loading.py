"""Torch data sets and loaders: worker processes hand over uint8, everything else happens on the device."""

import atexit
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from verydeep.data.augmentation import Draw, Sample, draw_box, draw_sample, localization_crop, training_crop
from verydeep.data.decoding import BadImages, decode, image_size, reduction_for
from verydeep.data.regions import cut, edges_of
from verydeep.data.split import Split
from verydeep.errors import VerydeepError
from verydeep.ops.images import rescaled_size

Key = tuple[int, int]
"""(epoch, index) of a training sample."""


@dataclass(frozen=True)
class TrainBatch:
    """Rows of a global batch; the images are (N, crop, crop, 3) uint8, that is channels_last."""

    images: Tensor
    targets: Tensor
    """(N,) int64"""
    flip: Tensor
    """(N,) bool"""
    color: Tensor
    """(N, 3) standard normals"""
    valid: Tensor
    """(N,) float32: 0 where the file could not be decoded and stands in as an empty image, otherwise 1."""
    skipped: dict[str, str]
    """File -> reason, of those."""
    boxes: Tensor | None = None
    """(N, 4) float32, for localization: center x, center y, width, height in units of the crop after its flip."""
    off_target: Tensor | None = None
    """(N,) bool, for localization: all crops were drawn in vain, and the one that sees most of the box stands in."""

    def map(self, change: Callable[[Tensor], Tensor]) -> "TrainBatch":
        """The same with every tensor changed."""
        return TrainBatch(
            images=change(self.images),
            targets=change(self.targets),
            flip=change(self.flip),
            color=change(self.color),
            valid=change(self.valid),
            skipped=self.skipped,
            boxes=None if self.boxes is None else change(self.boxes),
            off_target=None if self.off_target is None else change(self.off_target),
        )

    def pin_memory(self) -> "TrainBatch":
        """The same in page-locked memory (called by the loader when it feeds a GPU)."""
        return self.map(Tensor.pin_memory)

    def rows(self, first: int, count: int) -> "TrainBatch":
        """A micro-batch: at most ``count`` rows from ``first`` on."""
        return self.map(lambda tensor: tensor[first : first + count])


@dataclass(frozen=True)
class TrainSamples(Dataset[tuple[Any, ...]]):
    """Training samples of a split, looked up by (epoch, index)."""

    split: Split
    scale: tuple[int, int]
    """Smallest and largest S in pixels."""
    crop: int
    seed: int
    fast_decode: bool = False
    with_boxes: bool = False
    """For localization; then every image of the split has a box (``Split.boxed``)."""

    def __getitem__(self, key: Key) -> tuple[Any, ...]:
        epoch, index = key
        draw = draw_sample(self.seed, epoch, index, self.scale)
        assert self.split.labels is not None
        sample, problem = self.empty, None
        try:
            sample = self.sample(epoch, index, draw)
        except VerydeepError as error:
            problem = (self.split.files[index], str(error))
        return sample, self.split.labels[index], draw, problem

    def sample(self, epoch: int, index: int, draw: Draw) -> Sample:
        """The crop of one image, and its target where boxes are learned."""
        path, rotation = self.split.path(index), self.split.camera_rotation
        if not self.with_boxes:
            return Sample(training_crop(path, draw, self.crop, camera_rotation=rotation, fast_decode=self.fast_decode))
        assert self.split.boxes is not None
        return localization_crop(
            path,
            draw,
            draw_box(self.seed, epoch, index),
            self.split.boxes[index],
            self.crop,
            camera_rotation=rotation,
            fast_decode=self.fast_decode,
        )

    @property
    def empty(self) -> Sample:
        """What stands in for a file that cannot be decoded."""
        pixels = np.zeros((self.crop, self.crop, 3), np.uint8)
        return Sample(pixels, np.zeros(4, np.float32) if self.with_boxes else None)


def _collate_train(rows: Sequence[tuple[Any, ...]]) -> TrainBatch:
    samples, targets, draws, problems = zip(*rows, strict=True)
    boxed = samples[0].target is not None
    return TrainBatch(
        images=torch.from_numpy(np.stack([sample.pixels for sample in samples])),
        targets=torch.from_numpy(np.array(targets, np.int64)),
        flip=torch.tensor([draw.flip for draw in draws]),
        color=torch.tensor([draw.color for draw in draws], dtype=torch.float32),
        valid=torch.tensor([float(problem is None) for problem in problems]),
        skipped=dict(problem for problem in problems if problem is not None),
        boxes=torch.from_numpy(np.stack([sample.target for sample in samples])) if boxed else None,
        off_target=torch.tensor([not sample.is_positive for sample in samples]) if boxed else None,
    )


def train_loader(
    samples: TrainSamples,
    sampler: Iterable[list[Key]],
    num_workers: int,
    *,
    bad_images: BadImages = "error",
    pin_memory: bool = False,
) -> Iterator[TrainBatch]:
    """The samples of each step of ``sampler``, decoded ahead by worker processes, in order.

    Raises:
        VerydeepError: a file cannot be decoded and bad images are errors.
    """
    return _batches(samples, sampler, _collate_train, num_workers, bad_images, pin_memory)


@dataclass(frozen=True)
class TestBatch:
    """Whole images of one shape at each test scale."""

    indices: npt.NDArray[np.int64]
    """(N,) in the split"""
    images: tuple[Tensor, ...]
    """Per scale (N, H, W, 3) uint8"""
    skipped: dict[str, str]

    __test__ = False  # not a test, whatever its name makes pytest think

    def pin_memory(self) -> "TestBatch":
        """The same in page-locked memory (called by the loader when it feeds a GPU)."""
        return TestBatch(self.indices, tuple(images.pin_memory() for images in self.images), self.skipped)


@dataclass(frozen=True)
class TestImages(Dataset[tuple[Any, ...]]):
    """Images of a split rescaled to several short sides in pixels, whole or their central crops.

    An image is a file, or the region of it that the split says. Each is decoded once; with ``fast_decode`` once for
    each reduction that a short side allows.
    """

    split: Split
    shorts: tuple[int, ...]
    crop: int | None = None
    """Where the central crop is all that is looked at, its side: then all images have one shape."""
    fast_decode: bool = False

    __test__ = False

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        decoded: dict[int, Image.Image] = {}
        views = []
        try:
            size = self.size(index) if self.fast_decode else None
            for short in self.shorts:
                # What a scale gets must not depend on which others are asked for beside it.
                reduction = 1 if size is None else reduction_for(min(size), short)
                if reduction not in decoded:
                    decoded[reduction] = self.decoded(index, reduction)
                image = decoded[reduction]
                new_size = rescaled_size(*(size or image.size), short)
                views.append(self.view(image.resize(new_size, Image.Resampling.BILINEAR)))
        except VerydeepError as error:
            return index, None, (self.split.files[index], str(error))
        return index, views, None

    def decoded(self, index: int, reduction: int) -> Image.Image:
        """One image; with a reduction of 2, 4 or 8 a JPEG has that many times fewer pixels a side."""
        path, rotation, regions = self.split.path(index), self.split.camera_rotation, self.split.regions
        if reduction == 1:
            image = decode(path, camera_rotation=rotation)
            width, height = image.size
        else:
            width, height = image_size(path, camera_rotation=rotation)
            image = decode(path, camera_rotation=rotation, at_least=(width // reduction, height // reduction))
        if regions is None:
            return image
        return cut(image, edges_of(regions[index], (width, height), path), (width, height))

    def view(self, image: Image.Image) -> npt.NDArray[np.uint8]:
        """(H, W, 3) of the whole rescaled image, or of its central crop."""
        pixels = np.asarray(image)
        if self.crop is None:
            return pixels
        top, left = (pixels.shape[0] - self.crop) // 2, (pixels.shape[1] - self.crop) // 2
        return pixels[top : top + self.crop, left : left + self.crop]

    def size(self, index: int) -> tuple[int, int]:
        """(width, height) of an image as its file's header says; one decoded smaller still counts as this large."""
        path, regions = self.split.path(index), self.split.regions
        size = image_size(path, camera_rotation=self.split.camera_rotation)
        if regions is None:
            return size
        left, upper, right, lower = edges_of(regions[index], size, path)
        return right - left, lower - upper

    def shapes(self, index: int) -> tuple[tuple[int, int], ...]:
        """(width, height) at each scale; of a file that has no readable header, nothing."""
        if self.crop is not None:
            return ((self.crop, self.crop),) * len(self.shorts)
        try:
            size = self.size(index)
        except VerydeepError:
            return ()
        return tuple(rescaled_size(*size, short) for short in self.shorts)


def _collate_test(rows: Sequence[tuple[Any, ...]]) -> TestBatch:
    good = [(index, images) for index, images, problem in rows if problem is None]
    scales = zip(*(images for _, images in good), strict=True)
    return TestBatch(
        indices=np.array([index for index, _ in good], np.int64),
        images=tuple(torch.from_numpy(np.stack(images)) for images in scales),
        skipped=dict(problem for _, _, problem in rows if problem is not None),
    )


def shape_batches(images: TestImages, indices: Iterable[int], pixels: int) -> list[list[int]]:
    """Indices grouped by shape, in batches of about ``pixels`` pixels of the largest scale, at least one image.

    The largest batch is first, so that what the others need fits into the memory that it leaves. From small to large,
    hundreds of shapes left ever more holes into which nothing fitted.
    """
    groups: dict[tuple[tuple[int, int], ...], list[int]] = {}
    for index in indices:
        groups.setdefault(images.shapes(index), []).append(index)
    batches: list[tuple[int, list[int]]] = []
    for shapes, members in sorted(groups.items()):
        area = max((width * height for width, height in shapes), default=pixels)
        size = max(1, round(pixels / area))  # not floored: at Q=512, 1.997 images are two
        parts = [members[start : start + size] for start in range(0, len(members), size)]
        batches += [(area * len(part), part) for part in parts]
    return [part for _, part in sorted(batches, key=lambda batch: batch[0], reverse=True)]


def test_loader(
    images: TestImages,
    batches: Sequence[list[int]],
    num_workers: int,
    *,
    bad_images: BadImages = "error",
    pin_memory: bool = False,
) -> Iterator[TestBatch]:
    """The batches in order, decoded ahead by worker processes.

    Raises:
        VerydeepError: a file cannot be decoded and bad images are errors.
    """
    return _batches(images, batches, _collate_test, num_workers, bad_images, pin_memory)


def _batches(
    samples: Any,
    batches: Any,
    collate: Callable[[Any], Any],
    num_workers: int,
    bad_images: BadImages,
    pin_memory: bool,
) -> Iterator[Any]:
    loader = DataLoader(
        samples,
        batch_sampler=batches,
        num_workers=num_workers,
        collate_fn=collate,
        pin_memory=pin_memory,
        worker_init_fn=_serve_the_main_process,
    )
    for batch in loader:
        # Workers report bad files rather than raise: PyTorch would wrap the sentence into their traceback.
        if bad_images == "error" and batch.skipped:
            raise VerydeepError(next(iter(batch.skipped.values())))
        yield batch


@atexit.register
def _end_workers() -> None:
    """At the end of the main process: multiprocessing would send them the SIGTERM that they ignore, and wait."""
    for child in multiprocessing.active_children():
        if child.daemon:
            child.kill()


def _serve_the_main_process(_worker: int) -> None:
    """Set up a process that decodes.

    Ctrl-C and a scheduler's SIGTERM reach the whole group: workers go on until the main process has saved. And they
    give way to its compute threads, which all wait for the one that is preempted.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if hasattr(os, "nice"):
        os.nice(10)
