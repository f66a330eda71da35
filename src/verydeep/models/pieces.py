"""Apply a net to large and elongated images piece by piece, so that its activations never take more memory.

A piece is cut where poolings begin, and is longer than its part of the result by what the convolutions see around it.
So the parts, one after the other, are the result of the whole image, up to rounding.
"""

import re
from collections.abc import Iterator

import torch
from torch import Tensor

from verydeep.configs.networks import STRIDE
from verydeep.models.cpu_engine import TestedNet

PIECE_PIXELS = 3 << 19
"""Largest image, in pixels, that a net is applied to as a whole."""


def average_map(model: TestedNet, images: Tensor, layer: str | None = None) -> Tensor:
    """Return the means (2N, C) over all positions of a layer's output for images (N, 3, H, W) and their mirror images.

    Args:
        model: the net.
        images: any number of one shape, RGB 0-255.
        layer: the layer's name; None: the class scores.

    Raises:
        OptionError: the net has no such layer.
    """
    if is_small(images):
        views = torch.cat([images, images.flip(3)])
        if layer is None and model.num_classes:
            return model.logits(views)
        return _apply(model, views, layer).float().mean(dim=(2, 3))
    means = []
    for view in (images, images.flip(3)):
        parts = [(part.float().sum(dim=(2, 3)), part[0, 0].numel()) for part in map_pieces(model, view, layer)]
        means.append(torch.stack([total for total, _ in parts]).sum(dim=0) / sum(count for _, count in parts))
    return torch.cat(means)


def map_pieces(model: TestedNet, images: Tensor, layer: str | None = None) -> Iterator[Tensor]:
    """Yield the parts (N, C, h, w) of a layer's output for images (N, 3, H, W), along the longer side of these.

    Raises:
        OptionError: the net has no such layer.
    """
    if is_small(images):
        yield _apply(model, images, layer)
        return
    axis = longer_axis(images)
    length, side = images.shape[axis], min(images.shape[2:])
    stride, window = stride_and_window(model, layer)
    seen = sum(2**i * (conv.kernel // 2) for i, block in enumerate(model.network.blocks) for conv in block)
    margin = -(-seen // STRIDE)  # this and the following are multiples of 32 pixels
    num_cells = (length + (STRIDE - 1) * model.ceil_mode) // STRIDE - (window - 1)
    step = max(1, PIECE_PIXELS // side // STRIDE - 2 * margin - (window - 1))
    for first in range(0, num_cells, step):
        is_last = first + step >= num_cells
        start = max(0, first - margin)
        stop = length if is_last else min(length, STRIDE * (first + step + window - 1 + margin))
        part = _apply(model, images.narrow(axis, STRIDE * start, stop - STRIDE * start), layer)
        surplus = STRIDE * (first - start) // stride
        count = part.shape[axis] - surplus if is_last else STRIDE * step // stride
        yield part.narrow(axis, surplus, count)


def longer_axis(images: Tensor) -> int:
    """Return the dimension along which images (N, 3, H, W) are cut."""
    return 2 if images.shape[2] > images.shape[3] else 3


def is_small(images: Tensor) -> bool:
    """Whether a net is applied to images (N, 3, H, W) as a whole."""
    return images.shape[2] * images.shape[3] <= PIECE_PIXELS


def _apply(model: TestedNet, images: Tensor, layer: str | None) -> Tensor:
    output: Tensor = model(images) if layer is None else model.activations(images, [layer])[layer]
    return output


def stride_and_window(model: TestedNet, layer: str | None) -> tuple[int, int]:
    """Return the pixels between positions of a layer, and how many positions of pool5, a side, each one sees."""
    name = layer or ("fc8" if model.num_classes else "pool5")
    number = re.search(r"\d", name)
    assert number is not None, name
    block = int(number[0])
    if block > len(model.network.blocks):
        return STRIDE, model.crop // STRIDE
    return 2 ** (block - (not name.startswith("pool"))), 1
