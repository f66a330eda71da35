"""The score with fewer photographs of each class to learn from: what ten more of them are worth."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from verydeep.data.draws import few_of_each_class
from verydeep.data.split import Split
from verydeep.data.transfer_sets import TransferSet
from verydeep.engine.descriptors.representation import Descriptors
from verydeep.engine.memory import host_memory
from verydeep.engine.plotting import subplots
from verydeep.engine.transfer.linear import margins
from verydeep.engine.transfer.protocol import (
    PartitionResult,
    decoded_part,
    described_part,
    mean_and_deviation,
    score,
    targets_of,
)
from verydeep.engine.transfer.svm import TrainedSvm, affordable_processes, fit_svms, run_with_progress
from verydeep.machine import available_cores

COUNTS = (1, 2, 5, 10, 20, 30, 60, 100, 200, 500)
"""Photographs of each class."""


@dataclass(frozen=True)
class Point:
    """What so many photographs of each class give."""

    num_train: int
    """Of each class, or all where it has fewer."""
    scores: tuple[float, ...]
    """In percent, of each draw."""

    def __str__(self) -> str:
        mean, deviation = mean_and_deviation(self.scores)
        return f"{self.num_train}: {mean:.1f}" + ("" if deviation is None else f" ± {deviation:.1f}")


def learning_curve(
    task: TransferSet, everything: Split, descriptors: Descriptors, found: Sequence[PartitionResult], *, seed: int
) -> tuple[Point, ...]:
    """The score on all test images for rising numbers of training images of each class, behind a bar; all of them last.

    Those that are learned from are the first of each class in the order that they were drawn in, so that fewer are a
    part of more. C is the one that was chosen on all of them: of one photograph none can be held out.

    Args:
        task: whose training images have one label each, and whose test images are known.
        everything: the split that was described.
        descriptors: of it.
        found: what each draw gave.
        seed: of the first draw.
    """
    labels = decoded_part(task.partitions[0].train, everything, descriptors)[0].labels
    assert labels is not None
    most = int(np.bincount(labels).max())
    fewer = [count for count in COUNTS if count < most]

    def train_on_fewer() -> Generator[TrainedSvm, None, dict[int, list[float]]]:
        scores: dict[int, list[float]] = {count: [] for count in fewer}
        for number, (one, known) in enumerate(zip(task.partitions, found, strict=True)):
            assert one.test is not None
            train, values = described_part(one.train, everything, descriptors)
            tested, test_values = described_part(one.test, everything, descriptors)
            wanted, targets = targets_of(tested), targets_of(train)
            assert wanted is not None and targets is not None
            for count, each in scores.items():
                few = few_of_each_class(train, count, seed=seed + number)
                shape = len(few), values.shape[1]
                processes = affordable_processes(shape, len(train.class_names), host_memory(), available_cores())
                svms = yield from fit_svms(
                    values[few], targets[few], known.classifiers.C, train.class_names, processes=processes
                )
                each.append(score(task.metric, margins(svms, test_values), wanted))
        return scores

    scores = run_with_progress(
        train_on_fewer(), len(task.class_names) * len(fewer) * len(found), title="With fewer photographs"
    )
    scores[most] = [each.score for each in found if each.score is not None]
    return tuple(Point(count, tuple(each)) for count, each in scores.items())


def draw_curve(points: Sequence[Point], metric: str, path: Path) -> None:
    """A picture of the score over the number of photographs, with the deviation over draws."""
    figure, axes = subplots(figsize=(6, 4), layout="constrained")
    counts, each = [point.num_train for point in points], [mean_and_deviation(point.scores) for point in points]
    axes.errorbar(
        counts, [mean for mean, _ in each], yerr=[deviation or 0 for _, deviation in each], fmt="o-", capsize=3
    )
    axes.set_xscale("log")
    axes.set_xticks(counts, [str(count) for count in counts])
    axes.minorticks_off()
    axes.set(xlabel="photographs of each class to learn from, or all it has", ylabel=metric, ylim=(0, 100))
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=120)
