"""Loss and error of a training: of classes (section 3.1) or of boxes (appendix A.1)."""

from functools import partial

import numpy as np
from torch import Tensor
from torch.nn import functional as F

from verydeep.configs.protocols import Regression
from verydeep.data.loading.training_images import TrainBatch
from verydeep.data.split import Split
from verydeep.engine.inference import RescaledBatch, ViewAtScale, predict_view
from verydeep.engine.localization.candidate_boxes import BoxNet, predict_in_parts, select_class_outputs
from verydeep.engine.runtime import Runtime
from verydeep.models.vgg import VGG
from verydeep.ops.arrays import BoolArray, Float64Array
from verydeep.ops.localization_errors import RIGHT_AT, TrueBoxes, ground_truth_overlaps
from verydeep.ops.metrics import ranks


def row_losses(outputs: Tensor, batch: TrainBatch, regression: Regression | None) -> Tensor:
    """Return the loss of each row (N,) of outputs: scores (N, K), or boxes (N, 4) or (N, 4 K)."""
    if regression is None:
        return F.cross_entropy(outputs, batch.targets, reduction="none")
    assert batch.boxes is not None
    return box_losses(outputs, batch.boxes, batch.targets, regression)


def box_losses(outputs: Tensor, boxes: Tensor, labels: Tensor, regression: Regression) -> Tensor:
    """Return half the squared Euclidean distance (N,), which is Caffe's EuclideanLoss before its mean over the batch.

    Args:
        outputs: (N, 4); with a box for each class (N, 4 K), where the numbers of the true class alone count.
        boxes: (N, 4) center x, center y, width, height in units of the crop.
        labels: (N,) true classes.
        regression: one box for each class, or one for all.
    """
    predicted = select_class_outputs(outputs, labels[:, None], regression)[:, 0]
    return 0.5 * (predicted - boxes).square().sum(dim=1)


def find_errors(
    model: VGG, batch: RescaledBatch, scale: int, split: Split, regression: Regression | None, runtime: Runtime
) -> BoolArray:
    """Return which images (N,) of a batch are predicted wrong from their central crops.

    A class is wrong where another has the largest posterior; a box, where its IoU with every instance is less than 0.5
    (the first test protocol of appendix A.1, for the true class).

    Raises:
        FloatingPointError: the net computes values that are not finite.
    """
    assert split.labels is not None
    if not len(batch.indices):
        return np.zeros(0, np.bool_)
    if regression is not None:
        return center_overlaps(model, batch, scale, split, regression, runtime) < RIGHT_AT
    with runtime.autocast():
        posteriors = batch.compute(model, scale, partial(predict_view, model, view="center"))
    return ranks(posteriors, split.labels[batch.indices]) > 0


def center_overlaps(
    model: VGG, batch: RescaledBatch, scale: int, split: Split, regression: Regression, runtime: Runtime
) -> Float64Array:
    """Return the largest IoU (N,) of an instance with the box of the true class that the central crop gives."""
    assert split.labels is not None and split.boxes is not None
    labels = split.labels[batch.indices]
    instances = TrueBoxes.from_images(labels, [split.boxes[index] for index in batch.indices])
    net, view = BoxNet(model, regression, classifier=None), ViewAtScale("center", scale)
    sizes = [split.image_size(index) for index in batch.indices.tolist()]
    predict = partial(predict_in_parts, net, batch.images[scale], view, sizes, labels[:, None], runtime)
    images = batch.limit.run(predict, len(labels))
    return ground_truth_overlaps(np.stack([image.xyxy[0, 0] for image in images]), instances)
