"""The first lines of the report page: two sentences, and the most important figures."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from verydeep.engine.report_page.figures import (
    EvaluationPair,
    describe_difference,
    list_classes,
    list_confusions,
    list_errors,
)
from verydeep.engine.report_page.stored_evaluation import StoredEvaluation
from verydeep.engine.report_page.stored_run import StoredRun
from verydeep.engine.reporting.summary import percent_text, summarize_right
from verydeep.ops.bootstrap import Difference
from verydeep.ops.metrics import wilson_interval
from verydeep.wording import count_of

SURE = 0.9
"""Probability from which a net is called sure."""


@dataclass(frozen=True)
class Tile:
    """One of the most important figures."""

    name: str
    value: str
    interval: str = ""


def summarize(
    runs: Sequence[StoredRun], evaluations: Sequence[StoredEvaluation], pairs: Sequence[EvaluationPair]
) -> list[str]:
    """Return two sentences about runs: how good they are, and what to look at."""
    if not evaluations:
        summaries = [str(run.transfer.get("summary")) for run in runs if run.transfer.get("summary")]
        return summaries or ["There is no evaluation with photographs: run `verydeep evaluate`."]
    if len(runs) == 1:
        return [summarize_evaluation(evaluations[0]), describe_mistakes(evaluations[0])]
    if reason := explain_no_ranking(runs, evaluations, pairs):
        errors = "; ".join(f"{each.run} is wrong {describe_error(each)}" for each in evaluations)
        return [f"{reason}, so none is called the best.", f"{errors}."]
    best = min(evaluations, key=lambda each: sum(each.wrong.values()))
    first = f"Of {count_of(len(runs), 'run')}, {best.run} has the fewest errors: {describe_error(best)}."
    of_best = [pair for pair in pairs if evaluations.index(best) in (pair.first, pair.second)]
    nearest = min(of_best or pairs, key=lambda pair: abs(pair.difference.points))
    names = evaluations[nearest.first].run, evaluations[nearest.second].run
    return [first, describe_difference(nearest, *names)]


def explain_no_ranking(
    runs: Sequence[StoredRun], evaluations: Sequence[StoredEvaluation], pairs: Sequence[EvaluationPair]
) -> str:
    """Return why the errors of runs cannot be ranked: other classes, photographs or tasks; nothing if they can."""
    if len(evaluations) < len(runs):
        return f"Of {count_of(len(runs), 'run')} {len(evaluations)} have an evaluation with photographs on this page"
    if len({each.is_about_boxes for each in evaluations}) > 1:
        return "Some runs predict boxes and others predict classes"
    if any(each.class_words.keys() != evaluations[0].class_words.keys() for each in evaluations):
        return "The runs predict different classes"
    num_photographs = {len(each.wrong) for each in evaluations} | {pair.num_photographs for pair in pairs}
    if len(pairs) < math.comb(len(evaluations), 2) or len(num_photographs) > 1:
        return "The runs were tested on different photographs"
    return ""


def describe_error(evaluation: StoredEvaluation) -> str:
    """Return "on 2.0% of 50 photographs [0.4, 10.5]"."""
    share = wilson_interval(sum(evaluation.wrong.values()), len(evaluation.wrong))
    count = count_of(len(evaluation.wrong), "photograph")
    return f"on {share.percent:.1f}% of {count} [{share.low:.1f}, {share.high:.1f}]"


def summarize_evaluation(evaluation: StoredEvaluation) -> str:
    """Return the sentence that the evaluation has, or make one."""
    if summary := evaluation.values.get("summary"):
        return str(summary)
    shares = [(evaluation.words(row.name), 100 - row.error.percent) for row in list_classes(evaluation)]
    right = len(evaluation.wrong) - sum(evaluation.wrong.values())
    subject = "Box of the true class right" if evaluation.is_about_boxes else "Right"
    return summarize_right(right, len(evaluation.wrong), shares, subject, str(evaluation.values.get("split", "")))


def describe_mistakes(evaluation: StoredEvaluation) -> str:
    """Return a sentence about the most frequent mistake, and about the predictions that seem sure."""
    if not any(evaluation.wrong.values()):
        return "There is no mistake among these photographs."
    if evaluation.is_about_boxes:
        missed = sum(each.score == 0 for each in evaluation.photographs)
        return f"{count_of(missed, 'box')} of {len(evaluation.photographs):,} do not touch the object at all."
    if evaluation.has_several_classes:
        num_false = sum(each.is_false_alarm for each in evaluation.photographs)
        num_shown = len(evaluation.photographs) - num_false
        missed = sum(not (each.is_right or each.is_false_alarm) for each in evaluation.photographs)
        return (
            f"At a margin of 0, {missed:,} of the {num_shown:,} labels of the photographs are missed; "
            f"there {'is' if num_false == 1 else 'are'} {count_of(num_false, 'false alarm')}."
        )
    first = list_confusions(evaluation)[0]
    label, prediction = evaluation.words(first.label), evaluation.words(first.prediction)
    text = f"Most often {label} is taken for {prediction} ({count_of(first.count, 'photograph')})"
    sure = [each.is_right for each in evaluation.photographs if each.score >= SURE]
    if evaluation.kind != "probability" or not sure:
        return f"{text}."
    percent = percent_text(100 * sum(sure) / len(sure))
    return (
        f"{text}; where the net is at least {SURE:.0%} sure, it is right on {percent} of "
        f"{count_of(len(sure), 'photograph')}."
    )


def list_tiles(evaluations: Sequence[StoredEvaluation]) -> list[Tile]:
    """Return the figures of the last row of the first evaluation."""
    if not evaluations:
        return []
    values = evaluations[0].values
    tiles = [
        Tile(name, f"{share.percent:.1f}%", f"[{share.low:.1f}, {share.high:.1f}]")
        for name, share in list_errors(evaluations[0])[-1].shares.items()
    ]
    if (error := values.get("expected_calibration_error")) is not None:
        tiles.append(Tile("calibration error", f"{error:.1f}", "points"))
    tiles.append(Tile("photographs", f"{len({each.file for each in evaluations[0].photographs}):,}"))
    return tiles


def describe_center(difference: Difference | None) -> str:
    """Return a sentence about the error of the whole image and that of its central crop."""
    if difference is None:
        return ""
    low, high = sorted((abs(difference.low), abs(difference.high)))
    span = (
        f"[{difference.low:+.1f}, {difference.high:+.1f}]"
        if difference.low < 0 < difference.high
        else f"[{low:.1f}, {high:.1f}]"
    )
    if round(difference.points, 1) == 0:
        return f"The error on whole images is the same as on central crops {span}."
    word = "lower" if difference.points < 0 else "higher"
    ending = "" if difference.larger_than_chance else ", which may be chance"
    return (
        f"The error on whole images is {abs(difference.points):.1f} points {word} than on central crops {span}{ending}."
    )
