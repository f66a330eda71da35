"""Aggregate descriptors of several scales, and normalize them to length one (appendix B)."""

from collections.abc import Iterable
from typing import Literal

import numpy as np

from verydeep.ops.arrays import Float32Array

Aggregation = Literal["average", "stack", "max"]
"""Aggregation of descriptors of several scales: their mean, their concatenation, or their maximum."""
Normalization = Literal["parts", "whole"]
"""Whether parts have length one before they are concatenated ("parts"), or only the whole descriptor ("whole")."""


def normalize(descriptors: Float32Array) -> Float32Array:
    """Return descriptors (n, D) of length one; a zero stays zero."""
    return _normalize_in_place(np.array(descriptors, np.float32))


def aggregate_scales(
    scales: Iterable[Float32Array], how: Aggregation, normalization: Normalization = "parts"
) -> Float32Array:
    """Return (n, D), or (n, scales * D) if they are stacked, of length one, from the (n, D) of each scale."""
    return compose_descriptors([scales], how, normalization)


def compose_descriptors(
    parts: Iterable[Iterable[Float32Array]], how: Aggregation, normalization: Normalization = "parts"
) -> Float32Array:
    """Return (n, sum of D) of length one: the aggregated scales of each part, concatenated.

    Scales may be yielded one by one; unless they are stacked, only two are then in memory at a time.

    Args:
        parts: the (n, D) of each scale, for each net, or for images and for the boxes on them.
        how: aggregation of the scales.
        normalization: "parts": stacked scales, and parts, have length one before they are concatenated.
    """
    aggregated = []
    for scales in parts:
        part = _stack(scales, normalization) if how == "stack" else _reduce(scales, how)
        aggregated.append(_normalize_in_place(part) if normalization == "parts" else part)
    return _normalize_in_place(aggregated[0] if len(aggregated) == 1 else np.concatenate(aggregated, axis=1))


def _stack(scales: Iterable[Float32Array], normalization: Normalization) -> Float32Array:
    return np.concatenate([normalize(scale) if normalization == "parts" else scale for scale in scales], axis=1)


def _reduce(scales: Iterable[Float32Array], how: Aggregation) -> Float32Array:
    rest = iter(scales)
    total, count = np.array(next(rest), np.float32), 1
    for scale in rest:
        (np.add if how == "average" else np.maximum)(total, scale, out=total)
        count += 1
    if how == "average":
        total /= count
    return total


def _normalize_in_place(descriptors: Float32Array) -> Float32Array:
    """Normalize without a copy, because these are the largest arrays of a transfer."""
    lengths = np.sqrt(np.einsum("nd,nd->n", descriptors, descriptors))
    descriptors /= np.where(lengths > 0, lengths, 1)[:, None]
    return descriptors
