"""State dicts of timm's nets: torchvision's convolutions, with fc6 and fc7 kept as convolutions already."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from verydeep.configs.networks import Network
from verydeep.models.weights.foreign import TORCHVISION_INPUT, ForeignNet
from verydeep.models.weights.readers.naming import Naming, feature_names, told_of_side

FC = {"fc6": "pre_logits.fc1", "fc7": "pre_logits.fc2", "fc8": "head.fc"}


def timm_names(network: Network) -> Mapping[str, str]:
    """Our layers and theirs: "conv1_1" is "features.0", "fc6" is "pre_logits.fc1"."""
    return feature_names(network) | FC


def is_timm(tensors: Mapping[str, Tensor]) -> bool:
    """Whether a state dict has timm's names; without FC layers they are torchvision's."""
    return any(name.startswith(("pre_logits.", "head.fc.")) for name in tensors)


def from_timm(tensors: Mapping[str, Tensor], path: Path) -> ForeignNet:
    """What a state dict with timm's names holds, batch norm folded into the convolutions.

    Args:
        tensors: as ``state_dicts`` reads them.
        path: for messages.

    Raises:
        VerydeepError: a tensor has no place in vgg11, 13, 16 and 19, or is none of its layer's kind.
    """
    naming = Naming.best(tensors, (FC,), path)
    translated = naming.translate(tensors, path)
    return ForeignNet(
        "timm, batch norm folded" if naming.batch_norm else "timm",
        translated,
        TORCHVISION_INPUT,
        "floor",
        assumed=f"The file does not tell its input, which is that of timm's own nets: {TORCHVISION_INPUT}.",
        notes=tuple(told_of_side(translated)),
    )
