"""An independent twin of the nets: Table 1's text made of plain Conv2d and Linear, everything else written out.

Nothing of it comes from the package, so what the package and its twin agree on is the paper and no shared error.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.table1 import TABLE_1


class PlainTwin:
    """A net of Table 1 as one would write it in 2014: convolutions on crops, then fully connected layers."""

    def __init__(
        self,
        name: str,
        weights: dict[str, Tensor],
        mean_rgb: tuple[float, float, float],
        *,
        ceil: bool = True,
    ) -> None:
        """Take over ``weights``, by the paper's names (conv1_1.weight, ..., fc8.bias)."""
        self.mean_rgb, self.ceil = mean_rgb, ceil
        self.layers: list[nn.Conv2d | str] = []
        block, place = 1, 1
        for word in TABLE_1[name].split():
            if word.startswith("conv"):
                kernel = int(word[4])
                weight, bias = weights[f"conv{block}_{place}.weight"], weights[f"conv{block}_{place}.bias"]
                conv = nn.Conv2d(weight.shape[1], weight.shape[0], kernel, padding=(kernel - 1) // 2, device="meta")
                _give(conv, weight, bias)
                self.layers.append(conv)
                place += 1
            elif word in ("LRN", "maxpool"):
                self.layers.append(word)
            if word == "maxpool":
                block, place = block + 1, 1
        self.fc = []
        for fc in ("fc6", "fc7", "fc8"):
            kernel_form = weights[f"{fc}.weight"]
            out, channels, height, width = kernel_form.shape
            linear = nn.Linear(channels * height * width, out, device="meta")
            # The flattening of Caffe's blobs: channel, then row, then column.
            flat = kernel_form.contiguous().view(out, channels * height * width)
            _give(linear, flat, weights[f"{fc}.bias"])
            self.fc.append(linear)

    @torch.no_grad()
    def features(self, images: Tensor) -> Tensor:
        """(N, 512, h, w) behind pool5, of RGB images 0-255."""
        red, green, blue = images.float().unbind(1)
        mean_red, mean_green, mean_blue = self.mean_rgb
        x = torch.stack([red - mean_red, green - mean_green, blue - mean_blue], dim=1)
        for layer in self.layers:
            if layer == "LRN":
                x = local_response_normalization(x)
            elif layer == "maxpool":
                x = max_pool(x, ceil=self.ceil)
            elif isinstance(layer, nn.Conv2d):
                x = layer(x).clamp(min=0)
        return x

    @torch.no_grad()
    def classify(self, features: Tensor, keep6: Tensor | None = None, keep7: Tensor | None = None) -> Tensor:
        """(N, K) scores of (N, 512, crop/32, crop/32); where masks (N, fc_width) are given, dropout 0.5 by them."""
        rows = []
        for n in range(len(features)):
            vector = torch.cat([row for channel in features[n] for row in channel])  # C, then H, then W
            for linear, keep in ((self.fc[0], keep6), (self.fc[1], keep7)):
                vector = linear(vector).clamp(min=0)
                if keep is not None:
                    vector = torch.where(keep[n], 2 * vector, 0)
            rows.append(self.fc[2](vector))
        return torch.stack(rows)

    def logits(self, crops: Tensor) -> Tensor:
        """(N, K) scores of images of the crop's size."""
        return self.classify(self.features(crops))

    def dense(self, images: Tensor, side: int) -> Tensor:
        """(N, K, h, w): the scores of every window of ``side`` x ``side`` positions behind pool5, one by one."""
        features = self.features(images)
        rows, columns = features.shape[2] - side + 1, features.shape[3] - side + 1
        windows = [
            [self.classify(features[:, :, i : i + side, j : j + side]) for j in range(columns)] for i in range(rows)
        ]
        return torch.stack([torch.stack(row, dim=2) for row in windows], dim=2)


def local_response_normalization(a: Tensor) -> Tensor:
    """Krizhevsky's formula: b_i = a_i / (2 + 1e-4 * sum of a_j^2 over the five channels around i) ^ 0.75."""
    channels = a.shape[1]
    out = torch.empty_like(a)
    for i in range(channels):
        total = torch.zeros_like(a[:, 0])
        for j in range(max(0, i - 2), min(channels - 1, i + 2) + 1):
            total += a[:, j] ** 2
        out[:, i] = a[:, i] / (2 + 1e-4 * total) ** 0.75
    return out


def max_pool(x: Tensor, *, ceil: bool) -> Tensor:
    """2x2, stride 2; of an odd side the last row or column is pooled alone (Caffe), or lost."""
    height, width = x.shape[2:]
    if ceil:
        x = F.pad(x, (0, width % 2, 0, height % 2), value=-torch.inf)
    x = x[:, :, : x.shape[2] // 2 * 2, : x.shape[3] // 2 * 2]
    return torch.stack([x[:, :, i::2, j::2] for i in (0, 1) for j in (0, 1)]).amax(dim=0)


def _give(layer: nn.Conv2d | nn.Linear, weight: Tensor, bias: Tensor) -> None:
    assert layer.weight.shape == weight.shape
    layer.weight, layer.bias = nn.Parameter(weight), nn.Parameter(bias)


@torch.no_grad()
def fill(net: nn.Module, seed: int = 0, spread: float = 2.0) -> None:
    """Weights for tests: every layer's output matters, biases too, and logits spread by about ``spread``."""
    generator = torch.Generator().manual_seed(seed)
    last = None
    for name, parameter in net.named_parameters():
        if name.endswith("weight"):
            fan_in = parameter[0].numel()
            parameter.normal_(0, (2 / fan_in) ** 0.5, generator=generator)
            last = parameter
        else:
            parameter.normal_(0, 10, generator=generator)
    assert last is not None
    last.mul_(spread / 100)  # inputs have an RMS of about 80, and He's weights keep it
    parameter.normal_(0, spread / 4, generator=generator)
