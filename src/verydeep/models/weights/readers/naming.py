"""Nets whose layers lie in ``features`` one behind the other, as torchvision's and timm's do.

A state dict then tells its convolutions by their places alone, and which net it is has to be found out from them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isqrt
from pathlib import Path

import torch
from torch import Tensor

from verydeep.configs.networks import NETWORKS, PAPER_CROP, STRIDE, Network
from verydeep.errors import VerydeepError

BATCH_NORM_EPSILON = 1e-5
"""torch's own; neither torchvision nor timm changes it."""


def feature_names(network: Network, *, batch_norm: bool = False) -> dict[str, str]:
    """Our convolutions and their places: "conv1_1" is "features.0"."""
    names, place = {}, 0
    for i, block in enumerate(network.blocks, start=1):
        for j in range(1, len(block) + 1):
            names[f"conv{i}_{j}"] = f"features.{place}"
            place += 3 if batch_norm else 2
        place += 1
    return names


@dataclass(frozen=True)
class Naming:
    """The net that a state dict is named for."""

    network: Network
    batch_norm: bool
    fc: Mapping[str, str]
    """Our FC layers and theirs."""

    @classmethod
    def best(cls, tensors: Mapping[str, Tensor], fcs: Sequence[Mapping[str, str]], path: Path) -> "Naming":
        """Of A, B, D and E, with FC layers called as in one of ``fcs``, what explains most names.

        Raises:
            VerydeepError: it does not explain them all.
        """
        namings = [cls(NETWORKS[name], norm, fc) for fc in fcs for norm in (False, True) for name in "ABDE"]
        best = max(namings, key=lambda naming: len(tensors.keys() & naming.names()))
        known = best.names()
        for name, tensor in tensors.items():
            if name not in known:
                raise VerydeepError(
                    f"{path} has {name!r:.80} of shape {_shape(tensor)}, which the closest of VGG-11, 13, 16 and 19, "
                    f"VGG-{best.network.num_weight_layers}, has not: give a file with one of these nets alone."
                )
        return best

    @property
    def convs(self) -> dict[str, str]:
        """Our convolutions and theirs."""
        return feature_names(self.network, batch_norm=self.batch_norm)

    def names(self) -> set[str]:
        """Of all that such a state dict may hold."""
        layers = (*self.convs.values(), *self.fc.values())
        names = {f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")}
        if self.batch_norm:
            kinds = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
            names |= {f"{_behind(conv)}.{kind}" for conv in self.convs.values() for kind in kinds}
        return names

    def translate(self, tensors: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
        """The tensors by our names and in our shapes, batch norm folded; what is missing is left out.

        Raises:
            VerydeepError: a tensor is none of its layer's kind.
        """
        return dict(self._translated_convs(tensors, path)) | dict(self._translated_fc(tensors, path))

    def _translated_convs(self, tensors: Mapping[str, Tensor], path: Path) -> Iterator[tuple[str, Tensor]]:
        for ours, theirs in self.convs.items():
            layer = _layer(tensors, theirs, path)
            if self.batch_norm and "weight" in layer:
                layer = _with_norm(layer, tensors, theirs, path)
            for kind, tensor in layer.items():
                yield f"{ours}.{kind}", tensor

    def _translated_fc(self, tensors: Mapping[str, Tensor], path: Path) -> Iterator[tuple[str, Tensor]]:
        for ours, theirs in self.fc.items():
            for kind, tensor in _layer(tensors, theirs, path).items():
                if kind == "weight" and tensor.ndim == 2:
                    channels = self._channels(tensors, path) if ours == "fc6" else tensor.shape[1]
                    side = side_of(tensor.shape[1], channels, f"{theirs}.weight", path)
                    yield f"{ours}.{kind}", tensor.reshape(len(tensor), channels, side, side)
                else:
                    yield f"{ours}.{kind}", tensor

    def _channels(self, tensors: Mapping[str, Tensor], path: Path) -> int:
        """That fc6 sees."""
        last = f"{list(self.convs.values())[-1]}.weight"
        if last not in tensors:
            raise VerydeepError(f"{path} lacks {last}, the convolution before the FC layers: it is cut, get it anew.")
        return len(tensors[last])


def side_of(inputs: int, channels: int, name: str, path: Path) -> int:
    """Of the square of positions that fc6 sees.

    Raises:
        VerydeepError: its inputs are no such square.
    """
    side = isqrt(inputs // max(channels, 1))
    if not side or channels * side**2 != inputs:
        raise VerydeepError(
            f"{path} has {inputs} inputs at {name!r:.80}, no square of positions of the {channels} channels before "
            "it: it is of another architecture."
        )
    return side


def told_of_side(tensors: Mapping[str, Tensor]) -> tuple[str, ...]:
    """A note where an FC layer, in our layout, sees another number of positions than the paper's 7x7."""
    fc6 = tensors.get("fc6.weight")
    if fc6 is None or fc6.shape[-1] == PAPER_CROP // STRIDE:
        return ()
    side = fc6.shape[-1]
    return (f"Its FC layers see {side}x{side} positions, so it is taken for a net of crop {STRIDE * side}.",)


def _layer(tensors: Mapping[str, Tensor], name: str, path: Path) -> dict[str, Tensor]:
    """Weight and bias, as far as they are there."""
    layer = {kind: tensors[f"{name}.{kind}"] for kind in ("weight", "bias") if f"{name}.{kind}" in tensors}
    for kind, tensor in layer.items():
        sizes = (1,) if kind == "bias" else (4,) if name.startswith("features.") else (2, 4)
        if not tensor.is_floating_point() or tensor.ndim not in sizes:
            raise VerydeepError(
                f"{path} has {name}.{kind} of shape {_shape(tensor)}, {tensor.dtype}, which is no {kind} of such a "
                "layer: it is of another architecture, or quantized."
            )
    return layer


def _with_norm(layer: Mapping[str, Tensor], tensors: Mapping[str, Tensor], conv: str, path: Path) -> dict[str, Tensor]:
    """Weight and bias of a convolution that does what it and the batch norm behind it do.

    Zero padding happens before both, so this is exact at the borders, too.
    """
    weight = layer["weight"].double()
    names = [f"{_behind(conv)}.{kind}" for kind in ("weight", "bias", "running_mean", "running_var")]
    found = {name: tensors.get(name) for name in names}
    found[f"{conv}.bias"] = layer.get("bias", torch.zeros(len(weight)))  # a batch norm makes it superfluous
    vectors = []
    for name, tensor in found.items():
        if tensor is None or tensor.shape != weight.shape[:1] or not tensor.is_floating_point():
            shape = "lacks it" if tensor is None else f"has {_shape(tensor)}"
            raise VerydeepError(f"{path} needs {len(weight)} numbers as {name} and {shape}: it is cut, get it anew.")
        vectors.append(tensor.double())
    scale, shift, mean, variance, bias = vectors
    scale = scale / (variance + BATCH_NORM_EPSILON).sqrt()
    bias = shift + (bias - mean) * scale
    return {"weight": (weight * scale[:, None, None, None]).float(), "bias": bias.float()}


def _behind(conv: str) -> str:
    """The place of the batch norm."""
    features, place = conv.split(".")
    return f"{features}.{int(place) + 1}"


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "()"
