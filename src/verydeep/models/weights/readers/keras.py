"""Reader of Keras's VGG-16 and VGG-19, and of nets with the same layer names: .h5 files of weights or whole models.

Kernels are (H, W, in, out), and fc1 takes the output of pool5 in the order row, column, channel.
"""

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from verydeep.configs.networks import NETWORKS, Network
from verydeep.errors import WeightsError
from verydeep.models.weights.readers.hdf5 import read_layers
from verydeep.models.weights.readers.layers import crop_notes, square_side
from verydeep.models.weights.weight_file import CAFFE_INPUT, WeightFile

FC = {"fc1": "fc6", "fc2": "fc7", "predictions": "fc8"}

_Layers = Mapping[str, list[Tensor]]


def read_keras(path: Path) -> WeightFile:
    """Read weights that Keras wrote, ``.weights.h5`` of Keras 3 included, with or without the FC layers.

    Raises:
        WeightsError: the file is damaged, has layers that VGG-16 and VGG-19 do not have, announces more than it has or
            points to other files.
        ResourceError: h5py is not installed.
    """
    place, layers = read_layers(path, "model_weights", "layers")
    head = _find_other_head(layers)
    layers = {name: weights for name, weights in layers.items() if name not in head}
    named = _name_by_order(layers, path) if place == "layers" else _rename(layers, path)
    tensors: dict[str, Tensor] = {}
    channels = 0
    for name, weights in sorted(named.items()):  # conv5_3 before fc6
        for values in weights:
            kind = "bias" if values.ndim == 1 else "weight"
            if values.ndim not in (1, 4 if name.startswith("conv") else 2) or f"{name}.{kind}" in tensors:
                shape = "x".join(map(str, values.shape))
                raise WeightsError(f"{path} has a {kind} of shape {shape} in {name}: it is of another architecture.")
            tensors[f"{name}.{kind}"] = values if kind == "bias" else _convert_kernel(values, name, channels, path)
            channels = values.shape[-1] if name.startswith("conv") else channels
    assumption = f"The file does not state its input; that of Keras's own VGG nets is assumed: {CAFFE_INPUT}."
    notes = crop_notes(tensors)
    if head:
        notes = (f"Only the convolutions were read: its head ({', '.join(head)}) is not that of a VGG net.", *notes)
    return WeightFile("Keras", tensors, CAFFE_INPUT, "floor", assumption=assumption, notes=notes)


def _find_other_head(layers: _Layers) -> list[str]:
    """Return dense layers that somebody put on the convolutions of Keras's VGG nets in place of the FC layers."""
    if "block1_conv1" not in layers or layers.keys() & FC.keys():
        return []
    unknown = (name for name in layers if not re.fullmatch(r"block\d_conv\d", name))
    return [name for name in unknown if any(values.ndim == 2 for values in layers[name])]


def _convert_kernel(values: Tensor, name: str, channels: int, path: Path) -> Tensor:
    """Return a kernel (H, W, in, out), or a matrix (in, out) behind ``channels`` channels, as (out, in, H, W)."""
    if values.ndim == 2:
        side = square_side(len(values), channels, name, path) if name == "fc6" else 1
        values = values.reshape(side, side, len(values) // side**2, values.shape[1])
    elif values.shape[0] != values.shape[1]:
        shape = "x".join(map(str, values.shape))
        raise WeightsError(
            f"{path} has a kernel of shape {shape} in {name}, where TensorFlow's have 3x3 first: an old Keras with "
            "Theano wrote it; get the file for TensorFlow."
        )
    return values.permute(3, 2, 0, 1).contiguous()


def _rename(layers: _Layers, path: Path) -> dict[str, list[Tensor]]:
    """Return layers that Keras names block1_conv1 to predictions under our names."""
    ours = dict(FC)
    for network in (NETWORKS["D"], NETWORKS["E"]):
        ours |= {f"block{name[4]}_conv{name[6]}": name for name, _ in network.convs()}
    for name in layers:
        if name not in ours:
            raise _unknown_layer(name, path)
    return {ours[name]: weights for name, weights in layers.items()}


def _name_by_order(layers: _Layers, path: Path) -> dict[str, list[Tensor]]:
    """Return layers that Keras 3 names by kind and number (conv2d, conv2d_1, ..., dense_2) under our names."""
    numbered, ours = {}, {}
    fc = dict(zip(("dense", "dense_1", "dense_2"), FC.values(), strict=True))
    for name, weights in layers.items():
        number = re.fullmatch(r"conv2d_?(\d{0,2})", name)
        if number is not None:
            numbered[int(number[1] or 0)] = weights
        elif name in fc:
            ours[fc[name]] = weights
        else:
            raise _unknown_layer(name, path)
    convs = [weights for _, weights in sorted(numbered.items())]
    network = next((NETWORKS[name] for name in "ABDE" if _fits(NETWORKS[name], convs)), None)
    if network is None:
        raise WeightsError(
            f"{path} has {len(convs)} convolutions that are not those of VGG-11, 13, 16 or 19: give a file with one of "
            "these nets and nothing else."
        )
    return ours | dict(zip((name for name, _ in network.convs()), convs, strict=True))


def _fits(network: Network, convs: list[list[Tensor]]) -> bool:
    """Whether the network has as many convolutions, and channels change only at the first of a block."""
    kernels = [values for weights in convs for values in weights if values.ndim == 4]
    names = [name for name, _ in network.convs()]
    return len(kernels) == len(names) and all(
        name.endswith("_1") or kernel.shape[2] == kernel.shape[3] for name, kernel in zip(names, kernels, strict=True)
    )


def _unknown_layer(name: str, path: Path) -> WeightsError:
    return WeightsError(
        f"{path} has weights in a layer {name!r:.80} that VGG-16 and VGG-19 of Keras do not have: give a file with one "
        "of these nets and nothing else."
    )
