"""Descriptors of images: scales put together, and length one (appendix B)."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]

Aggregation = Literal["average", "stack", "max"]
"""What becomes of the descriptors of several scales: their mean, all in a row, or the largest of each value."""
Normalization = Literal["parts", "whole"]
"""What has length one before parts are stacked: each part and then the whole, or the whole alone."""


def normalized(descriptors: Floats) -> Floats:
    """(n, D) of length one; one that is zero stays zero."""
    lengths = np.linalg.norm(descriptors, axis=1, keepdims=True)
    return np.asarray(descriptors / np.where(lengths > 0, lengths, 1), np.float32)


def aggregated(scales: Sequence[Floats], how: Aggregation, normalization: Normalization = "parts") -> Floats:
    """(n, D), or (n, scales * D) where they are stacked, of the (n, D) of each scale; of length one."""
    if how == "average":
        return normalized(np.mean(scales, axis=0, dtype=np.float32))
    if how == "max":
        return normalized(np.max(scales, axis=0))
    return stacked(scales, normalization)


def stacked(parts: Sequence[Floats], normalization: Normalization = "parts") -> Floats:
    """(n, sum of D): parts behind each other, of length one."""
    each = [normalized(part) if normalization == "parts" else part for part in parts]
    return normalized(np.concatenate(each, axis=1))
