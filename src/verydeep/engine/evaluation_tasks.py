"""Evaluate nets on a split, from its images to files and a table: nets that predict classes, or boxes."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from verydeep.configs.protocols import View
from verydeep.data.box_checks import BadBoxes
from verydeep.data.folders.folder import WNID
from verydeep.data.pixels.decoding import Decoding
from verydeep.data.sets.submission import devkit_numbers
from verydeep.data.split import Split
from verydeep.engine.classification.ensemble_errors import average_scales, evaluate_predictions, fuse, predict_members
from verydeep.engine.classification.error_report import (
    build_evaluation_table,
    write_classification_submission,
    write_evaluation,
)
from verydeep.engine.classification.posterior_cache import describe_posterior_cache
from verydeep.engine.datasets import choose_value_ranges, open_test_part
from verydeep.engine.environment import write_environment
from verydeep.engine.localization.box_ensemble import BoxEnsemble
from verydeep.engine.localization.box_evaluation import evaluate_boxes, tune_threshold
from verydeep.engine.localization.box_report import (
    build_localization_evaluation_table,
    write_box_submission,
    write_localization_evaluation,
)
from verydeep.engine.localization.boxed_split import contains_val, open_boxed_split
from verydeep.engine.localization.candidate_classes import find_source_nets
from verydeep.engine.localization.merge_threshold import DEFAULT_THRESHOLD, Merging, TunedThreshold
from verydeep.engine.log import Log
from verydeep.engine.nets.checks import align_classes, check_known, match_classes
from verydeep.engine.nets.folders import Weights
from verydeep.engine.nets.kernels import choose_kernels
from verydeep.engine.nets.net import EnsembleMember
from verydeep.engine.reporting.remarks import find_training_copies
from verydeep.engine.runtime import Runtime
from verydeep.engine.transfer.classifier import Classifier
from verydeep.engine.transfer.classifier_errors import evaluate_classifier
from verydeep.errors import DataError, OptionError
from verydeep.models.weights.model_folder import SplitRecord
from verydeep.ops.value_ranges import RecordedRanges
from verydeep.results.measured_table import MeasuredTable
from verydeep.wording import count_of


@dataclass(frozen=True)
class EvaluationOptions:
    """The data, the settings and the files of an evaluation."""

    data: str
    """The data set, as the user names it."""
    folder: Path
    """Folder for errors, lists and pictures."""
    weights: Weights = "last"
    decoding: Decoding = field(default_factory=Decoding)
    submission: Path | None = None
    """File for the ILSVRC test server."""
    bad_boxes: BadBoxes = "error"
    merge_threshold: float = DEFAULT_THRESHOLD
    tune_threshold: bool = False
    """Whether the merge threshold is chosen on the validation images."""

    def values(self, runtime: Runtime) -> dict[str, Any]:
        """Return the options that change figures, as JSON values."""
        return {
            "data": self.data,
            "weights": self.weights,
            "precision": runtime.precision,
            "kernels": runtime.kernels,
            "fast_decode": self.decoding.fast,
        }


@dataclass(frozen=True)
class ClassEvaluationTask:
    """An ensemble of classification nets, to be evaluated in one view."""

    members: tuple[EnsembleMember, ...]
    view: View

    @property
    def name_parts(self) -> list[str]:
        """Words that distinguish the evaluation from others of the same nets."""
        return [self.view]

    def check(self, _options: EvaluationOptions) -> None:
        """Refuse nets that predict boxes.

        Raises:
            OptionError: a net does.
        """
        for each in self.members:
            if each.net.config.regression is not None:
                raise OptionError(f"{each.net.path} predicts boxes, not classes: give `task=localize`.", "task")

    def align_classes(self, split: Split) -> Split:
        """Return the split with the classes that the nets are tested on; see ``checks.align_classes``."""
        return align_classes(split, [each.net for each in self.members])

    def measure(self, split: Split, options: EvaluationOptions, runtime: Runtime, log: Log) -> MeasuredTable | None:
        """Predict the images, count errors, and write files; see ``run_evaluation``."""
        members = [replace(each, net=each.net.with_outputs_for(split.class_names) or each.net) for each in self.members]
        for each in members:
            if each.net.outputs is not None and all(map(WNID.fullmatch, split.class_names)):
                log.info(f"{each.net}: {len(split.class_names)} of its outputs are used, chosen by their WNIDs.")
        predictions = predict_members(members, split, self.view, runtime, options.decoding)
        if not runtime.is_main:
            return None
        if options.submission is not None:
            parts = [average_scales(*each, self.view) for each in zip(members, predictions, strict=True)]
            write_classification_submission(options.submission, fuse(parts), split)
            log.info(f"Written: {options.submission} ({count_of(len(split), 'line')})")
        if split.labels is None:
            return None
        evaluation = evaluate_predictions(members, predictions, split, self.view)
        conditions = {**options.values(runtime), "view": self.view}
        copies = find_training_copies(split, list_records(members))
        table = build_evaluation_table(evaluation, split, [member.net for member in members], conditions, copies=copies)
        write_evaluation(options.folder, evaluation, table, split)
        if remark := describe_posterior_cache():
            log.info(remark)
        return table


@dataclass(frozen=True)
class ClassifierEvaluationTask:
    """A classifier of `transfer`, to be evaluated: a linear SVM for each class, whose margins are the scores."""

    classifier: Classifier

    @property
    def members(self) -> tuple[EnsembleMember, ...]:
        """The nets that describe the images."""
        representation = self.classifier.representation
        return tuple(EnsembleMember(net, representation.scales) for net in representation.nets)

    def check(self, options: EvaluationOptions) -> None:
        """Refuse a classifier of boxes, and a submission.

        Raises:
            OptionError: it is one, or one is wanted.
        """
        if self.classifier.representation.coverage == "image+box":
            raise OptionError(
                f"{self.classifier.path} takes boxes of persons, which `verydeep evaluate` does not read.", "run"
            )
        if options.submission is not None:
            raise OptionError("`submission` is for nets of ILSVRC's classes: omit it.", "submission")

    def align_classes(self, split: Split) -> Split:
        """Return the split with the classes of the classifier; labels are matched by name.

        Raises:
            DataError: an image has a class that the classifier does not know.
        """
        check_known(split, self.classifier.class_names, self.classifier.path)
        return match_classes(split, self.classifier.class_names, self.classifier.class_words)

    def measure(self, split: Split, options: EvaluationOptions, runtime: Runtime, _log: Log) -> MeasuredTable | None:
        """Describe the images, count errors, and write files; see ``run_evaluation``."""
        evaluation = evaluate_classifier(self.classifier, split, runtime, options.decoding)
        if evaluation is None:
            return None
        record, path = self.classifier.record, self.classifier.path
        table = build_evaluation_table(
            evaluation,
            split,
            self.classifier.representation.nets,
            {**options.values(runtime), "classifier": str(path), "view": "dense"},
            classifiers={str(path): record},
            copies=find_training_copies(split, [record, *list_records(self.members)]),
        )
        write_evaluation(options.folder, evaluation, table, split)
        return table


@dataclass(frozen=True)
class BoxEvaluationTask:
    """An ensemble of localization nets, whose boxes are pooled, to be evaluated."""

    ensemble: BoxEnsemble

    @property
    def members(self) -> tuple[EnsembleMember, ...]:
        """The nets that predict boxes."""
        return self.ensemble.members

    @property
    def name_parts(self) -> list[str]:
        """Words that tell the evaluation from others of the same nets: the view, and classes from other nets."""
        ensemble = self.ensemble
        if ensemble.classes is None:
            return ["boxes", ensemble.view, "truth"]
        is_own = ensemble.classes == find_source_nets(ensemble.members, ensemble.view)
        return ["boxes", ensemble.view, *([] if is_own else [ensemble.classes.text])]

    def check(self, options: EvaluationOptions) -> None:
        """Refuse a submission without predicted classes.

        Raises:
            OptionError: one is wanted, and the classes are the true ones.
        """
        if options.submission is not None and self.ensemble.classes is None:
            raise OptionError(
                "`submission` needs predicted classes, and with `classes=truth` there are none: name a protocol.",
                "classes",
            )

    def align_classes(self, split: Split) -> Split:
        """Return the split with the classes of the nets; its boxes are not read yet."""
        return self.ensemble.align_classes(split)

    def measure(self, split: Split, options: EvaluationOptions, runtime: Runtime, log: Log) -> MeasuredTable | None:
        """Predict boxes, compare them with the annotations, and write files; see ``run_evaluation``.

        Raises:
            DataError: there are no boxes, or a bad one.
        """
        boxed = None if split.labels is None else open_boxed_split(split, options.data, options.bad_boxes, runtime, log)
        by_halves = options.tune_threshold and contains_val(split)
        threshold: float | TunedThreshold = options.merge_threshold
        if options.tune_threshold and (options.submission is not None or not by_halves):
            threshold = self.tune(options, runtime, log)
        if options.submission is not None:
            value = threshold.threshold if isinstance(threshold, TunedThreshold) else threshold
            write_box_submission(options.submission, self.ensemble, split, value, runtime, options.decoding)
            log.info(f"Written: {options.submission} ({count_of(len(split), 'line')})")
        if boxed is None:
            return None
        merging: Merging = "by halves" if by_halves else threshold
        evaluation = evaluate_boxes(self.ensemble, boxed, runtime, options.decoding, merging)
        if evaluation is None:
            return None
        copies = find_training_copies(boxed.split, list_records(self.members))
        table = build_localization_evaluation_table(evaluation, boxed, options.values(runtime), copies)
        write_localization_evaluation(options.folder, evaluation, table, boxed.split)
        return table

    def tune(self, options: EvaluationOptions, runtime: Runtime, log: Log) -> TunedThreshold:
        """Return the best merge threshold on the validation images, the same on all processes.

        Raises:
            DataError: there are no validation images, or they have no boxes.
        """
        val = open_evaluated_split(self, EvaluationOptions(options.data, options.folder), "val")
        (val,) = choose_value_ranges([val], recorded_ranges(self.members), runtime, log)
        boxed = open_boxed_split(val, options.data, options.bad_boxes, runtime, log)
        tuned = runtime.from_main(tune_threshold(self.ensemble, boxed, runtime, options.decoding))
        assert tuned is not None
        return tuned


EvaluationTask = ClassEvaluationTask | ClassifierEvaluationTask | BoxEvaluationTask


def open_evaluated_split(task: EvaluationTask, options: EvaluationOptions, name: str | None) -> Split:
    """Open the split ``name``, or the images that are new to what is evaluated; see ``open_test_part``.

    Raises:
        DataError: the split does not exist, has no labels, has classes that a net does not know, or that cannot be
            submitted.
        WeightsError: nets have different classes.
        OptionError: the options do not fit the task.
    """
    task.check(options)
    split = task.align_classes(open_test_part(options.data, name, list_training_records(task)))
    check_labels(split, options)
    return split


def run_evaluation(
    task: EvaluationTask, split: Split, options: EvaluationOptions, runtime: Runtime, log: Log
) -> MeasuredTable | None:
    """Evaluate a split, and write files.

    Returns:
        The table of errors; None without labels, and on all processes but the main one.

    Raises:
        OptionError: a test scale is smaller than a net's crop.
        DataError: a file cannot be decoded, the submission lacks an image, or there are no boxes, or a bad one.
        WeightsError: a net cannot be read.
        ResourceError: a file cannot be written.
    """
    runtime = choose_kernels(runtime, [each.net for each in task.members], len(split))
    source = task.classifier if isinstance(task, ClassifierEvaluationTask) else None
    ranges = source.recorded_ranges if source else recorded_ranges(task.members)
    (split,) = choose_value_ranges([split], ranges, runtime, log)
    table = task.measure(split, options, runtime, log)
    if table is None:
        return None
    write_environment(options.folder, runtime)
    return replace(table, folder=options.folder)


def recorded_ranges(members: Sequence[EnsembleMember]) -> list[RecordedRanges]:
    """Return the value ranges that nets were trained with."""
    return [ranges for member in members for ranges in member.net.recorded_ranges]


def list_records(members: Sequence[EnsembleMember]) -> list[SplitRecord]:
    """Return the records of the images of those nets that were trained here."""
    return [member.net.config.split for member in members if member.net.config.split is not None]


def list_training_records(task: EvaluationTask) -> list[SplitRecord]:
    """Return the records of the images that what is evaluated was trained on, where that was here."""
    return [task.classifier.record] if isinstance(task, ClassifierEvaluationTask) else list_records(task.members)


def check_labels(split: Split, options: EvaluationOptions) -> None:
    """Refuse a split without labels unless a submission is wanted, and a submission of classes that ILSVRC lacks.

    Raises:
        DataError: it is so.
    """
    if options.submission is not None:
        devkit_numbers(split.class_names)
    elif split.labels is None:
        raise DataError(
            f"The {split.name} images of {options.data} have no labels, so errors cannot be computed: give "
            "`submission` to write predictions instead."
        )
