"""The networks of section 2, always convolutional, so that one net serves crops and whole images (section 3.2).

Layers carry the paper's names: ``net.conv1_1``, ``net.relu1_1``, ``net.pool1``, ... ``net.fc6``, ``net.relu6``,
``net.drop6``, ``net.fc7``, ``net.relu7``, ``net.drop7``, ``net.fc8``. A forward hook on one of them is all that
feature extraction needs.
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from verydeep.configs.networks import PAPER_CROP, PAPER_FC_WIDTH, STRIDE, Network, check_crop, scaled_channels
from verydeep.errors import OptionError

Pooling = Literal["ceil", "floor"]
"""The rounding of an odd map's size in max-pooling: up, as in Caffe, or down."""

ILSVRC_MEAN_RGB = (123.68, 116.779, 103.939)
"""The mean RGB of ILSVRC's training images, 0-255 (docs/choices.md)."""


class FullyConnected(nn.Conv2d):
    """A fully connected layer kept as a convolution without padding, computed as a matrix product.

    It multiplies every window of the input, flattened, by the weight. On a map of the kernel's size this is the paper's
    FC layer; on a larger map it is the dense application of section 3.2, with the same weights.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, out, H - k + 1, W - k + 1)."""
        k = self.kernel_size[0]
        # Both sides are flattened row, column, channel: with channels_last in memory this copies nothing.
        windows = x.permute(0, 2, 3, 1).unfold(1, k, 1).unfold(2, k, 1)  # (N, h, w, C, k, k)
        windows = windows.permute(0, 1, 2, 4, 5, 3).flatten(3)  # (N, h, w, k*k*C)
        weight = self.weight.permute(0, 2, 3, 1).flatten(1)  # (out, k*k*C)
        return F.linear(windows, weight, self.bias).permute(0, 3, 1, 2)


class Dropout(nn.Module):
    """Dropout that takes its masks from outside, so that any number of processes uses the same ones."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, x: Tensor, keep: Tensor | None = None) -> Tensor:
        """Zero the units outside ``keep`` (N, C), bool; None draws the mask from torch's own generator."""
        if not self.training or self.p == 0:
            return x
        if keep is None:
            return F.dropout(x, self.p, training=True)
        return x * (keep.to(x.dtype) / (1 - self.p))[:, :, None, None]

    def extra_repr(self) -> str:
        """Return the text for ``print(net)``."""
        return f"p={self.p}"


