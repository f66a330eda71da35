"""What a net learns, classes (section 3.1) or boxes (appendix A.1), and what it gets wrong on a central crop."""

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from verydeep.configs.protocols import Regression
from verydeep.data.split import Split
from verydeep.data.training_images import TrainBatch
from verydeep.engine.inference import RescaledBatch, ViewAtScale, center_posterior
from verydeep.engine.localization.candidates import BoxNet, boxes_of_class, candidates, file_sizes
from verydeep.engine.runtime import Runtime
from verydeep.models.vgg import VGG
from verydeep.ops.arrays import BoolArray, Float64Array
from verydeep.ops.localization_errors import RIGHT_AT, Instances, ground_truth_overlaps
from verydeep.ops.metrics import ranks


def row_losses(outputs: Tensor, part: TrainBatch, regression: Regression | None) -> Tensor:
    """(N,): the loss of each row of outputs (N, K), or of boxes (N, 4) or (N, 4 K)."""
    if regression is None:
        return F.cross_entropy(outputs, part.targets, reduction="none")
    assert part.boxes is not None
    return box_losses(outputs, part.boxes, part.targets, regression)


def box_losses(outputs: Tensor, boxes: Tensor, labels: Tensor, regression: Regression) -> Tensor:
    """(N,): half the squared Euclidean distance, as Caffe's EuclideanLoss has it before its mean over the batch.

    Args:
        outputs: (N, 4), or of a box for each class (N, 4 K), of which the true class's four numbers alone count.
        boxes: (N, 4) center x, center y, width, height in units of the crop.
        labels: (N,) the true classes.
        regression: which of the two.
    """
    chosen = boxes_of_class(outputs, labels[:, None], regression)[:, 0]
    return 0.5 * (chosen - boxes).square().sum(dim=1)


def wrong_answers(
    model: VGG, batch: RescaledBatch, scale: int, split: Split, regression: Regression | None, runtime: Runtime
) -> BoolArray:
    """(N,) whether the central crops of a batch are classified wrongly, or the box of the true class misses.

    A box misses where its IoU with every instance is less than 0.5 (the first test protocol of appendix A.1).
    """
    assert split.labels is not None
    if not len(batch.indices):
        return np.zeros(0, np.bool_)
    if regression is not None:
        return center_overlaps(model, batch, scale, split, regression, runtime) < RIGHT_AT
    with runtime.autocast():
        posteriors = center_posterior(model, batch.images[scale])
    return ranks(posteriors.float().cpu().numpy(), split.labels[batch.indices]) > 0


def center_overlaps(
    model: VGG, batch: RescaledBatch, scale: int, split: Split, regression: Regression, runtime: Runtime
) -> Float64Array:
    """(N,) the largest IoU of an instance with the box that the central crop gives for the true class."""
    assert split.labels is not None and split.boxes is not None
    labels = split.labels[batch.indices]
    truth = Instances.of(labels, [split.boxes[index] for index in batch.indices])
    net, view = BoxNet(model, regression, classifier=None), ViewAtScale("center", scale)
    sizes = file_sizes(split, batch.indices.tolist())
    found = candidates(net, batch.images[scale], view, sizes, labels[:, None], runtime)
    return ground_truth_overlaps(np.stack([each.boxes[0, 0] for each in found]), truth)
