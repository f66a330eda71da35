"""Train linear SVMs on one part of a data set and test them on another (appendix B)."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from verydeep.data.split import Split
from verydeep.data.transfer_sets import Metric, Partition
from verydeep.engine.descriptors.cache import DescribedSamples
from verydeep.engine.progress import progress_bar, run_with_progress
from verydeep.engine.transfer.linear_svms import LinearSVMs
from verydeep.engine.transfer.scoring import (
    estimate_class_intervals,
    estimate_interval,
    get_targets,
    score,
    score_classes,
)
from verydeep.engine.transfer.svm_training import Trial, check_targets, find_single, hold_out_fifth, train_svms
from verydeep.ops.arrays import Float32Array, Int64Array
from verydeep.ops.metrics import Share, confusion_matrix


@dataclass(frozen=True, eq=False)
class PartitionResult:
    """Result of training and testing on one partition."""

    svms: LinearSVMs
    trials: tuple[Trial, ...]
    """Scores of the values of C on the images held out; empty where a single value was given, or nothing held out."""
    single_classes: tuple[str, ...]
    """Classes with a single training photograph, or group, which take no part in the choice of C."""
    num_train: int
    test: Split | None
    """The test samples that could be decoded; None where nothing is tested."""
    margins: Float32Array | None
    """(n, K) of the test samples."""
    class_scores: list[float]
    """Recall or average precision of each class in percent; empty where the classes of the test samples are unknown."""
    interval: Share | None = None
    """Score with its interval over test sets of this size, of a single partition; training images do not vary in it."""

    class_intervals: tuple[Share | None, ...] = ()
    """Average precision of each class with its interval, of a single partition; None for a class on no test image."""
    class_images: tuple[int, ...] = ()
    """Number of training samples of each class."""

    @property
    def score(self) -> float | None:
        """The data set's score in percent: the mean over the classes that are on a test sample."""
        return float(np.nanmean(self.class_scores)) if self.class_scores else None

    @property
    def confusion(self) -> Int64Array | None:
        """(K, K) counts over the test images; None where images have no single known class."""
        if self.test is None or self.test.labels is None or self.margins is None:
            return None
        return confusion_matrix(self.margins, self.test.labels)


def transfer_partition(
    partition: Partition,
    samples: DescribedSamples,
    metric: Metric,
    *,
    costs: Sequence[float],
    seed: int,
    balanced: bool = False,
) -> PartitionResult:
    """Train on the training samples of a partition, choose C on a fifth of them, and test on its test samples.

    Args:
        partition: training and test samples.
        samples: their descriptors.
        metric: the data set's own.
        costs: values of C to choose from; a single one is used as it is.
        seed: of the random choice of the fifth.
        balanced: whether the images of a class weigh as much as all others.

    Raises:
        DataError: no sample could be decoded, or a class cannot be learned.
        ResourceError: scikit-learn is not installed.
    """
    train, train_values = samples.select(partition.train)
    values = train_values.astype(np.float64)  # as the SVMs take them, so that they make no copy
    del train_values
    targets = get_targets(train)
    assert targets is not None
    num_trainings = len(train.class_names) * (len(costs) + (len(costs) > 1))
    single_classes = tuple(train.class_names[label] for label in find_single(targets, train.units))
    steps = train_svms(
        values,
        targets,
        train.class_names,
        lambda margins, held_out_targets: score(metric, margins, held_out_targets),
        costs=costs,
        seed=seed,
        photographs=train.units,
        balanced=balanced,
    )
    svms, trials = run_with_progress(steps, "Linear SVMs", num_trainings, images=0)
    class_images = tuple((targets > 0).sum(axis=0).tolist())
    untested = PartitionResult(svms, trials, single_classes, len(train), None, None, [], class_images=class_images)
    if partition.test is None:
        return untested
    test, test_values = samples.select(partition.test)
    margins, test_targets = svms.compute_margins(test_values), get_targets(test)
    is_unknown = test_targets is None or not (test_targets > 0).any()
    class_scores = [] if test_targets is None or is_unknown else score_classes(metric, margins, test_targets)
    return replace(untested, test=test, margins=margins, class_scores=class_scores)


def check_training(train: Split, costs: Sequence[float], seed: int) -> None:
    """Refuse training samples that do not suffice, before any is described.

    Raises:
        DataError: a class is on no image or on all, or its images cannot be divided to choose C.
    """
    targets = get_targets(train)
    assert targets is not None
    check_targets(targets, train.class_names)
    if len(costs) > 1:
        hold_out_fifth(targets, train.class_names, seed, train.units)


def add_interval(result: PartitionResult, metric: Metric) -> PartitionResult:
    """Return the result with the interval of its score, if it has a score."""
    if result.test is None or result.margins is None or result.score is None:
        return result
    with progress_bar() as progress:  # a bootstrap over thousands of images takes a minute
        progress.add_task("Interval of the score", total=None, note="")
        if metric == "mean class recall":
            return replace(result, interval=estimate_interval(metric, result.margins, result.test))
        measured = estimate_class_intervals(metric, result.margins, result.test)
        return replace(result, interval=measured.mean, class_intervals=measured.classes)
