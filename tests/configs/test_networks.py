"""The nets as values against Table 1, transcribed in tests/table1.py."""

import pytest
import torch

from tests.table1 import NUM_PARAMETERS, TABLE_1
from verydeep.configs.networks import NETWORKS, Network, network_name, scaled_channels
from verydeep.models.vgg import VGG


def test_these_are_the_nets() -> None:
    assert list(NETWORKS) == ["A", "A-LRN", "B", "C", "D", "E", "B-5x5"]
    assert all(network.name == name for name, network in NETWORKS.items())


def in_words(network: Network) -> str:
    words = []
    for block in network.blocks:
        for conv in block:
            words += [f"conv{conv.kernel}-{conv.channels}", *(["LRN"] if conv.lrn else [])]
        words.append("maxpool")
    return " ".join([*words, "FC-4096", "FC-4096", "FC-1000", "soft-max"])


@pytest.mark.parametrize("name", TABLE_1)
def test_layers_are_table_1s(name: str) -> None:
    assert in_words(NETWORKS[name]) == " ".join(TABLE_1[name].split())


@pytest.mark.parametrize(
    ("name", "layers"), [("A", 11), ("A-LRN", 11), ("B", 13), ("C", 16), ("D", 16), ("E", 19), ("B-5x5", 8)]
)
def test_number_of_weight_layers_is_table_1s(name: str, layers: int) -> None:
    assert NETWORKS[name].num_weight_layers == layers
    assert len(list(NETWORKS[name].convs())) == layers - 3


def test_convolutions_carry_the_papers_names() -> None:
    names = "conv1_1 conv1_2 conv2_1 conv2_2 conv3_1 conv3_2 conv3_3 conv4_1 conv4_2 conv4_3 conv5_1 conv5_2 conv5_3"
    assert [name for name, _ in NETWORKS["C"].convs()] == names.split()
    assert [name for name, conv in NETWORKS["C"].convs() if conv.kernel == 1] == ["conv3_3", "conv4_3", "conv5_3"]


@pytest.mark.parametrize("name", TABLE_1)
def test_parameter_counts(name: str) -> None:
    """By the formula and by counting the tensors of the net itself."""
    assert NETWORKS[name].num_parameters() == NUM_PARAMETERS[name]
    with torch.device("meta"):
        net = VGG(NETWORKS[name])
    assert sum(parameter.numel() for parameter in net.parameters()) == NUM_PARAMETERS[name]


def test_counts_round_to_table_2s() -> None:
    millions = {name: round(NETWORKS[name].num_parameters() / 1e6) for name in ("A", "A-LRN", "B", "C", "D", "E")}
    assert millions == {"A": 133, "A-LRN": 133, "B": 133, "C": 134, "D": 138, "E": 144}


def test_width_scales_channels_and_leaves_at_least_one() -> None:
    assert [scaled_channels(64, width) for width in (1, 0.25, 1 / 16, 1 / 1000)] == [64, 16, 4, 1]


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("VGG16", "D"), ("vgg16", "D"), ("16", "D"), ("vgg-11", "A"), ("VGG_13", "B"), ("vgg 19", "E"), ("d", "D"),
        ("a-lrn", "A-LRN"), ("C", "C"), ("b-5X5", "B-5x5"), ("vgg16_bn", "vgg16_bn"), ("vgg", "vgg"), ("Z", "Z"),
    ],
)  # fmt: skip
def test_networks_have_the_names_of_other_systems(text: str, name: str) -> None:
    assert network_name(text) == name
