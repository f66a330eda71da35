"""A thin net D whose descriptors differ from image to image, and a slow twin of them that cuts every window."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.he_weights import draw_he_weights
from tests.thin_nets import save_model
from verydeep.configs.scales import in_pixels
from verydeep.data.split import Split
from verydeep.engine.nets.net import Net
from verydeep.engine.runtime import Runtime
from verydeep.models.vgg import VGG
from verydeep.models.weights.model_folder import ModelConfig
from verydeep.ops.arrays import Float32Array
from verydeep.ops.images import rescaled_size

CPU = Runtime(torch.device("cpu"), bf16=False)
CONFIG = ModelConfig("D", ("a", "b"), ("a", "b"), crop=64, width=0.1, fc_width=12, mean_rgb=(100.0, 120.0, 140.0))


def make_net(run: Path) -> Net:
    model = CONFIG.build()
    draw_he_weights(model, 2)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.uniform_(-3, 3, generator=torch.Generator().manual_seed(len(name)))
    save_model(model, CONFIG, run)
    return Net.open(run)


def unit(values: Float32Array) -> Float32Array:
    """Return vectors (D,) or rows (n, D) of length one."""
    return np.asarray(values / np.linalg.norm(values, axis=-1, keepdims=True), np.float32)


@torch.inference_mode()
def describe_by_windows(
    model: VGG, split: Split, index: int, scale: int, box: tuple[int, int, int, int] | None = None
) -> dict[str, Float32Array]:
    """Return layer -> (D,); fc6 sees one 2x2 window of pool5 after another, as rows of numbers."""
    image = split.open_image(index)
    image = image if box is None else image.crop((box[0], box[1], box[2] + 1, box[3] + 1))
    size = rescaled_size(*image.size, in_pixels(scale, model.crop))
    pixels = torch.from_numpy(np.array(image.resize(size, 2))).permute(2, 0, 1).float()
    means: dict[str, Tensor] = {}
    for view in (pixels, pixels.flip(2)):
        x = (view - torch.tensor(CONFIG.mean_rgb)[:, None, None])[None]
        for name, layer in model.named_children():
            if name.startswith("fc"):
                break
            x = layer(x)
            if name in ("conv5_3", "relu5_3", "pool5"):
                means[name] = means.get(name, 0) + x[0].mean(dim=(1, 2)) / 2
        windows: dict[str, list[Tensor]] = {"fc7": [], "relu7": []}
        for top in range(x.shape[2] - 1):
            for left in range(x.shape[3] - 1):
                window = x[0, :, top : top + 2, left : left + 2].flatten()
                hidden = F.relu(F.linear(window, model.fc6.weight.flatten(1), model.fc6.bias))
                output = F.linear(hidden, model.fc7.weight.flatten(1), model.fc7.bias)
                windows["fc7"].append(output)
                windows["relu7"].append(F.relu(output))
        for name, values in windows.items():
            means[name] = means.get(name, 0) + torch.stack(values).mean(dim=0) / 2
    return {name: values.numpy() for name, values in means.items()}
