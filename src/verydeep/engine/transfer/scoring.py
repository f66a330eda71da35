"""Score margins by the metric of a data set: mean class recall or mean average precision, in percent."""

from collections.abc import Sequence

import numpy as np

from verydeep.data.split import Split
from verydeep.data.transfer_sets import Metric
from verydeep.ops.arrays import Float32Array, Int8Array
from verydeep.ops.average_precision import (
    MeasuredPrecision,
    average_precision,
    average_precision_11_points,
    measure_precision,
)
from verydeep.ops.metrics import Share, mean_class_recall, predicted_classes
from verydeep.ops.targets import one_vs_rest

METRIC_TITLES: dict[Metric, str] = {
    "mean class recall": "Mean class recall, %",
    "AP, 11 points": "Mean AP (11 points), %",
    "AP, all points": "Mean AP, %",
}


def get_targets(split: Split) -> Int8Array | None:
    """Return (n, K) targets: 1 where a class is on an image, -1 where it is not, 0 where neither counts.

    None where the classes are unknown.
    """
    if split.labels is not None:
        return one_vs_rest(split.labels, len(split.class_names))
    return split.relevance


def score_classes(metric: Metric, margins: Float32Array, targets: Int8Array) -> list[float]:
    """Return each class's recall or average precision in percent; NaN for a class that is on no image.

    Args:
        metric: the data set's own.
        margins: (n, K)
        targets: (n, K)
    """
    if metric == "mean class recall":
        labels = targets.argmax(axis=1)
        predicted = predicted_classes(margins)
        counts = np.bincount(labels, minlength=targets.shape[1]).astype(np.float64)
        num_right = np.bincount(labels[predicted == labels], minlength=targets.shape[1])
        with np.errstate(invalid="ignore"):
            recalls: list[float] = (100 * num_right / counts).tolist()
        return recalls
    precision = average_precision_11_points if metric == "AP, 11 points" else average_precision
    return [100 * precision(margins[:, k], targets[:, k]) for k in range(targets.shape[1])]


def score(metric: Metric, margins: Float32Array, targets: Int8Array) -> float:
    """Return the mean of ``score_classes`` over the classes that are on an image."""
    return float(np.nanmean(score_classes(metric, margins, targets)))


def estimate_interval(metric: Metric, margins: Float32Array, test: Split) -> Share:
    """Return the score of a test set whose classes are known, with its 95% interval over test sets of this size."""
    targets = get_targets(test)
    assert targets is not None
    if metric == "mean class recall":
        labels = targets.argmax(axis=1)
        return mean_class_recall(predicted_classes(margins) == labels, labels)
    return estimate_class_intervals(metric, margins, test).mean


def estimate_class_intervals(metric: Metric, margins: Float32Array, test: Split) -> MeasuredPrecision:
    """Return the average precision of each class, and its mean, with 95% intervals over test sets of this size."""
    targets = get_targets(test)
    assert targets is not None
    return measure_precision(margins, targets, at_11_points=metric == "AP, 11 points", photographs=test.photographs)


def mean_and_deviation(scores: Sequence[float]) -> tuple[float, float | None]:
    """Return the mean over draws and the sample standard deviation, which is None for a single draw."""
    return float(np.mean(scores)), float(np.std(scores, ddof=1)) if len(scores) > 1 else None
