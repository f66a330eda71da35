"""A net as a state dict for torchvision or timm, whose own code then runs it.

Their nets take RGB in [0, 1], minus a mean, divided by a standard deviation. The deviation goes into conv1_1's weights
and changes nothing. Another mean would: beyond the borders of an image stands the mean pixel. So the net keeps its own,
and a JSON file beside the state dict says which.
"""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from verydeep.configs.networks import NETWORKS, PAPER_CROP, PAPER_FC_WIDTH
from verydeep.errors import VerydeepError
from verydeep.files import atomic_write, write_json
from verydeep.models.export.description import describe
from verydeep.models.weights.folding import unfolded
from verydeep.models.weights.foreign import TORCHVISION_INPUT
from verydeep.models.weights.native import ModelConfig, write_tensors
from verydeep.models.weights.readers.timm import timm_names
from verydeep.models.weights.readers.torchvision import torchvision_names

System = Literal["torchvision", "timm"]

ARCHITECTURES: Mapping[str, str] = {"A": "vgg11", "B": "vgg13", "D": "vgg16", "E": "vgg19"}
"""What both call the nets that they have."""

STD = tuple(divisor / 255 for divisor in TORCHVISION_INPUT.divisor_rgb)
"""Of pixels in [0, 1], as both divide by it."""


def write_state_dict(path: Path, system: System, tensors: Mapping[str, Tensor], config: ModelConfig) -> None:
    """Write what ``load_state_dict(strict=True)`` takes there, complete or not at all, and the JSON file beside it.

    Args:
        path: of the file: PyTorch's pickle for torchvision, safetensors for timm.
        system: whose.
        tensors: the net's own state dict.
        config: what travels with it.

    Raises:
        VerydeepError: the system has no such net, or a file cannot be written.
    """
    check_exists_there(system, config)
    state = state_dict_for(system, tensors, config)
    write_json(about_path(path), describe_for(system, config))
    if system == "timm":
        write_tensors(path, state, {"format": "pt"})
        return
    content = io.BytesIO()  # PyTorch's writer of files ends the process where a disk is full
    torch.save(state, content)
    with atomic_write(path) as temporary:
        temporary.write_bytes(content.getbuffer())


def about_path(path: Path) -> Path:
    """Where the explanation of a state dict lies."""
    return path.with_name(f"{path.name}.json")


def state_dict_for(system: System, tensors: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """The same weights under the system's names, in its shapes, for its input."""
    names = (torchvision_names if system == "torchvision" else timm_names)(NETWORKS[config.network])
    matrices = ("fc6", "fc7", "fc8") if system == "torchvision" else ("fc8",)
    state = {}
    for name, tensor in tensors.items():
        layer, kind = name.split(".")
        is_matrix = kind == "weight" and layer in matrices
        state[f"{names[layer]}.{kind}"] = (tensor.flatten(1) if is_matrix else tensor).detach().contiguous()
    first = f"{names['conv1_1']}.weight"
    return {**state, first: unfolded(state[first], TORCHVISION_INPUT)}


def check_exists_there(system: System, config: ModelConfig) -> None:
    """Refuse a net that the system has no class for.

    Raises:
        VerydeepError: it has another shape, or tells no classes.
    """
    theirs = ARCHITECTURES.get(config.network)
    if theirs is None:
        why = f"it has no net {config.network}, only A, B, D and E"
    elif config.is_trunk or config.regression is not None:
        why = f"its {theirs} tells classes, and this net {'is a trunk' if config.is_trunk else 'predicts boxes'}"
    elif config.crop != PAPER_CROP:
        why = f"its {theirs} is of crop {PAPER_CROP}, and this net of crop {config.crop}"
    elif config.width != 1 or config.fc_width != PAPER_FC_WIDTH:
        why = (
            f"its {theirs} is of width 1 with {PAPER_FC_WIDTH:,} channels in fc6 and fc7, and this net of width "
            f"{config.width:g} with {config.fc_width:,}"
        )
    else:
        return
    raise VerydeepError(f"{system} cannot run this net: {why}; give --format onnx or torch-export.")


def describe_for(system: System, config: ModelConfig) -> dict[str, Any]:
    """What the user of the state dict has to know, for machines."""
    return {
        **describe(config),
        "system": system,
        "architecture": ARCHITECTURES[config.network],
        "num_classes": config.num_outputs,
        "input": "RGB in [0, 1], minus mean, divided by std",
        "mean": [value / 255 for value in config.mean_rgb],
        "std": list(STD),
    }
