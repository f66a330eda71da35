"""Keras's VGG-16 and VGG-19, and nets whose layers are named like theirs: .h5 files of weights or of whole models.

Kernels are (H, W, in, out), and fc1 sees what pool5 gives in the order row, column, channel.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from verydeep.configs.networks import NETWORKS, Network
from verydeep.errors import VerydeepError
from verydeep.models.weights.foreign import CAFFE_INPUT, ForeignNet
from verydeep.models.weights.readers.hdf5 import read_layers
from verydeep.models.weights.readers.naming import side_of, told_of_side

FC = {"fc1": "fc6", "fc2": "fc7", "predictions": "fc8"}

_Layers = Mapping[str, list[Tensor]]


def read_keras(path: Path) -> ForeignNet:
    """Read weights that Keras wrote, ``.weights.h5`` of Keras 3 included, with or without the top.

    Raises:
        VerydeepError: the file is damaged, has layers that VGG-16 and VGG-19 have not, announces more than it holds or
            points to other files, or h5py is not installed.
    """
    place, layers = read_layers(path, "model_weights", "layers")
    head = _other_head(layers)
    layers = {name: weights for name, weights in layers.items() if name not in head}
    named = _by_order(layers, path) if place == "layers" else _by_name(layers, path)
    tensors: dict[str, Tensor] = {}
    channels = 0
    for name, weights in sorted(named.items()):  # conv5_3 before fc6
        for values in weights:
            kind = "bias" if values.ndim == 1 else "weight"
            if values.ndim not in (1, 4 if name.startswith("conv") else 2) or f"{name}.{kind}" in tensors:
                shape = "x".join(map(str, values.shape))
                raise VerydeepError(f"{path} has a {kind} of shape {shape} in {name}: it is of another architecture.")
            tensors[f"{name}.{kind}"] = values if kind == "bias" else _kernel(values, name, channels, path)
            channels = values.shape[-1] if name.startswith("conv") else channels
    assumed = f"The file does not tell its input, which is that of Keras's own VGG nets: {CAFFE_INPUT}."
    notes = tuple(told_of_side(tensors))
    if head:
        left_out = f"Its head is no VGG net's and left out ({', '.join(head)}): what was read are the convolutions."
        notes = (left_out, *notes)
    return ForeignNet("Keras", tensors, CAFFE_INPUT, "floor", assumed=assumed, notes=notes)


def _other_head(layers: _Layers) -> list[str]:
    """Dense layers of people's own on the convolutions of Keras's VGG nets, whose top is not there."""
    if "block1_conv1" not in layers or layers.keys() & FC.keys():
        return []
    unknown = (name for name in layers if not re.fullmatch(r"block\d_conv\d", name))
    return [name for name in unknown if any(values.ndim == 2 for values in layers[name])]


def _kernel(values: Tensor, name: str, channels: int, path: Path) -> Tensor:
    """(H, W, in, out), or (in, out) where ``channels`` precede, as (out, in, H, W)."""
    if values.ndim == 2:
        side = side_of(len(values), channels, name, path) if name == "fc6" else 1
        values = values.reshape(side, side, len(values) // side**2, values.shape[1])
    elif values.shape[0] != values.shape[1]:
        shape = "x".join(map(str, values.shape))
        raise VerydeepError(
            f"{path} has a kernel of shape {shape} in {name}, where TensorFlow's have 3x3 first: it was written by an "
            "old Keras with Theano; get the file for TensorFlow."
        )
    return values.permute(3, 2, 0, 1).contiguous()


def _by_name(layers: _Layers, path: Path) -> dict[str, list[Tensor]]:
    """Our layers, of block1_conv1 to predictions."""
    ours = dict(FC)
    for network in (NETWORKS["D"], NETWORKS["E"]):
        ours |= {f"block{name[4]}_conv{name[6]}": name for name, _ in network.convs()}
    for name in layers:
        if name not in ours:
            raise _unknown(name, path)
    return {ours[name]: weights for name, weights in layers.items()}


def _by_order(layers: _Layers, path: Path) -> dict[str, list[Tensor]]:
    """Our layers, of what Keras 3 names by kind and number: conv2d, conv2d_1, ..., dense, dense_1, dense_2."""
    numbered, ours = {}, {}
    fc = dict(zip(("dense", "dense_1", "dense_2"), FC.values(), strict=True))
    for name, weights in layers.items():
        number = re.fullmatch(r"conv2d_?(\d{0,2})", name)
        if number is not None:
            numbered[int(number[1] or 0)] = weights
        elif name in fc:
            ours[fc[name]] = weights
        else:
            raise _unknown(name, path)
    convs = [weights for _, weights in sorted(numbered.items())]
    network = next((NETWORKS[name] for name in "ABDE" if _fits(NETWORKS[name], convs)), None)
    if network is None:
        raise VerydeepError(
            f"{path} has {len(convs)} convolutions that are not those of VGG-11, 13, 16 or 19: give a file with one of "
            "these nets and nothing else."
        )
    return ours | dict(zip((name for name, _ in network.convs()), convs, strict=True))


def _fits(network: Network, convs: list[list[Tensor]]) -> bool:
    """Whether there are as many, and channels change at the blocks' first ones alone."""
    kernels = [values for weights in convs for values in weights if values.ndim == 4]
    names = [name for name, _ in network.convs()]
    return len(kernels) == len(names) and all(
        name.endswith("_1") or kernel.shape[2] == kernel.shape[3] for name, kernel in zip(names, kernels, strict=True)
    )


def _unknown(name: str, path: Path) -> VerydeepError:
    return VerydeepError(
        f"{path} has weights in a layer {name!r:.80} that VGG-16 and VGG-19 of Keras have not: give a file with one of "
        "these nets and nothing else."
    )
