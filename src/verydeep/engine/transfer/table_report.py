"""What a measured table of appendix B says: rows beside the paper's, and what must be known of them."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from verydeep.configs.scales import in_pixels
from verydeep.configs.transfer import SCALES, MultiScale, TransferRow, TransferTable
from verydeep.data.transfer_sets import TransferSet
from verydeep.engine.descriptors.representation import AGGREGATED
from verydeep.engine.log import Log
from verydeep.engine.reporting.measured_table import table_title, unconverged_remarks
from verydeep.engine.reporting.remarks import seen_images_remarks
from verydeep.engine.transfer.protocol import as_values, samples_of
from verydeep.engine.transfer.tables import (
    LAYER,
    Measured,
    MeasuredCell,
    TransferConditions,
    measure_cells,
    missing_nets_message,
)
from verydeep.engine.transfer.task import copies_of_tested, copies_remark
from verydeep.results.measured_table import MeasuredTable


@dataclass(frozen=True, eq=False)
class MeasuredTransferTable:
    """A table of appendix B, measured."""

    table: TransferTable
    measured: Measured
    conditions: TransferConditions

    @property
    def name(self) -> str:
        """Of the table's files."""
        return self.table.name

    @property
    def title(self) -> str:
        """What the table is of."""
        return f"{table_title(self.name)}: {self.table.title}"

    def headings(self) -> list[str]:
        """Of the columns: the paper's figures, and beside them what was measured where the data set is there."""
        there = self.conditions.sets
        pairs = [[f"{column}: paper", *(["here"] if column in there else [])] for column in self.table.columns]
        return ["row", *(heading for pair in pairs for heading in pair)]

    def cells(self) -> Iterator[list[str]]:
        """The rows, as text."""
        for row in self.table.rows:
            cells = [row.label]
            for column in self.table.columns:
                cells.append(str(row.figures.get(column, "-")))
                cells += [self.cell(row, column)] if column in self.conditions.sets else []
            yield cells

    def cell(self, row: TransferRow, column: str) -> str:
        """What was measured, or why nothing was; nothing at all for other authors."""
        if (row.label, column) in self.measured:
            return str(self.measured[row.label, column])
        lacking = [str(net) for net in row.nets if net not in self.conditions.answering_nets]
        return f"no {', '.join(lacking)}" if lacking else ""

    def remarks(self) -> Iterator[str]:
        """What stands below the table."""
        conditions = self.conditions
        yield (
            "In %. VOC: mean AP, of 2007 at 11 points, with 95% intervals over test sets of this size. Caltech: mean "
            "class recall ± the standard deviation over draws. *: nets trained on more than ILSVRC's 1000 classes."
        )
        decoding = ", fast decoding" if conditions.decoding.fast else ""
        yield f"Crop {conditions.crop}, {conditions.runtime.precision}{decoding}, {LAYER}."
        for task in conditions.sets.values():
            yield f"{set_in_words(task)} {scales_in_words(SCALES[task.kind], conditions.crop)}"
        if absent := [column for column in self.table.columns if column not in conditions.sets]:
            yield f"Not measured: {', '.join(absent)}; --data takes several folders, with commas between them."
        for wanted, net in conditions.answering_nets.items():
            yield f"{wanted} is {net.path}."
        if lacking := [net for net in self.table.nets if net not in conditions.answering_nets]:
            yield f"The other rows need {missing_nets_message(lacking, conditions.crop)}"
        yield from unconverged_remarks(conditions.unconverged)
        yield from dict.fromkeys(note for key, cell in self.measured.items() for note in notes(*key, cell))

    def as_values(self) -> dict[str, Any]:
        """All of it for machines, but for the remarks."""
        conditions = self.conditions
        rows = [
            {
                "label": row.label,
                "nets": list(map(str, row.nets)),
                "seen": row.coverage,
                "figures": {
                    column: {
                        "paper": asdict(row.figures[column]) if column in row.figures else None,
                        "measured": measured_values(self.measured.get((row.label, column))),
                    }
                    for column in self.table.columns
                },
            }
            for row in self.table.rows
        ]
        return {
            "table": self.name,
            "title": self.table.title,
            "data": {column: str(task.partitions[0].train.root) for column, task in conditions.sets.items()},
            "crop": conditions.crop,
            "precision": conditions.runtime.precision,
            "fast_decode": conditions.decoding.fast,
            "nets": {str(wanted): str(net.path) for wanted, net in conditions.answering_nets.items()},
            "unconverged": list(conditions.unconverged),
            "rows": rows,
        }


def as_table(findings: MeasuredTransferTable) -> MeasuredTable:
    """Return the table that reports share."""
    rows = tuple(map(tuple, findings.cells()))
    remarks = tuple(findings.remarks())
    return MeasuredTable(findings.name, findings.title, tuple(findings.headings()), rows, remarks, findings.as_values())


def set_in_words(task: TransferSet) -> str:
    """What was learned from and tested on."""
    first, noun = task.partitions[0], samples_of(task)
    assert first.test is not None
    draws = f"; the first of {len(task.partitions)} draws" if len(task.partitions) > 1 else ""
    return (
        f"{task.name}: {first.train.layout}{draws}: learned from {len(first.train):,} {noun} of {first.train.name}, "
        f"tested on {len(first.test):,} of {first.test.name}."
    )


def scales_in_words(best: MultiScale, crop: int) -> str:
    """At which scales, and what became of them."""
    pixels = ", ".join(f"{q} ({in_pixels(q, crop)} px)" for q in best.scales)
    return f"Q={pixels}, {AGGREGATED[best.aggregation]}."


def notes(label: str, column: str, cell: MeasuredCell) -> Iterator[str]:
    """What must be known of one figure."""
    task = cell.result.task
    for each in cell.result.found:
        if note := each.classifiers.note(task.task.class_names):
            yield f"{label}, {column}: {note}"
    for net in task.representation.nets:
        yield from seen_images_remarks([net], task.everything)
    if learned_from_too := copies_of_tested(task):
        yield f"{column}: {copies_remark(learned_from_too)}"
    if cell.result.skipped:
        yield f"Skipped: {len(cell.result.skipped)} files of {column} that cannot be decoded."


def measured_values(cell: MeasuredCell | None) -> dict[str, Any] | None:
    """A measured cell for machines."""
    if cell is None:
        return None
    result = cell.result
    values = as_values(result.found, result.task.task, result.task.representation)
    return {
        **values,
        "interval": cell.interval and asdict(cell.interval),
        "skipped": result.skipped,
        "copies": copies_of_tested(result.task),
    }


def measure_transfer_table(
    table: TransferTable, conditions: TransferConditions, log: Log
) -> Iterator[MeasuredTransferTable]:
    """Measure a table; nothing comes of it on all processes but the main one.

    Raises:
        VerydeepError: as ``measure_cells``.
    """
    measured = measure_cells(table, conditions, log)
    if conditions.runtime.is_main:
        yield MeasuredTransferTable(table, measured, conditions)
