"""Pairs of vectors whose inner product is large: hashes that differ in few signs, or descriptors that are alike."""

from collections.abc import Iterator

import numpy as np

from verydeep.ops.arrays import Float32Array, Int64Array

ROWS, COLUMNS = 1024, 4096
"""Vectors that are compared at once; if all of them are alike, their pairs take 70 MB."""

PRODUCTS = 2**25
"""Inner products that are kept at once where the largest ones are searched for."""


def find_close_pairs(one: Float32Array, other: Float32Array, smallest: float) -> Iterator[tuple[int, Int64Array]]:
    """Yield (row of ``one``, rows of ``other``) of vectors whose inner product is at least ``smallest``.

    Both are (n, D), of the same images; only rows of ``other`` after that of ``one`` are compared. All pairs are, by
    matrix products: the hashes of a million photographs take minutes. A row may come several times, with other rows.
    """
    for first in range(0, len(one), ROWS):
        rows = one[first : first + ROWS]
        for start in range(first, len(other), COLUMNS):
            which, columns = np.nonzero(rows @ other[start : start + COLUMNS].T >= smallest)
            is_later = columns + start > which + first
            which, columns = which[is_later], columns[is_later] + start
            found, ends = np.unique(which, return_index=True)  # in order, as nonzero's rows are
            for row, part in zip(found, np.split(columns, ends[1:]), strict=False):
                yield first + int(row), part


def find_nearest(vectors: Float32Array, count: int) -> Iterator[tuple[int, Int64Array]]:
    """Yield (row, rows of the other vectors with the largest inner products) of vectors (n, D), at most ``count``."""
    count = min(count, len(vectors) - 1)
    if count < 1:
        return
    num_rows = max(1, PRODUCTS // len(vectors))
    for first in range(0, len(vectors), num_rows):
        products = vectors[first : first + num_rows] @ vectors.T
        own = np.arange(len(products))
        products[own, own + first] = -np.inf
        nearest = np.argpartition(-products, count - 1, axis=1)[:, :count]
        yield from zip(range(first, first + len(products)), nearest, strict=True)
