"""Report a transfer: messages for people, and the files in the classifier's folder."""

import csv
import shlex
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, TextIO

import numpy as np

from verydeep.data.split import Split, describe_classes
from verydeep.data.transfer_sets import TransferSet
from verydeep.engine.classification.ensemble_errors import EnsemblePredictions
from verydeep.engine.classification.error_report import write_predictions
from verydeep.engine.datasets import fingerprint, follow_folder
from verydeep.engine.environment import write_environment
from verydeep.engine.reporting.confusion import draw_confusion, write_confusion
from verydeep.engine.reporting.remarks import copies_remark, find_training_copies, seen_images_remarks
from verydeep.engine.reporting.summary import GLOSSARY, interval_text, name_extremes, percent_text, summarize_right
from verydeep.engine.runtime import Runtime
from verydeep.engine.transfer.classifier import FIELDS, TENSORS, save_classifier
from verydeep.engine.transfer.curve import draw_learning_curve
from verydeep.engine.transfer.scoring import METRIC_TITLES, mean_and_deviation
from verydeep.engine.transfer.task import (
    CONFUSION,
    CONFUSION_TABLE,
    CURVE,
    MARGINS,
    PREDICTIONS,
    RESULTS,
    SUBMISSIONS,
    TransferResult,
    TransferTask,
)
from verydeep.files import atomic_folder, atomic_write_text
from verydeep.json_files import write_json
from verydeep.ops.arrays import Float32Array
from verydeep.paths import real_path
from verydeep.results.transfer import TransferredClassifier
from verydeep.wording import count_of, shorten_list


def describe_data(transfer_set: TransferSet, split: Split) -> str:
    """Return a sentence about what was recognized and how many images there are."""
    num_images = len(set(split.files))
    count = f"{num_images:,} images" + ("" if num_images == len(split) else f", {len(split):,} persons")
    first = transfer_set.partitions[0]
    classes = describe_classes([part for part in (first.train, first.test) if part is not None])
    return f"Data: {split.root}: {first.train.layout}; {count}; {classes}."


def write_transfer_result(
    result: TransferResult, out: Path, submission: Path | None, runtime: Runtime
) -> TransferredClassifier:
    """Save the first draw's classifier with all figures, and write VOC's result files if they are wanted."""
    task, first, copies = result.task, result.partitions[0], find_copies(result.task)
    figures = result_values(result)
    summary = summarize_transfer(result)
    remarks = [GLOSSARY, *result_lines(result), *dict.fromkeys(training_overlap_remarks(task))]
    remarks += [copies_remark(copies)] if copies else []
    values = {
        "summary": summary,
        **figures,
        "root": str(real_path(task.split.root)),
        "camera_rotation": task.split.camera_rotation,
        "seed": task.seed,
        "weights": [net.weights for net in task.representation.nets],
        "precision": result.precision,
        "kernels": result.kernels,
        "fast_decode": task.decoding.fast,
        "class_images": dict(zip(task.transfer_set.class_names, first.class_images, strict=True)),
        "class_intervals": {
            name: asdict(share)
            for name, share in zip(task.transfer_set.class_names, first.class_intervals, strict=False)
            if share is not None
        },
        "skipped": result.skipped,
        "copies": copies,
        "curve": [asdict(point) for point in result.curve],
        "split": name_split(task.transfer_set),
        "remarks": remarks,
    }
    with atomic_folder(out, RESULTS) as folder:
        save_classifier(folder, result.classifier)
        pictures = _write_pictures(result, folder)
        tables = _write_predictions(result, folder)
        write_environment(folder, runtime)
        write_json(folder / RESULTS, values)  # last: it marks a complete folder
    lines = [*remarks, f"Written: {out}/ ({', '.join([FIELDS, TENSORS, *pictures, *tables, RESULTS])})"]
    if submission is not None:
        assert first.test is not None and first.margins is not None
        lines.append(f"Written: {SUBMISSIONS[task.transfer_set.kind](submission, first.test, first.margins)}/")
    if task.representation.coverage == "image":
        lines.append(f"Try:  verydeep predict {shlex.quote(str(out))} photo.jpg")
    return TransferredClassifier(
        path=out,
        metric=figures["metric"],
        score=figures["score"],
        deviation=figures["deviation"],
        draws=tuple(figures["draws"]),
        remarks=tuple(lines),
        summary=summary,
    )


