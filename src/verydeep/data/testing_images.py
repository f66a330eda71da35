"""Images of a test, decoded by worker processes: whole or their central crops, at several scales."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from verydeep.data.decoding import BadImages, reduction_for
from verydeep.data.loading import load_batches
from verydeep.data.regions import cut_region, edges_of
from verydeep.data.split import Split
from verydeep.errors import VerydeepError
from verydeep.ops.arrays import Int64Array, UInt8Array
from verydeep.ops.images import rescaled_size


@dataclass(frozen=True)
class TestBatch:
    """Whole images of one shape at each test scale."""

    indices: Int64Array
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
        regions = self.split.regions
        if reduction == 1:
            image = self.split.open_image(index)
            width, height = image.size
        else:
            width, height = self.split.image_size(index)
            image = self.split.open_image(index, at_least=(width // reduction, height // reduction))
        if regions is None:
            return image
        return cut_region(image, edges_of(regions[index], (width, height), self.split.path(index)), (width, height))

    def view(self, image: Image.Image) -> UInt8Array:
        """(H, W, 3) of the whole rescaled image, or of its central crop."""
        pixels = np.asarray(image)
        if self.crop is None:
            return pixels
        top, left = (pixels.shape[0] - self.crop) // 2, (pixels.shape[1] - self.crop) // 2
        return pixels[top : top + self.crop, left : left + self.crop]

    def size(self, index: int) -> tuple[int, int]:
        """(width, height) of an image as its file's header says; one decoded smaller still counts as this large."""
        regions, size = self.split.regions, self.split.image_size(index)
        if regions is None:
            return size
        left, upper, right, lower = edges_of(regions[index], size, self.split.path(index))
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
    return load_batches(images, batches, _collate_test, num_workers, bad_images, pin_memory)
