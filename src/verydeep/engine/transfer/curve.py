"""The score with fewer training photographs of each class: whether ten more of them would help."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from verydeep.data.draws import few_of_each_class
from verydeep.data.transfer_sets import TransferSet
from verydeep.engine.descriptors.cache import DescribedSamples
from verydeep.engine.plotting import save_figure, subplots
from verydeep.engine.progress import run_with_progress
from verydeep.engine.transfer.partition import PartitionResult
from verydeep.engine.transfer.scoring import get_targets, mean_and_deviation, score
from verydeep.engine.transfer.svm_training import fit_svms

COUNTS = (1, 2, 5, 10, 20, 30, 60, 100, 200, 500)
"""Numbers of training photographs of each class."""


@dataclass(frozen=True)
class CurvePoint:
    """Scores with one number of training photographs."""

    num_train: int
    """Photographs of each class; a class that has fewer gives all it has."""
    scores: tuple[float, ...]
    """Score in percent of each draw."""

    def __str__(self) -> str:
        mean, deviation = mean_and_deviation(self.scores)
        return f"{self.num_train}: {mean:.1f}" + ("" if deviation is None else f" ± {deviation:.1f}")


def measure_learning_curve(
    transfer_set: TransferSet, samples: DescribedSamples, results: Sequence[PartitionResult], *, seed: int
) -> tuple[CurvePoint, ...]:
    """Measure the score on all test images with rising numbers of training images of each class, ending with all.

    Fewer images are a part of more: the first of each class in the order in which they were drawn. C is the one that
    was chosen with all of them, as a single photograph of a class cannot be held out.

    Args:
        transfer_set: a set whose training images have one label each, and whose test images have known classes.
        samples: descriptors of all images.
        results: the result of each draw.
        seed: of the first draw.
    """
    labels = samples.find(transfer_set.partitions[0].train)[0].labels
    assert labels is not None
    largest = int(np.bincount(labels).max())
    counts = [count for count in COUNTS if count < largest]
    scores: dict[int, list[float]] = {count: [] for count in counts}

    def train_on_fewer() -> Generator[float, None, None]:
        yield 0
        for number, (partition, result) in enumerate(zip(transfer_set.partitions, results, strict=True)):
            assert partition.test is not None
            train, train_values = samples.select(partition.train)
            test, test_values = samples.select(partition.test)
            train_targets, test_targets = get_targets(train), get_targets(test)
            assert train_targets is not None and test_targets is not None
            for count in counts:
                few = few_of_each_class(train, count, seed=seed + number)
                svms = yield from fit_svms(train_values[few], train_targets[few], result.svms.C, train.class_names)
                scores[count].append(score(transfer_set.metric, svms.compute_margins(test_values), test_targets))

    total = len(transfer_set.class_names) * len(counts) * len(results)
    run_with_progress(train_on_fewer(), "SVMs on fewer photographs", total, images=0)
    scores[largest] = [result.score for result in results if result.score is not None]
    return tuple(CurvePoint(count, tuple(scores[count])) for count in scores)


def draw_learning_curve(points: Sequence[CurvePoint], metric_title: str, path: Path) -> None:
    """Draw the score over the number of photographs, with the deviation over draws."""
    figure, axes = subplots(figsize=(6, 4), layout="constrained")
    counts, statistics = [point.num_train for point in points], [mean_and_deviation(point.scores) for point in points]
    means, deviations = [mean for mean, _ in statistics], [deviation or 0 for _, deviation in statistics]
    axes.errorbar(counts, means, yerr=deviations, fmt="o-", capsize=3)
    axes.set_xscale("log")
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.minorticks_off()
    axes.set(xlabel="training photographs of each class (or all it has)", ylabel=metric_title, ylim=(0, 100))
    axes.grid(alpha=0.3)
    save_figure(figure, path)
