"""Which net of Table 1 a set of weights is, told by its layers and their kernels; what is missing, or does not fit."""

from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from verydeep.configs.networks import NETWORKS, PAPER_CROP, PAPER_FC_WIDTH, STRIDE, Network, scaled_channels
from verydeep.errors import VerydeepError
from verydeep.models.vgg import VGG
from verydeep.models.weights.native import ModelConfig

FC_LAYERS = ("fc6", "fc7", "fc8")


def identify(tensors: Mapping[str, Tensor], path: Path) -> tuple[ModelConfig, int]:
    """What the weights, laid out as ours, say about their net: network, width, crop; and how many outputs it has.

    A trunk, without one of the FC layers, has none, and the paper's crop. A-LRN has the layers of A, which weights
    cannot tell apart: they are taken for A's.

    Args:
        tensors: ``ForeignNet.tensors``.
        path: for messages.

    Raises:
        VerydeepError: a layer is missing, too many, of another shape than the others ask for, or not finite.
    """
    network = closest_network(tensors)
    first = tensors.get("conv1_1.weight")
    if first is None or first.ndim != 4:
        raise VerydeepError(f"{path} has no conv1_1 of four dimensions, so it is no VGG net: give a net of the paper.")
    width = width_of(tensors, network)
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
    expected = shapes_of(network, config, max(num_classes, int(has_fc)))
    check_layers({name: tuple(tensor.shape) for name, tensor in tensors.items()}, expected, network, path)
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor).all():
            raise VerydeepError(f"{path} has values in {name} that are not finite: the file is damaged, get it anew.")
    return config, num_classes


def closest_network(tensors: Mapping[str, Tensor]) -> Network:
    """The net whose convolutions, by name and kernel, differ least from what is there; of equal ones the first."""
    found = {
        (name.removesuffix(".weight"), tensor.shape[-1])
        for name, tensor in tensors.items()
        if name.startswith("conv") and name.endswith(".weight") and tensor.ndim == 4
    }
    return min(NETWORKS.values(), key=lambda net: len(found ^ {(name, conv.kernel) for name, conv in net.convs()}))


def width_of(tensors: Mapping[str, Tensor], network: Network) -> float:
    """The factor on the channels: told by the layer whose channels explain most of the others', where they round."""
    found = {name: len(tensors[f"{name}.weight"]) for name, _ in network.convs() if f"{name}.weight" in tensors}
    channels = {name: conv.channels for name, conv in network.convs()}

    def explained(width: float) -> int:
        return sum(scaled_channels(channels[name], width) == count for name, count in found.items())

    return max((count / channels[name] for name, count in found.items()), key=explained)


def shapes_of(network: Network, config: ModelConfig, num_classes: int) -> dict[str, tuple[int, ...]]:
    """The shapes of all weights of such a net."""
    with torch.device("meta"):
        net = VGG(network, num_classes, crop=config.crop, width=config.width, fc_width=config.fc_width)
    return {name: tuple(tensor.shape) for name, tensor in net.state_dict().items()}


def check_layers(
    found: Mapping[str, tuple[int, ...]],
    expected: Mapping[str, tuple[int, ...]],
    network: Network,
    path: Path,
) -> None:
    """Refuse weights that are not exactly those of the net.

    Raises:
        VerydeepError: one is missing, too many, or of another shape.
    """
    missing = [name for name in expected if name not in found]
    if missing:
        rest = f" and {len(missing) - 3} others" if len(missing) > 3 else ""
        raise VerydeepError(
            f"{path} looks like net {network.name} but lacks {', '.join(missing[:3])}{rest}: it is cut, or of another "
            "architecture; get it anew."
        )
    for name, shape in found.items():
        if name not in expected:
            raise VerydeepError(f"{path} looks like net {network.name} but has {name}: it is of another architecture.")
        if shape != expected[name]:
            there, here = ("x".join(map(str, each)) for each in (shape, expected[name]))
            raise VerydeepError(
                f"{path} has {name} of shape {there} where net {network.name} of this width has {here}: it is "
                "damaged, or of another architecture."
            )
