"""State dicts with torchvision's names: its own nets, and jcjohnson's conversions of the authors' nets."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from verydeep.configs.networks import Network
from verydeep.models.weights.readers.layers import crop_notes
from verydeep.models.weights.readers.naming import Naming, feature_names
from verydeep.models.weights.weight_file import CAFFE_INPUT, TORCHVISION_INPUT, InputConvention, WeightFile

CONVERTED_INPUT = InputConvention("RGB", (255 * 0.48235, 255 * 0.45882, 255 * 0.40784))
"""The input of torchvision's VGG16_Weights.IMAGENET1K_FEATURES: the authors' convolutions, changed to take RGB."""

FC = {"fc6": "classifier.0", "fc7": "classifier.3", "fc8": "classifier.6"}
FC_BEHIND_DROPOUT = {"fc6": "classifier.1", "fc7": "classifier.4", "fc8": "classifier.6"}
"""torchvision's names until 2016, which jcjohnson's files have: a dropout stood before each layer."""


def torchvision_names(network: Network) -> Mapping[str, str]:
    """Return our names -> theirs: "conv1_1" -> "features.0", "fc6" -> "classifier.0"."""
    return feature_names(network) | FC


def is_torchvision(tensors: Mapping[str, Tensor]) -> bool:
    """Whether a state dict has torchvision's names; a trunk of timm has them, too."""
    return any(name.startswith("features.") for name in tensors)


def convert_torchvision(tensors: Mapping[str, Tensor], path: Path) -> WeightFile:
    """Convert a state dict with torchvision's names; batch norm is folded into the convolutions.

    Args:
        tensors: as ``state_dicts`` reads them.
        path: of the file, for messages.

    Raises:
        WeightsError: a tensor is not one of VGG-11, 13, 16 and 19, or does not fit its layer.
    """
    fc = {name: tensor for name, tensor in tensors.items() if name.startswith("classifier.")}
    naming = Naming.find(tensors, (FC, FC_BEHIND_DROPOUT), path)
    if fc and all(tensor.isnan().all() for tensor in fc.values()):
        tensors = {name: tensor for name, tensor in tensors.items() if name not in fc}
        source, convention = "torchvision's IMAGENET1K_FEATURES", CONVERTED_INPUT
        reason = "Its FC layers are empty (NaN) and left out, as in"
    elif naming.fc == FC_BEHIND_DROPOUT:
        source, convention = "jcjohnson", CAFFE_INPUT
        reason = "The file does not state its input; the names of its FC layers are those of"
    else:
        source, convention = "torchvision", TORCHVISION_INPUT
        reason = "The file does not state its input; the names of its layers are those of"
    translated = naming.translate(tensors, path)
    return WeightFile(
        f"{source}, batch norm folded" if naming.batch_norm else source,
        translated,
        convention,
        "floor",
        assumption=f"{reason} {source}, so its input is assumed to be {convention}.",
        notes=crop_notes(translated),
    )
