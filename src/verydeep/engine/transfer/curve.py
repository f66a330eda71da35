"""The score with fewer training photographs of each class: whether ten more of them would help."""

import math
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from verydeep.data.sets.draws import few_of_each_class
from verydeep.data.transfer_sets import TransferSet
from verydeep.engine.descriptors.cache import DescribedSamples
from verydeep.engine.plotting import save_figure, subplots
from verydeep.engine.progress import run_with_progress
from verydeep.engine.transfer.partition import PartitionResult
from verydeep.engine.transfer.scoring import estimate_interval, get_targets, mean_and_deviation, score
from verydeep.engine.transfer.svm_training import fit_svms
from verydeep.ops.metrics import Share

COUNTS = (1, 2, 5, 10, 20, 30, 60, 100, 200, 500)
"""Numbers of training photographs of each class."""

LABEL_WIDTH = 0.07
"""The room of a number of three digits, as a share of the axis."""


@dataclass(frozen=True)
class CurvePoint:
    """Scores with one number of training photographs."""

    num_train: int
    """Photographs of each class; a class that has fewer gives all it has."""
    scores: tuple[float, ...]
    """Score in percent of each draw."""
    interval: Share | None = None
    """Score of a single draw with its 95% interval over test images."""

    def __str__(self) -> str:
        mean, deviation = mean_and_deviation(self.scores)
        text = f"{mean:.1f}" if deviation is None else f"{mean:.1f} ± {deviation:.1f}"
        return f"{text if self.interval is None else self.interval} with {self.num_train}"

    @property
    def limits(self) -> tuple[float, float]:
        """The ends of the error bar in percent: of several draws one standard deviation from the mean."""
        mean, deviation = mean_and_deviation(self.scores)
        if deviation is None and self.interval is not None:
            return self.interval.low, self.interval.high
        return mean - (deviation or 0), mean + (deviation or 0)


def measure_learning_curve(
    transfer_set: TransferSet,
    samples: DescribedSamples,
    results: Sequence[PartitionResult],
    *,
    seed: int,
    balanced: bool = False,
) -> tuple[CurvePoint, ...]:
    """Measure the score on all test images with rising numbers of training images of each class, ending with all.

    Fewer images are a part of more: the first of each class in the order in which they were drawn. C is the one that
    was chosen with all of them, as a single photograph of a class cannot be held out.

    Args:
        transfer_set: a set whose training images have one label each, and whose test images have known classes.
        samples: descriptors of all images.
        results: the result of each draw.
        seed: of the first draw.
        balanced: whether the images of a class weigh as much as all others.
    """
    labels = samples.find(transfer_set.partitions[0].train)[0].labels
    assert labels is not None
    largest = int(np.bincount(labels).max())
    counts = [count for count in COUNTS if count < largest]
    scores: dict[int, list[float]] = {count: [] for count in counts}
    intervals: dict[int, Share | None] = {}

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
                svms = yield from fit_svms(
                    train_values[few], train_targets[few], result.svms.C, train.class_names, balanced=balanced
                )
                margins = svms.compute_margins(test_values)
                scores[count].append(score(transfer_set.metric, margins, test_targets))
                intervals[count] = estimate_interval(transfer_set.metric, margins, test)

    total = len(transfer_set.class_names) * len(counts) * len(results)
    run_with_progress(train_on_fewer(), "SVMs on fewer photographs", total, images=0)
    scores[largest] = [result.score for result in results if result.score is not None]
    intervals[largest] = results[0].interval
    is_single = len(results) == 1
    return tuple(CurvePoint(n, tuple(scores[n]), intervals[n] if is_single else None) for n in scores)


def draw_learning_curve(points: Sequence[CurvePoint], metric_title: str, path: Path) -> None:
    """Draw the score over the number of photographs, with error bars."""
    figure, axes = subplots(figsize=(6, 4), layout="constrained")
    counts = [point.num_train for point in points]
    means, limits = [float(np.mean(point.scores)) for point in points], [point.limits for point in points]
    below = [max(0.0, mean - low) for mean, (low, _) in zip(means, limits, strict=True)]
    above = [max(0.0, high - mean) for mean, (_, high) in zip(means, limits, strict=True)]
    axes.errorbar(counts, means, yerr=[below, above], fmt="o-", capsize=3)
    num_draws = len(points[0].scores)
    bars = "95% interval over test images" if num_draws == 1 else f"standard deviation over {num_draws} draws"
    axes.set_title(f"error bars: {bars}", fontsize=8)
    axes.set_xscale("log")
    ticks = _choose_ticks(counts)
    axes.set_xticks(ticks, [str(count) for count in ticks])
    axes.minorticks_off()
    axes.set(xlabel="training photographs per class (or all of a smaller class)", ylabel=metric_title, ylim=(0, 100))
    axes.grid(alpha=0.3)
    save_figure(figure, path)


def _choose_ticks(counts: Sequence[int]) -> list[int]:
    """Return the largest number, and the others whose labels do not touch that of the next one."""
    span = math.log(counts[-1] / counts[0])
    ticks = [counts[-1]]
    for count in reversed(counts[:-1]):
        if math.log(ticks[0] / count) >= LABEL_WIDTH * span:
            ticks.insert(0, count)
    return ticks
