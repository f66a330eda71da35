"""Thin nets of other systems with the numbers that a reader could mix up, and the slow twin that runs what it read."""

import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.conftest import picture
from tests.peers import import_torchvision, need
from verydeep.models.weights.weight_file import WeightFile

CONFIGURATIONS = {"A": (1, 1, 2, 2, 2), "B": (2, 2, 2, 2, 2), "D": (2, 2, 3, 3, 3), "E": (2, 2, 4, 4, 4)}
"""Convolutions in the five blocks: Table 1."""
CHANNELS = (4, 5, 6, 7, 8)


def photograph(height: int, width: int) -> Tensor:
    """(1, 3, height, width), RGB, 0-255; red, green and blue far apart."""
    return torch.from_numpy(picture(height, width)).permute(2, 0, 1)[None].float()


def torch_configuration(network: str) -> list[int | str]:
    """As torchvision and timm write a net down: [4, "M", 5, "M", ...]."""
    blocks = zip(CHANNELS, CONFIGURATIONS[network], strict=True)
    return [item for channels, convs in blocks for item in (*[channels] * convs, "M")]


def torchvision_net(network: str, *, batch_norm: bool = False, fc_width: int = 9, side: int = 7) -> nn.Module:
    """A thin one of torchvision's own making, with five classes."""
    need("torchvision")
    vgg = import_torchvision().models.vgg
    with torch.device("meta"):  # its FC layers are 470 MB before they are replaced
        net = vgg.VGG(vgg.make_layers(torch_configuration(network), batch_norm), init_weights=False)
    net.classifier[0] = nn.Linear(CHANNELS[-1] * side**2, fc_width)
    net.classifier[3], net.classifier[6] = nn.Linear(fc_width, fc_width), nn.Linear(fc_width, 5)
    net.features.to_empty(device="cpu")
    return fill(net)


@torch.no_grad()
def fill(net: nn.Module, seed: int = 0) -> nn.Module:
    """Weights under which every layer matters to the logits; in eval mode."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in net.state_dict().items():
        if name.endswith("num_batches_tracked"):
            tensor.fill_(7)
        elif name.endswith("running_var"):  # so small that the epsilon matters
            tensor.copy_(torch.randint(1, 9, tensor.shape, generator=generator) / 4000)
        elif tensor.ndim > 1:
            tensor.normal_(0, (2 / tensor[0].numel()) ** 0.5, generator=generator)
        else:  # biases and, smaller, the scales of batch norms, which would turn all off if they were negative
            tensor.normal_(0.3, 0.5, generator=generator).abs_()
            if name.replace(".weight", ".running_var") in net.state_dict() and name.endswith(".weight"):
                tensor.div_(30)
    return net.eval()


@torch.no_grad()
def plain_logits(net: WeightFile, rgb: Tensor) -> Tensor:
    """(1, K, h, w) of RGB, 0-255, as ``WeightFile`` says what it holds: written out, nothing taken from the package."""
    x = plain_features(net, rgb)
    for layer in ("fc6", "fc7", "fc8"):
        x = F.conv2d(x, net.tensors[f"{layer}.weight"], net.tensors[f"{layer}.bias"])
        x = x if layer == "fc8" else x.clamp(min=0)
    return x


@torch.no_grad()
def plain_features(net: WeightFile, rgb: Tensor) -> Tensor:
    """(1, C, h, w) behind pool5, likewise."""
    convention = net.input
    channels = [(rgb[:, c] - convention.mean_rgb[c]) / convention.divisor_rgb[c] for c in range(3)]
    x = torch.stack(channels if convention.order == "RGB" else channels[::-1], dim=1)
    for block in range(1, 6):
        for place in range(1, 5):
            layer = f"conv{block}_{place}"
            if f"{layer}.weight" in net.tensors:
                x = F.conv2d(x, net.tensors[f"{layer}.weight"], net.tensors[f"{layer}.bias"], padding=1).clamp(min=0)
        x = F.max_pool2d(x, 2, stride=2, ceil_mode=net.pooling == "ceil")
    return x


def assert_close(ours: Tensor, theirs: Tensor) -> None:
    """Within 1e-4 of the largest, and not because all are alike."""
    assert ours.shape == theirs.shape
    assert theirs.std() > 0.01 * theirs.abs().max() > 0
    assert (ours - theirs).abs().max() < 1e-4 * theirs.abs().max()


def rewrite(path: Path, change: Callable[[str, bytes], bytes], compression: int = zipfile.ZIP_STORED) -> Path:
    """A zip archive whose entries are changed, their checksums right."""
    with zipfile.ZipFile(path) as archive:
        entries = [(entry.filename, archive.read(entry)) for entry in archive.infolist()]
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in entries:
            archive.writestr(name, change(name, content))
    return path


def announce(content: bytes, count: int, instead: int) -> bytes:
    """A pickle in which a number is another one, of four bytes."""
    codes = [b"K" + struct.pack("<B", count)] if count < 256 else []
    codes += [b"M" + struct.pack("<H", count)] if count < 65536 else []
    found = [code for code in codes if code in content]
    assert found
    return content.replace(found[0], b"J" + struct.pack("<i", instead))