def summarize_transfer(result: TransferResult) -> str:
    """Return one plain sentence about the share of right predictions, or the mean AP of images with several classes."""
    first, words = result.partitions[0], result.task.transfer_set.partitions[0].train.class_words
    if not result.scores:
        return f"Trained on {first.num_train:,} {sample_noun(result.task.transfer_set)} and not tested."
    scores = np.array([partition.class_scores for partition in result.partitions if partition.class_scores])
    tested = ~np.isnan(scores).all(axis=0)
    means = np.nanmean(scores[:, tested], axis=0).tolist()
    class_scores = list(zip(np.array(words)[tested].tolist(), means, strict=True))
    confusions = [confusion for partition in result.partitions if (confusion := partition.confusion) is not None]
    num_draws = len(result.partitions)
    if confusions and num_draws == 1:
        confusion = confusions[0]
        return summarize_right(int(confusion.diagonal().sum()), int(confusion.sum()), class_scores)
    if confusions:
        mean, deviation = mean_and_deviation([100 * each.trace() / each.sum() for each in confusions])
        figures = f"Right on {percent_text(mean)} of the test photographs"
    else:
        mean, deviation = mean_and_deviation(result.scores)
        figures = f"Mean AP {percent_text(mean)}"
    if num_draws > 1:
        figures += f" (± {deviation:.1f} over {num_draws} draws)"
    elif first.interval is not None:
        figures += f" {interval_text(first.interval)}"
    return f"{figures}{name_extremes(class_scores)}."


def result_lines(result: TransferResult) -> Iterator[str]:
    """Yield sentences about the result of each draw."""
    class_names, partitions = result.task.transfer_set.class_names, result.partitions
    yield f"Descriptors: {result.task.representation}; {partitions[0].svms.weights.shape[1]:,} numbers each."
    if result.task.balanced:
        yield "Balance: in each SVM, the images of its class count as much as all others together."
    for partition in partitions:
        if partition.trials:
            trials = ", ".join(f"{trial.score:.1f} at {trial.C:g}" for trial in partition.trials)
            without = f", without {shorten_list(partition.single_classes)}" if partition.single_classes else ""
            fifth = f"a fifth of {partition.num_train:,} training images{without}"
            yield f"C={partition.svms.C:g}, chosen on {fifth} (scores: {trials})."
        elif len(result.task.costs) > 1:
            units = "photographs" if result.task.transfer_set.group_by is None else "groups"
            yield (
                f"C={partition.svms.C:g}, the usual value, because choosing C takes at least two training {units} "
                "of a class."
            )
        if remark := partition.svms.convergence_remark(class_names, is_chosen=bool(partition.trials)):
            yield remark
    yield from _score_lines(result)
    untested = {
        name
        for partition in partitions
        for name, class_score in zip(class_names, partition.class_scores, strict=False)
        if np.isnan(class_score)
    }
    if untested:
        yield f"No test image shows {', '.join(sorted(untested))}; the mean is over the other classes."
    if result.curve:
        points = "; ".join(map(str, result.curve))
        advice = " Where intervals overlap widely, the difference may be chance." if result.curve[-1].interval else ""
        yield f"Score by number of training photographs of each class: {points}.{advice}"
    if result.skipped:
        yield f"Skipped: {count_of(len(result.skipped), 'file')} that cannot be decoded, listed in {RESULTS}."


def result_values(result: TransferResult) -> dict[str, Any]:
    """Return the result of each draw as JSON values."""
    transfer_set = result.task.transfer_set
    mean, deviation = mean_and_deviation(result.scores) if result.scores else (None, None)
    return {
        "data": transfer_set.name,
        "metric": transfer_set.metric,
        "score": mean,
        "deviation": deviation,
        "representation": str(result.task.representation),
        "balance": "weights" if result.task.balanced else "none",
        "draws": [
            {
                "score": partition.score,
                "interval": partition.interval and asdict(partition.interval),
                "C": partition.svms.C,
                "trials": {f"{trial.C:g}": trial.score for trial in partition.trials},
                "num_train": partition.num_train,
                "num_test": 0 if partition.test is None else len(partition.test),
                "class_scores": {
                    name: None if np.isnan(class_score) else class_score
                    for name, class_score in zip(transfer_set.class_names, partition.class_scores, strict=False)
                },
            }
            for partition in result.partitions
        ],
    }


def sample_noun(transfer_set: TransferSet) -> str:
    """Return what the samples of a set are."""
    return "persons" if transfer_set.kind == "VOC actions" else "images"


