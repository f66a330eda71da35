"""The content of the report page, from runs: everything that the template draws, and the data of its script."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any

from verydeep.engine.report_page.charts import Chart, draw_learning_curve, draw_loss, draw_validation
from verydeep.engine.report_page.evaluation_view import EvaluationView
from verydeep.engine.report_page.facts import list_facts
from verydeep.engine.report_page.figures import EvaluationPair, compare_evaluations
from verydeep.engine.report_page.maps import DrawnMaps
from verydeep.engine.report_page.photographs import Thumbnail, find_place, holds_copies
from verydeep.engine.report_page.stored_evaluation import StoredEvaluation, TestedPhotograph
from verydeep.engine.report_page.stored_run import StoredRun
from verydeep.engine.report_page.summary import Tile, list_tiles, summarize
from verydeep.wording import count_of, rate_text, shorten_list

MAX_EVALUATIONS = 6
"""Evaluations with photographs on one page."""
MAX_PHOTOGRAPHS = 100_000
"""Predictions on one page, over all evaluations."""
MAX_EPOCHS = 200
"""Rows of the table of epochs."""


@dataclass(frozen=True)
class ErrorTable:
    """Evaluations whose errors have the same names."""

    names: tuple[str, ...]
    views: tuple[EvaluationView, ...]
    end: float
    """Percentage at the end of the drawn intervals."""


@dataclass(frozen=True)
class PageContent:
    """The content of the page, which the template draws."""

    all_runs: tuple[StoredRun, ...]
    views: tuple[EvaluationView, ...]
    omissions: tuple[str, ...]
    """Sentences about what the page leaves out, and about trainings that have not ended."""
    thumbnails: Mapping[str, Thumbnail] = field(default_factory=dict)
    """Key of a photograph -> its thumbnail."""
    maps: Mapping[int, DrawnMaps] = field(default_factory=dict)
    """Number of an evaluation -> score maps of its photographs."""

    version = version("verydeep")

    @property
    def runs(self) -> tuple[str, ...]:
        """Names of the runs."""
        return tuple(run.name for run in self.all_runs)

    @property
    def title(self) -> str:
        """Name of the page."""
        return shorten_list(self.runs, 4)

    @property
    def tested_on(self) -> str:
        """The data of the evaluations, in words."""
        places = [
            (Path(str(view.evaluation.values.get("data") or view.folder)).name, view.evaluation.values.get("split"))
            for view in self.views
        ]
        names = dict.fromkeys(f"{data} ({split})" if split and split != data else data for data, split in places)
        return f"tested on {shorten_list([*names], 3)}" if names else ""

    @property
    def date(self) -> str:
        """Date of the newest run."""
        return max((each.date for run in self.all_runs for each in run.environments), default="").split(" ")[0]

    @cached_property
    def summary(self) -> list[str]:
        """Two sentences."""
        return summarize(self.all_runs, [view.evaluation for view in self.views], self.pairs)

    @property
    def tiles(self) -> list[Tile]:
        """The most important figures of a single run."""
        return list_tiles([view.evaluation for view in self.views]) if len(self.all_runs) == 1 else []

    @cached_property
    def pairs(self) -> list[EvaluationPair]:
        """Differences between the evaluations."""
        return list(compare_evaluations([(view.folder, view.evaluation) for view in self.views]))

    @property
    def has_confusions(self) -> bool:
        """Whether classes were predicted."""
        return bool(self.views) and self.views[0].has_confusions

    @property
    def errors_title(self) -> str:
        """Title of the tables of errors."""
        return "Average precision" if self.views[0].has_several_classes else "Errors"

    @property
    def error_tables(self) -> list[ErrorTable]:
        """Tables of errors, one for each set of names."""
        groups: dict[tuple[str, ...], list[EvaluationView]] = {}
        for view in self.views:
            names = tuple(dict.fromkeys(name for row in view.errors for name in row.shares))
            groups.setdefault(names, []).append(view)
        tables = []
        for names, views in groups.items():
            highs = [row.shares[names[0]].high for view in views for row in view.errors if names[0] in row.shares]
            tables.append(ErrorTable(names, tuple(views), max(highs, default=100.0) or 100.0))
        return tables

    @property
    def curves(self) -> list[Chart]:
        """Charts of the trainings, and of classifiers with fewer photographs."""
        metrics = {run.name: run.metrics for run in self.all_runs if run.metrics}
        error = (
            "error of the true class's box"
            if any(run.config.get("regression") for run in self.all_runs)
            else "top-1 error"
        )
        charts = [draw_loss(metrics), draw_validation(metrics, error)]
        for run in self.all_runs:
            chart = draw_learning_curve(run.transfer.get("curve") or (), str(run.transfer.get("metric")))
            charts.append(chart and replace(chart, title=chart.title + (f": {run.name}" if len(self.runs) > 1 else "")))
        return [chart for chart in charts if chart is not None]

    @property
    def epochs(self) -> list[tuple[str, ...]]:
        """Rows of the table of epochs."""
        rows = list[tuple[str, ...]]()
        for run in self.all_runs:
            for each in run.metrics:
                if each.get("epoch"):
                    error = "" if each.get("val_error") is None else f"{each['val_error']:.1f}%"
                    rate = rate_text(each["learning_rate"])
                    rows.append((run.name, str(each["epoch"]), f"{each['loss']:.3f}", error, rate))
        return rows[:MAX_EPOCHS]

    @property
    def remarks(self) -> list[str]:
        """Remarks of the classifiers and the evaluations, each once, and what the page leaves out."""
        remarks = dict.fromkeys(
            str(remark).strip()
            for values in [*(run.transfer for run in self.all_runs), *(view.evaluation.values for view in self.views)]
            for remark in values.get("remarks", ())
        )
        skipped = [
            f"{view.title}: {count_of(len(files), 'file')} could not be decoded."
            for view in self.views
            if (files := view.evaluation.values.get("skipped"))
        ]
        return [*self.omissions, *remarks, *skipped]

    @property
    def facts(self) -> list[tuple[str, tuple[str, ...]]]:
        """How each run came about."""
        return list_facts(self.all_runs)

    @property
    def lost(self) -> list[str]:
        """Titles of the evaluations whose photographs were not found."""
        return [view.title for view in self.views if view.place is None]

    @property
    def photograph_sentence(self) -> str:
        """A sentence about the photographs that have a thumbnail."""
        num_all = len(self.keys)
        count = f"{'All ' if num_all > 1 else ''}{count_of(num_all, 'photograph')}"
        if self.lost:
            hint = f"These photographs were not found when the page was written: {shorten_list(self.lost)}."
        elif any(self.views[0].evaluation.wrong.values()):
            hint = 'The mistakes are shown first: to see the others, too, choose "all" under "Show".'
        else:
            hint = "Choose one to see it large."
        num_thumbnails = len(self.thumbnails)
        if num_thumbnails == num_all:
            return f"{count} {'has' if num_all == 1 else 'have'} a thumbnail. {hint}"
        return (
            f"{count} {'is' if num_all == 1 else 'are'} listed; {num_thumbnails:,} of them have a thumbnail and "
            f"{num_all - num_thumbnails:,} have none. {hint}"
        )

    @cached_property
    def keys(self) -> dict[str, int]:
        """Key of each photograph -> its number on the page."""
        keys: dict[str, int] = {}
        for view in self.views:
            for each in view.evaluation.photographs:
                keys.setdefault(photograph_key(view, each), len(keys))
        return keys

    @cached_property
    def class_numbers(self) -> dict[str, int]:
        """Name of each class -> its number on the page."""
        names = {
            name
            for view in self.views
            for each in view.evaluation.photographs
            for name in (each.label, *(guess for guess, _ in each.guesses), *(each.shows or ()))
        }
        return {name: number for number, name in enumerate(sorted(names))}

    @cached_property
    def data(self) -> dict[str, Any]:
        """The data of the script."""
        words = {name: view.words(name) for view in reversed(self.views) for name in self.class_numbers}
        return {
            "classes": [words[name] for name in self.class_numbers],
            "photographs": [key.split("\0")[1] for key in self.keys],
            "evaluations": [
                {
                    "title": view.title,
                    "kind": view.evaluation.kind,
                    "several": view.has_several_classes,
                    "photographs": [
                        self._photograph_values(view, each, view.doubts.get(row, 0))
                        for row, each in enumerate(view.evaluation.photographs)
                    ],
                }
                for view in self.views
            ],
            "thumbnails": {
                self.keys[key]: [each.uri, each.width, each.height] for key, each in self.thumbnails.items()
            },
            "maps": {
                number: {
                    self.keys[photograph_key(self.views[number], each)]: [
                        [self.class_numbers[drawn.name], drawn.uri] for drawn in maps[each.file]
                    ]
                    for each in self.views[number].evaluation.photographs
                    if each.file in maps
                }
                for number, maps in self.maps.items()
            },
        }

    def _photograph_values(self, view: EvaluationView, photograph: TestedPhotograph, doubt: int) -> list[Any]:
        """Return what the script reads of a photograph, in the order in which it does so.

        Its rank among the doubtful labels, ``doubt``, counts from 1; 0: it is none of them.
        """
        values: list[Any] = [
            self.keys[photograph_key(view, photograph)],
            self.class_numbers[photograph.label],
            int(photograph.is_right),
            round(photograph.score, 4),
            [self.class_numbers[name] for name, _ in photograph.guesses],
            [round(score, 4) for _, score in photograph.guesses],
        ]
        if photograph.predicted_box is not None:
            values += [photograph.predicted_box, photograph.annotations]
        elif photograph.shows is not None:
            values += [None, None, 0, [self.class_numbers[name] for name in photograph.shows]]
        elif doubt:
            values += [None, None, doubt]
        return values


def photograph_key(view: EvaluationView, photograph: TestedPhotograph) -> str:
    """Return what tells a photograph from those of other folders: its folder and its file."""
    return f"{view.folder}\0{photograph.file}"


def choose_content(runs: Sequence[StoredRun], roots: Sequence[Path]) -> PageContent:
    """Return the content of the page of runs, without thumbnails.

    One run shows all of its evaluations, the newest first; several runs show one each: that of a protocol which all of
    them have, if there is one.
    """
    chosen, omissions = list[StoredEvaluation](), [problem for run in runs for problem in run.problems]
    omissions += [f"The training of {run.name} has not ended." for run in runs if run.has_not_ended]
    usable = [[each for each in run.evaluations if each.photographs] for run in runs]
    if len(runs) == 1:
        chosen = usable[0]
    else:
        shared = [name for name in (each.name for each in usable[0]) if all(name in _names(each) for each in usable)]
        for evaluations in usable:
            chosen += [each for each in evaluations if not shared or each.name == shared[0]][:1]
    kept, num_photographs = list[StoredEvaluation](), 0
    for each in chosen:
        num_photographs += len(each.photographs)
        if kept and (len(kept) == MAX_EVALUATIONS or num_photographs > MAX_PHOTOGRAPHS):
            break
        kept.append(each)
    if left_out := [f"{each.run}: {each.name}" for each in chosen[len(kept) :]]:
        omissions.append(f"Left out, to keep this page small: {shorten_list(left_out)}.")
    views = list[EvaluationView]()
    for each in kept:
        title = each.name if len(runs) == 1 else each.run
        place, files = find_place(each, roots), [photograph.file for photograph in each.photographs]
        others = [view.place for view in views if view.place is not None]
        if place is not None:  # copies of photographs that are on the page already
            place = next((other for other in others if holds_copies(place, other, files)), place)
        views.append(EvaluationView(title, each, place))
    return PageContent(tuple(runs), tuple(views), tuple(omissions))


def _names(evaluations: Sequence[StoredEvaluation]) -> set[str]:
    return {each.name for each in evaluations}
