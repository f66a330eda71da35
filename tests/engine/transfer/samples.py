"""Splits of images that nobody opens, and descriptors of three classes that overlap."""

from pathlib import Path

import numpy as np

from verydeep.data.split import Split
from verydeep.ops.arrays import Float32Array, Int64Array
from verydeep.ops.descriptors import normalize

NAMES = ("ant", "bell", "crab")


def make_split(labels: list[int] | None, name: str, first: int = 0, relevance: list[list[int]] | None = None) -> Split:
    """Return a split of files that are numbered from ``first``."""
    count = len(labels if labels is not None else relevance or [])
    return Split(
        name, Path("photos"), tuple(f"{first + i:03d}.jpg" for i in range(count)),
        None if labels is None else np.array(labels, np.int64), NAMES, NAMES, "class folders", True,
        relevance=None if relevance is None else np.array(relevance, np.int8),
    )  # fmt: skip


def join(*splits: Split) -> Split:
    """Return the files of splits as one, without labels."""
    return Split(
        "all", Path("photos"), tuple(file for split in splits for file in split.files), None, NAMES, NAMES, "", True
    )


def make_descriptors(labels: Int64Array, seed: int) -> Float32Array:
    """Return unit vectors (n, 12) about three directions; they are not separable."""
    rng = np.random.default_rng(seed)
    centers = np.random.default_rng(99).normal(size=(3, 12))
    return normalize((centers[labels] + rng.normal(scale=1.6, size=(len(labels), 12))).astype(np.float32))
