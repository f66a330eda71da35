"""The images of each training step: an endless stream of permutations, cut into full batches."""

from collections.abc import Iterator
from functools import lru_cache

import numpy as np

from verydeep.ops.arrays import Int64Array

ORDER_STREAM = 0


@lru_cache(maxsize=2)
def permutation(seed: int, epoch: int, num_images: int) -> Int64Array:
    """Return the order of the images in one epoch."""
    bits = np.random.Philox(key=[seed, ORDER_STREAM], counter=[0, 0, 0, epoch])
    return np.random.Generator(bits).permutation(num_images)


def global_batch(seed: int, step: int, num_images: int, batch_size: int) -> list[tuple[int, int]]:
    """Return (epoch, index) of each row of a step's global batch, a function of (seed, step).

    A batch may span two epochs, so every batch is full.
    """
    positions = range(step * batch_size, (step + 1) * batch_size)
    return [
        (position // num_images, int(permutation(seed, position // num_images, num_images)[position % num_images]))
        for position in positions
    ]


def process_rows(rank: int, world_size: int, batch_size: int) -> slice:
    """Return the rows of the global batch that belong to one process."""
    return slice(batch_size * rank // world_size, batch_size * (rank + 1) // world_size)


def steps_after(epochs: int, num_images: int, batch_size: int) -> int:
    """Return the number of steps after which so many epochs are complete."""
    return -(-epochs * num_images // batch_size)


class StepSampler:
    """A batch sampler: the (epoch, index) rows of one process for each step from ``start`` to ``stop``."""

    def __init__(
        self, num_images: int, batch_size: int, seed: int, start: int, stop: int, rank: int = 0, world_size: int = 1
    ) -> None:
        self.num_images, self.batch_size, self.seed = num_images, batch_size, seed
        self.steps = range(start, stop)
        self.rows = process_rows(rank, world_size, batch_size)

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for step in self.steps:
            yield global_batch(self.seed, step, self.num_images, self.batch_size)[self.rows]

    def __len__(self) -> int:
        return len(self.steps)
