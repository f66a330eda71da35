"""The first lines of the report page: two sentences, and the most important figures."""

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
    best = min(evaluations, key=lambda each: sum(each.wrong.values()) / len(each.wrong))
    wrong = sum(best.wrong.values())
    share = wilson_interval(wrong, len(best.wrong))
    first = (
        f"Of {count_of(len(runs), 'run')}, {best.run} errs least: on {share.percent:.1f}% of "
        f"{count_of(len(best.wrong), 'photograph')} [{share.low:.1f}, {share.high:.1f}]."
    )
    if not pairs:
        return [first, "The runs were tested on different photographs, so their errors cannot be compared in pairs."]
    of_best = [pair for pair in pairs if evaluations.index(best) in (pair.first, pair.second)]
    nearest = min(of_best or pairs, key=lambda pair: abs(pair.difference.points))
    names = evaluations[nearest.first].run, evaluations[nearest.second].run
    return [first, describe_difference(nearest, *names)]


def summarize_evaluation(evaluation: StoredEvaluation) -> str:
    """Return the sentence that the evaluation has, or make one."""
    if summary := evaluation.values.get("summary"):
        return str(summary)
    shares = [(evaluation.words(row.name), 100 - row.error.percent) for row in list_classes(evaluation)]
    right = len(evaluation.wrong) - sum(evaluation.wrong.values())
    subject = "Box of the true class right" if evaluation.is_about_boxes else "Right"
    return summarize_right(right, len(evaluation.wrong), shares, subject)


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
            f"At a margin of 0, {missed:,} of the {num_shown:,} classes that the photographs show are missed; "
            f"{count_of(num_false, 'false alarm')} {'is' if num_false == 1 else 'are'} given."
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
    word = "less" if difference.points <= 0 else "more"
    low, high = sorted((abs(difference.low), abs(difference.high)))
    span = (
        f"[{difference.low:+.1f}, {difference.high:+.1f}]"
        if difference.low < 0 < difference.high
        else f"[{low:.1f}, {high:.1f}]"
    )
    ending = "" if difference.larger_than_chance else ", which may be chance"
    return f"The whole image errs {abs(difference.points):.1f} points {word} than its central crop {span}{ending}."
