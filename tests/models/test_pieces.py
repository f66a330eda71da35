"""A net applied piece by piece: the parts are the result of the whole image."""

import pytest
import torch
from torch import Tensor

from verydeep.configs.networks import NETWORKS
from verydeep.models.initialization import initialize
from verydeep.models.pieces import PIECE_PIXELS, average_map, longer_axis, map_pieces
from verydeep.models.vgg import VGG

LONG = PIECE_PIXELS // 60 + 1  # with a side of 75, one and a quarter of the largest piece


def small_net(name: str, crop: int, *, ceil_mode: bool = True) -> VGG:
    net = VGG(NETWORKS[name], 3, crop=crop, width=1 / 64, fc_width=4, ceil_mode=ceil_mode).eval()
    initialize(net, "glorot", 5)
    return net


def picture(height: int, width: int) -> Tensor:
    generator = torch.Generator().manual_seed(height)
    return torch.randint(0, 256, (1, 3, height, width), dtype=torch.uint8, generator=generator)


@pytest.mark.parametrize(("name", "crop"), [("A-LRN", 32), ("E", 64), ("B-5x5", 64)])
@pytest.mark.parametrize("ceil_mode", [True, False])
@torch.inference_mode()
def test_parts_are_the_whole_map(name: str, crop: int, ceil_mode: bool) -> None:
    """Also where the last part is one position, and with sides that five poolings do not divide."""
    net = small_net(name, crop, ceil_mode=ceil_mode)
    for height, width in ((75, LONG), (LONG + 17, 75)):
        images = picture(height, width)
        parts = list(map_pieces(net, images))
        assert len(parts) > 1
        whole = net(images)
        assert whole.std() > 1e-4 * whole.abs().max()
        torch.testing.assert_close(torch.cat(parts, dim=longer_axis(images)), whole, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("layer", ["conv1_1", "relu2_2", "pool3", "conv5_1", "pool5", "fc6", "relu7"])
@torch.inference_mode()
def test_every_layer_has_its_stride(layer: str) -> None:
    net = small_net("D", 64)
    images = picture(75, LONG)
    whole = net.activations(images, [layer])[layer]
    parts = list(map_pieces(net, images, layer))
    assert len(parts) > 1
    torch.testing.assert_close(torch.cat(parts, dim=3), whole, rtol=1e-4, atol=1e-4)
    expected = torch.cat([whole, net.activations(images.flip(3), [layer])[layer]]).mean(dim=(2, 3))
    torch.testing.assert_close(average_map(net, images, layer), expected, rtol=1e-4, atol=1e-5)


@torch.inference_mode()
def test_a_trunk_has_parts_too() -> None:
    net = VGG(NETWORKS["A"], 0, crop=32, width=1 / 64).eval()
    initialize(net, "glorot", 5)
    images = picture(32, PIECE_PIXELS // 32 + 40)
    torch.testing.assert_close(torch.cat([*map_pieces(net, images)], dim=3), net(images), rtol=1e-4, atol=1e-4)


@torch.inference_mode()
def test_a_usual_photograph_is_one_part() -> None:
    net, images = small_net("A", 64), torch.cat([picture(768, 1365), picture(768, 1365)])
    (part,) = map_pieces(net, images)
    assert torch.equal(part, net(images))
