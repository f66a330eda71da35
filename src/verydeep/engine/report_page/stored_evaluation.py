"""An evaluation as its folder holds it: errors, and the prediction of every photograph."""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Literal

import msgspec
import numpy as np
from msgspec import Meta

from verydeep.data.annotations import SIDES, parse_number
from verydeep.engine.report_page.stored_values import ClassErrors, EvaluationValues, Row
from verydeep.errors import DataError
from verydeep.json_files import read_json
from verydeep.ops.arrays import BoolArray
from verydeep.ops.localization_errors import RIGHT_AT
from verydeep.ops.metrics import mean_class_recall, topk_for, wilson_interval

ERRORS, PREDICTIONS, BOXES, CLASSES = "errors.json", "predictions.csv", "boxes.csv", "classes.csv"

MAX_GUESSES = 5

ScoreKind = Literal["probability", "margin", "IoU"]
"""The meaning of a photograph's score."""

Box = tuple[float, ...]
Side = Annotated[float, Meta(ge=-1e9, le=1e9)]
"""A coordinate of a box in pixels, finite."""


@dataclass(frozen=True)
class TestedPhotograph:
    """The prediction for one photograph."""

    file: str
    """Path relative to the folder of the split."""
    label: str
    """Name of the true class."""
    is_right: bool
    score: float
    """Score of the first guess, or the IoU of the true class's box."""
    guesses: tuple[tuple[str, float], ...]
    """The best classes with their scores; empty where boxes of the true class alone were predicted."""
    predicted_box: Box | None = None
    """xmin, ymin, xmax, ymax of the true class's box, in pixels of the file."""
    annotations: tuple[Box, ...] = ()
    shows: tuple[str, ...] | None = None
    """All classes that the photograph shows, where it may show several: ``label`` is one of them, or a false alarm."""

    @property
    def is_false_alarm(self) -> bool:
        """Whether a class was predicted that the photograph does not show."""
        return self.shows is not None and self.label not in self.shows

    @property
    def prediction(self) -> str:
        """Name of the predicted class; for boxes, and for photographs with several classes, the name of ``label``."""
        return self.guesses[0][0] if self.guesses and self.predicted_box is None and self.shows is None else self.label


@dataclass(frozen=True)
class StoredEvaluation:
    """The files of one evaluation."""

    run: str
    """Name of the run."""
    name: str
    values: EvaluationValues
    photographs: tuple[TestedPhotograph, ...]
    class_words: Mapping[str, str]
    """Class -> its words, as far as they are known."""
    training_counts: Mapping[str, int] = field(default_factory=dict)
    """Class -> number of its training photographs, where it is known."""

    @property
    def has_several_classes(self) -> bool:
        """Whether a photograph may show several classes, each of which is found or not."""
        return "class_intervals" in self.values

    @property
    def is_about_boxes(self) -> bool:
        """Whether boxes were tested."""
        return any("truth" in row for row in self.values["rows"])

    @property
    def kind(self) -> ScoreKind:
        """The meaning of the scores."""
        if self.is_about_boxes:
            return "IoU"
        return "margin" if "classifier" in self.values else "probability"

    @cached_property
    def wrong(self) -> dict[tuple[str, str], bool]:
        """File and label of each photograph -> whether it is predicted wrong."""
        return {(each.file, each.label): not each.is_right for each in self.photographs}

    def words(self, name: str) -> str:
        """Return what people call a class."""
        return self.class_words.get(name, name)


def read_evaluation(folder: Path, run: str, class_words: Mapping[str, str]) -> StoredEvaluation:
    """Read the folder of an evaluation.

    Args:
        folder: that `evaluate` wrote into.
        run: name of the run.
        class_words: words for classes that the folder does not know.

    Raises:
        DataError: a file is missing or damaged.
    """
    values = read_json(folder / ERRORS, EvaluationValues)
    if not all(row.get("errors") or row.get("truth") for row in values["rows"]):
        raise DataError(f"{folder / ERRORS} has a row without errors: run `verydeep evaluate` again.")
    words = dict(class_words)
    if (folder / CLASSES).exists():
        words |= {line["class"]: line["words"] for line in _read_lines(folder / CLASSES, ("class", "words"))}
    photographs: tuple[TestedPhotograph, ...] = ()
    if (folder / PREDICTIONS).exists():
        photographs = tuple(read_predictions(folder / PREDICTIONS))
    elif (folder / BOXES).exists():
        photographs = tuple(read_boxes(folder / BOXES))
    return StoredEvaluation(run, folder.name, values, photographs, words)


