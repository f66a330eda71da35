"""Candidate boxes: each position of a localization net gives one of each class that is asked for, rated by the class.

The central crop is one position (the first test protocol of appendix A.1); applied densely, to the whole image at one
scale or several, a net has as many as its map (the second). What rates a box is the posterior of its class at its own
position, from the classification net that the localization net started from, applied to the same pixels. Candidates of
all positions, scales and nets are pooled for each image and class and merged greedily; the merged box of the highest
score is the answer.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from verydeep.configs.protocols import Regression
from verydeep.configs.scales import in_pixels
from verydeep.data.split import Split
from verydeep.engine.inference import ViewAtScale
from verydeep.engine.runtime import Runtime
from verydeep.models.vgg import VGG
from verydeep.ops.arrays import Float32Array, Float64Array, Int64Array
from verydeep.ops.boxes import center_window, clip, decode, decode_dense
from verydeep.ops.images import center_crop
from verydeep.ops.merging import BoxSets, merge

AT_ONCE = 2048
"""Images whose boxes are merged together."""


@dataclass(frozen=True)
class Candidates:
    """The boxes of one image for G classes, nothing merged."""

    boxes: Float32Array
    """(G, P, 4) inclusive, in the file's pixels, at P positions."""
    scores: Float32Array
    """(G, P) the posterior of the class at each box's position."""


@dataclass(frozen=True)
class BoxNet:
    """A localization net and the classification net of the same S, which rates its boxes."""

    model: VGG
    regression: Regression
    classifier: VGG | None
    """None where each image gets one box of one class, so that there is nothing to choose: its rating is 1."""


def boxes_of_class(outputs: Tensor, labels: Tensor, regression: Regression) -> Tensor:
    """(N, G, 4, ...): the four numbers for each of G classes an image, from outputs (N, 4, ...) or (N, 4 K, ...).

    Args:
        outputs: of a localization net; of a box for each class, class k's numbers are rows 4 k to 4 k + 3.
        labels: (N, G)
        regression: which of the two.
    """
    if regression == "single-class":
        return outputs[:, None].expand(-1, labels.shape[1], *outputs.shape[1:])
    by_class = outputs.reshape(len(outputs), -1, 4, *outputs.shape[2:])  # (N, K, 4, ...)
    return by_class[torch.arange(len(outputs), device=outputs.device)[:, None], labels]


@torch.inference_mode()
def candidates(
    net: BoxNet,
    images: Tensor,
    view: ViewAtScale,
    sizes: Sequence[tuple[int, int]],
    labels: Int64Array,
    runtime: Runtime,
) -> Iterator[Candidates]:
    """The boxes that a net gives at all positions of one view of images, image by image.

    Args:
        net: whose.
        images: (n, 3, H, W) rescaled, RGB 0-255.
        view: dense, all positions, or center, the central crop's alone; Q in the paper's units.
        sizes: width and height of each file.
        labels: (n, G) the classes asked for.
        runtime: of this process.
    """
    crop = net.model.crop
    images = center_crop(images, crop) if view.view == "center" else images
    with runtime.autocast():
        outputs = net.model(images)
        scores = None if net.classifier is None else net.classifier(images)
    asked = torch.from_numpy(labels).to(images.device)
    if scores is None:
        rated = np.ones((*labels.shape, outputs[0, 0].numel()), np.float32)
    else:
        rows = torch.arange(len(images), device=images.device)[:, None]
        rated = scores.float().softmax(dim=1)[rows, asked].flatten(2).cpu().numpy()  # (n, G, h w)
    numbers = boxes_of_class(outputs.float(), asked, net.regression).cpu().numpy()  # (n, G, 4, h, w)
    short = in_pixels(view.scale, crop)
    for each, size, score in zip(numbers, sizes, rated, strict=True):
        if view.view == "center":
            boxes = clip(decode(each[..., 0, 0], center_window(size, short, crop)), *size)
        else:
            boxes = decode_dense(each, size, short, crop)
        yield Candidates(boxes.reshape(*score.shape, 4).astype(np.float32), score)


def file_sizes(split: Split, indices: Sequence[int]) -> list[tuple[int, int]]:
    """Width and height of images as their boxes count them."""
    return [split.image_size(index) for index in indices]


def pooled(parts: Sequence[Candidates]) -> Candidates:
    """The boxes of one image at several scales, by several nets, in this order."""
    return Candidates(
        np.concatenate([each.boxes for each in parts], axis=1), np.concatenate([each.scores for each in parts], axis=1)
    )


@dataclass(frozen=True, eq=False)
class Merged:
    """The best merged box of each image and class."""

    boxes: Float64Array
    """(n, G, 4) inclusive, in the files' pixels."""
    scores: Float64Array
    """(n, G) the sum of its members' posteriors."""


def merge_images(images: Sequence[Candidates], thresholds: Sequence[float]) -> list[Merged]:
    """The merged box of the highest score of each image and class, for each of rising thresholds.

    Args:
        images: n of them, each with boxes for G classes.
        thresholds: of the distance up to which boxes are merged.
    """
    assert list(thresholds) == sorted(thresholds)
    found: list[list[tuple[Float64Array, Float64Array]]] = [[] for _ in thresholds]
    for first in range(0, len(images), AT_ONCE):
        some = images[first : first + AT_ONCE]
        counts = [each.scores.shape[1] for each in some for _ in each.scores]
        sets = BoxSets.of(
            np.concatenate([each.boxes.reshape(-1, 4) for each in some]),
            np.concatenate([each.scores.reshape(-1) for each in some]),
            counts,
        )
        for parts, threshold in zip(found, thresholds, strict=True):
            sets = merge(sets, threshold)  # what a smaller threshold merged stays so
            boxes, scores = sets.best()
            parts.append((boxes.reshape(len(some), -1, 4), scores.reshape(len(some), -1)))
    return [Merged(*(np.concatenate(arrays) for arrays in zip(*parts, strict=True))) for parts in found]
