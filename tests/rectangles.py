"""A small set of photographs of one bright rectangle each, with its box, and a net to start from."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tests.he_weights import draw_he_weights
from verydeep.models.weights.model_folder import ModelConfig, save_config, save_weights
from verydeep.ops.arrays import UInt8Array

CLASSES = ("apple", "bee", "cloud")
SHAPES = ((45, 61), (70, 50), (53, 53), (41, 82))
"""(height, width) of the photographs, in turn; 32 divides none."""


def rectangle(
    height: int, width: int, label: int, rng: np.random.Generator
) -> tuple[UInt8Array, tuple[int, int, int, int]]:
    """Return pixels (height, width, 3) and a box: red, green or blue, half as long as each side, in a corner.

    So no box is near the mean box, and few boxes would stay right if x and y were exchanged.
    """
    lengths = [int(rng.integers(9 * side // 20, 11 * side // 20)) for side in (width, height)]
    gaps = [int(rng.integers(0, side // 12)) for side in (width, height)]
    x, y = (
        gap if rng.random() < 0.5 else side - length - gap
        for side, length, gap in zip((width, height), lengths, gaps, strict=True)
    )
    pixels = rng.integers(0, 60, (height, width, 3))
    pixels[y : y + lengths[1], x : x + lengths[0], label] += 180
    return pixels.astype(np.uint8), (x, y, x + lengths[0] - 1, y + lengths[1] - 1)


def make_rectangles(root: Path, counts: dict[str, int]) -> None:
    """Write class folders for each split, and boxes.csv."""
    rng = np.random.default_rng(7)
    lines: list[tuple[object, ...]] = [("path", "label", "xmin", "ymin", "xmax", "ymax")]
    for part, count in counts.items():
        for label, name in enumerate(CLASSES):
            (root / part / name).mkdir(parents=True)
            for i in range(count):
                pixels, box = rectangle(*SHAPES[i % len(SHAPES)], label, rng)
                path = f"{part}/{name}/{i:03d}.png"
                Image.fromarray(pixels).save(root / path)
                lines.append((path, name, *box))
    with (root / "boxes.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(lines)


@torch.no_grad()
def write_classifier(folder: Path, classes: Sequence[str] = CLASSES, scale: str | None = "256") -> Path:
    """Write the model folder of a small net A with these classes, and with random weights that a few steps can change.

    Each layer's outputs have a deviation of 1; otherwise so small a net learns nothing at first, or overflows.
    """
    rng, names, mean = np.random.default_rng(8), tuple(classes), (50.0, 47.0, 49.0)
    config = ModelConfig("A", names, names, crop=32, width=1 / 16, fc_width=16, mean_rgb=mean, train_scale=scale)
    net = config.build().eval()
    draw_he_weights(net, seed=1)
    images = np.stack([rectangle(48, 48, i % 3, rng)[0][:32, :32] for i in range(12)])
    for layer in net.weight_layers().values():
        outputs: list[Tensor] = []
        handle = layer.register_forward_hook(lambda _module, _inputs, output, outputs=outputs: outputs.append(output))
        net(torch.from_numpy(images).permute(0, 3, 1, 2).float())
        handle.remove()
        layer.weight /= outputs[0].std()
    save_config(folder, config)
    save_weights(folder, net.state_dict())
    return folder
