"""Descriptors of length one (appendix B): test scales are aggregated, nets and boxes are stacked."""

from collections.abc import Iterable
from typing import Literal

import numpy as np

from verydeep.ops.arrays import Float32Array

Aggregation = Literal["average", "stack", "max"]
"""How the descriptors of several scales become one: the mean, one after the other, or the maximum of each value."""


def normalize(descriptors: Float32Array) -> Float32Array:
    """Return descriptors (n, D) scaled to length one; a zero vector stays zero."""
    return _normalize_in_place(np.array(descriptors, np.float32))


def aggregate_scales(scales: Iterable[Float32Array], aggregation: Aggregation) -> Float32Array:
    """Combine the (n, D) descriptors of each scale into (n, D), or (n, scales * D) where they are stacked.

    The result has length one. Where scales are not stacked, two of them are in memory at a time.
    """
    if aggregation == "stack":
        return stack_parts(map(normalize, scales))
    remaining = iter(scales)
    total, count = np.array(next(remaining), np.float32), 1
    for scale in remaining:
        (np.add if aggregation == "average" else np.maximum)(total, scale, out=total)
        count += 1
    if aggregation == "average":
        total /= count
    return _normalize_in_place(total)


def stack_parts(parts: Iterable[Float32Array]) -> Float32Array:
    """Stack descriptors (n, D) of length one into (n, sum of D) of length one, so that all parts weigh the same.

    Parts are nets, or images and the boxes on them. A single part is returned as it is, without a copy.
    """
    arrays = list(parts)
    return arrays[0] if len(arrays) == 1 else _normalize_in_place(np.concatenate(arrays, axis=1))


def _normalize_in_place(descriptors: Float32Array) -> Float32Array:
    """The largest arrays of a transfer pass here, so no copy is made."""
    lengths = np.sqrt(np.einsum("nd,nd->n", descriptors, descriptors))
    descriptors /= np.where(lengths > 0, lengths, 1)[:, None]
    return descriptors
