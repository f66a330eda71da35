"""A test of nets on a part of a data set, from its images to the files it leaves: of classes, or of boxes."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from verydeep.configs.protocols import View
from verydeep.data.decoding import Decoding
from verydeep.data.split import Split
from verydeep.data.submission import devkit_numbers
from verydeep.data.truth import BadBoxes
from verydeep.engine.classification.evaluation import evaluate, test_nets
from verydeep.engine.classification.report import leave_evaluation, leave_submission
from verydeep.engine.datasets import open_part
from verydeep.engine.journal import Journal
from verydeep.engine.localization.classes import ClassSource
from verydeep.engine.localization.evaluation import choose_threshold, evaluate_boxes
from verydeep.engine.localization.localizers import Localizers
from verydeep.engine.localization.parts import holds_val, open_boxed_part
from verydeep.engine.localization.report import leave_box_submission, leave_localization
from verydeep.engine.localization.threshold import DEFAULT_THRESHOLD, Merging, Tuned
from verydeep.engine.nets.folders import Weights
from verydeep.engine.nets.net import NetAtScales, check_classes
from verydeep.engine.runtime import Runtime
from verydeep.errors import VerydeepError


@dataclass(frozen=True)
class Order:
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
class ClassTest:
    """Classification nets, whose posteriors are averaged, in one view."""

    nets: tuple[NetAtScales, ...]
    view: View

    @property
    def words(self) -> list[str]:
        """What it is called among the evaluations of its nets."""
        return [self.view]

    def open(self, order: Order, part: str) -> Split:
        """The part to test on, divided as for the training of the first net that was trained here.

        Raises:
            VerydeepError: it does not exist, a net has other classes or predicts boxes, or as ``check_labels``.
        """
        divided = next((each.net.config.split for each in self.nets if each.net.config.split), {})
        split = open_part(order.data, part, dict(divided))
        for each in self.nets:
            if each.net.config.regression is not None:
                raise VerydeepError(f"{each.net.path} predicts boxes and no classes: give --task localize.")
            check_classes(split, each.net)
        check_labels(split, order)
        return split

    def run(self, split: Split, order: Order, runtime: Runtime, journal: Journal) -> None:
        """Compute, show and write.

        Raises:
            VerydeepError: as ``test_nets``, or the submission lacks an image.
        """
        asked = tuple(replace(each, net=each.net.telling(split.class_names) or each.net) for each in self.nets)
        for each in asked:
            if each.net.outputs is not None:
                journal.say(f"{each.net}: {len(split.class_names)} of its outputs are meant, by their WNIDs.")
        tested = test_nets(asked, split, self.view, runtime, order.decoding)
        if not runtime.is_main:
            return
        if order.submission is not None:
            leave_submission(order.submission, tested, split, self.view)
            journal.say(f"Written: {order.submission} ({len(split):,} lines)")
        if split.labels is not None:
            nets, about = [each.net for each in self.nets], {**order.about(runtime), "view": self.view}
            leave_evaluation(evaluate(tested, split, self.view), split, nets, order.folder, about, journal)


@dataclass(frozen=True)
class BoxTest:
    """Localization nets, whose boxes are pooled."""

    localizers: Localizers

    @property
    def nets(self) -> tuple[NetAtScales, ...]:
        """That predict boxes."""
        return self.localizers.members

    @property
    def words(self) -> list[str]:
        """What it is called among the evaluations of its nets: classes that are not the nets' own are named."""
        localizers = self.localizers
        if localizers.classes is None:
            return ["boxes", localizers.view, "truth"]
        is_own = localizers.classes == ClassSource.of_box_nets(localizers.members, localizers.view)
        return ["boxes", localizers.view, *([] if is_own else [localizers.classes.told])]

    def open(self, order: Order, part: str) -> Split:
        """The part to test on, divided as for the first net's training, its boxes not read yet.

        Raises:
            VerydeepError: it does not exist, a net has other classes, a submission is asked for and no classes are
                guessed, or as ``check_labels``.
        """
        if order.submission is not None and self.localizers.classes is None:
            raise VerydeepError("--submission holds guessed classes, and truth has none: name a protocol for them.")
        split = open_part(order.data, part, dict(self.nets[0].net.config.split))
        self.localizers.check(split)
        check_labels(split, order)
        return split

    def run(self, split: Split, order: Order, runtime: Runtime, journal: Journal) -> None:
        """Compute, show and write.

        Raises:
            VerydeepError: there are no boxes, or a bad one; or as ``evaluate_boxes``.
        """
        boxed = None if split.labels is None else open_boxed_part(split, order.data, order.bad_boxes, runtime, journal)
        by_halves = order.tune_threshold and holds_val(split)
        chosen: float | Tuned = order.merge_threshold
        if order.tune_threshold and (order.submission is not None or not by_halves):
            chosen = self.tune(order, runtime, journal)
        if order.submission is not None:
            threshold = chosen.threshold if isinstance(chosen, Tuned) else chosen
            leave_box_submission(order.submission, self.localizers, split, threshold, runtime, order.decoding)
            journal.say(f"Written: {order.submission} ({len(split):,} lines)")
        if boxed is None:
            return
        merging: Merging = "by halves" if by_halves else chosen
        found = evaluate_boxes(self.localizers, boxed, runtime, order.decoding, merging)
        if found is not None:
            leave_localization(found, boxed, order.folder, order.about(runtime), journal)

    def tune(self, order: Order, runtime: Runtime, journal: Journal) -> Tuned:
        """The threshold that is best on the validation part; the same on all processes.

        Raises:
            VerydeepError: there is none, or it has no boxes.
        """
        val = self.open(Order(order.data, order.folder), "val")
        part = open_boxed_part(val, order.data, order.bad_boxes, runtime, journal)
        tuned = runtime.from_main(choose_threshold(self.localizers, part, runtime, order.decoding))
        assert isinstance(tuned, Tuned)
        return tuned


def check_labels(split: Split, order: Order) -> None:
    """Refuse a part without labels unless a submission is asked for, and a submission of other classes than ILSVRC's.

    Raises:
        VerydeepError: that is so.
    """
    if order.submission is not None:
        devkit_numbers(split.class_names)
    elif split.labels is None:
        raise VerydeepError(
            f"The {split.name} part of {order.data} has no labels, so there is no error to compute: give --submission "
            "FILE to write what the nets say."
        )
