"""Checks and conversions of layers that several readers share."""

import re
from collections.abc import Container, Mapping
from math import isqrt
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from verydeep.configs.networks import PAPER_CROP, STRIDE
from verydeep.errors import WeightsError
from verydeep.ops.arrays import AnyArray

_LAYER_NAME = re.compile(r"conv[1-5]_[1-4]|fc[678]")


def check_layer_name(name: str, earlier: Container[str], path: Path) -> None:
    """Refuse a layer with weights whose name no net of the paper has, or whose weights are among the earlier ones.

    Raises:
        WeightsError: it is one of these.
    """
    if not _LAYER_NAME.fullmatch(name) or f"{name}.weight" in earlier:
        raise WeightsError(
            f"{path} has weights of a layer {name!r:.40}, which no net of the paper has, or which comes twice: it is "
            "not a VGG net of the paper."
        )


def refuse_normalization(name: str, path: Path) -> None:
    """Refuse a layer of local response normalization, whose constants the readers do not know.

    Raises:
        WeightsError: always.
    """
    raise WeightsError(
        f"{path} normalizes responses (layer {name!r:.40}), which is not supported: give a net without normalization."
    )


def square_side(inputs: int, channels: int, name: str, path: Path) -> int:
    """Return the side of the square of positions that fc6 sees.

    Raises:
        WeightsError: its inputs are not such a square.
    """
    side = isqrt(inputs // max(channels, 1))
    if not side or channels * side**2 != inputs:
        raise WeightsError(
            f"{path} has {inputs} inputs at {name!r:.80}, which are not a square of positions of the {channels} "
            "channels before it: it is of another architecture."
        )
    return side


def crop_notes(tensors: Mapping[str, Tensor]) -> tuple[str, ...]:
    """Return a note if fc6, in our layout, sees another number of positions than the paper's 7x7."""
    fc6 = tensors.get("fc6.weight")
    if fc6 is None or fc6.shape[-1] == PAPER_CROP // STRIDE:
        return ()
    side = fc6.shape[-1]
    return (f"Its FC layers see {side}x{side} positions, so it is taken for a net of crop {STRIDE * side}.",)


def to_float32(array: AnyArray) -> Tensor:
    """Return numbers as a float32 tensor; those beyond its range become infinite, which a later check finds."""
    with np.errstate(over="ignore"):
        return torch.from_numpy(np.asarray(array, dtype=np.float32, order="C"))
