"""The fold_input net on plain RGB against the source's net on the source's own preprocessing, borders included."""

from itertools import permutations

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.he_weights import draw_he_weights
from verydeep.configs.networks import NETWORKS
from verydeep.models.vgg import VGG
from verydeep.models.weights.folding import fold_input, unfold_input
from verydeep.models.weights.weight_file import CAFFE_INPUT, RGB_INPUT, TORCHVISION_INPUT, InputConvention

CONVENTIONS = [
    CAFFE_INPUT,
    RGB_INPUT,
    TORCHVISION_INPUT,
    InputConvention("BGR", (100.0, 120.0, 140.0), (50.0, 60.0, 70.0)),
]


def seen_by_the_source(images: Tensor, convention: InputConvention) -> Tensor:
    """As its own users prepare RGB, 0-255, pixel by pixel."""
    rgb = [(images[:, c] - convention.mean_rgb[c]) / convention.divisor_rgb[c] for c in range(3)]
    return torch.stack(rgb if convention.order == "RGB" else rgb[::-1], dim=1)


@pytest.mark.parametrize("convention", CONVENTIONS, ids=str)
def test_folding_equals_the_sources_preprocessing(convention: InputConvention) -> None:
    net = VGG(NETWORKS["B"], 5, crop=32, width=0.1, fc_width=8, mean_rgb=convention.mean_rgb).double()
    draw_he_weights(net.eval(), 3)
    theirs = net.conv1_1.weight.detach().clone()
    images = 255 * torch.rand(2, 3, 45, 70, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    x = F.conv2d(seen_by_the_source(images, convention), theirs, net.conv1_1.bias, padding=1)
    for _, layer in list(net.named_children())[1:]:
        x = layer(x)
    with torch.no_grad():
        net.conv1_1.weight.copy_(fold_input(theirs, convention))
        assert torch.allclose(net(images), x, rtol=1e-5)
        for order in permutations(range(3)):  # no other order of the channels would have done
            if order != (0, 1, 2):
                net.conv1_1.weight.copy_(fold_input(theirs, convention)[:, order])
                assert not torch.allclose(net(images), x, rtol=1e-2)


@pytest.mark.parametrize("convention", CONVENTIONS, ids=str)
def test_unfolding_is_the_way_back(convention: InputConvention) -> None:
    weight = torch.randn(4, 3, 3, 3, dtype=torch.float64)
    assert torch.allclose(unfold_input(fold_input(weight, convention), convention), weight, rtol=1e-12)
