"""Descriptors of length one (appendix B): test scales are aggregated, nets and boxes are stacked."""

from collections.abc import Iterable, Sequence
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


def divide_weights(
    weights: Float32Array, parts: Sequence[Sequence[Float32Array]], aggregation: Aggregation
) -> list[list[Float32Array]]:
    """Return the weights (K, D) of a linear classifier for the descriptors of one image before their normalization.

    A descriptor of length one depends on its lengths, so these weights hold for this image alone. With them the
    classifier is a sum: the products of all weights and descriptors add up to its output without the bias.

    Args:
        weights: of the classifier, for the final descriptor.
        parts: of each net the descriptors (D,) at each scale, as its layer gives them.
        aggregation: of the scales.
    """
    finals = [aggregate_scales([each[None] for each in scales], aggregation)[0] for scales in parts]
    total = np.linalg.norm(np.concatenate(finals)) if len(parts) > 1 else np.float32(1)
    divided, start = [], 0
    for scales, final in zip(parts, finals, strict=True):
        own = weights[:, start : start + len(final)] / (total or 1)
        divided.append(_divide_scales(own, np.stack(scales), aggregation))
        start += len(final)
    return divided


def _divide_scales(weights: Float32Array, scales: Float32Array, aggregation: Aggregation) -> list[Float32Array]:
    """Return the weights of the descriptors (S, D) of one net at each scale."""
    if aggregation == "stack":
        lengths = np.linalg.norm(scales, axis=1)
        total = np.sqrt(np.count_nonzero(lengths)) if len(scales) > 1 else 1
        own = np.split(weights, len(scales), axis=1)
        return [each / ((length or 1) * (total or 1)) for each, length in zip(own, lengths, strict=True)]
    if aggregation == "average":
        return [np.asarray(weights / (np.linalg.norm(scales.mean(axis=0)) or 1) / len(scales), np.float32)] * len(
            scales
        )
    length = np.linalg.norm(scales.max(axis=0)) or 1
    return [weights * (scales.argmax(axis=0) == place) / length for place in range(len(scales))]


def _normalize_in_place(descriptors: Float32Array) -> Float32Array:
    """The largest arrays of a transfer pass here, so no copy is made."""
    lengths = np.sqrt(np.einsum("nd,nd->n", descriptors, descriptors))
    descriptors /= np.where(lengths > 0, lengths, 1)[:, None]
    return descriptors
