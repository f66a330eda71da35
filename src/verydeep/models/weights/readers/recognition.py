"""Recognition of a net of the paper among the layers of another system's file, whatever stands around it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from verydeep.models.weights.readers.convolutions import Convolutions, find_convolutions
from verydeep.models.weights.readers.head import Head, read_head
from verydeep.models.weights.readers.layers import SourceLayer

_LOSSES = ("loss", "criterion")
"""Parts of the names of loss functions, whose weights of classes are saved with a net."""


@dataclass(frozen=True)
class RecognizedNet:
    """A net of the paper in another system's file."""

    tensors: dict[str, Tensor]
    """As ``WeightFile.tensors``."""
    convolutions: Convolutions
    head: Head
    notes: tuple[str, ...]


def recognize_net(
    layers: Sequence[SourceLayer], path: Path, *, channels_last: bool = False, obstacle: str = ""
) -> RecognizedNet:
    """Recognize the convolutions and the head of a net.

    Args:
        layers: all layers with weights, in the order of the net, or as far as names tell.
        path: of the file, for messages.
        channels_last: whether linear layers take pool5 in the order row, column, channel.
        obstacle: why the file's head cannot be that of a net of the paper, as the file states; empty if it does not.

    Raises:
        WeightsError: the file has no such net or several, or is damaged.
    """
    relevant = [layer for layer in layers if not _is_irrelevant(layer)]
    convolutions = find_convolutions(relevant, path)
    head = read_head(
        convolutions.others, convolutions.num_channels, path, channels_last=channels_last, obstacle=obstacle
    )
    tensors = {
        f"{name}.{kind}": values
        for name, layer in convolutions.layers.items()
        for kind, values in layer.values.items()
        if kind in ("weight", "bias")
    }
    notes: tuple[str, ...] = ()
    if convolutions.in_order:
        (ours, first), *_, (our_last, last) = convolutions.layers.items()
        taken = f"{first.label} to {last.label} are taken for {ours} to {our_last}"
        notes = (f"The names of its layers do not tell where it pools: {taken}.",)
    return RecognizedNet(tensors | head.tensors, convolutions, head, (*notes, *head.notes))


def _is_irrelevant(layer: SourceLayer) -> bool:
    """Whether a layer has only counters and single numbers, or belongs to a loss function."""
    if all(values.ndim == 0 for values in layer.values.values()):
        return True
    if "weight" not in layer.values and not any(values.is_floating_point() for values in layer.values.values()):
        return True
    is_loss = any(part in layer.name.rpartition(".")[2].casefold() for part in _LOSSES)
    return is_loss and layer.dimensions == 1 and len(layer.values) == 1