class VGG(nn.Module):
    """A net of Table 1. It takes RGB values (0-255, any dtype), subtracts its own mean RGB, and returns class scores.

    ``forward`` maps images (N, 3, H, W) to the class score map (N, K, h, w); on images of the net's crop the map is
    1x1. ``logits`` averages the map over its positions. Before use, fill the weights by ``initialize`` or from a file.

    Without classes, the net is a trunk: it ends at pool5 and returns the output of pool5.

    Args:
        network: one of ``NETWORKS``.
        num_classes: K, the number of outputs of fc8; 0 for a trunk.
        crop: side of the training crop in pixels, a multiple of 32; the kernel of fc6 is crop/32.
        width: factor on the channels of the convolutions; 1 in the paper.
        fc_width: channels of fc6 and fc7.
        dropout: share of units that are dropped after fc6 and fc7 in training.
        mean_rgb: mean color, 0-255, which is subtracted from each pixel.
        ceil_mode: whether pooling rounds up, as in Caffe; False for nets imported from systems that round down.

    Raises:
        OptionError: the crop is not a positive multiple of 32, or another argument is out of range.
    """

    def __init__(
        self,
        network: Network,
        num_classes: int = 1000,
        *,
        crop: int = PAPER_CROP,
        width: float = 1.0,
        fc_width: int = PAPER_FC_WIDTH,
        dropout: float = 0.5,
        mean_rgb: Sequence[float] = ILSVRC_MEAN_RGB,
        ceil_mode: bool = True,
    ) -> None:
        super().__init__()
        check_crop(crop)
        if num_classes < 0 or width <= 0 or fc_width < 1 or not 0 <= dropout < 1:
            raise OptionError(
                f"num_classes={num_classes}, width={width}, fc_width={fc_width}, dropout={dropout}: give positive "
                "widths, a number of classes from 0, and a dropout from 0 to less than 1."
            )
        self.network, self.crop, self.width, self.fc_width = network, crop, width, fc_width
        self.num_classes, self.ceil_mode = num_classes, ceil_mode
        # Not part of the state dict: config.json is the one place that holds the mean.
        self.mean_rgb: Tensor
        mean = torch.tensor(mean_rgb, dtype=torch.float32, device="cpu")  # real even where the weights are on meta
        self.register_buffer("mean_rgb", mean, persistent=False)
        channels = 3
        for i, block in enumerate(network.blocks, start=1):
            for j, conv in enumerate(block, start=1):
                out = scaled_channels(conv.channels, width)
                self.add_module(f"conv{i}_{j}", nn.Conv2d(channels, out, conv.kernel, padding=conv.kernel // 2))
                self.add_module(f"relu{i}_{j}", nn.ReLU())
                if conv.lrn:
                    # Krizhevsky's constants; PyTorch divides alpha by the window's size, he does not (docs/choices.md).
                    self.add_module(f"norm{i}_{j}", nn.LocalResponseNorm(5, alpha=5 * 1e-4, beta=0.75, k=2.0))
                channels = out
            self.add_module(f"pool{i}", nn.MaxPool2d(2, stride=2, ceil_mode=ceil_mode))
        if num_classes == 0:
            return
        self.fc6 = FullyConnected(channels, fc_width, crop // STRIDE)
        self.relu6 = nn.ReLU()
        self.drop6 = Dropout(dropout)
        self.fc7 = FullyConnected(fc_width, fc_width, 1)
        self.relu7 = nn.ReLU()
        self.drop7 = Dropout(dropout)
        self.fc8 = FullyConnected(fc_width, num_classes, 1)

    def forward(self, images: Tensor, keep: Mapping[str, Tensor] | None = None) -> Tensor:
        """Return the class score map (N, K, h, w) of images (N, 3, H, W), RGB 0-255; each side at least the crop.

        A trunk returns the output of pool5 (N, C, h, w); each side at least 32.

        ``keep`` may hold the dropout masks, (N, fc_width) bool, under "drop6" and "drop7".
        """
        x = images - self.mean_rgb[:, None, None]
        for name, layer in self.named_children():
            x = layer(x, keep[name]) if keep is not None and name in keep else layer(x)
        return x

    @property
    def layer_names(self) -> list[str]:
        """All layers by the paper's names, in order."""
        return [name for name, _ in self.named_children()]

    def check_layer(self, name: str) -> None:
        """Refuse a name that is not one of a layer.

        Raises:
            OptionError: the net has no such layer.
        """
        check_layer(name, self.layer_names, self.network)

    def activations(self, images: Tensor, layers: Collection[str]) -> dict[str, Tensor]:
        """Return layer -> output (N, C, h, w) for images (N, 3, H, W), RGB 0-255; higher layers are not computed.

        Raises:
            OptionError: the net has no such layer.
        """
        for name in layers:
            self.check_layer(name)
        names = self.layer_names
        x, found = images - self.mean_rgb[:, None, None], {}
        for name in names[: 1 + max(names.index(name) for name in layers)]:
            x = self.get_submodule(name)(x)
            if name in layers:
                found[name] = x
        return found

    def logits(self, images: Tensor, keep: Mapping[str, Tensor] | None = None) -> Tensor:
        """Return (N, K): the class score map averaged over its positions, before the soft-max (section 3.2)."""
        scores: Tensor = self(images, keep)
        return scores.float().mean(dim=(2, 3))

    def weight_layers(self) -> dict[str, nn.Conv2d]:
        """Return the layers that have weights, by name, from conv1_1 to fc8."""
        return {name: layer for name, layer in self.named_children() if isinstance(layer, nn.Conv2d)}

    @torch.no_grad()
    def keep_outputs(self, outputs: Sequence[int]) -> None:
        """Reduce fc8 to some of its outputs, in the given order; a soft-max then runs over these."""
        kept = FullyConnected(self.fc_width, len(outputs), 1)
        kept.weight = nn.Parameter(self.fc8.weight[list(outputs)])
        assert self.fc8.bias is not None
        kept.bias = nn.Parameter(self.fc8.bias[list(outputs)])
        self.fc8, self.num_classes = kept.train(self.training), len(outputs)

    def set_dropout(self, p: float) -> None:
        """Set the share of units that drop6 and drop7 drop."""
        self.drop6.p = self.drop7.p = p


def check_layer(name: str, names: Sequence[str], network: Network) -> None:
    """Refuse a name that is not one of the layers of a net.

    Raises:
        OptionError: the net has no such layer.
    """
    if name not in names:
        raise OptionError(
            f"Net {network.name} has no layer {name} (`layer`): choose one of {', '.join(names)}.",
            "layer",
        )
