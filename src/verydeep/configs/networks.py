"""Table 1 of the paper as values: the networks A, A-LRN, B, C, D, E, and the shallow net of section 4.1.

``NETWORKS["D"]`` is a value; ``verydeep.VGG(NETWORKS["D"])`` is a model.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from verydeep.errors import OptionError

STRIDE = 32
"""Pixels from one position of the class score map to the next: five poolings by two."""

PAPER_CROP = 224
"""Side of the paper's input in pixels; train and test scales are given for this crop."""

SHALLOW = ("A", "A-LRN")
"""Networks that train from random weights, and from which deeper ones take layers (section 3.1)."""

PAPER_FC_WIDTH = 4096
"""Channels of fc6 and fc7 in the paper."""

LARGEST_CROP, LARGEST_WIDTH, LARGEST_FC_WIDTH = 4096, 64.0, 2**20
"""Limits beyond all nets in use, below which no number of weights overflows."""


class NetSizes(NamedTuple):
    """Crop in pixels, width and FC width of a net, whatever its network and its outputs."""

    crop: int = PAPER_CROP
    width: float = 1.0
    fc_width: int = PAPER_FC_WIDTH

    def label(self, default: "NetSizes | None" = None) -> str:
        """Return crop and widths as part of a name: "c224", or "c64-w0.25-f512" for widths other than the default."""
        _, width, fc_width = default or NetSizes()
        width_label = "" if self.width == width else f"-w{self.width:g}"
        return f"c{self.crop}{width_label}{'' if self.fc_width == fc_width else f'-f{self.fc_width}'}"


@dataclass(frozen=True)
class Conv:
    """A convolution that keeps the resolution, followed by its ReLU and, with ``lrn``, by response normalization."""

    channels: int
    kernel: int = 3
    lrn: bool = False


@dataclass(frozen=True)
class Network:
    """One column of Table 1: five blocks of convolutions, each followed by max-pooling."""

    name: str
    blocks: tuple[tuple[Conv, ...], ...]

    def convs(self) -> Iterator[tuple[str, Conv]]:
        """Yield each convolution with its name in the paper: conv1_1, conv1_2, ..."""
        for i, block in enumerate(self.blocks, start=1):
            for j, conv in enumerate(block, start=1):
                yield f"conv{i}_{j}", conv

    @property
    def num_weight_layers(self) -> int:
        """The number of convolutions and FC layers: 11 for A, 19 for E."""
        return sum(len(block) for block in self.blocks) + 3

    def num_parameters(self) -> int:
        """Return the number of weights and biases with 1000 classes: 138,357,544 for D (138M in Table 2)."""
        total, channels = 0, 3
        for _, conv in self.convs():
            total += (conv.kernel**2 * channels + 1) * conv.channels
            channels = conv.channels
        sizes = (channels * (PAPER_CROP // STRIDE) ** 2, PAPER_FC_WIDTH, PAPER_FC_WIDTH, 1000)
        return total + sum((inputs + 1) * outputs for inputs, outputs in pairwise(sizes))


def network_name(text: str) -> str:
    """Return the paper's name of a network: "D" of "d", "16", "vgg16" and "VGG-16"; an unknown name as it is."""
    names = {name.lower(): name for name in NETWORKS}
    layers = {str(NETWORKS[name].num_weight_layers): name for name in ("A", "B", "D", "E")}
    key = text.strip().lower()
    return names.get(key) or layers.get(key.removeprefix("vgg").lstrip("-_ ")) or text


def check_crop(crop: int) -> None:
    """Refuse a crop that five poolings do not divide, or that is too large for any machine.

    Raises:
        OptionError: the crop is not a multiple of 32 from 32 to 4096.
    """
    if crop < STRIDE or crop % STRIDE:
        raise OptionError(f"`crop={crop}` does not fit the five poolings: give a multiple of {STRIDE}.", "crop")
    if crop > LARGEST_CROP:
        raise OptionError(f"`crop={crop}` is too large: give at most {LARGEST_CROP}.", "crop")


def scaled_channels(channels: int, width: float) -> int:
    """Return ``width`` times the paper's channels of a convolution, at least one."""
    return max(1, round(channels * width))


def _three(channels: int, count: int) -> tuple[Conv, ...]:
    return (Conv(channels),) * count


_A = (_three(64, 1), _three(128, 1), _three(256, 2), _three(512, 2), _three(512, 2))
_B = (_three(64, 2), _three(128, 2), _three(256, 2), _three(512, 2), _three(512, 2))

NETWORKS: dict[str, Network] = {
    network.name: network
    for network in (
        Network("A", _A),
        Network("A-LRN", ((Conv(64, lrn=True),), *_A[1:])),
        Network("B", _B),
        Network("C", (*_B[:2], *((*block, Conv(block[0].channels, kernel=1)) for block in _B[2:]))),
        Network("D", (*_B[:2], *((*block, block[0]) for block in _B[2:]))),
        Network("E", (*_B[:2], *((*block, *block) for block in _B[2:]))),
        Network("B-5x5", tuple((Conv(block[0].channels, kernel=5),) for block in _B)),
    )
}
"""The networks by the paper's names; in B-5x5, section 4.1's shallow net, a 5x5 replaces each pair of 3x3."""
