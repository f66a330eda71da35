"""A net as ``torch.export`` keeps it: dense, of any batch, height and width, run without this package."""

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
from verydeep.models.export.description import IMAGES, describe, input_in_words, outputs_in_words
from verydeep.models.vgg import VGG
from verydeep.models.weights.native import ModelConfig

ABOUT = "verydeep.json"
"""What the file says of the net: ``torch.export.load(path, extra_files={"verydeep.json": ""})``."""


class CeilPool(nn.Module):
    """2x2 max-pooling that rounds up, of values that are not negative.

    One row and one column of zeros are added, and used where a side is odd. ``nn.MaxPool2d(ceil_mode=True)`` asks
    whether it is, and the answer for the traced image would be fixed.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(N, C, H, W) -> (N, C, ceil(H / 2), ceil(W / 2))."""
        return F.max_pool2d(F.pad(x, (0, 1, 0, 1)), 2)


class Exported(nn.Module):
    """What the exported program computes; its layers are the net's, and never learn."""

    def __init__(self, model: VGG, config: ModelConfig) -> None:
        super().__init__()
        self.outputs = tuple(outputs_in_words(config))
        self.mean_rgb: Tensor
        self.register_buffer("mean_rgb", model.mean_rgb)
        with torch.device("meta"):
            own = config.build().eval().requires_grad_(False)
        own.load_state_dict(model.state_dict(), assign=True)
        for name, layer in own.named_children():
            rounds_up = isinstance(layer, nn.MaxPool2d) and layer.ceil_mode
            self.add_module(name, CeilPool() if rounds_up else layer)

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Of images (N, 3, H, W), RGB, 0-255: what ``outputs_in_words`` says."""
        x = images - self.mean_rgb[:, None, None]
        for layer in self.children():
            # FC layers as the convolutions they are: cut into windows, a map of 1x1 would be a case of its own.
            x = nn.Conv2d.forward(layer, x) if isinstance(layer, nn.Conv2d) else layer(x)
        dense, *others = self.outputs
        return {dense: x} | {name: x.mean(dim=(2, 3)).softmax(dim=1) for name in others}


def export_program(model: VGG, config: ModelConfig) -> ExportedProgram:
    """Trace a net with symbols for batch, height and width."""
    least = STRIDE if config.is_trunk else config.crop
    example = torch.zeros(2, 3, least + STRIDE, least + 2 * STRIDE)
    sizes = {0: Dim("batch", min=1), 2: Dim("height", min=least), 3: Dim("width", min=least)}
    # Else a map of 1x1, which the smallest images have, counts as a case of its own. PyTorch's ONNX exporter does so.
    with symbolic_shapes.patch(backed_size_oblivious=True):  # type: ignore[attr-defined]
        program = torch.export.export(Exported(model, config).eval(), (example,), dynamic_shapes={IMAGES: sizes})
    for node in program.graph.nodes:
        node.meta.pop("stack_trace", None)  # the paths of this machine's files
    return program


def write_torch_export(path: Path, model: VGG, config: ModelConfig) -> None:
    """Write a net, complete or not at all, with ``verydeep.json`` among its extra files.

    Raises:
        VerydeepError: it cannot be written.
    """
    about = {**describe(config), "input": input_in_words(config), "outputs": outputs_in_words(config)}
    content = io.BytesIO()  # PyTorch's writer of files ends the process where a disk is full
    torch.export.save(export_program(model, config), content, extra_files={ABOUT: json.dumps(about)})
    with atomic_write(path) as temporary:
        temporary.write_bytes(content.getbuffer())
