"""Nets in PyTorch's state dicts: torchvision's, timm's, jcjohnson's, our own, and those that people build on them."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from verydeep.configs.networks import Network
from verydeep.errors import WeightsError
from verydeep.models.vgg import Pooling
from verydeep.models.weights.readers.layers import SourceLayer, printable
from verydeep.models.weights.readers.recognition import RecognizedNet, recognize_net
from verydeep.models.weights.readers.sequences import feature_places
from verydeep.models.weights.weight_file import CAFFE_INPUT, RGB_INPUT, TORCHVISION_INPUT, InputConvention, WeightFile


class _Source(NamedTuple):
    """The source of a state dict, as its names tell."""

    format: str
    owner: str
    """For a sentence: the nets whose input is assumed."""
    input: InputConvention
    pooling: Pooling = "floor"


_EMPTY_HEAD = _Source(
    "torchvision's IMAGENET1K_FEATURES",
    "torchvision's IMAGENET1K_FEATURES",
    InputConvention("RGB", (255 * 0.48235, 255 * 0.45882, 255 * 0.40784)),
)
"""VGG16_Weights.IMAGENET1K_FEATURES has the authors' convolutions, changed to take RGB, and FC layers of NaN."""

_TORCHVISION_FC = {"fc6": "classifier.0", "fc7": "classifier.3", "fc8": "classifier.6"}
_TIMM_FC = {"fc6": "pre_logits.fc1", "fc7": "pre_logits.fc2", "fc8": "head.fc"}
_FC_BEHIND_DROPOUT = ("classifier.1", "classifier.4", "classifier.6")
"""torchvision's names until 2016, which jcjohnson's files have: a dropout stood before each layer."""


def torchvision_names(network: Network) -> Mapping[str, str]:
    """Return our names -> theirs: "conv1_1" -> "features.0", "fc6" -> "classifier.0"."""
    return _feature_names(network) | _TORCHVISION_FC


def timm_names(network: Network) -> Mapping[str, str]:
    """Return our names -> theirs: "conv1_1" -> "features.0", "fc6" -> "pre_logits.fc1"."""
    return _feature_names(network) | _TIMM_FC


def _feature_names(network: Network) -> dict[str, str]:
    return {name: f"features.{place}" for name, place in feature_places(network).items()}


_COMPUTED = re.compile(r"(^|\.)(weight_(g|v|orig|mask|u)|parametrizations|lora_\w+)(\.|$)")
"""Parts of names where a layer computes its weight from others: weight or spectral norm, pruning, LoRA."""


def convert_state_dict(tensors: Mapping[str, Tensor], path: Path) -> WeightFile:
    """Convert a PyTorch state dict; batch norm is folded into the convolutions.

    Args:
        tensors: as ``state_dicts`` reads them.
        path: of the file, for messages.

    Raises:
        WeightsError: it has no net of the paper, or several, or is damaged.
    """
    _refuse_computed_weights(tensors, path)
    layers = _group_by_layer(tensors)
    empty = [layer for layer in layers if layer.dimensions == 2 and _is_empty(layer)]
    if not _have_names([layer.name for layer in empty], tuple(_TORCHVISION_FC.values())):
        empty = []
    net = recognize_net([layer for layer in layers if layer not in empty], path)
    source = _EMPTY_HEAD if empty else _identify_source(net, layers)
    reason = "Its FC layers are empty (NaN) and left out, and the" if empty else "The"
    return WeightFile(
        f"{source.format}, batch norm folded" if net.convolutions.batch_norm else source.format,
        net.tensors,
        source.input,
        source.pooling,
        assumption=f"{reason} file does not state its input; that of {source.owner} is assumed: {source.input}.",
        notes=net.notes,
        left_out=net.head.left_out,
    )


def _group_by_layer(tensors: Mapping[str, Tensor]) -> list[SourceLayer]:
    """Group the tensors of a state dict by layer, in their order."""
    layers: dict[str, dict[str, Tensor]] = {}
    for name, tensor in tensors.items():
        layer, _, kind = name.rpartition(".")
        layers.setdefault(layer, {})[kind] = tensor
    return [SourceLayer(name, values) for name, values in layers.items()]


def _is_empty(layer: SourceLayer) -> bool:
    """Whether a layer has NaN alone."""
    first = (bool(values.flatten()[:1].isnan().any()) for values in layer.values.values())  # is looked at fast
    return all(first) and all(bool(values.isnan().all()) for values in layer.values.values())


def _identify_source(net: RecognizedNet, layers: Sequence[SourceLayer]) -> _Source:
    """Return the source of nets with such names."""
    if _have_names(net.head.names, _FC_BEHIND_DROPOUT):
        return _Source("jcjohnson", "jcjohnson's nets", CAFFE_INPUT)
    if _have_names(net.head.names, tuple(_TIMM_FC.values())):
        return _Source("timm", "timm's own nets", TORCHVISION_INPUT)
    if any(layer.name == "fc6" and layer.dimensions == 4 for layer in layers):
        return _Source("verydeep, without config.json", "verydeep's nets", RGB_INPUT, "ceil")
    if all(name in layer.name for name, layer in net.convolutions.layers.items()):
        return _Source("PyTorch, the paper's names", "MatConvNet's nets, which have such names,", RGB_INPUT)
    return _Source("torchvision", "torchvision's own nets", TORCHVISION_INPUT)


def _have_names(layers: Sequence[str], names: Sequence[str]) -> bool:
    """Whether layers have these names, whatever stands before them."""
    return len(layers) == len(names) and all(map(str.endswith, layers, names))


def _refuse_computed_weights(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Refuse weights that are not the numbers that a layer uses.

    Raises:
        WeightsError: there are such weights.
    """
    if (name := next(filter(_COMPUTED.search, tensors), None)) is not None:
        raise WeightsError(
            f"{path} has {printable(name)}, from which a layer computes its weight (weight norm, pruning or LoRA): "
            "make it permanent before saving, such as with torch.nn.utils.parametrize.remove_parametrizations."
        )
