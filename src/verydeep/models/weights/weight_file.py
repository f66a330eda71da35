"""Content of another system's weight file, in our layout, before its input convention is folded.

A reader of a format returns a ``WeightFile``; ``folding`` makes it a net of ours.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from verydeep.models.vgg import ILSVRC_MEAN_RGB, Pooling

MAX_VALUES = 512 * 7 * 7 * 4096 * 4
"""More numbers than any tensor of a VGG net has; a file that declares more is refused before memory is allocated."""


@dataclass(frozen=True)
class InputConvention:
    """The input of a net: channels in ``order``, each (value - mean) / divisor, values from 0 to 255."""

    order: Literal["RGB", "BGR"]
    mean_rgb: tuple[float, float, float]
    """The mean color, 0-255, in RGB order whatever the net's order is."""
    divisor_rgb: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """The divisors, in RGB order: 255 times the standard deviation if the system has values in [0, 1]."""

    def __str__(self) -> str:
        divided = "" if self.divisor_rgb == (1, 1, 1) else f", divided by {_numbers(self.divisor_rgb)}"
        return f"{self.order}, 0-255, minus the mean RGB {_numbers(self.mean_rgb)}{divided}"


def _numbers(values: tuple[float, float, float]) -> str:
    return "(" + ", ".join(f"{value:g}" for value in values) + ")"


CAFFE_INPUT = InputConvention("BGR", ILSVRC_MEAN_RGB)
"""The input of the authors' nets, Keras's and jcjohnson's."""
RGB_INPUT = InputConvention("RGB", ILSVRC_MEAN_RGB)
"""The input of MatConvNet's nets and ours."""
TORCHVISION_INPUT = InputConvention(
    "RGB", (255 * 0.485, 255 * 0.456, 255 * 0.406), (255 * 0.229, 255 * 0.224, 255 * 0.225)
)
"""The input of the nets that torchvision and timm trained."""


@dataclass(frozen=True)
class WeightFile:
    """Weights and facts that a file of another system has."""

    format: str
    """System and layout: "Caffe, V1 layers"."""
    tensors: Mapping[str, Tensor]
    """Layer and kind, as in our state dict: conv1_1.weight (out, in, k, k), fc6.weight (out, C, k, k), fc7.weight and
    fc8.weight (out, in, 1, 1), biases (out,); float32 on the CPU. A trunk has no fc6-fc8. Input channels of conv1_1 are
    in the convention's order; an FC kernel has the order channel, row, column, as in ours."""
    input: InputConvention
    pooling: Pooling
    """The rounding of the other system."""
    class_names: tuple[str, ...] = ()
    """WNIDs, if the file has them, in the order of its outputs."""
    class_words: tuple[str, ...] = ()
    assumption: str = ""
    """The reason for this input if the file does not state it; empty if it does."""
    notes: tuple[str, ...] = ()
    """Sentences for the user about guesses that were made."""
    left_out: str = ""
    """A clause about the layers of a trunk's file that are not ours: "its head (fc) is not that of a VGG net"."""
