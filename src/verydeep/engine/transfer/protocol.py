"""Linear classifiers on descriptors of a data set (appendix B): trained, and tested by the set's protocol."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from verydeep.data.split import Split, all_skipped_error
from verydeep.data.transfer_sets import Metric, Partition, TransferSet
from verydeep.engine.descriptors.representation import Descriptors, Representation
from verydeep.engine.memory import host_memory
from verydeep.engine.progress import progress_bar
from verydeep.engine.transfer.linear import LinearClassifiers, margins
from verydeep.engine.transfer.svm import (
    Trial,
    affordable_processes,
    check_targets,
    held_out,
    run_with_progress,
    train_svms,
)
from verydeep.machine import available_cores
from verydeep.ops.arrays import Float32Array, Int8Array
from verydeep.ops.average_precision import average_precision, average_precision_11_points, mean_with_interval
from verydeep.ops.metrics import Share, mean_class_recall, predicted_classes
from verydeep.ops.targets import one_vs_rest


def targets_of(split: Split) -> Int8Array | None:
    """(n, K) what is on the images of a split; None where nobody says."""
    if split.labels is not None:
        return one_vs_rest(split.labels, len(split.class_names))
    return split.relevance


def score_of_each_class(metric: Metric, scores: Float32Array, targets: Int8Array) -> list[float]:
    """In percent, of margins (n, K): each class's recall or average precision; NaN where it is on no image."""
    if metric == "mean class recall":
        labels = targets.argmax(axis=1)
        predicted = predicted_classes(scores, labels)
        counts = np.bincount(labels, minlength=targets.shape[1]).astype(np.float64)
        right = np.bincount(labels[predicted == labels], minlength=targets.shape[1])
        with np.errstate(invalid="ignore"):
            recalls: list[float] = (100 * right / counts).tolist()
        return recalls
    precision = average_precision_11_points if metric == "AP, 11 points" else average_precision
    return [100 * precision(scores[:, k], targets[:, k]) for k in range(targets.shape[1])]


def score(metric: Metric, scores: Float32Array, targets: Int8Array) -> float:
    """The mean over the classes that are on an image."""
    return float(np.nanmean(score_of_each_class(metric, scores, targets)))


@dataclass(frozen=True, eq=False)
class PartitionResult:
    """What one partition gave."""

    classifiers: LinearClassifiers
    trials: tuple[Trial, ...]
    """How C was chosen."""
    num_train: int
    test: Split | None
    """Those of its images that could be decoded; None: nothing was tested."""
    margins: Float32Array | None
    """(n, K) of the test images."""
    of_each_class: list[float]
    """In percent; empty where no class is known to be on a test image."""
    interval: Share | None = None
    """Of the score, over test sets of this size; other training images are not in it. Of one draw alone."""

    @property
    def score(self) -> float | None:
        """In percent, the set's own."""
        return float(np.nanmean(self.of_each_class)) if self.of_each_class else None


def transfer(
    one: Partition,
    everything: Split,
    descriptors: Descriptors,
    metric: Metric,
    *,
    candidates: Sequence[float],
    seed: int,
) -> PartitionResult:
    """Train on the training images of a partition, C chosen on a fifth of them, and test on its test images.

    Args:
        one: the partition.
        everything: the split that was described.
        descriptors: of it.
        metric: the set's own.
        candidates: for C; a single one is taken as it is.
        seed: of the fifth.

    Raises:
        VerydeepError: as ``svm.train_svms``.
    """
    split, rows = decoded_part(one.train, everything, descriptors)
    values = descriptors.values[rows].astype(np.float64)  # as the SVMs take them: one copy lives on, not two
    targets = targets_of(split)
    assert targets is not None
    trainings = len(split.class_names) * (len(candidates) + (len(candidates) > 1))
    shape = values.shape[0], values.shape[1]
    processes = affordable_processes(shape, trainings, host_memory(), available_cores())
    steps = train_svms(
        values,
        targets,
        split.class_names,
        lambda scores, wanted: score(metric, scores, wanted),
        candidates=candidates,
        seed=seed,
        photographs=split.photographs,
        processes=processes,
    )
    classifiers, trials = run_with_progress(steps, trainings)
    if one.test is None:
        return PartitionResult(classifiers, trials, len(split), None, None, [])
    tested, test_values = described_part(one.test, everything, descriptors)
    found = margins(classifiers, test_values)
    wanted = targets_of(tested)
    each = [] if wanted is None or not (wanted > 0).any() else score_of_each_class(metric, found, wanted)
    return PartitionResult(classifiers, trials, len(split), tested, found, each)


def check_training(train_svms: Split, candidates: Sequence[float], seed: int) -> None:
    """Refuse training images that do not suffice, before any is described.

    Raises:
        VerydeepError: as ``check_targets`` and, where C is to be chosen, ``held_out``.
    """
    targets = targets_of(train_svms)
    assert targets is not None
    check_targets(targets, train_svms.class_names)
    if len(candidates) > 1:
        held_out(targets, train_svms.class_names, seed, train_svms.photographs)


