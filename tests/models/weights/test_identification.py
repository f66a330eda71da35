"""Which net a set of weights is, against the nets that made them."""

from pathlib import Path

import pytest
import torch
from torch import Tensor

from verydeep.configs.networks import NETWORKS
from verydeep.errors import VerydeepError
from verydeep.models.vgg import VGG
from verydeep.models.weights.identification import identify_network

FILE = Path("some.weights")


def weights_of(
    network: str, num_classes: int = 5, crop: int = 64, width: float = 0.1, fc_width: int = 8
) -> dict[str, Tensor]:
    with torch.device("meta"):
        shapes = VGG(NETWORKS[network], num_classes, crop=crop, width=width, fc_width=fc_width).state_dict()
    return {name: torch.zeros(tensor.shape) for name, tensor in shapes.items()}


@pytest.mark.parametrize("network", ["A", "B", "C", "D", "E", "B-5x5"])
@pytest.mark.parametrize("width", [0.05, 0.25])
def test_a_net_is_known_by_its_layers(network: str, width: float) -> None:
    config, num_classes = identify_network(weights_of(network, 7, 96, width, 12), FILE)
    assert (config.network, config.crop, config.fc_width, num_classes) == (network, 96, 12, 7)
    with torch.device("meta"):
        built = VGG(NETWORKS[network], 7, crop=96, width=config.width, fc_width=12)
    assert {name: tensor.shape for name, tensor in built.state_dict().items()} == {
        name: tensor.shape for name, tensor in weights_of(network, 7, 96, width, 12).items()
    }


@pytest.mark.parametrize("network", ["A", "E"])
def test_a_trunk_has_no_outputs_and_the_papers_crop(network: str) -> None:
    config, num_classes = identify_network(weights_of(network, 0), FILE)
    assert (config.network, config.crop, num_classes, config.is_trunk) == (network, 224, 0, True)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w: w.pop("conv3_2.weight"), "net E .*lacks conv3_2.weight:"),
        (lambda w: w.pop("conv5_4.bias"), "lacks conv5_4.bias:"),
        (lambda w: w.pop("fc7.weight"), "lacks fc7.weight:"),
        (lambda w: w.pop("fc8.weight"), "lacks fc8.weight:"),
        (
            lambda w: [w.pop(name) for name in list(w) if name.startswith("conv4")],
            "lacks conv4_1.weight.* and 5 more",
        ),
        (lambda w: w.pop("conv1_1.weight"), "no conv1_1 of four dimensions"),
        (lambda w: w.update({"conv9_9.weight": torch.zeros(1)}), "has conv9_9.weight"),
        (lambda w: w.update({"fc7.weight": torch.zeros(8, 9, 1, 1)}), "fc7.weight of shape 8x9x1x1 .* has 8x8x1x1"),
        (lambda w: w.update({"conv2_1.bias": torch.zeros(3)}), "conv2_1.bias of shape 3 .* has 13"),
        (lambda w: w["conv2_2.weight"].view(-1)[7:8].fill_(float("nan")), "has NaN in conv2_2.weight"),
        (lambda w: w["fc8.bias"][0:1].fill_(float("inf")), "has infinite numbers in fc8.bias"),
        (lambda w: w.clear(), "no conv1_1"),
    ],
)
def test_what_does_not_fit_is_named(change: object, message: str) -> None:
    weights = weights_of("E")
    assert callable(change)
    change(weights)
    with pytest.raises(VerydeepError, match=message) as raised:
        identify_network(weights, FILE)
    assert str(FILE) in str(raised.value)
