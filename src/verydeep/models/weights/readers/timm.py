"""State dicts of timm's nets: convolutions named as in torchvision, and fc6 and fc7 stored as convolutions."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from verydeep.configs.networks import Network
from verydeep.models.weights.readers.layers import crop_notes
from verydeep.models.weights.readers.naming import Naming, feature_names
from verydeep.models.weights.weight_file import TORCHVISION_INPUT, WeightFile

FC = {"fc6": "pre_logits.fc1", "fc7": "pre_logits.fc2", "fc8": "head.fc"}


def timm_names(network: Network) -> Mapping[str, str]:
    """Return our names -> theirs: "conv1_1" -> "features.0", "fc6" -> "pre_logits.fc1"."""
    return feature_names(network) | FC


def is_timm(tensors: Mapping[str, Tensor]) -> bool:
    """Whether a state dict has timm's names; those of a trunk are torchvision's."""
    return any(name.startswith(("pre_logits.", "head.fc.")) for name in tensors)


def convert_timm(tensors: Mapping[str, Tensor], path: Path) -> WeightFile:
    """Convert a state dict with timm's names; batch norm is folded into the convolutions.

    Args:
        tensors: as ``state_dicts`` reads them.
        path: of the file, for messages.

    Raises:
        WeightsError: a tensor is not one of vgg11, 13, 16 and 19, or does not fit its layer.
    """
    naming = Naming.find(tensors, (FC,), path)
    translated = naming.translate(tensors, path)
    return WeightFile(
        "timm, batch norm folded" if naming.batch_norm else "timm",
        translated,
        TORCHVISION_INPUT,
        "floor",
        assumption=f"The file does not state its input; that of timm's own nets is assumed: {TORCHVISION_INPUT}.",
        notes=crop_notes(translated),
    )
