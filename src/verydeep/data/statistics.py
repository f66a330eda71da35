"""Mean and covariance of the RGB pixels of a training set: what is subtracted (section 2.1), how color is shifted."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from verydeep.data.split import Split
from verydeep.errors import VerydeepError
from verydeep.ops.arrays import Float64Array, Int64Array
from verydeep.ops.images import rescaled_size

MAX_IMAGES = 10_000
"""Larger sets are estimated from this many images, drawn by the seed."""

STATISTICS_STREAM = 2


@dataclass
class PixelSums:
    """Running sums over pixels, float64; an image adds its own three sums."""

    count: int
    total: Float64Array
    """(3,) sum of RGB, 0-255."""
    products: Float64Array
    """(3, 3) sum of RGB outer products."""

    @classmethod
    def nothing(cls) -> "PixelSums":
        """The sums of no pixels."""
        return cls(0, np.zeros(3), np.zeros((3, 3)))

    @classmethod
    def of(cls, image: Image.Image) -> "PixelSums":
        """The sums of one image."""
        pixels = np.asarray(image, dtype=np.float64).reshape(-1, 3)
        return cls(len(pixels), pixels.sum(axis=0), pixels.T @ pixels)

    def add(self, other: "PixelSums") -> None:
        """Add the pixels of ``other``."""
        self.count += other.count
        self.total += other.total
        self.products += other.products

    @property
    def mean(self) -> Float64Array:
        """(3,) mean RGB, 0-255."""
        return self.total / self.count

    @property
    def covariance(self) -> Float64Array:
        """(3, 3) covariance of RGB, 0-255."""
        return self.products / self.count - np.outer(self.mean, self.mean)


class _Sums(Dataset[PixelSums | str]):
    """The sums of each image, or why it cannot be decoded."""

    def __init__(self, split: Split, indices: Int64Array, short: int) -> None:
        self.split, self.indices, self.short = split, indices, short

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, item: int) -> PixelSums | str:
        try:
            image = self.split.open_image(int(self.indices[item]))
        except VerydeepError as error:
            return str(error)
        size = rescaled_size(*image.size, self.short)
        return PixelSums.of(image.resize(size, Image.Resampling.BILINEAR))


def sampled(num_images: int, seed: int, at_most: int = MAX_IMAGES) -> Int64Array:
    """The images that the statistics are computed from, sorted: all, or ``at_most`` drawn by the seed."""
    if num_images <= at_most:
        return np.arange(num_images)
    generator = np.random.Generator(np.random.Philox(key=[seed, STATISTICS_STREAM]))
    return np.sort(generator.choice(num_images, at_most, replace=False))


def pixel_sums(
    split: Split, indices: Int64Array, short: int, *, skip_bad: bool = False, num_workers: int = 0
) -> Iterator[PixelSums]:
    """The sums of each image rescaled to ``short``, one after another in the order of ``indices``.

    The order makes the total independent of the number of workers.

    Raises:
        VerydeepError: a file cannot be decoded, unless ``skip_bad``.
    """
    loader = DataLoader(_Sums(split, indices, short), batch_size=16, num_workers=num_workers, collate_fn=list)
    for batch in loader:
        for sums in batch:
            if isinstance(sums, PixelSums):
                yield sums
            elif skip_bad:
                yield PixelSums.nothing()
            else:
                raise VerydeepError(sums)