def decoded_part(part: Split, everything: Split, descriptors: Descriptors) -> tuple[Split, list[int]]:
    """The samples of a part that were described, and their rows among the descriptors.

    Raises:
        VerydeepError: not one was.
    """
    rows = {everything.sample_key(index): row for row, index in enumerate(descriptors.indices.tolist())}
    kept = [index for index in range(len(part)) if part.sample_key(index) in rows]
    if not kept:
        raise all_skipped_error(part)
    return part.subset(kept), [rows[part.sample_key(index)] for index in kept]


def described_part(part: Split, everything: Split, descriptors: Descriptors) -> tuple[Split, Float32Array]:
    """The same with their descriptors (n, D).

    Raises:
        VerydeepError: as ``decoded_part``.
    """
    split, rows = decoded_part(part, everything, descriptors)
    return split, descriptors.values[rows]


def with_interval(found: PartitionResult, metric: Metric) -> PartitionResult:
    """The same with the 95% interval of its score over test images, where there is a score."""
    if found.test is None or found.margins is None or found.score is None:
        return found
    wanted = targets_of(found.test)
    assert wanted is not None
    if metric == "mean class recall":
        labels = wanted.argmax(axis=1)
        return replace(found, interval=mean_class_recall(predicted_classes(found.margins, labels) == labels, labels))
    with progress_bar() as progress:
        progress.add_task("Interval of the score", total=None, note="")
        interval = mean_with_interval(
            found.margins,
            wanted,
            at_11_points=metric == "AP, 11 points",
            photographs=found.test.photographs,
        )
    return replace(found, interval=interval)


def mean_and_deviation(scores: Sequence[float]) -> tuple[float, float | None]:
    """The mean over the draws, and their standard deviation (n - 1), where there are several."""
    return float(np.mean(scores)), float(np.std(scores, ddof=1)) if len(scores) > 1 else None


def describe_data(task: TransferSet, everything: Split) -> str:
    """What was recognized and how much of it there is, for people."""
    images = len(set(everything.files))
    count = f"{images:,} images" + ("" if images == len(everything) else f", {len(everything):,} persons")
    return f"Data: {everything.root}: {task.partitions[0].train.layout}; {count}."


def transfer_remarks(
    found: Sequence[PartitionResult], task: TransferSet, representation: Representation
) -> Iterator[str]:
    """What was found, for people."""
    yield f"Described by {representation}: {found[0].classifiers.weights.shape[1]:,} dimensions."
    for each in found:
        if each.trials:
            tried = ", ".join(f"{trial.C:g}: {trial.score:.1f}" for trial in each.trials)
            yield f"C={each.classifiers.C:g}, chosen on a fifth of {each.num_train:,} training images ({tried})."
        if note := each.classifiers.note(task.class_names):
            yield note
    scores = [each.score for each in found if each.score is not None]
    if scores:
        mean, deviation = mean_and_deviation(scores)
        told, each_draw = f"{found[0].interval} (95% interval over test images)", ""
        if deviation is not None:
            told = f"{mean:.1f} ± {deviation:.1f} (standard deviation over {len(scores)} draws)"
            each_draw = " in each draw"
        counts = [len(each.test) for each in found if each.test is not None]
        of_all = " to ".join(f"{count:,}" for count in sorted({min(counts), max(counts)}))
        yield f"{metric_title(task.metric)}: {told}, on {of_all} test {samples_of(task)}{each_draw}."
    elif any(each.test is not None for each in found):
        yield f"No score: of no test {samples_of(task).removesuffix('s')} it is known that a class is on it."
    absent = {
        name for each in found for name, one in zip(task.class_names, each.of_each_class, strict=False) if np.isnan(one)
    }
    if absent:
        yield f"Of {', '.join(sorted(absent))} no image was tested on; the mean is over the other classes."


def samples_of(task: TransferSet) -> str:
    """What is learned from and tested on."""
    return "persons" if task.kind == "VOC actions" else "images"


def metric_title(metric: Metric) -> str:
    """For people, in percent."""
    return {
        "mean class recall": "Mean class recall, %",
        "AP, 11 points": "Mean AP (11 points), %",
        "AP, all points": "Mean AP, %",
    }[metric]


def as_values(found: Sequence[PartitionResult], task: TransferSet, representation: Representation) -> dict[str, Any]:
    """The same and more for machines."""
    scores = [each.score for each in found if each.score is not None]
    mean, deviation = mean_and_deviation(scores) if scores else (None, None)
    return {
        "data": task.name,
        "metric": task.metric,
        "score": mean,
        "deviation": deviation,
        "representation": str(representation),
        "draws": [
            {
                "score": each.score,
                "interval": each.interval and asdict(each.interval),
                "C": each.classifiers.C,
                "tried": {f"{trial.C:g}": trial.score for trial in each.trials},
                "num_train": each.num_train,
                "num_test": 0 if each.test is None else len(each.test),
                "of_each_class": {
                    name: None if np.isnan(one) else one
                    for name, one in zip(task.class_names, each.of_each_class, strict=False)
                },
            }
            for each in found
        ],
    }