def read_predictions(path: Path) -> Iterator[TestedPhotograph]:
    """Yield the lines of a predictions.csv.

    Raises:
        DataError: the file is damaged.
    """
    lines = _read_lines(path, ("path", "label", "rank", "class1"))
    prefix = "p" if lines and "p1" in lines[0] else "margin"
    for line in lines:
        numbers = [number for number in range(1, MAX_GUESSES + 1) if line.get(f"class{number}")]
        guesses = tuple((line[f"class{number}"], _number(path, line, f"{prefix}{number}")) for number in numbers)
        if not guesses:
            raise DataError(f"{path} has no prediction of {line['path']}: run `verydeep evaluate` again.")
        yield TestedPhotograph(line["path"], line["label"], guesses[0][0] == line["label"], guesses[0][1], guesses)


def read_boxes(path: Path) -> Iterator[TestedPhotograph]:
    """Yield the lines of a boxes.csv.

    Raises:
        DataError: the file is damaged.
    """
    for line in _read_lines(path, ("path", "label", "iou", *SIDES)):
        numbers = [number for number in range(1, MAX_GUESSES + 1) if line.get(f"class{number}")]
        guesses = tuple((line[f"class{number}"], _number(path, line, f"rating{number}")) for number in numbers)
        overlap = _number(path, line, "iou")
        box = tuple(_number(path, line, side) for side in SIDES)
        annotations = _read_annotations(line.get("annotations") or "[]")
        yield TestedPhotograph(line["path"], line["label"], overlap >= RIGHT_AT, overlap, guesses, box, annotations)


def read_margins(path: Path) -> Iterator[TestedPhotograph]:
    """Yield each class that a photograph shows, and each false alarm: a margin above 0 of a class it does not show.

    Raises:
        DataError: the file is damaged.
    """
    lines = _read_lines(path, ("path", "class", "relevance", "margin"))
    names = list(dict.fromkeys(line["class"] for line in lines))
    for first in range(0, len(lines), max(1, len(names))):
        sample = lines[first : first + len(names)]
        if [line["class"] for line in sample] != names:
            raise DataError(f"{path} lacks classes of {sample[0]['path']}: run `verydeep transfer` again.")
        margins = {line["class"]: _number(path, line, "margin") for line in sample}
        best = tuple(sorted(margins.items(), key=lambda each: -each[1])[:MAX_GUESSES])
        shows = tuple(line["class"] for line in sample if line["relevance"] == "1")
        for line in sample:
            name, margin = line["class"], margins[line["class"]]
            if line["relevance"] == "1" or (line["relevance"] == "-1" and margin > 0):
                is_right = line["relevance"] == "1" and margin > 0
                yield TestedPhotograph(line["path"], name, is_right, margin, best, shows=shows)


def measure_rows(photographs: Sequence[TestedPhotograph], view: str, num_classes: int) -> list[Row]:
    """Return errors of a classifier's own test, in the form of errors.json's rows."""
    right: BoolArray = np.array([each.is_right for each in photographs])
    names = sorted({each.label for each in photographs})
    labels = np.array([names.index(each.label) for each in photographs], np.int64)
    k = topk_for(num_classes)
    missed = sum(each.label not in [name for name, _ in each.guesses[:k]] for each in photographs)
    count = len(photographs)
    errors: ClassErrors = {
        "top1": wilson_interval(int((~right).sum()), count),
        "topk": wilson_interval(missed, count),
        "k": k,
        "class_recall": mean_class_recall(right, labels),
    }
    return [{"net": "", "view": view, "scales": [], "errors": errors}]


def _read_lines(path: Path, columns: Sequence[str]) -> list[dict[str, str]]:
    try:
        with path.open(newline="", encoding="utf-8") as file:
            lines = list(csv.DictReader(file))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read ({error}): run `verydeep evaluate` again.") from None
    if missing := [name for name in columns if any(line.get(name) is None for line in lines)]:
        raise DataError(f"{path} lacks the column {missing[0]}: run `verydeep evaluate` again.")
    return lines


def _number(path: Path, line: Mapping[str, str], column: str) -> float:
    number = parse_number(line.get(column) or "")
    if number is None:
        raise DataError(
            f"{path} has a {column} of {line['path']:.80} that is not a number: run `verydeep evaluate` again."
        )
    return number


def _read_annotations(text: str) -> tuple[Box, ...]:
    try:
        return tuple(msgspec.convert(json.loads(text), list[tuple[Side, Side, Side, Side]]))
    except (ValueError, RecursionError):
        return ()
