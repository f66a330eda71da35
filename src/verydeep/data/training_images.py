"""Training samples, decoded by worker processes: one crop of each image, as its draw has it (section 3.1)."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from verydeep.data.augmentation import Draw, Sample, draw_box, draw_sample, localization_crop, training_crop
from verydeep.data.decoding import BadImages
from verydeep.data.loading import load_batches
from verydeep.data.split import Split
from verydeep.errors import VerydeepError

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
        image = self.split.open_image(index, at_least=(draw.short, draw.short) if self.fast_decode else None)
        if not self.with_boxes:
            return Sample(training_crop(image, draw, self.crop))
        assert self.split.boxes is not None
        size = self.split.image_size(index) if self.fast_decode else image.size
        return localization_crop(
            image, size, draw, draw_box(self.seed, epoch, index), self.split.boxes[index], self.crop
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
    return load_batches(samples, sampler, _collate_train, num_workers, bad_images, pin_memory)
