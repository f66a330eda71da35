"""Training samples, decoded by worker processes: one random crop of each image (section 3.1)."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from verydeep.data.loading.augmentation import (
    Augmentation,
    Sample,
    draw_augmentation,
    draw_box_choice,
    localization_crop,
    training_crop,
)
from verydeep.data.loading.batches import load_batches
from verydeep.data.pixels.decoding import STRICT, Decoding
from verydeep.data.split import Split
from verydeep.errors import DataError

SampleKey = tuple[int, int]
"""(epoch, index) of a training sample."""


@dataclass(frozen=True)
class TrainBatch:
    """Rows of a global batch."""

    images: Tensor
    """(N, crop, crop, 3) uint8"""
    targets: Tensor
    """(N,) int64 labels"""
    flip: Tensor
    """(N,) bool"""
    color: Tensor
    """(N, 3) standard normals of the color shift"""
    valid: Tensor
    """(N,) float32: 0 for an empty image that replaces a file that cannot be decoded, otherwise 1."""
    skipped: dict[str, str]
    """Files that could not be decoded -> the reason."""
    boxes: Tensor | None = None
    """(N, 4) float32, for localization: center x, center y, width, height in units of the crop after its flip."""
    off_target: Tensor | None = None
    """(N,) bool, for localization: no drawn crop shows enough of the box; the crop that shows most of it is used."""

    def map(self, change: Callable[[Tensor], Tensor]) -> "TrainBatch":
        """Return the batch with ``change`` applied to every tensor."""
        changed: dict[str, Any] = {
            name: change(value) for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        return replace(self, **changed)

    def pin_memory(self) -> "TrainBatch":
        """Return the batch in page-locked memory; PyTorch's loader calls this when it feeds a GPU."""
        return self.map(Tensor.pin_memory)

    def rows(self, first: int, count: int) -> "TrainBatch":
        """Return a micro-batch: at most ``count`` rows, beginning with ``first``."""
        return self.map(lambda tensor: tensor[first : first + count])


@dataclass(frozen=True)
class TrainSamples(Dataset[tuple[Any, ...]]):
    """Training samples of a split, looked up by (epoch, index)."""

    split: Split
    scale: tuple[int, int]
    """Smallest and largest S in pixels."""
    crop: int
    seed: int
    decoding: Decoding = STRICT
    with_boxes: bool = False
    """Whether samples have boxes, for localization; every image of the split then has one (``Split.boxed``)."""

    def __getitem__(self, key: SampleKey) -> tuple[Any, ...]:
        epoch, index = key
        augmentation = draw_augmentation(self.seed, epoch, index, self.scale)
        assert self.split.labels is not None
        sample, problem = self.empty, None
        try:
            sample = self.sample(epoch, index, augmentation)
        except DataError as error:
            problem = (self.split.files[index], str(error))
        return sample, self.split.labels[index], augmentation, problem

    def sample(self, epoch: int, index: int, augmentation: Augmentation) -> Sample:
        """Return the crop of one image, with its box for localization.

        Raises:
            DataError: the file cannot be decoded.
        """
        fast = self.decoding.fast
        image = self.split.open_image(index, at_least=(augmentation.short, augmentation.short) if fast else None)
        if not self.with_boxes:
            return Sample(training_crop(image, augmentation, self.crop))
        assert self.split.boxes is not None
        size = self.split.image_size(index) if fast else image.size
        return localization_crop(
            image, size, augmentation, draw_box_choice(self.seed, epoch, index), self.split.boxes[index], self.crop
        )

    @property
    def empty(self) -> Sample:
        """The sample that replaces a file that cannot be decoded."""
        pixels = np.zeros((self.crop, self.crop, 3), np.uint8)
        return Sample(pixels, np.zeros(4, np.float32) if self.with_boxes else None)


def _collate(rows: Sequence[tuple[Any, ...]]) -> TrainBatch:
    samples, targets, augmentations, problems = zip(*rows, strict=True)
    boxed = samples[0].target is not None
    return TrainBatch(
        images=torch.from_numpy(np.stack([sample.pixels for sample in samples])),
        targets=torch.from_numpy(np.array(targets, np.int64)),
        flip=torch.tensor([each.flip for each in augmentations]),
        color=torch.tensor([each.color for each in augmentations], dtype=torch.float32),
        valid=torch.tensor([float(problem is None) for problem in problems]),
        skipped=dict(problem for problem in problems if problem is not None),
        boxes=torch.from_numpy(np.stack([sample.target for sample in samples])) if boxed else None,
        off_target=torch.tensor([not sample.is_positive for sample in samples]) if boxed else None,
    )


def load_train_batches(
    samples: TrainSamples, sampler: Iterable[list[SampleKey]], num_workers: int, *, pin_memory: bool = False
) -> Iterator[TrainBatch]:
    """Yield the samples of each step of ``sampler``, in order.

    Raises:
        DataError: a file cannot be decoded and bad images are errors.
    """
    return load_batches(samples, sampler, _collate, num_workers, samples.decoding.bad_images, pin_memory)
