"""The images of each training step: an endless stream of permutations, cut into full batches.

If classes are balanced by sampling, an epoch has as many samples as there are images, and of each class equally many:
of a small class its images are used several times, of a large class some are left out, other ones in each epoch.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from verydeep.ops.arrays import Float64Array, Int64Array

ORDER_STREAM = 0
BALANCE_STREAM = 9

REPETITION = 2**32
"""Added to the epoch of a sample for each earlier use of its image in the epoch, so that each use is another crop."""


@dataclass(frozen=True, eq=False)
class BalancedClasses:
    """The labels of images whose classes are drawn equally often."""

    labels: Int64Array
    """(n,)"""


@lru_cache(maxsize=2)
def permutation(seed: int, epoch: int, num_images: int) -> Int64Array:
    """Return the order of the images in one epoch."""
    bits = np.random.Philox(key=[seed, ORDER_STREAM], counter=[0, 0, 0, epoch])
    return np.random.Generator(bits).permutation(num_images)


@lru_cache(maxsize=2)
def balanced_order(seed: int, epoch: int, balanced: BalancedClasses) -> tuple[Int64Array, Int64Array]:
    """Return (n,) how often each sample's image was used before in the epoch, and (n,) the images, in order.

    Classes have n / K samples each, some of them one more. The images of a class follow permutations of them.
    """
    labels = balanced.labels
    generator = np.random.Generator(np.random.Philox(key=[seed, BALANCE_STREAM], counter=[0, 0, 0, epoch]))
    classes = generator.permutation(np.unique(labels))
    uses, chosen = [], []
    for position, label in enumerate(classes):
        images = np.flatnonzero(labels == label)
        count = (len(labels) + len(classes) - 1 - position) // len(classes)
        rounds = -(-count // len(images))
        chosen.append(np.concatenate([generator.permutation(images) for _ in range(rounds)])[:count])
        uses.append(np.repeat(np.arange(rounds), len(images))[:count])
    order = generator.permutation(len(labels))
    return np.concatenate(uses)[order], np.concatenate(chosen)[order]


def class_weights(labels: Int64Array, num_classes: int) -> Float64Array:
    """Return the weights (K,) of classes, n / (K n_k), whose mean over all images is 1; 0 for one without images."""
    counts = np.bincount(labels, minlength=num_classes)
    shares = len(labels) / (np.count_nonzero(counts) * np.maximum(counts, 1))
    return np.where(counts > 0, shares, 0.0)


def global_batch(
    seed: int, step: int, num_images: int, batch_size: int, balanced: BalancedClasses | None = None
) -> list[tuple[int, int]]:
    """Return (epoch, index) of each row of a step's global batch, a function of (seed, step).

    A batch may span two epochs, so every batch is full. If classes are balanced, an image may be in an epoch several
    times; ``REPETITION`` is added to its epoch each time.
    """
    rows = []
    for position in range(step * batch_size, (step + 1) * batch_size):
        epoch, place = divmod(position, num_images)
        if balanced is None:
            rows.append((epoch, int(permutation(seed, epoch, num_images)[place])))
        else:
            uses, images = balanced_order(seed, epoch, balanced)
            rows.append((epoch + REPETITION * int(uses[place]), int(images[place])))
    return rows


def process_rows(rank: int, world_size: int, batch_size: int) -> slice:
    """Return the rows of the global batch that belong to one process."""
    return slice(batch_size * rank // world_size, batch_size * (rank + 1) // world_size)


def steps_after(epochs: int, num_images: int, batch_size: int) -> int:
    """Return the number of steps after which so many epochs are complete."""
    return -(-epochs * num_images // batch_size)


class StepSampler:
    """A batch sampler: the (epoch, index) rows of one process for each step from ``start`` to ``stop``."""

    def __init__(
        self,
        num_images: int,
        batch_size: int,
        seed: int,
        start: int,
        stop: int,
        rank: int = 0,
        world_size: int = 1,
        balanced: BalancedClasses | None = None,
    ) -> None:
        self.num_images, self.batch_size, self.seed = num_images, batch_size, seed
        self.steps = range(start, stop)
        self.rows = process_rows(rank, world_size, batch_size)
        self.balanced = balanced

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for step in self.steps:
            yield global_batch(self.seed, step, self.num_images, self.batch_size, self.balanced)[self.rows]

    def __len__(self) -> int:
        return len(self.steps)
