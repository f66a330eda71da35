"""Layers of another system's net, as all readers of formats pass them on to ``recognition``."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from verydeep.errors import WeightsError
from verydeep.ops.arrays import AnyArray


@dataclass(frozen=True, eq=False)
class SourceLayer:
    """A layer with weights of another system's net."""

    name: str
    values: Mapping[str, Tensor]
    """Kind -> values. A convolution has a ``weight`` (out, in, k, k), a linear layer (out, in), both perhaps a ``bias``
    (out,). A batch norm also has ``running_mean`` and ``running_var`` (out,)."""

    @property
    def dimensions(self) -> int:
        """The dimensions of its weight: 4 of a convolution, 2 of a linear layer, 0 without weight."""
        return self.values["weight"].ndim if "weight" in self.values else 0

    @property
    def is_batch_norm(self) -> bool:
        """Whether it normalizes by a running mean and variance."""
        return "running_mean" in self.values or "running_var" in self.values

    @property
    def num_outputs(self) -> int:
        """The number of its output channels."""
        return len(self.values["weight"]) if self.dimensions else 0

    @property
    def num_inputs(self) -> int:
        """The number of its input channels."""
        return self.values["weight"].shape[1] if self.dimensions > 1 else 0

    @property
    def label(self) -> str:
        """Its name for a message."""
        return printable(self.name or "/".join(self.values))

    def __str__(self) -> str:
        kind, values = next(iter(self.values.items()))
        label = f"{self.label}.{kind:.20}" if self.name else self.label
        return f"{label} of shape {shape_text(values)}"


def printable(name: str) -> str:
    """Return a name, or the end of a long one, for a message of one line."""
    return (name if name.isprintable() else ascii(name))[-60:]


def check_layer(layer: SourceLayer, path: Path) -> None:
    """Check weight and bias of a convolution or a linear layer.

    Raises:
        WeightsError: the weight is not plain numbers, or the bias has another shape than the outputs.
    """
    weight, bias = layer.values["weight"], layer.values.get("bias")
    for kind, tensor in layer.values.items():
        if kind in ("weight", "bias") and not tensor.is_floating_point():
            raise WeightsError(
                f"{path} has {layer.label}.{kind} of type {tensor.dtype}: it is quantized; save the net before "
                "quantization."
            )
    if bias is not None and bias.shape != weight.shape[:1]:
        raise WeightsError(
            f"{path} has {layer.label}.bias of shape {shape_text(bias)} for {len(weight)} outputs: it is damaged, or "
            "of another architecture."
        )


def shape_text(tensor: Tensor) -> str:
    """Return the shape of a tensor for a message: 64x3x3x3."""
    return "x".join(map(str, tensor.shape)) or "()"


def natural_order(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts names by their numbers: conv2d_2 before conv2d_10."""
    return [(len(part) if part.isdigit() else 0, part) for part in re.split(r"([0-9]+)", name)]


def refuse_normalization(name: str, path: Path) -> None:
    """Refuse a layer of local response normalization, whose constants the readers do not know.

    Raises:
        WeightsError: always.
    """
    raise WeightsError(
        f"{path} uses local response normalization (layer {name!r:.40}), which is not supported: give a net without it."
    )


def to_float32(array: AnyArray) -> Tensor:
    """Return numbers as a float32 tensor; those beyond its range become infinite, which a later check finds."""
    with np.errstate(over="ignore"):
        return torch.from_numpy(np.asarray(array, dtype=np.float32, order="C"))
