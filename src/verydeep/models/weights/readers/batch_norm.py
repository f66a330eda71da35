"""Batch norm after a convolution, folded into the convolution."""

from pathlib import Path

import torch
from torch import Tensor

from verydeep.errors import WeightsError
from verydeep.models.weights.readers.layers import SourceLayer, check_layer, shape_text

EPSILON = 1e-5
"""The default of torch, which neither torchvision nor timm changes."""


def fold_batch_norm(conv: SourceLayer, norm: SourceLayer, path: Path) -> SourceLayer:
    """Return one convolution in place of a convolution and the batch norm after it.

    Zero padding happens before both, so this is exact at the borders, too.
    """
    check_layer(conv, path)
    weight = conv.values["weight"].double()
    zeros, ones = torch.zeros(len(weight)), torch.ones(len(weight))
    affine = "weight" in norm.values or "bias" in norm.values
    defaults = {} if affine else {"weight": ones, "bias": zeros}
    found = {**defaults, **norm.values}
    vectors: list[Tensor] = []
    for kind in ("weight", "bias", "running_mean", "running_var"):
        tensor = found.get(kind)
        if tensor is None or tensor.shape != weight.shape[:1] or not tensor.is_floating_point():
            shape = "lacks it" if tensor is None else f"has {shape_text(tensor)}"
            raise WeightsError(
                f"{path} needs {len(weight)} numbers as {norm.label}.{kind} but {shape}: it is truncated; "
                "download it again."
            )
        vectors.append(tensor.double())
    scale, shift, mean, variance = vectors
    bias = conv.values.get("bias", zeros).double()  # a batch norm makes it superfluous
    scale = scale / (variance + EPSILON).sqrt()
    bias = shift + (bias - mean) * scale
    return SourceLayer(conv.name, {"weight": (weight * scale[:, None, None, None]).float(), "bias": bias.float()})
