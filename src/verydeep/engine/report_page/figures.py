"""The figures of the report page: errors, classes, confusions, calibration, differences between evaluations."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from verydeep.configs.networks import PAPER_CROP
from verydeep.configs.scales import format_scales
from verydeep.engine.report_page.stored_evaluation import StoredEvaluation
from verydeep.engine.report_page.stored_values import Row
from verydeep.ops.bootstrap import Difference, paired_difference
from verydeep.ops.metrics import Share, wilson_interval

NUM_BINS = 10
RARE = 0.1
"""A class is rare if it has less than this share of the largest class's photographs."""
MAX_PAIRS = 100
MAX_MATRIX = 30
"""Classes up to which the confusions are shown as a matrix."""


@dataclass(frozen=True)
class ErrorRow:
    """One row of the table of errors."""

    view: str
    scales: str
    shares: Mapping[str, Share]
    """Name of a figure -> the figure in percent."""


@dataclass(frozen=True)
class ClassRow:
    """The figures of one class."""

    name: str
    num_train: int | None
    """Training photographs, where their number is known."""
    num_images: int
    error: Share
    """The error; where photographs show several classes, the average precision."""
    is_rare: bool
    """Whether it has few training photographs; where they are not known, test photographs."""
    confused_with: str
    """The class that its wrong photographs are taken for most often; empty where there are none."""
    num_confused: int
    num_missed: int
    """Photographs that show the class and are predicted otherwise."""
    num_false: int
    """Photographs that do not show the class, on which it is found; counted where photographs show several."""


@dataclass(frozen=True)
class Confusion:
    """Photographs of one class that are taken for another."""

    label: str
    prediction: str
    count: int
    percent: float
    """Share of the photographs of the true class."""


@dataclass(frozen=True)
class Bin:
    """Photographs whose probability lies in one range."""

    low: float
    high: float
    mean: float
    """Mean probability, from 0 to 1."""
    right: Share
    count: int


@dataclass(frozen=True)
class EvaluationPair:
    """Two evaluations on photographs that both have."""

    first: int
    """Position of the evaluation on the page."""
    second: int
    difference: Difference
    num_photographs: int
    only_first_wrong: int
    only_second_wrong: int


def list_errors(evaluation: StoredEvaluation) -> list[ErrorRow]:
    """Return a row for each protocol of an evaluation."""
    return [_error_row(row) for row in evaluation.values["rows"]]


def _error_row(row: Row) -> ErrorRow:
    shares: dict[str, Share] = {}
    if errors := row.get("errors"):
        shares["top-1 error"] = errors["top1"]
        if errors["k"] > 1:
            shares[f"top-{errors['k']} error"] = errors["topk"]
        shares["mean class recall"] = errors["class_recall"]
    if precision := row.get("precision"):
        shares["mean AP"] = precision
    if truth := row.get("truth"):
        shares["error of the true class's box"] = truth["error"]
    if guesses := row.get("guesses"):
        shares["localization error"] = guesses["error"]
    view = f"{row['net']}, {row['view']}" if row.get("net", "").endswith(" nets") else row["view"]
    scales = ", ".join(format_scales(row["scales"], row.get("crop", PAPER_CROP)))
    return ErrorRow(view, scales, shares)


def list_classes(evaluation: StoredEvaluation) -> list[ClassRow]:
    """Return a row for each class that has photographs, in alphabetical order."""
    false = Counter(each.label for each in evaluation.photographs if each.is_false_alarm)
    counts = Counter(each.label for each in evaluation.photographs if not each.is_false_alarm)
    missed = Counter(each.label for each in evaluation.photographs if not (each.is_right or each.is_false_alarm))
    confused: dict[str, Confusion] = {}
    for each in list_confusions(evaluation):
        confused.setdefault(each.label, each)
    sizes = evaluation.training_counts or counts
    largest = max(sizes.values(), default=0)
    rows = []
    for name, count in sorted(counts.items(), key=lambda item: evaluation.words(item[0]).lower()):
        precision, worst = evaluation.values.get("class_intervals", {}).get(name), confused.get(name)
        rows.append(
            ClassRow(
                name=name,
                num_train=evaluation.training_counts.get(name),
                num_images=count,
                error=precision or wilson_interval(missed[name], count),
                is_rare=sizes.get(name, 0) < RARE * largest,
                confused_with=worst.prediction if worst else "",
                num_confused=worst.count if worst else 0,
                num_missed=missed[name],
                num_false=false[name],
            )
        )
    return rows


def list_confusions(evaluation: StoredEvaluation) -> list[Confusion]:
    """Return the pairs of classes that are confused, the most frequent first."""
    counts = Counter(each.label for each in evaluation.photographs)
    pairs = Counter((each.label, each.prediction) for each in evaluation.photographs if each.prediction != each.label)
    return [
        Confusion(label, prediction, count, 100 * count / counts[label])
        for (label, prediction), count in sorted(pairs.items(), key=lambda item: (-item[1], item[0]))
    ]


def measure_calibration(evaluation: StoredEvaluation) -> list[Bin]:
    """Return the share of right predictions in bins of equal width of their probabilities; without empty bins."""
    if evaluation.kind != "probability":
        return []
    scores = np.array([each.score for each in evaluation.photographs])
    right = np.array([each.is_right for each in evaluation.photographs], np.bool_)
    edges = np.linspace(0, 1, NUM_BINS + 1)
    places = np.digitize(scores, edges[1:-1], right=True)
    bins = []
    for place in range(NUM_BINS):
        inside = places == place
        if count := int(inside.sum()):
            share = wilson_interval(int(right[inside].sum()), count)
            bins.append(Bin(edges[place], edges[place + 1], float(scores[inside].mean()), share, count))
    return bins


def compare_evaluations(evaluations: Sequence[tuple[str, StoredEvaluation]]) -> Iterator[EvaluationPair]:
    """Yield each pair of evaluations of the same kind that have photographs in common.

    Args:
        evaluations: each with the folder of its photographs; the same names in two folders are other photographs.
    """
    for (first, (folder, one)), (second, (other_folder, other)) in combinations(enumerate(evaluations), 2):
        common = sorted(one.wrong.keys() & other.wrong.keys())
        if not common or folder != other_folder or one.is_about_boxes != other.is_about_boxes:
            continue
        wrong = [np.array([[each.wrong[key] for key in common]]) for each in (one, other)]
        only = [int((a & ~b).sum()) for a, b in (wrong, wrong[::-1])]
        yield EvaluationPair(first, second, paired_difference(*wrong), len(common), only[0], only[1])


def describe_difference(pair: EvaluationPair, first: str, second: str) -> str:
    """Return a sentence that says which of two evaluations errs less, and whether that may be chance."""
    difference = pair.difference
    if difference.points == 0:
        return f"{first} and {second} have the same error."
    better, worse = (first, second) if difference.points < 0 else (second, first)
    points = abs(difference.points)
    ending = "more than chance explains" if difference.larger_than_chance else "which may be chance"
    return f"The error of {better} is {points:.1f} points lower than that of {worse}, {ending}."
