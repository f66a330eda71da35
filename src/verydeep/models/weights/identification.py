"""Identification of the network of a set of weights by its layers and kernels, and a check that all are there."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from verydeep.configs.networks import NETWORKS, PAPER_CROP, PAPER_FC_WIDTH, STRIDE, Network, scaled_channels
from verydeep.errors import WeightsError
from verydeep.models.vgg import VGG
from verydeep.models.weights.model_folder import ModelConfig, check_finite
from verydeep.wording import shorten_list

FC_LAYERS = ("fc6", "fc7", "fc8")


def identify_network(tensors: Mapping[str, Tensor], path: Path) -> tuple[ModelConfig, int]:
    """Return network, width and crop of weights in our layout, without class names, and the number of outputs.

    A trunk has no outputs and gets the paper's crop. A-LRN has the layers of A, so its weights are taken for A's.

    Args:
        tensors: ``WeightFile.tensors``.
        path: of the file, for messages.

    Raises:
        WeightsError: a layer is missing, unknown, of another shape than the others require, or not finite.
    """
    network = closest_network(tensors)
    first = tensors.get("conv1_1.weight")
    if first is None or first.ndim != 4:
        raise WeightsError(f"{path} has no conv1_1 of four dimensions: it is not a net of the paper.")
    width = infer_width(tensors, network)
    fc6, fc8 = tensors.get("fc6.weight"), tensors.get("fc8.weight")
    num_classes = 0 if fc6 is None or fc8 is None else len(fc8)
    config = ModelConfig(
        network=network.name,
        class_names=(),
        class_words=(),
        crop=PAPER_CROP if fc6 is None else STRIDE * fc6.shape[-1],
        width=width,
        fc_width=PAPER_FC_WIDTH if fc6 is None else len(fc6),
    )
    has_fc = any(f"{layer}.{kind}" in tensors for layer in FC_LAYERS for kind in ("weight", "bias"))
    expected = expected_shapes(network, config, max(num_classes, int(has_fc)))
    check_layers({name: tuple(tensor.shape) for name, tensor in tensors.items()}, expected, network, path)
    check_finite(tensors, path)
    return config, num_classes


def closest_network(tensors: Mapping[str, Tensor]) -> Network:
    """Return the network whose convolutions, by name and kernel, differ least from the given; the first of equals."""
    found = {
        (name.removesuffix(".weight"), tensor.shape[-1])
        for name, tensor in tensors.items()
        if name.startswith("conv") and name.endswith(".weight") and tensor.ndim == 4
    }
    return min(NETWORKS.values(), key=lambda net: len(found ^ {(name, conv.kernel) for name, conv in net.convs()}))


def infer_width(tensors: Mapping[str, Tensor], network: Network) -> float:
    """Return the width: that of the layer which explains most of the other layers' rounded channels."""
    found = {name: len(tensors[f"{name}.weight"]) for name, _ in network.convs() if f"{name}.weight" in tensors}
    channels = {name: conv.channels for name, conv in network.convs()}

    def count_explained(width: float) -> int:
        return sum(scaled_channels(channels[name], width) == count for name, count in found.items())

    return max((count / channels[name] for name, count in found.items()), key=count_explained)


def expected_shapes(network: Network, config: ModelConfig, num_classes: int) -> dict[str, tuple[int, ...]]:
    """Return the shapes of all weights of a net."""
    with torch.device("meta"):
        net = VGG(network, num_classes, crop=config.crop, width=config.width, fc_width=config.fc_width)
    return {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}


def check_layers(
    found: Mapping[str, tuple[int, ...]], expected: Mapping[str, tuple[int, ...]], network: Network, path: Path
) -> None:
    """Refuse weights that are not exactly those of a net.

    Raises:
        WeightsError: one is missing, unknown, or of another shape.
    """
    missing = [name for name in expected if name not in found]
    if missing:
        raise WeightsError(
            f"{path} looks like net {network.name} but lacks {shorten_list(missing, 3)}: it is truncated, or of "
            "another architecture; download it again."
        )
    for name, shape in found.items():
        if name not in expected:
            raise WeightsError(f"{path} looks like net {network.name} but has {name}: it is of another architecture.")
        if shape != expected[name]:
            there, here = ("x".join(map(str, each)) for each in (shape, expected[name]))
            raise WeightsError(
                f"{path} has {name} of shape {there} where net {network.name} of this width has {here}: it is "
                "damaged, or of another architecture."
            )
