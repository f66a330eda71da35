"""Mean and covariance of the RGB pixels of a training set: the mean RGB (section 2.1) and the color shift (3.1)."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image
from torch.utils.data import Dataset

from verydeep.data.loading.bad_images import bad_image_error
from verydeep.data.loading.batches import load_items
from verydeep.data.pixels.decoding import BadImages
from verydeep.data.split import Split
from verydeep.errors import DataError
from verydeep.ops.arrays import Float64Array, Int64Array
from verydeep.ops.images import rescaled_size

MAX_IMAGES = 10_000
"""Statistics of larger sets are estimated from this many images, drawn by the seed."""

STATISTICS_STREAM = 2


@dataclass
class PixelSums:
    """Running sums over pixels, float64."""

    count: int
    total: Float64Array
    """(3,) sum of RGB, 0-255."""
    products: Float64Array
    """(3, 3) sum of RGB outer products."""

    @classmethod
    def zeros(cls) -> "PixelSums":
        """Return the sums of no pixels."""
        return cls(0, np.zeros(3), np.zeros((3, 3)))

    @classmethod
    def of_image(cls, image: Image.Image) -> "PixelSums":
        """Return the sums of one RGB image."""
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


@dataclass(frozen=True)
class _SumsOfImages(Dataset[PixelSums | str]):
    """The sums of each image, or the reason why it cannot be decoded."""

    split: Split
    indices: Int64Array
    short: int

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, item: int) -> PixelSums | str:
        try:
            image = self.split.open_image(int(self.indices[item]))
        except DataError as error:
            return str(error)
        size = rescaled_size(*image.size, self.short)
        return PixelSums.of_image(image.resize(size, Image.Resampling.BILINEAR))


def sample_indices(num_images: int, seed: int) -> Int64Array:
    """Return the images from which the statistics are computed, sorted: all, or ``MAX_IMAGES`` drawn by the seed."""
    if num_images <= MAX_IMAGES:
        return np.arange(num_images)
    generator = np.random.Generator(np.random.Philox(key=[seed, STATISTICS_STREAM]))
    return np.sort(generator.choice(num_images, MAX_IMAGES, replace=False))


def pixel_sums(
    split: Split, indices: Int64Array, short: int, bad_images: BadImages = "error", num_workers: int = 0
) -> Iterator[PixelSums]:
    """Yield the sums of each image, rescaled to the short side ``short``, in the order of ``indices``.

    The order makes the total independent of the number of workers. Images are always decoded in full.

    Raises:
        DataError: a file cannot be decoded and bad images are errors.
    """
    dataset = _SumsOfImages(split, indices, short)
    for index, sums in zip(indices, load_items(dataset, 16, num_workers), strict=True):
        if isinstance(sums, PixelSums):
            yield sums
        elif bad_images == "skip":
            yield PixelSums.zeros()
        else:
            raise bad_image_error(split, {split.files[index]: sums})
