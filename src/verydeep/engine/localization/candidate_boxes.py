"""Candidate boxes: the boxes that a localization net predicts at its positions, for each candidate class.

The central crop is one position (the first test protocol of appendix A.1). Applied densely, to the whole image at one
or several test scales, a net has as many positions as its map (the second protocol). The posterior of a box's class at
the box's position rates it; it comes from the source net of the localization net, applied to the same pixels.

The candidate boxes of all positions, test scales and nets are pooled for each image and class, and then merged.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from verydeep.configs.protocols import Regression
from verydeep.configs.scales import in_pixels
from verydeep.engine.inference import ViewAtScale, finite_numbers
from verydeep.engine.runtime import Runtime
from verydeep.models.cpu_engine import TestedNet
from verydeep.models.pieces import longer_axis, map_pieces
from verydeep.ops.arrays import Float32Array, Int64Array
from verydeep.ops.boxes import center_window, clip_boxes, decode_boxes, decode_dense_boxes
from verydeep.ops.images import center_crop


@dataclass(frozen=True)
class CandidateBoxes:
    """The candidate boxes of one image for G classes, at P positions."""

    xyxy: Float32Array
    """(G, P, 4) inclusive, in pixels of the file."""
    scores: Float32Array
    """(G, P) posterior of the class at the position."""


@dataclass(frozen=True)
class BoxNet:
    """A localization net, with the classification net of the same S that rates its boxes."""

    model: TestedNet
    regression: Regression
    classifier: TestedNet | None
    """None: each image has one box and one class, so nothing has to be chosen, and the score is 1."""


def select_class_outputs(outputs: Tensor, labels: Tensor, regression: Regression) -> Tensor:
    """Select the four numbers of each of G classes of an image: (N, G, 4, ...).

    Args:
        outputs: (N, 4, ...) or (N, 4 K, ...) of a localization net; with per-class regression, channels 4 k to 4 k + 3
            belong to class k.
        labels: (N, G) classes.
        regression: single-class for (N, 4, ...), per-class for (N, 4 K, ...).
    """
    if regression == "single-class":
        return outputs[:, None].expand(-1, labels.shape[1], *outputs.shape[1:])
    by_class = outputs.reshape(len(outputs), -1, 4, *outputs.shape[2:])  # (N, K, 4, ...)
    return by_class[torch.arange(len(outputs), device=outputs.device)[:, None], labels]


@torch.inference_mode()
def predict_candidate_boxes(
    net: BoxNet,
    images: Tensor,
    view: ViewAtScale,
    sizes: Sequence[tuple[int, int]],
    labels: Int64Array,
    runtime: Runtime,
) -> Iterator[CandidateBoxes]:
    """Predict the boxes of images in one view, at all positions; yield those of one image after another.

    Args:
        net: a localization net.
        images: (n, 3, H, W) rescaled, RGB 0-255.
        view: dense for all positions, or center for the central crop.
        sizes: width and height of each file.
        labels: (n, G) classes of the boxes.
        runtime: of this process.

    Raises:
        FloatingPointError: a net computes values that are not finite.
    """
    crop = net.model.crop
    images = center_crop(images, crop) if view.view == "center" else images
    device_labels, axis = torch.from_numpy(labels).to(images.device), longer_axis(images)
    with runtime.autocast():
        outputs = [select_class_outputs(part, device_labels, net.regression) for part in map_pieces(net.model, images)]
        class_outputs = finite_numbers(torch.cat(outputs, dim=axis + 1))  # (n, G, 4, h, w)
        scores = np.ones((*labels.shape, class_outputs[0, 0, 0].size), np.float32)  # (n, G, h w)
        if net.classifier is not None:
            rows = torch.arange(len(images), device=images.device)[:, None]
            posteriors = (part.float().softmax(dim=1) for part in map_pieces(net.classifier, images))
            scores = finite_numbers(torch.cat([part[rows, device_labels] for part in posteriors], dim=axis).flatten(2))
    short = in_pixels(view.scale, crop)
    for cxcywh, size, image_scores in zip(class_outputs, sizes, scores, strict=True):  # (G, 4, h, w)
        if view.view == "center":
            xyxy = clip_boxes(decode_boxes(cxcywh[..., 0, 0], center_window(size, short, crop)), *size)
        else:
            xyxy = decode_dense_boxes(cxcywh, size, short, crop)
        yield CandidateBoxes(xyxy.reshape(*image_scores.shape, 4).astype(np.float32), image_scores)


def predict_in_parts(
    net: BoxNet,
    images: Tensor,
    view: ViewAtScale,
    sizes: Sequence[tuple[int, int]],
    labels: Int64Array,
    runtime: Runtime,
    at_once: int,
) -> list[CandidateBoxes]:
    """Return what ``predict_candidate_boxes`` yields, of ``at_once`` images after the others."""
    parts = [slice(first, first + at_once) for first in range(0, len(images), at_once)]
    return [
        boxes
        for part in parts
        for boxes in predict_candidate_boxes(net, images[part], view, sizes[part], labels[part], runtime)
    ]


def pool_boxes(candidates: Sequence[CandidateBoxes]) -> CandidateBoxes:
    """Concatenate the candidate boxes of one image from several test scales and nets, in this order."""
    return CandidateBoxes(
        np.concatenate([boxes.xyxy for boxes in candidates], axis=1),
        np.concatenate([boxes.scores for boxes in candidates], axis=1),
    )
