"""State dicts of torchvision's nets, and of what shares its names: jcjohnson's conversions of the authors' nets."""

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from verydeep.configs.networks import Network
from verydeep.models.weights.foreign import CAFFE_INPUT, TORCHVISION_INPUT, ForeignNet, InputConvention
from verydeep.models.weights.readers.naming import Naming, feature_names, told_of_side

CONVERTED_INPUT = InputConvention("RGB", (255 * 0.48235, 255 * 0.45882, 255 * 0.40784))
"""Of torchvision's VGG16_Weights.IMAGENET1K_FEATURES: the authors' convolutions, made to take RGB."""

FC = {"fc6": "classifier.0", "fc7": "classifier.3", "fc8": "classifier.6"}
FC_BEHIND_DROPOUT = {"fc6": "classifier.1", "fc7": "classifier.4", "fc8": "classifier.6"}
"""torchvision's places until 2016, which jcjohnson's files keep: a dropout stood before each layer."""


def torchvision_names(network: Network) -> Mapping[str, str]:
    """Our layers and theirs: "conv1_1" is "features.0", "fc6" is "classifier.0"."""
    return feature_names(network) | FC


def is_torchvision(tensors: Mapping[str, Tensor]) -> bool:
    """Whether a state dict has torchvision's names; a trunk of timm's has them, too."""
    return any(name.startswith("features.") for name in tensors)


def from_torchvision(tensors: Mapping[str, Tensor], path: Path) -> ForeignNet:
    """What a state dict with torchvision's names holds, batch norm folded into the convolutions.

    Args:
        tensors: as ``state_dicts`` reads them.
        path: for messages.

    Raises:
        VerydeepError: a tensor has no place in VGG-11, 13, 16 and 19, or is none of its layer's kind.
    """
    fc = {name: tensor for name, tensor in tensors.items() if name.startswith("classifier.")}
    naming = Naming.best(tensors, (FC, FC_BEHIND_DROPOUT), path)
    if fc and all(tensor.isnan().all() for tensor in fc.values()):
        tensors = {name: tensor for name, tensor in tensors.items() if name not in fc}
        source, convention = "torchvision's IMAGENET1K_FEATURES", CONVERTED_INPUT
        why = "Its FC layers hold no numbers (NaN) and are left out, as those of"
    elif naming.fc == FC_BEHIND_DROPOUT:
        source, convention = "jcjohnson", CAFFE_INPUT
        why = "The file does not tell its input, which by the names of its FC layers is that of"
    else:
        source, convention = "torchvision", TORCHVISION_INPUT
        why = "The file does not tell its input, which by the names of its layers is that of"
    translated = naming.translate(tensors, path)
    return ForeignNet(
        f"{source}, batch norm folded" if naming.batch_norm else source,
        translated,
        convention,
        "floor",
        assumed=f"{why} {source}: {convention}.",
        notes=tuple(told_of_side(translated)),
    )
