"""A net as another system keeps it: what its file says, in our layout, before its input is folded (DESIGN 2).

A reader of a format returns a ``ForeignNet``; ``folding`` makes one of our model folders of it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from verydeep.models.vgg import ILSVRC_MEAN_RGB, Pooling

MOST_VALUES = 512 * 7 * 7 * 4096 * 4
"""No tensor of a VGG net has as many numbers; a file that announces more is refused before anything is allocated."""


@dataclass(frozen=True)
class InputConvention:
    """What a net was trained to see: channels in ``order``, each (value - mean) / divisor, values from 0 to 255."""

    order: Literal["RGB", "BGR"]
    mean_rgb: tuple[float, float, float]
    """0-255, in RGB order whatever the net's order is."""
    divisor_rgb: tuple[float, float, float] = (1.0, 1.0, 1.0)
    """0-255, in RGB order: 255 times the standard deviation where values lie in [0, 1]."""

    def __str__(self) -> str:
        divided = "" if self.divisor_rgb == (1, 1, 1) else f", divided by {_numbers(self.divisor_rgb)}"
        return f"{self.order}, 0-255, minus the mean RGB {_numbers(self.mean_rgb)}{divided}"


def _numbers(values: tuple[float, float, float]) -> str:
    return "(" + ", ".join(f"{value:g}" for value in values) + ")"


CAFFE_INPUT = InputConvention("BGR", ILSVRC_MEAN_RGB)
"""The authors' nets, Keras's and jcjohnson's."""
RGB_INPUT = InputConvention("RGB", ILSVRC_MEAN_RGB)
"""MatConvNet's, and ours."""
TORCHVISION_INPUT = InputConvention(
    "RGB", (255 * 0.485, 255 * 0.456, 255 * 0.406), (255 * 0.229, 255 * 0.224, 255 * 0.225)
)
"""torchvision's and timm's own trainings."""


@dataclass(frozen=True)
class ForeignNet:
    """What a weight file holds."""

    format: str
    """In words: "Caffe, V1 layers"."""
    tensors: Mapping[str, Tensor]
    """Layer and kind, as in our state dict: conv1_1.weight (out, in, k, k), fc6.weight (out, C, k, k), fc7.weight and
    fc8.weight (out, in, 1, 1), biases (out,); float32 on the CPU. fc6-fc8 are absent in a trunk. Input channels of
    conv1_1 are in the convention's order; an FC kernel is channel, row, column as in ours."""
    input: InputConvention
    pooling: Pooling
    """How the other system rounds."""
    class_names: tuple[str, ...] = ()
    """WNIDs, where the file has them, in the order of its outputs."""
    class_words: tuple[str, ...] = ()
    assumed: str = ""
    """Why this input was taken, where the file does not tell it; of no interest where the user does."""
    notes: tuple[str, ...] = ()
    """What the user should be told: parts left out, guesses made."""
