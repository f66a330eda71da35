"""Export of a net by ``torch.export``: dense, for any batch, height and width, run without this package."""

import io
import json
from pathlib import Path

import torch
import torch.fx.experimental._config as symbolic_shapes
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.nn import functional as F

from verydeep.configs.networks import STRIDE
from verydeep.files import atomic_write
from verydeep.models.export.description import IMAGES, describe_input, describe_outputs, metadata
from verydeep.models.vgg import VGG
from verydeep.models.weights.model_folder import ModelConfig

ABOUT = "verydeep.json"
"""The extra file that describes the net: ``torch.export.load(path, extra_files={"verydeep.json": ""})``."""


class CeilPool(nn.Module):
    """2x2 max-pooling that rounds up, for values that are not negative.

    It adds one row and one column of zeros, which count only where a side is odd. ``nn.MaxPool2d(ceil_mode=True)``
    tests whether a side is odd, and tracing would fix the answer for the example image.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map (N, C, H, W) to (N, C, ceil(H / 2), ceil(W / 2))."""
        return F.max_pool2d(F.pad(x, (0, 1, 0, 1)), 2)


class ExportedNet(nn.Module):
    """The computation of the exported program; its layers are the net's, without gradients."""

    def __init__(self, model: VGG, config: ModelConfig) -> None:
        super().__init__()
        self.outputs = tuple(describe_outputs(config))
        self.mean_rgb: Tensor
        self.register_buffer("mean_rgb", model.mean_rgb)
        with torch.device("meta"):
            own = config.build().eval().requires_grad_(False)
        own.load_state_dict(model.state_dict(), assign=True)
        for name, layer in own.named_children():
            rounds_up = isinstance(layer, nn.MaxPool2d) and layer.ceil_mode
            self.add_module(name, CeilPool() if rounds_up else layer)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Return the outputs of ``describe_outputs`` for images (N, 3, H, W), RGB, 0-255."""
        x = images - self.mean_rgb[:, None, None]
        for layer in self.children():
            # FC layers run as convolutions: with windows, tracing would treat a map of 1x1 as a case of its own.
            x = nn.Conv2d.forward(layer, x) if isinstance(layer, nn.Conv2d) else layer(x)
        dense, *others = self.outputs
        return {dense: x} | {name: x.mean(dim=(2, 3)).softmax(dim=1) for name in others}


def export_program(model: VGG, config: ModelConfig) -> ExportedProgram:
    """Trace a net with symbols for batch, height and width."""
    smallest = STRIDE if config.is_trunk else config.crop
    example = torch.zeros(2, 3, smallest + STRIDE, smallest + 2 * STRIDE)
    sizes = {0: Dim("batch", min=1), 2: Dim("height", min=smallest), 3: Dim("width", min=smallest)}
    # Otherwise a map of 1x1, that of the smallest images, is a case of its own. PyTorch's ONNX exporter does this, too.
    with symbolic_shapes.patch(backed_size_oblivious=True):  # type: ignore[attr-defined]
        program = torch.export.export(ExportedNet(model, config).eval(), (example,), dynamic_shapes={IMAGES: sizes})
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # the paths of this machine's files
    return program


def write_torch_export(path: Path, model: VGG, config: ModelConfig) -> None:
    """Write a net, complete or not at all, with ``verydeep.json`` among its extra files.

    Raises:
        ResourceError: the file cannot be written.
    """
    about = {**metadata(config), "input": describe_input(config), "outputs": describe_outputs(config)}
    content = io.BytesIO()  # PyTorch's own file writer ends the process if the disk is full
    torch.export.save(export_program(model, config), content, extra_files={ABOUT: json.dumps(about)})
    with atomic_write(path) as temporary:
        temporary.write_bytes(content.getbuffer())
