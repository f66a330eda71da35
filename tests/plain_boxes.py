"""Boxes of one photograph and their IoU, computed position by position, to compare the engine with."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tests.ops.test_merging import Box, merge_plainly
from verydeep.models.weights.model_folder import load_model
from verydeep.ops.arrays import Float64Array

Rated = tuple[Box, float]
"""A box and the posterior that rates it."""


@dataclass(frozen=True)
class Photograph:
    """A photograph at one test scale."""

    pixels: Tensor
    """(3, H, W)"""
    size: tuple[int, int]
    """Width and height of the file."""

    @classmethod
    def open(cls, path: Path, scale: int, crop: int) -> "Photograph":
        """Rescale a photograph to the short side Q, in the units of a crop of 224."""
        with Image.open(path) as image:
            short = round(scale * crop / 224)
            sides = [short if side == min(image.size) else round(side * short / min(image.size)) for side in image.size]
            pixels = np.array(image.convert("RGB").resize((sides[0], sides[1]), Image.Resampling.BILINEAR))
            return cls(torch.from_numpy(pixels).permute(2, 0, 1).float(), image.size)

    def in_file(self, left: int, top: int, crop: int, numbers: Sequence[float]) -> Box:
        """Return the box of four outputs for the crop that begins at (left, top), cut off at the file's borders."""
        (width, height), (new_height, new_width) = self.size, self.pixels.shape[1:]
        x, y, w, h = (crop * number for number in numbers)
        x1, x2 = ((left + x + side * w / 2) * width / new_width for side in (-1, 1))
        y1, y2 = ((top + y + side * h / 2) * height / new_height for side in (-1, 1))
        last_x, last_y = width - 1, height - 1
        return (
            min(max(x1, 0), last_x),
            min(max(y1, 0), last_y),
            min(max(x2 - 1, 0), last_x),
            min(max(y2 - 1, 0), last_y),
        )


@cache
@torch.inference_mode()
def predict_positions(
    run: Path, path: Path, scale: int, view: str
) -> tuple[Photograph, int, list[tuple[int, int, Float64Array, Float64Array]]]:
    """Return a photograph, the crop, and for each position its first pixel, its outputs and all posteriors."""
    model, classifier = (load_model(folder)[0] for folder in (run / "model", run / "model" / "classifier"))
    photograph, crop = Photograph.open(path, scale, model.crop), model.crop
    height, width = photograph.pixels.shape[1:]
    top, left = ((height - crop) // 2, (width - crop) // 2) if view == "center" else (0, 0)
    images = photograph.pixels[None]
    if view == "center":
        images = images[:, :, top : top + crop, left : left + crop]
    outputs, posteriors = model(images)[0].double().numpy(), classifier(images)[0].double().softmax(dim=0).numpy()
    places = np.ndindex(outputs.shape[1:])
    return photograph, crop, [(left + 32 * j, top + 32 * i, outputs[:, i, j], posteriors[:, i, j]) for i, j in places]


def rated_boxes(run: Path, path: Path, scale: int, view: str, label: int) -> list[Rated]:
    """Return the boxes of one class at each position, row by row, with their posteriors."""
    photograph, crop, positions = predict_positions(run, path, scale, view)
    boxes = []
    for left, top, outputs, posteriors in positions:
        numbers = outputs if len(outputs) == 4 else outputs[4 * label : 4 * label + 4]
        boxes.append((photograph.in_file(left, top, crop, numbers.tolist()), float(posteriors[label])))
    return boxes


def best_merged(boxes: Sequence[Rated], threshold: float) -> Rated:
    """Return the merged box of the highest score, the first of equal ones."""
    merged, scores, _ = merge_plainly([box for box, _ in boxes], [score for _, score in boxes], threshold)
    best = max(range(len(merged)), key=lambda i: (scores[i], -i))
    return merged[best], scores[best]


def overlap(a: Sequence[float], b: Sequence[float]) -> float:
    """Return the intersection over union of inclusive boxes."""
    common = max(min(a[2], b[2]) - max(a[0], b[0]) + 1, 0) * max(min(a[3], b[3]) - max(a[1], b[1]) + 1, 0)
    areas = [(box[2] - box[0] + 1) * (box[3] - box[1] + 1) for box in (a, b)]
    return common / (sum(areas) - common)


def best_overlap(box: Sequence[float], instances: Iterable[Sequence[float]]) -> float:
    """Return the largest IoU with any of the instances."""
    return max(overlap(box, instance) for instance in instances)
