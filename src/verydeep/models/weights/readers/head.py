"""The fully connected layers of a net of the paper among the layers after the convolutions of another system's net.

A head of three linear layers is fc6, fc7 and fc8, whatever their names and widths. Any other head is left out, so that
the convolutions remain as a trunk.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import permutations
from math import isqrt
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from verydeep.configs.networks import PAPER_CROP, STRIDE
from verydeep.models.weights.readers.layers import SourceLayer, check_layer
from verydeep.wording import shorten_list

FC_LAYERS = ("fc6", "fc7", "fc8")
_KNOWN_NAME = re.compile(r"(?:.*[./])?(fc[678]|classifier\.[01346]|pre_logits\.fc[12]|head\.fc|fc[12]|predictions)")
_MAX_NAMES = 6


@dataclass(frozen=True)
class Head:
    """The fully connected layers that a file has, in our layout; none of a trunk."""

    tensors: dict[str, Tensor]
    """fc6.weight (out, C, k, k), fc7.weight and fc8.weight (out, in, 1, 1), and the biases."""
    names: tuple[str, ...] = ()
    """The file's names of fc6, fc7 and fc8."""
    notes: tuple[str, ...] = ()
    left_out: str = ""
    """As ``WeightFile.left_out``."""


def read_head(
    layers: Sequence[SourceLayer], num_channels: int, path: Path, *, channels_last: bool = False, obstacle: str = ""
) -> Head:
    """Read the fully connected layers of a net, or leave its head out.

    Args:
        layers: all layers that are not the net's convolutions, in the net's order as far as it is known.
        num_channels: of pool5.
        path: of the file, for messages.
        channels_last: whether the first layer takes the order row, column, channel.
        obstacle: why this head cannot be ours, as the file states; empty if it does not.

    Raises:
        WeightsError: a layer's weight is not plain numbers, or its bias does not fit.
    """
    if not layers:
        return Head({})
    names = [layer.name.rpartition("/")[2] for layer in layers]
    if len(layers) < len(FC_LAYERS) and set(names) < set(FC_LAYERS):
        # A cut file, which is refused for what it lacks.
        return _convert(layers, num_channels, names, channels_last=channels_last)
    chain = None if obstacle else _find_chain(layers, num_channels)
    if chain is None:
        return _make_trunk_head(layers, obstacle or "is not that of a VGG net")
    for layer in chain:
        check_layer(layer, path)
    side = _side(chain[0], num_channels)
    is_known = all(_KNOWN_NAME.fullmatch(layer.name) for layer in chain)
    if side == 1 and not is_known:
        return _make_trunk_head(layers, "sees a single position, as after global pooling")
    if chain[2].num_outputs < 2:
        return _make_trunk_head(layers, "has one output, which is not a soft-max over classes")
    head = _widen(_convert(chain, num_channels, FC_LAYERS, channels_last=channels_last))
    notes = (
        ()
        if side == PAPER_CROP // STRIDE
        else (f"Its FC layers see {side}x{side} positions, so it is taken for a net of crop {STRIDE * side}.",)
    )
    if not is_known:
        shown = ", ".join(layer.label for layer in chain)
        notes = (
            f"Its linear layers ({shown}) are taken for fc6, fc7 and fc8, with a ReLU after the first two.",
            *notes,
        )
    return replace(head, notes=(*notes, *head.notes))


def _make_trunk_head(layers: Sequence[SourceLayer], reason: str) -> Head:
    """Return no layers, and a clause that names those that are left out."""
    return Head({}, left_out=f"its head ({shorten_list([layer.label for layer in layers], _MAX_NAMES)}) {reason}")


def _find_chain(layers: Sequence[SourceLayer], num_channels: int) -> Sequence[SourceLayer] | None:
    """Return the three layers of a head in an order in which each takes what the one before gives."""
    if len(layers) != len(FC_LAYERS) or any(layer.dimensions not in (2, 4) for layer in layers):
        return None
    for chain in permutations(layers):
        fc6, fc7, fc8 = chain
        fits = fc7.num_inputs == fc6.num_outputs and fc8.num_inputs == fc7.num_outputs
        if fits and _side(fc6, num_channels) and all(_side(layer, layer.num_inputs) == 1 for layer in (fc7, fc8)):
            return chain
    return None


def _side(layer: SourceLayer, num_channels: int) -> int:
    """Return the side of the square of positions that a layer sees; 0 if it sees another number of positions."""
    weight = layer.values["weight"]
    if weight.ndim == 4:
        return weight.shape[2] if weight.shape[1] == num_channels and weight.shape[2] == weight.shape[3] else 0
    side = isqrt(weight.shape[1] // max(num_channels, 1))
    return side if num_channels * side**2 == weight.shape[1] else 0


def _convert(layers: Sequence[SourceLayer], num_channels: int, names: Sequence[str], *, channels_last: bool) -> Head:
    """Return layers under our names as convolutions; a missing bias is zero."""
    tensors: dict[str, Tensor] = {}
    for name, layer in zip(names, layers, strict=True):
        weight = layer.values["weight"]
        side = max(1, _side(layer, num_channels)) if name == "fc6" else 1
        if weight.ndim == 2 and channels_last:
            weight = weight.reshape(len(weight), side, side, -1).permute(0, 3, 1, 2).contiguous()
        elif weight.ndim == 2:
            weight = weight.reshape(len(weight), -1, side, side)
        tensors |= {f"{name}.weight": weight, f"{name}.bias": layer.values.get("bias", torch.zeros(len(weight)))}
    return Head(tensors, tuple(layer.name for layer in layers))


def _widen(head: Head) -> Head:
    """Fill the narrower of fc6 and fc7 up with units of zeros, as our nets have one width for both; exact."""
    tensors = head.tensors
    fc6, fc7 = len(tensors["fc6.bias"]), len(tensors["fc7.bias"])
    if fc6 == fc7:
        return head
    more6, more7 = max(0, fc7 - fc6), max(0, fc6 - fc7)
    widened = {
        "fc6.weight": F.pad(tensors["fc6.weight"], (0, 0, 0, 0, 0, 0, 0, more6)),
        "fc6.bias": F.pad(tensors["fc6.bias"], (0, more6)),
        "fc7.weight": F.pad(tensors["fc7.weight"], (0, 0, 0, 0, 0, more6, 0, more7)),
        "fc7.bias": F.pad(tensors["fc7.bias"], (0, more7)),
        "fc8.weight": F.pad(tensors["fc8.weight"], (0, 0, 0, 0, 0, more7)),
    }
    note = f"Its fc6 and fc7 have {fc6} and {fc7} units; the narrower is filled up with zeros, which changes no output."
    return replace(head, tensors=tensors | widened, notes=(note,))
