"""Initialization of weights: drawn (section 3.1; docs/choices.md), or taken from a source net, layer by layer."""

import math
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from verydeep.configs.networks import SHALLOW
from verydeep.configs.recipes import Initialization
from verydeep.errors import WeightsError
from verydeep.models.vgg import VGG, FullyConnected
from verydeep.ops.seeds import torch_seed
from verydeep.signatures import explain_names

LAYERS_FROM_A = ("conv1_1", "conv2_1", "conv3_1", "conv3_2", "fc6", "fc7", "fc8")
"""The layers that a deeper net takes from A: the first four convolutions and the FC layers, by name, since by position
no channel count would fit (docs/choices.md)."""


@dataclass(frozen=True)
class LayerOrigin:
    """The origin of one layer's weights, and the reason."""

    layer: str
    copied: bool
    """Whether they are those of the source net; otherwise they are drawn."""
    reason: str


@dataclass(frozen=True)
class WeightSource:
    """A source net: its name, network, tensors (``conv1_1.weight``, ...) and classes."""

    name: str
    network: str
    tensors: Mapping[str, Tensor]
    class_names: tuple[str, ...]


@torch.no_grad()
def draw_layer(model: VGG, name: str, scheme: Initialization, seed: int) -> None:
    """Fill one layer: weights by the scheme, biases zero; a function of seed and name alone.

    - glorot: uniform in +-sqrt(6 / (fan_in + fan_out)), the procedure that the paper recommends in hindsight;
    - normal: standard deviation 0.01. The paper says "10^-2 variance"; with that the logits of A would begin at 4.5e7
      and the loss would overflow, and Caffe's fillers of the time take a deviation (docs/choices.md).
    """
    layer = model.weight_layers()[name]
    generator = torch.Generator().manual_seed(torch_seed(seed, zlib.crc32(name.encode())))
    area = layer.kernel_size[0] * layer.kernel_size[1]
    fan_in = layer.in_channels * area
    # One input of a convolution reaches `area` positions of each output channel, one of an FC layer a single output.
    fan_out = layer.out_channels * (1 if isinstance(layer, FullyConnected) else area)
    weight = torch.empty(layer.weight.shape)
    match scheme:
        case "glorot":
            bound = math.sqrt(6 / (fan_in + fan_out))
            weight.uniform_(-bound, bound, generator=generator)
        case "normal":
            weight.normal_(0, 0.01, generator=generator)
    layer.weight.copy_(weight)
    assert layer.bias is not None
    layer.bias.zero_()


@explain_names
def initialize(model: VGG, scheme: Initialization = "glorot", seed: int = 0) -> None:
    """Fill every layer of a model: draw its weights at random, by a scheme and a seed, and set its biases to zero."""
    for name in model.weight_layers():
        draw_layer(model, name, scheme, seed)


@torch.no_grad()
def initialize_from(
    model: VGG, class_names: Sequence[str], source: WeightSource, scheme: Initialization = "glorot", seed: int = 0
) -> list[LayerOrigin]:
    """Take every layer from ``source`` that fits, draw the others, and return the origins.

    A deeper net takes only LAYERS_FROM_A from A (or A-LRN); otherwise layers of the same name and shape are taken. fc8
    is taken only if the classes and their order are the same.

    Raises:
        WeightsError: no layer of the source fits.
    """
    origins = [_origin(model, name, tuple(class_names), source) for name in model.weight_layers()]
    if not any(origin.copied for origin in origins):
        raise WeightsError(
            f"No layer of {source.name} (net {source.network}) fits this net {model.network.name}: give `init_from` a "
            "net of the same width, or leave it out."
        )
    for origin in origins:
        if origin.copied:
            layer = model.weight_layers()[origin.layer]
            assert layer.bias is not None
            layer.weight.copy_(source.tensors[f"{origin.layer}.weight"])
            layer.bias.copy_(source.tensors[f"{origin.layer}.bias"])
        else:
            draw_layer(model, origin.layer, scheme, seed)
    return origins


def _origin(model: VGG, name: str, class_names: tuple[str, ...], source: WeightSource) -> LayerOrigin:
    """Return whether one layer is taken, and the reason."""
    weight, own_weight = source.tensors.get(f"{name}.weight"), model.weight_layers()[name].weight
    if source.network in SHALLOW and model.network.name not in SHALLOW and name not in LAYERS_FROM_A:
        return LayerOrigin(name, False, "the paper takes only conv1_1-conv3_2 and fc6-fc8 from A")
    if weight is None:
        return LayerOrigin(name, False, f"{source.name} has no such layer")
    if name == "fc8" and source.class_names != class_names:
        return LayerOrigin(name, False, f"other classes: {len(source.class_names)} there, {len(class_names)} here")
    if weight.shape != own_weight.shape:
        there, here = ("x".join(str(side) for side in shape) for shape in (weight.shape, own_weight.shape))
        return LayerOrigin(name, False, f"another shape: {there} there, {here} here")
    return LayerOrigin(name, True, f"from {source.name}")
