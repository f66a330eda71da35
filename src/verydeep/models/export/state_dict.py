"""Export of a net as a state dict for torchvision or timm, whose own code then runs it.

Their nets take RGB in [0, 1], minus a mean, divided by a standard deviation. The deviation goes into conv1_1's weights
and changes nothing. Another mean would change the borders, because images are padded with the mean pixel. So the net
keeps its own mean, and a JSON file next to the state dict states it.
"""

import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from verydeep.configs.networks import NETWORKS, PAPER_CROP, PAPER_FC_WIDTH
from verydeep.errors import WeightsError
from verydeep.files import atomic_write
from verydeep.json_files import write_json
from verydeep.models.export.description import metadata
from verydeep.models.weights.folding import unfold_input
from verydeep.models.weights.model_folder import ModelConfig, write_tensors
from verydeep.models.weights.readers.torch_nets import timm_names, torchvision_names
from verydeep.models.weights.weight_file import TORCHVISION_INPUT

System = Literal["torchvision", "timm"]

ARCHITECTURES: Mapping[str, str] = {"A": "vgg11", "B": "vgg13", "D": "vgg16", "E": "vgg19"}
"""The names of the nets that both systems have."""

STD = tuple(divisor / 255 for divisor in TORCHVISION_INPUT.divisor_rgb)
"""The standard deviation by which both systems divide pixels in [0, 1]."""


def check_supported(system: System, config: ModelConfig) -> None:
    """Refuse a net that the system has no class for.

    Raises:
        WeightsError: the net has another shape, or does not predict classes.
    """
    name = ARCHITECTURES.get(config.network)
    if name is None:
        reason = f"it has no net {config.network}, only A, B, D and E"
    elif config.is_trunk or config.regression is not None:
        reason = f"its {name} predicts classes, and this net {'is a trunk' if config.is_trunk else 'predicts boxes'}"
    elif config.crop != PAPER_CROP:
        reason = f"its {name} has crop {PAPER_CROP}, and this net crop {config.crop}"
    elif config.width != 1 or config.fc_width != PAPER_FC_WIDTH:
        reason = (
            f"its {name} has width 1 and {PAPER_FC_WIDTH:,} channels in fc6 and fc7, and this net width "
            f"{config.width:g} and {config.fc_width:,}"
        )
    else:
        return
    raise WeightsError(f"{system} cannot run this net: {reason}; give `format=onnx` or `format=torch-export`.")


def write_state_dict(path: Path, system: System, tensors: Mapping[str, Tensor], config: ModelConfig) -> None:
    """Write a file for ``load_state_dict(strict=True)`` of the system, and a JSON file next to it; complete or not.

    Args:
        path: of the file, PyTorch's pickle for torchvision and safetensors for timm.
        system: that loads the file.
        tensors: the net's own state dict.
        config: the net's configuration.

    Raises:
        ResourceError: a file cannot be written.
    """
    state = convert_state_dict(system, tensors, config)
    write_json(metadata_path(path), state_dict_metadata(system, config))
    if system == "timm":
        write_tensors(path, state, {"format": "pt"})
        return
    content = io.BytesIO()  # PyTorch's own file writer ends the process if the disk is full
    torch.save(state, content)
    with atomic_write(path) as temporary:
        temporary.write_bytes(content.getbuffer())


def metadata_path(path: Path) -> Path:
    """Return the path of the JSON file of a state dict."""
    return path.with_name(f"{path.name}.json")


def convert_state_dict(system: System, tensors: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """Return the weights under the system's names, in its shapes, for its input."""
    names = (torchvision_names if system == "torchvision" else timm_names)(NETWORKS[config.network])
    matrices = ("fc6", "fc7", "fc8") if system == "torchvision" else ("fc8",)
    state = {}
    for name, tensor in tensors.items():
        layer, kind = name.split(".")
        is_matrix = kind == "weight" and layer in matrices
        state[f"{names[layer]}.{kind}"] = (tensor.flatten(1) if is_matrix else tensor).detach().contiguous()
    first = f"{names['conv1_1']}.weight"
    return {**state, first: unfold_input(state[first], TORCHVISION_INPUT)}


def state_dict_metadata(system: System, config: ModelConfig) -> dict[str, Any]:
    """Return the description of a state dict for programs."""
    return {
        **metadata(config),
        "system": system,
        "architecture": ARCHITECTURES[config.network],
        "num_classes": config.num_outputs,
        "input": "RGB in [0, 1], minus mean, divided by std",
        "mean": [value / 255 for value in config.mean_rgb],
        "std": list(STD),
    }
