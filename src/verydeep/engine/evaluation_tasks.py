"""A test of nets on a part of a data set, from its images to the files it leaves: of classes, or of boxes."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from verydeep.configs.protocols import View
from verydeep.data.box_annotations import BadBoxes
from verydeep.data.decoding import Decoding
from verydeep.data.split import Split
from verydeep.data.submission import devkit_numbers
from verydeep.engine.classification.evaluation import evaluate_predictions, predict_nets
from verydeep.engine.classification.report import write_classification_submission, write_evaluation_report
from verydeep.engine.datasets import open_data_split
from verydeep.engine.localization.box_ensemble import BoxEnsemble
from verydeep.engine.localization.boxed_split import contains_val, open_boxed_split
from verydeep.engine.localization.candidate_classes import find_source_nets
from verydeep.engine.localization.evaluation import evaluate_boxes, tune_threshold
from verydeep.engine.localization.merge_threshold import DEFAULT_THRESHOLD, Merging, TunedThreshold
from verydeep.engine.localization.report import errors_table, write_box_submission, write_localization_report
from verydeep.engine.log import Log
from verydeep.engine.nets.checks import check_classes
from verydeep.engine.nets.folders import Weights
from verydeep.engine.nets.net import EnsembleMember
from verydeep.engine.runtime import Runtime
from verydeep.errors import VerydeepError


@dataclass(frozen=True)
class EvaluationOptions:
    """What a test is to leave, and how it is done."""

    data: str
    """As the command line names it."""
    folder: Path
    """Where errors, lists and pictures go."""
    weights: Weights = "last"
    decoding: Decoding = field(default_factory=Decoding)
    submission: Path | None = None
    """Where the test server's file goes."""
    bad_boxes: BadBoxes = "error"
    merge_threshold: float = DEFAULT_THRESHOLD
    tune_threshold: bool = False
    """Choose the threshold on the validation part."""

    def about(self, runtime: Runtime) -> dict[str, Any]:
        """For errors.json."""
        return {
            "data": self.data,
            "weights": self.weights,
            "precision": runtime.precision,
            "fast_decode": self.decoding.fast,
        }


@dataclass(frozen=True)
class ClassEvaluationTask:
    """Classification nets, whose posteriors are averaged, in one view."""

    nets: tuple[EnsembleMember, ...]
    view: View

    @property
    def words(self) -> list[str]:
        """What it is called among the evaluations of its nets."""
        return [self.view]

    def open(self, options: EvaluationOptions, part: str) -> Split:
        """The part to test on, divided as for the training of the first net that was trained here.

        Raises:
            VerydeepError: it does not exist, a net has other classes or predicts boxes, or as ``check_labels``.
        """
        divided = next((each.net.config.split for each in self.nets if each.net.config.split), {})
        split = open_data_split(options.data, part, dict(divided))
        for each in self.nets:
            if each.net.config.regression is not None:
                raise VerydeepError(f"{each.net.path} predicts boxes and no classes: give --task localize.")
            check_classes(split, each.net)
        check_labels(split, options)
        return split

    def run(self, split: Split, options: EvaluationOptions, runtime: Runtime, log: Log) -> None:
        """Compute, show and write.

        Raises:
            VerydeepError: as ``predict_nets``, or the submission lacks an image.
        """
        asked = tuple(replace(each, net=each.net.with_outputs_for(split.class_names) or each.net) for each in self.nets)
        for each in asked:
            if each.net.outputs is not None:
                log.info(f"{each.net}: {len(split.class_names)} of its outputs are meant, by their WNIDs.")
        tested = predict_nets(asked, split, self.view, runtime, options.decoding)
        if not runtime.is_main:
            return
        if options.submission is not None:
            write_classification_submission(options.submission, tested, split, self.view)
            log.info(f"Written: {options.submission} ({len(split):,} lines)")
        if split.labels is not None:
            nets, about = [each.net for each in self.nets], {**options.about(runtime), "view": self.view}
            write_evaluation_report(
                evaluate_predictions(tested, split, self.view), split, nets, options.folder, about, log
            )


