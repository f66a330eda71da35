"""Weights that keep a signal through all layers of a small net, unlike those that trainings begin with."""

import zlib

import torch

from verydeep.models.vgg import VGG
from verydeep.ops.seeds import torch_seed


@torch.no_grad()
def draw_he_weights(model: VGG, seed: int = 0) -> None:
    """Draw weights with variance 2 / fan_in (He et al., arXiv 1502.01852) and set biases to zero."""
    for name, layer in model.weight_layers().items():
        generator = torch.Generator().manual_seed(torch_seed(seed, zlib.crc32(name.encode())))
        layer.weight.normal_(0, (2 / layer.weight[0].numel()) ** 0.5, generator=generator)
        assert layer.bias is not None
        layer.bias.zero_()
