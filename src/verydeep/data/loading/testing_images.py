"""Test images, decoded by worker processes: whole or their central crops, at several scales."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset

from verydeep.data.loading.batches import load_batches
from verydeep.data.pixels.decoding import STRICT, Decoding, choose_reduction
from verydeep.data.pixels.shapes import check_shape
from verydeep.data.regions import Edges, cut_region, region_edges
from verydeep.data.split import Split
from verydeep.errors import DataError
from verydeep.ops.arrays import Int64Array, UInt8Array
from verydeep.ops.images import rescaled_size


@dataclass(frozen=True)
class TestBatch:
    """Images that have one shape at each test scale."""

    indices: Int64Array
    """(N,) in the split"""
    images: tuple[Tensor, ...]
    """Per scale (N, H, W, 3) uint8"""
    skipped: dict[str, str]
    """Files that could not be decoded -> the reason."""

    __test__ = False  # the name makes pytest collect it

    def pin_memory(self) -> "TestBatch":
        """Return the batch in page-locked memory; PyTorch's loader calls this when it feeds a GPU."""
        return TestBatch(self.indices, tuple(images.pin_memory() for images in self.images), self.skipped)


@dataclass(frozen=True)
class TestImages(Dataset[tuple[Any, ...]]):
    """Images of a split, rescaled to several short sides in pixels; whole or their central crops.

    An image is a file, or the region of it that the split names. It is decoded once; with fast decoding once for each
    reduction that the short sides allow.
    """

    split: Split
    shorts: tuple[int, ...]
    crop: int | None = None
    """Side of the central crop; None: whole images."""
    decoding: Decoding = STRICT

    __test__ = False

    def __getitem__(self, index: int) -> tuple[Any, ...]:
        decoded: dict[int, Image.Image] = {}
        views = []
        try:
            size = self.size(index) if self.decoding.fast else None
            for short in self.shorts:
                # The pixels of a scale must not depend on the other scales.
                reduction = 1 if size is None else choose_reduction(min(size), short)
                if reduction not in decoded:
                    decoded[reduction] = self.decode(index, reduction)
                image = decoded[reduction]
                new_size = rescaled_size(*(size or image.size), short)
                views.append(self.view(image.resize(new_size, Image.Resampling.BILINEAR)))
        except DataError as error:
            return index, None, (self.split.files[index], str(error))
        return index, views, None

    def decode(self, index: int, reduction: int) -> Image.Image:
        """Decode one image; with a reduction of 2, 4 or 8, each side of a JPEG is divided by this number."""
        if reduction == 1:
            image = self.split.open_image(index)
            size = image.size
        else:
            size = self.split.image_size(index)
            image = self.split.open_image(index, at_least=(size[0] // reduction, size[1] // reduction))
        edges = self.edges(index, size)
        return image if edges is None else cut_region(image, edges, size)

    def view(self, image: Image.Image) -> UInt8Array:
        """Return (H, W, 3) of the whole rescaled image, or of its central crop."""
        pixels = np.asarray(image)
        if self.crop is None:
            return pixels
        top, left = (pixels.shape[0] - self.crop) // 2, (pixels.shape[1] - self.crop) // 2
        return pixels[top : top + self.crop, left : left + self.crop]

    def size(self, index: int) -> tuple[int, int]:
        """Return (width, height) of an image or its region at full resolution, from the file's header.

        Raises:
            DataError: the file has no readable header, or the region lies outside of the image.
        """
        size = self.split.image_size(index)
        edges = self.edges(index, size)
        return size if edges is None else (edges[2] - edges[0], edges[3] - edges[1])

    def edges(self, index: int, size: tuple[int, int]) -> Edges | None:
        """Return the edges of the region of an image of this (width, height); None: the whole image.

        Raises:
            DataError: the region lies outside of the image, or is too elongated.
        """
        if self.split.regions is None:
            return None
        path = self.split.path(index)
        left, upper, right, lower = edges = region_edges(self.split.regions[index], size, path)
        check_shape(right - left, lower - upper, f"A box of {path}")
        return edges

    def shapes(self, index: int) -> tuple[tuple[int, int], ...]:
        """Return (width, height) at each scale; nothing for a file without a readable header."""
        if self.crop is not None:
            return ((self.crop, self.crop),) * len(self.shorts)
        try:
            size = self.size(index)
        except DataError:
            return ()
        return tuple(rescaled_size(*size, short) for short in self.shorts)


def _collate(rows: Sequence[tuple[Any, ...]]) -> TestBatch:
    good = [(index, images) for index, images, problem in rows if problem is None]
    scales = zip(*(images for _, images in good), strict=True)
    return TestBatch(
        indices=np.array([index for index, _ in good], np.int64),
        images=tuple(torch.from_numpy(np.stack(images)) for images in scales),
        skipped=dict(problem for _, _, problem in rows if problem is not None),
    )


def group_by_shape(images: TestImages, indices: Iterable[int], pixels: int) -> list[list[int]]:
    """Group indices by shape into batches of about ``pixels`` pixels of the largest scale, at least one image each.

    The largest batch comes first, so that the memory it frees fits all others. From small to large, hundreds of shapes
    leave ever more holes in the memory, into which nothing fits.
    """
    groups: dict[tuple[tuple[int, int], ...], list[int]] = {}
    for index in indices:
        groups.setdefault(images.shapes(index), []).append(index)
    batches: list[tuple[int, list[int]]] = []
    for shapes, members in sorted(groups.items()):
        area = max((width * height for width, height in shapes), default=pixels)
        size = max(1, round(pixels / area))  # rounded, not floored: at Q=512, 1.997 images are two
        parts = [members[start : start + size] for start in range(0, len(members), size)]
        batches += [(area * len(part), part) for part in parts]
    return [part for _, part in sorted(batches, key=lambda batch: batch[0], reverse=True)]


def load_test_batches(
    images: TestImages, batches: Sequence[list[int]], num_workers: int, *, pin_memory: bool = False
) -> Iterator[TestBatch]:
    """Yield the batches in order.

    Raises:
        DataError: a file cannot be decoded and bad images are errors.
    """
    return load_batches(images, batches, _collate, num_workers, images.decoding.bad_images, pin_memory)
