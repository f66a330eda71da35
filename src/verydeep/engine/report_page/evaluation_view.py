"""One evaluation as the report page shows it: its errors, classes, confusions and charts."""

from dataclasses import dataclass
from functools import cached_property

from verydeep.engine.report_page.charts import Chart, draw_calibration, draw_success
from verydeep.engine.report_page.doubtful_labels import rank_doubtful_labels
from verydeep.engine.report_page.figures import (
    MAX_MATRIX,
    MAX_PAIRS,
    RARE,
    ClassRow,
    Confusion,
    ErrorRow,
    list_classes,
    list_confusions,
    list_errors,
    measure_calibration,
)
from verydeep.engine.report_page.photographs import Place
from verydeep.engine.report_page.stored_evaluation import StoredEvaluation
from verydeep.engine.report_page.summary import describe_center
from verydeep.wording import count_of

SHADES = 5
"""Shades of the cells of a confusion matrix."""


@dataclass(frozen=True)
class Cell:
    """One cell of a confusion matrix."""

    prediction: str
    count: int
    is_right: bool
    shade: int


@dataclass(frozen=True)
class Matrix:
    """A confusion matrix: names of the classes, and the cells of each true class."""

    names: tuple[str, ...]
    rows: tuple[tuple[str, tuple[Cell, ...]], ...]


@dataclass(frozen=True)
class EvaluationView:
    """One evaluation, as the page shows it."""

    title: str
    evaluation: StoredEvaluation
    place: Place | None
    """Where its photographs are; None: they were not found."""

    @property
    def folder(self) -> str:
        """The folder of its photographs: where they are, or else where they were when they were tested."""
        values = self.evaluation.values
        return str(self.place.root if self.place is not None else values.get("root") or values.get("data") or "")

    def words(self, name: str) -> str:
        """Return what people call a class."""
        return self.evaluation.words(name)

    @cached_property
    def errors(self) -> list[ErrorRow]:
        """The errors of each protocol."""
        return list_errors(self.evaluation)

    @cached_property
    def classes(self) -> list[ClassRow]:
        """The error of each class."""
        return list_classes(self.evaluation)

    @cached_property
    def all_confusions(self) -> list[Confusion]:
        """All pairs of classes that are confused."""
        return list_confusions(self.evaluation)

    @property
    def confusions(self) -> list[Confusion]:
        """The most frequent confusions."""
        return self.all_confusions[:MAX_PAIRS]

    @property
    def has_confusions(self) -> bool:
        """Whether one class of each photograph was predicted."""
        return not (self.evaluation.is_about_boxes or self.has_several_classes)

    @property
    def has_several_classes(self) -> bool:
        """Whether a photograph may show several classes."""
        return self.evaluation.has_several_classes

    @property
    def has_training_counts(self) -> bool:
        """Whether the number of training photographs is known."""
        return bool(self.evaluation.training_counts)

    @property
    def center(self) -> str:
        """A sentence about the whole image and its central crop, where both were tested."""
        return describe_center(self.evaluation.values.get("dense_minus_center"))

    @property
    def calibration(self) -> str:
        """A sentence about the calibration error."""
        error = self.evaluation.values.get("expected_calibration_error")
        if error is None:
            return ""
        return (
            f"Where the net says 80%, about 80 of 100 photographs should be right. On average the two differ by "
            f"{error:.1f} points (expected calibration error)."
        )

    @cached_property
    def charts(self) -> tuple[Chart, ...]:
        """The calibration diagram, or the share of boxes over their IoU."""
        if self.evaluation.is_about_boxes:
            return (draw_success([each.score for each in self.evaluation.photographs]),)
        chart = draw_calibration(measure_calibration(self.evaluation))
        return () if chart is None else (chart,)

    @cached_property
    def doubts(self) -> dict[int, int]:
        """Place of each photograph whose label is probably wrong -> its rank, counted from 1."""
        return {row: rank for rank, row in enumerate(rank_doubtful_labels(self.evaluation), start=1)}

    @property
    def class_sentence(self) -> str:
        """A sentence about the sizes of the classes."""
        rows, noun = self.classes, "training photographs" if self.has_training_counts else "photographs"
        sizes = [row.num_images if row.num_train is None else row.num_train for row in rows]
        counts = sorted(zip(sizes, (self.words(row.name) for row in rows), strict=True), reverse=True)
        if len(counts) < 2:
            return f"{count_of(len(counts), 'class')}."
        (largest, first), (smallest, last) = counts[0], counts[-1]
        text = f"{count_of(len(rows), 'class')}, with {smallest:,} to {largest:,} {noun} each"
        num_rare = sum(row.is_rare for row in rows)
        if not num_rare:
            return f"{text}."
        ratio = f"{largest / smallest:.0f} times as many as {last}" if smallest else f"{largest:,}, {last} none"
        reason = "the net has seen few of them" if self.has_training_counts else "their errors are uncertain"
        advice = ", and the mean class recall tells more than the top-1 error"
        return (
            f"{text}. The classes are unequal: {first} has {ratio}. "
            f"{count_of(num_rare, 'class')} with less than {RARE:.0%} of the largest {'is' if num_rare == 1 else 'are'}"
            f" marked: {reason}{'' if self.has_several_classes else advice}."
        )

    @cached_property
    def matrix(self) -> Matrix | None:
        """The confusion matrix; None of more classes than can be read."""
        photographs = self.evaluation.photographs
        names = {each.label for each in photographs} | {each.prediction for each in photographs}
        if len(names) > MAX_MATRIX:
            return None
        ordered = tuple(sorted(names, key=lambda name: self.words(name).lower()))
        counts = {(each.label, each.prediction): each.count for each in self.all_confusions}
        rows = []
        for label in ordered:
            own = [each for each in photographs if each.label == label]
            right = sum(each.prediction == label for each in own)
            cells = []
            for prediction in ordered:
                count = right if prediction == label else counts.get((label, prediction), 0)
                shade = -(-SHADES * count // max(1, len(own)))
                cells.append(Cell(prediction, count, prediction == label, shade))
            rows.append((label, tuple(cells)))
        return Matrix(ordered, tuple(rows))
