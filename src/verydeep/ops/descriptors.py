"""Descriptors of images: scales put together, and length one (appendix B)."""

from collections.abc import Iterable
from typing import Literal

import numpy as np

from verydeep.ops.arrays import Float32Array

Aggregation = Literal["average", "stack", "max"]
"""What becomes of the descriptors of several scales: their mean, all in a row, or the largest of each value."""
Normalization = Literal["parts", "whole"]
"""What has length one before parts are stacked: each part and then the whole, or the whole alone."""


def normalized(descriptors: Float32Array) -> Float32Array:
    """(n, D) of length one; one that is zero stays zero."""
    return _normalize(np.array(descriptors, np.float32))


def aggregated(
    scales: Iterable[Float32Array], how: Aggregation, normalization: Normalization = "parts"
) -> Float32Array:
    """(n, D), or (n, scales * D) where they are stacked, of the (n, D) of each scale; of length one."""
    return composed([scales], how, normalization)


def composed(
    parts: Iterable[Iterable[Float32Array]], how: Aggregation, normalization: Normalization = "parts"
) -> Float32Array:
    """(n, sum of D) of length one: the scales of each part put together, and the parts behind each other.

    Of scales that come one by one, two are in memory at a time unless they are stacked.

    Args:
        parts: of each net, or of images and of the boxes on them, the (n, D) of each scale.
        how: what becomes of the scales.
        normalization: "parts": scales that are stacked, and parts, have length one before they are.
    """
    each = []
    for scales in parts:
        together = _stacked(scales, normalization) if how == "stack" else _reduced(scales, how)
        each.append(_normalize(together) if normalization == "parts" else together)
    return _normalize(each[0] if len(each) == 1 else np.concatenate(each, axis=1))


def _stacked(scales: Iterable[Float32Array], normalization: Normalization) -> Float32Array:
    return np.concatenate([normalized(scale) if normalization == "parts" else scale for scale in scales], axis=1)


def _reduced(scales: Iterable[Float32Array], how: Aggregation) -> Float32Array:
    rest = iter(scales)
    total, count = np.array(next(rest), np.float32), 1
    for scale in rest:
        (np.add if how == "average" else np.maximum)(total, scale, out=total)
        count += 1
    if how == "average":
        total /= count
    return total


def _normalize(descriptors: Float32Array) -> Float32Array:
    """In place: the largest arrays of a transfer pass here."""
    lengths = np.sqrt(np.einsum("nd,nd->n", descriptors, descriptors))
    descriptors /= np.where(lengths > 0, lengths, 1)[:, None]
    return descriptors