@dataclass(frozen=True)
class BoxEvaluationTask:
    """Localization nets, whose boxes are pooled."""

    ensemble: BoxEnsemble

    @property
    def nets(self) -> tuple[EnsembleMember, ...]:
        """That predict boxes."""
        return self.ensemble.members

    @property
    def words(self) -> list[str]:
        """What it is called among the evaluations of its nets: classes that are not the nets' own are named."""
        ensemble = self.ensemble
        if ensemble.classes is None:
            return ["boxes", ensemble.view, "truth"]
        is_own = ensemble.classes == find_source_nets(ensemble.members, ensemble.view)
        return ["boxes", ensemble.view, *([] if is_own else [ensemble.classes.text])]

    def open(self, options: EvaluationOptions, part: str) -> Split:
        """The part to test on, divided as for the first net's training, its boxes not read yet.

        Raises:
            VerydeepError: it does not exist, a net has other classes, a submission is asked for and no classes are
                guessed, or as ``check_labels``.
        """
        if options.submission is not None and self.ensemble.classes is None:
            raise VerydeepError("--submission holds guessed classes, and truth has none: name a protocol for them.")
        split = open_data_split(options.data, part, dict(self.nets[0].net.config.split))
        self.ensemble.check_classes(split)
        check_labels(split, options)
        return split

    def run(self, split: Split, options: EvaluationOptions, runtime: Runtime, log: Log) -> None:
        """Evaluate the ensemble, and write the report and the submission.

        Raises:
            DataError: there are no boxes, one is bad, or an image cannot be decoded.
            WeightsError: a net has no weights.
        """
        boxed_split = (
            None if split.labels is None else open_boxed_split(split, options.data, options.bad_boxes, runtime, log)
        )
        by_halves = options.tune_threshold and contains_val(split)
        threshold: float | TunedThreshold = options.merge_threshold
        if options.tune_threshold and (options.submission is not None or not by_halves):
            threshold = self.tune(options, runtime, log)
        if options.submission is not None:
            value = threshold.threshold if isinstance(threshold, TunedThreshold) else threshold
            write_box_submission(options.submission, self.ensemble, split, value, runtime, options.decoding)
            log.info(f"Written: {options.submission} ({len(split):,} lines)")
        if boxed_split is None:
            return
        merging: Merging = "by halves" if by_halves else threshold
        evaluation = evaluate_boxes(self.ensemble, boxed_split, runtime, options.decoding, merging)
        if evaluation is not None:
            nets = ", ".join(str(member.net) for member in self.nets)
            num_images = evaluation.errors.truth.num_images
            log.show(errors_table(evaluation, f"{nets} on {num_images:,} images of {split.name}, {runtime.precision}"))
            values = write_localization_report(evaluation, boxed_split, options.folder, options.about(runtime))
            for remark in values["notes"]:
                log.info(remark)
            log.info(f"Written: {options.folder}/ (errors.json, boxes.csv, success.png, examples.png)")

    def tune(self, options: EvaluationOptions, runtime: Runtime, log: Log) -> TunedThreshold:
        """Choose the merge threshold on the validation split; all processes get the same.

        Raises:
            DataError: there is no validation split, or it has no boxes.
        """
        val = self.open(EvaluationOptions(options.data, options.folder), "val")
        boxed_split = open_boxed_split(val, options.data, options.bad_boxes, runtime, log)
        tuned = runtime.from_main(tune_threshold(self.ensemble, boxed_split, runtime, options.decoding))
        assert tuned is not None
        return tuned


def check_labels(split: Split, options: EvaluationOptions) -> None:
    """Refuse a part without labels unless a submission is asked for, and a submission of other classes than ILSVRC's.

    Raises:
        VerydeepError: that is so.
    """
    if options.submission is not None:
        devkit_numbers(split.class_names)
    elif split.labels is None:
        raise VerydeepError(
            f"The {split.name} part of {options.data} has no labels, so there is no error to compute: give "
            "--submission FILE to write what the nets predict."
        )