def training_overlap_remarks(task: TransferTask) -> Iterator[str]:
    """Yield remarks about nets that may have been trained on test images."""
    for partition in task.transfer_set.partitions:
        train, test = partition.train, partition.test
        if test is None:
            continue
        yield from seen_images_remarks(task.representation.nets, test)
        folder = str(real_path(train.root))
        for net in task.representation.nets:
            record = None if net.config.split is None else follow_folder(net.config.split, folder)
            if record is not None and test.root == train.root and record.data == folder:
                if record.val != fingerprint(test):
                    yield (
                        f"{net.path.name} was trained on photographs of {folder} and may have learned from some of "
                        "the test images, so the score is optimistic: use another net."
                    )
            elif copies := find_training_copies(test, [record]):
                yield (
                    f"{net.path.name} was trained on copies of {count_of(len(copies), 'test photograph')}, so the "
                    "score is optimistic: use another net."
                )


def name_split(transfer_set: TransferSet) -> str | None:
    """Return the split of the test photographs; None where nothing is tested, or they are drawn from all."""
    test = transfer_set.partitions[0].test
    is_split = not transfer_set.is_drawn or transfer_set.val_fraction > 0
    return test.name if test is not None and is_split else None


def find_copies(task: TransferTask) -> dict[str, str]:
    """Return test file -> the training file that it is a copy of, relative to the folder of all samples."""
    root, copies = task.split.root, task.transfer_set.copies
    return {test.relative_to(root).as_posix(): train.relative_to(root).as_posix() for test, train in copies.items()}


def _score_lines(result: TransferResult) -> Iterator[str]:
    transfer_set, partitions = result.task.transfer_set, result.partitions
    noun = sample_noun(transfer_set)
    if result.scores:
        mean, deviation = mean_and_deviation(result.scores)
        text, in_each = f"{partitions[0].interval} (95% interval over test images)", ""
        if deviation is not None:
            text = f"{mean:.1f} ± {deviation:.1f} (standard deviation over {len(partitions)} draws)"
            in_each = " in each draw"
        counts = [len(partition.test) for partition in partitions if partition.test is not None]
        count = " to ".join(f"{count:,}" for count in sorted({min(counts), max(counts)}))
        yield f"{METRIC_TITLES[transfer_set.metric]}: {text}, on {count} test {noun}{in_each}."
    elif not any(partition.test for partition in partitions):
        if transfer_set.is_drawn:
            yield (
                "No photograph is left to test on: add photographs, or test the classifier on others with "
                "`verydeep evaluate`."
            )
    else:
        yield f"No score: the classes of the test {noun} are unknown."


def _write_pictures(result: TransferResult, out: Path) -> list[str]:
    """Write the learning curve and the confusion of classes; return the names of the files."""
    train, names = result.task.transfer_set.partitions[0].train, []
    if result.curve:
        draw_learning_curve(result.curve, METRIC_TITLES[result.task.transfer_set.metric], out / CURVE)
        names.append(CURVE)
    if result.confusion is not None:
        write_confusion(out / CONFUSION_TABLE, result.confusion, train.class_names)
        draw_confusion(out / CONFUSION, result.confusion, train.class_words)
        names += [CONFUSION_TABLE, CONFUSION]
    return names


def _write_predictions(result: TransferResult, out: Path) -> list[str]:
    """Write the margins of the first draw's test images, if their classes are known; return the name of the file."""
    first, root = result.partitions[0], result.task.split.root
    test, margins = first.test, first.margins
    if test is None or margins is None or not first.class_scores:
        return []
    files = tuple(test.path(index).relative_to(root).as_posix() for index in range(len(test)))
    if test.labels is None:
        with atomic_write_text(out / MARGINS) as file:
            write_margins(file, margins, replace(test, root=root, files=files))
        return [MARGINS]
    predictions = EnsemblePredictions(np.arange(len(test)), margins, None, {}, {}, kind="margin")
    with atomic_write_text(out / PREDICTIONS) as file:
        write_predictions(file, predictions, replace(test, root=root, files=files))
    return [PREDICTIONS]


def write_margins(file: TextIO, margins: Float32Array, test: Split) -> None:
    """Write a line for each sample and class: path, class, relevance (1, 0 or -1) and margin."""
    assert test.relevance is not None
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["path", "class", "relevance", "margin"])
    for path, relevances, row in zip(test.files, test.relevance.tolist(), margins.tolist(), strict=True):
        for name, relevance, margin in zip(test.class_names, relevances, row, strict=True):
            writer.writerow([path, name, relevance, f"{margin:.4f}"])
