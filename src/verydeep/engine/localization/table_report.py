"""What a measured table of appendix A says: rows beside the paper's, their order, and what differs beyond chance."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from verydeep.configs.paper import LocalizationRow, PaperTable
from verydeep.data.ilsvrc2012 import known_classes
from verydeep.engine.classification.tables import refuse_unanswered
from verydeep.engine.localization.tables import LocalizationTableConditions, MeasuredBoxes, compare_rows, measure_table
from verydeep.engine.reporting.comparison import Comparison, comparison_remarks, comparison_values
from verydeep.engine.reporting.measured_table import table_title, training_remarks, unconverged_remarks
from verydeep.engine.reporting.remarks import seen_images_remarks
from verydeep.results.measured_table import MeasuredTable


@dataclass(frozen=True, eq=False)
class MeasuredLocalizationTable:
    """A table of appendix A, measured on a data set."""

    table: PaperTable[LocalizationRow]
    rows: Sequence[tuple[LocalizationRow, MeasuredBoxes | None]]
    """Measured is None where a row has no runs, or is of other authors."""
    comparisons: Sequence[Comparison]
    conditions: LocalizationTableConditions

    @property
    def name(self) -> str:
        """Of the table's files."""
        return self.table.name

    @property
    def title(self) -> str:
        """What the table is of."""
        split = self.conditions.part.split
        return f"{table_title(self.name)}: {self.table.title}; {self.num_counted:,} images of {split.name}"

    @property
    def num_counted(self) -> int:
        """Images that the error counts: those with a box that are not on the devkit's blacklist."""
        return int((~self.conditions.part.blacklisted).sum())

    def headings(self) -> list[str]:
        """Of the columns."""
        return ["row", "paper", "error", "mean IoU", "t", "seeds"]

    def cells(self) -> Iterator[list[str]]:
        """The rows, as text."""
        has_test = any(row.test is not None for row in self.table.rows)
        for row, measured in self.rows:
            published = (row.val, *([row.test] if has_test else []))
            paper = "/".join("-" if value is None else f"{value:.1f}" for value in published)
            if row.protocol is None:
                cells = ["as published", "", "", ""]
            elif measured is None:
                cells = ["no run", "", "", ""]
            elif not measured.is_answer:
                cells = ["not converged", "", "", str(len(measured.seeds))]
            else:
                merged = ",".join(f"{threshold:g}" for threshold in measured.thresholds)
                cells = [str(measured.error), str(measured.mean_iou), merged, str(len(measured.seeds))]
            mark = "*" if measured is not None and measured.protocol != row.protocol else ""
            yield [f"{row.label or row.protocol}{mark}", paper, *cells]

    def remarks(self) -> Iterator[str]:
        """What stands below the table."""
        tested = [measured for _, measured in self.rows if measured is not None]
        guessing = any(row.protocol is not None and row.protocol.classes != "truth" for row, _ in self.rows)
        measure = "of up to five boxes of guessed classes" if guessing else "of the true class's box"
        yield (
            f"Errors in %, {measure}: no IoU of 0.5 with an instance; with 95% intervals over images, and over seeds "
            "where there are several. Paper: on ILSVRC's validation images, and by its test server. Mean IoU: of the "
            "true class's box. t: distance up to which boxes are merged."
        )
        shared = self.conditions.nets
        yield shared.describe(q for each in self.table.protocols for m in each.members for q in m.test_scales)
        tune_on = self.conditions.tune_on
        if tune_on is self.conditions.part:
            yield "t was chosen for each half of the images on the other half."
        elif tune_on is not None:
            yield f"t was chosen on the {len(tune_on.split):,} images of {tune_on.split.name}."
        others = [each.protocol for row, each in self.rows if each is not None and each.protocol != row.protocol]
        for other in dict.fromkeys(others):
            boxes = " + ".join(map(str, other.members))
            yield f"* {boxes}: the classes of {other.classes}, as no converged runs name the row's own."
        yield from unconverged_remarks(run for row in tested for run in row.unconverged)
        nets = list(dict.fromkeys(net for row in tested for net in row.tested))
        yield from seen_images_remarks(nets, self.conditions.part.whole)
        if skipped := max((row.skipped for row in tested), default=0):
            yield f"Skipped: {skipped} files that cannot be decoded."
        if lacking := len(self.conditions.part.whole) - len(self.conditions.part.split):
            yield f"Left out: {lacking} images that have no box."
        for note in dict.fromkeys(row.note for row, _ in self.rows if row.note):
            yield f"The paper: {note}."
        yield from training_remarks(nets)
        if self.comparisons and self.conditions.part.split.class_names != tuple(known_classes()):
            yield from comparison_remarks(self.comparisons, "errors")

    def as_values(self) -> dict[str, Any]:
        """All of it for machines, but for the remarks."""
        rows = [
            {
                "label": row.label or str(row.protocol),
                "protocol": None if row.protocol is None else str(row.protocol),
                "paper": {"val": row.val, "test": row.test},
                "note": row.note,
                "measured": None if measured is None else measured_values(measured),
            }
            for row, measured in self.rows
        ]
        return {
            "table": self.name,
            "title": self.table.title,
            **self.conditions.nets.values(),
            "num_images": self.num_counted,
            "rows": rows,
            "differences": comparison_values(self.comparisons),
        }


def as_table(findings: MeasuredLocalizationTable) -> MeasuredTable:
    """Return the table that reports share."""
    rows = tuple(map(tuple, findings.cells()))
    remarks = tuple(findings.remarks())
    return MeasuredTable(findings.name, findings.title, tuple(findings.headings()), rows, remarks, findings.as_values())


def measured_values(measured: MeasuredBoxes) -> dict[str, Any]:
    """A measured row for machines."""
    return {
        "protocol": str(measured.protocol),
        "seeds": list(measured.seeds),
        "error": asdict(measured.error),
        "error_of_each_seed": [100 * float(each.mean()) for each in measured.wrong],
        "mean_iou": asdict(measured.mean_iou),
        "thresholds": list(measured.thresholds),
        "unconverged": list(measured.unconverged),
        "skipped": measured.skipped,
    }


def measure_localization_table(
    table: PaperTable[LocalizationRow], conditions: LocalizationTableConditions
) -> Iterator[MeasuredLocalizationTable]:
    """Measure a table; nothing comes of it on all processes but the main one.

    Raises:
        VerydeepError: no run answers for any row, or as ``measure_table``.
    """
    rows = measure_table(table, conditions)
    if not conditions.nets.runtime.is_main:
        return
    if all(measured is None for _, measured in rows):
        refuse_unanswered(table.name, table.nets, conditions.nets)
    yield MeasuredLocalizationTable(table, rows, compare_rows(rows), conditions)
