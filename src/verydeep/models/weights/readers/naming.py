"""Layer names of torchvision's and timm's state dicts, whose convolutions stand one after another in ``features``.

Such a state dict names its convolutions by their places alone; the network is found from them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from verydeep.configs.networks import NETWORKS, Network
from verydeep.errors import WeightsError
from verydeep.models.weights.readers.layers import square_side

BATCH_NORM_EPSILON = 1e-5
"""The default of torch, which neither torchvision nor timm changes."""


def feature_names(network: Network, *, batch_norm: bool = False) -> dict[str, str]:
    """Return our names of convolutions -> theirs: "conv1_1" -> "features.0"."""
    names, place = {}, 0
    for i, block in enumerate(network.blocks, start=1):
        for j in range(1, len(block) + 1):
            names[f"conv{i}_{j}"] = f"features.{place}"
            place += 3 if batch_norm else 2
        place += 1
    return names


@dataclass(frozen=True)
class Naming:
    """The network of a state dict, and the names of its layers."""

    network: Network
    batch_norm: bool
    fc: Mapping[str, str]
    """Our names of FC layers -> theirs."""

    @classmethod
    def find(cls, tensors: Mapping[str, Tensor], fcs: Sequence[Mapping[str, str]], path: Path) -> "Naming":
        """Find the network among A, B, D and E, and the FC names among ``fcs``, that explain all names of tensors.

        Raises:
            WeightsError: none of them explains all names.
        """
        namings = [cls(NETWORKS[name], norm, fc) for fc in fcs for norm in (False, True) for name in "ABDE"]
        best = max(namings, key=lambda naming: len(tensors.keys() & naming.names()))
        known = best.names()
        for name, tensor in tensors.items():
            if name not in known:
                raise WeightsError(
                    f"{path} has {name!r:.80} of shape {_shape(tensor)}, which the closest of VGG-11, 13, 16 and 19, "
                    f"VGG-{best.network.num_weight_layers}, does not have: give a file with one of these nets alone."
                )
        return best

    @property
    def convs(self) -> dict[str, str]:
        """Our names of convolutions -> theirs."""
        return feature_names(self.network, batch_norm=self.batch_norm)

    def names(self) -> set[str]:
        """Return all names that such a state dict may have."""
        layers = (*self.convs.values(), *self.fc.values())
        names = {f"{layer}.{kind}" for layer in layers for kind in ("weight", "bias")}
        if self.batch_norm:
            kinds = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
            names |= {f"{_batch_norm_name(conv)}.{kind}" for conv in self.convs.values() for kind in kinds}
        return names

    def translate(self, tensors: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
        """Return the tensors under our names and in our shapes, with batch norm folded; missing ones are left out.

        Raises:
            WeightsError: a tensor does not fit its layer.
        """
        return dict(self._translate_convs(tensors, path)) | dict(self._translate_fc(tensors, path))

    def _translate_convs(self, tensors: Mapping[str, Tensor], path: Path) -> Iterator[tuple[str, Tensor]]:
        for ours, name in self.convs.items():
            layer = _find_layer(tensors, name, path)
            if self.batch_norm and "weight" in layer:
                layer = _fold_batch_norm(layer, tensors, name, path)
            for kind, tensor in layer.items():
                yield f"{ours}.{kind}", tensor

    def _translate_fc(self, tensors: Mapping[str, Tensor], path: Path) -> Iterator[tuple[str, Tensor]]:
        for ours, name in self.fc.items():
            for kind, tensor in _find_layer(tensors, name, path).items():
                if kind == "weight" and tensor.ndim == 2:
                    channels = self._channels(tensors, path) if ours == "fc6" else tensor.shape[1]
                    side = square_side(tensor.shape[1], channels, f"{name}.weight", path)
                    yield f"{ours}.{kind}", tensor.reshape(len(tensor), channels, side, side)
                else:
                    yield f"{ours}.{kind}", tensor

    def _channels(self, tensors: Mapping[str, Tensor], path: Path) -> int:
        """Return the number of channels that fc6 sees."""
        last = f"{list(self.convs.values())[-1]}.weight"
        if last not in tensors:
            raise WeightsError(f"{path} lacks {last}, the last convolution: it is cut; download it again.")
        return len(tensors[last])


def _find_layer(tensors: Mapping[str, Tensor], name: str, path: Path) -> dict[str, Tensor]:
    """Return weight and bias of a layer, as far as they exist."""
    layer = {kind: tensors[f"{name}.{kind}"] for kind in ("weight", "bias") if f"{name}.{kind}" in tensors}
    for kind, tensor in layer.items():
        sizes = (1,) if kind == "bias" else (4,) if name.startswith("features.") else (2, 4)
        if not tensor.is_floating_point() or tensor.ndim not in sizes:
            raise WeightsError(
                f"{path} has {name}.{kind} of shape {_shape(tensor)}, {tensor.dtype}, which is not a {kind} of such a "
                "layer: it is of another architecture, or quantized."
            )
    return layer


def _fold_batch_norm(
    layer: Mapping[str, Tensor], tensors: Mapping[str, Tensor], conv: str, path: Path
) -> dict[str, Tensor]:
    """Return weight and bias of one convolution in place of a convolution and the batch norm behind it.

    Zero padding happens before both, so this is exact at the borders, too.
    """
    weight = layer["weight"].double()
    names = [f"{_batch_norm_name(conv)}.{kind}" for kind in ("weight", "bias", "running_mean", "running_var")]
    found = {name: tensors.get(name) for name in names}
    found[f"{conv}.bias"] = layer.get("bias", torch.zeros(len(weight)))  # a batch norm makes it superfluous
    vectors = []
    for name, tensor in found.items():
        if tensor is None or tensor.shape != weight.shape[:1] or not tensor.is_floating_point():
            shape = "lacks it" if tensor is None else f"has {_shape(tensor)}"
            raise WeightsError(
                f"{path} needs {len(weight)} numbers as {name} but {shape}: it is cut; download it again."
            )
        vectors.append(tensor.double())
    scale, shift, mean, variance, bias = vectors
    scale = scale / (variance + BATCH_NORM_EPSILON).sqrt()
    bias = shift + (bias - mean) * scale
    return {"weight": (weight * scale[:, None, None, None]).float(), "bias": bias.float()}


def _batch_norm_name(conv: str) -> str:
    """Return the name of the batch norm behind a convolution."""
    features, place = conv.split(".")
    return f"{features}.{int(place) + 1}"


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "()"
