"""What a measured table says: rows beside the paper's, their order, which differences are larger than chance."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from verydeep.configs.paper import PaperRow, PaperTable
from verydeep.data.ilsvrc2012 import known_classes
from verydeep.engine.classification.report import describe_geometry
from verydeep.engine.classification.tables import (
    MeasuredRow,
    TableConditions,
    compare_rows,
    compute_views,
    measure_nets,
    measure_protocol,
    refuse_unanswered,
)
from verydeep.engine.reporting.comparison import Comparison, comparison_values, order_of_rows
from verydeep.engine.reporting.measured_table import table_title, training_remarks, unconverged_remarks
from verydeep.engine.reporting.remarks import seen_images_remarks
from verydeep.files import cache_folder
from verydeep.ops.metrics import topk_for


@dataclass(frozen=True, eq=False)
class MeasuredClassificationTable:
    """A table of the paper, measured on a data set."""

    table: PaperTable[PaperRow]
    rows: Sequence[tuple[PaperRow, MeasuredRow | None]]
    """Measured is None where a row has no runs, or is of other authors."""
    comparisons: Sequence[Comparison]
    conditions: TableConditions
    other_nets: Sequence[tuple[str, MeasuredRow]] = ()
    """Nets of others that answer for no row, under their own names."""

    @property
    def name(self) -> str:
        """Of the table's files."""
        return self.table.name

    @property
    def title(self) -> str:
        """What the table is of."""
        split = self.conditions.split
        return f"{table_title(self.name)}: {self.table.title}; {len(split):,} images of {split.name}"

    def headings(self) -> list[str]:
        """Of the columns."""
        return ["row", "paper", "top-1", *([f"top-{self.k}"] if self.k > 1 else []), "center", "seeds"]

    @property
    def k(self) -> int:
        """Guesses of the second error: five, or what few classes allow; of two classes 1, which is the first again."""
        return topk_for(len(self.conditions.split.class_names))

    def cells(self) -> Iterator[list[str]]:
        """The rows, as text."""
        has_test = any(row.top5_test is not None for row in self.table.rows)
        for row, measured in self.rows:
            name = row.label or str(row.protocol)
            published = (row.top1_val, row.top5_val, *([row.top5_test] if has_test else []))
            paper = "/".join("-" if value is None else f"{value:.1f}" for value in published)
            if row.protocol is None:
                cells = ["as published", "", "", ""]
            elif measured is None:
                cells = ["no run", "", "", ""]
            elif not measured.is_answer:
                cells = ["not converged", "", "", str(len(measured.seeds))]
            else:
                cells = in_cells(measured)
            yield [name, paper, *self.with_its_errors(cells)]
        for name, measured in self.other_nets:
            yield [name, "", *self.with_its_errors(in_cells(measured))]

    def with_its_errors(self, cells: list[str]) -> list[str]:
        """Without the second error where it is the first again."""
        return cells if self.k > 1 else [cells[0], *cells[2:]]

    def remarks(self) -> Iterator[str]:
        """What stands below the table."""
        yield (
            "Errors in %, with 95% intervals over images, and over seeds where there are several. Paper: top-1/top-5 "
            "on ILSVRC's validation images, top-5 on its test images. Center: top-1 of the central crop."
        )
        crop = self.conditions.crop
        yield self.conditions.in_words(q for each in self.table.protocols for m in each.members for q in m.test_scales)
        if self.other_nets:
            yield "Below the rows: nets of others, or that began with theirs; they answer for no row."
        for net in self.conditions.other_nets_of_other_crops:
            yield f"Left out: {net.path.name}, whose crop is {net.config.crop}: --crop {net.config.crop} takes it."
        tested = [row for _, row in self.rows if row is not None]
        geometry = {q: each for row in tested for q, each in row.geometry.items()}
        if geometry:
            yield describe_geometry(geometry)
        if geometry and crop < 64:
            yield "At this crop differences of views are geometry-limited."
        tested += [row for _, row in self.other_nets]
        yield from unconverged_remarks(run for row in tested for run in row.unconverged)
        nets = [net for row in tested for net in row.nets]
        yield from dict.fromkeys(
            note for net in nets for note in seen_images_remarks(net, self.conditions.split, "last")
        )
        if skipped := set[str]().union(*(row.skipped for row in tested)):
            yield f"Skipped: {len(skipped)} files that cannot be decoded."
        for reason in dict.fromkeys(row.write_error for row in tested if row.write_error):
            yield f"The posteriors were not kept for the next time: {reason}"
        for note in dict.fromkeys(row.note for row, _ in self.rows if row.note):
            yield f"The paper: {note}."
        yield from training_remarks(nets)
        is_ilsvrc = self.conditions.split.class_names == tuple(known_classes())
        if self.comparisons and (self.table.differences or not is_ilsvrc):
            yield from order_of_rows(self.comparisons, "top-1 errors")

    def as_values(self) -> dict[str, Any]:
        """All of it for machines, but for the remarks."""
        rows = [
            {
                "label": row.label or str(row.protocol),
                "protocol": None if row.protocol is None else str(row.protocol),
                "paper": {"top1_val": row.top1_val, "top5_val": row.top5_val, "top5_test": row.top5_test},
                "note": row.note,
                "measured": None if measured is None else measured_values(measured),
            }
            for row, measured in self.rows
        ]
        return {
            "table": self.name,
            "title": self.table.title,
            **self.conditions.as_values(),
            "k": self.k,
            "rows": rows,
            "others": [{"label": label, "measured": measured_values(row)} for label, row in self.other_nets],
            "differences": comparison_values(self.comparisons),
        }


def in_cells(measured: MeasuredRow) -> list[str]:
    """Both errors, that of the central crop, and the number of seeds."""
    center = "" if measured.center is None else f"{measured.center.percent:.1f}"
    return [str(measured.top1), str(measured.topk), center, str(len(measured.seeds))]


def measure_classification_tables(
    tables: Sequence[PaperTable[PaperRow]], conditions: TableConditions
) -> Iterator[MeasuredClassificationTable]:
    """Measure tables, on the main process; what they share is computed once, by all.

    Raises:
        VerydeepError: two runs answer for one member, the processes have no cache in common, or as ``compute_views``.
    """
    protocols = dict.fromkeys(protocol for table in tables for protocol in table.protocols)
    if not conditions.other_nets and not any(conditions.members(protocol) for protocol in protocols):
        refuse_unanswered(
            " or ".join(table.name for table in tables), [net for table in tables for net in table.nets], conditions
        )
    conditions.runtime.check_shared(cache_folder(), "VERYDEEP_CACHE moves the cache")
    compute_views(list(protocols), conditions)
    if not conditions.runtime.is_main:
        return
    # All is kept now; the others have nothing to add.
    conditions = replace(conditions, runtime=replace(conditions.runtime, world_size=1))
    for table in tables:
        rows = [
            (row, None if row.protocol is None else measure_protocol(row.protocol, conditions)) for row in table.rows
        ]
        yield MeasuredClassificationTable(
            table, rows, compare_rows(table, rows), conditions, list(measure_other_nets(table, conditions))
        )


def measure_other_nets(table: PaperTable[PaperRow], conditions: TableConditions) -> Iterator[tuple[str, MeasuredRow]]:
    """The nets that answer for no row, in each view that the table has."""
    for guest in conditions.other_nets:
        for view in dict.fromkeys(protocol.view for protocol in table.protocols):
            scales = ",".join(map(str, guest.scales))
            name = f"{guest.net}/{scales}{'' if view == 'dense' else f' : {view}'}"
            yield name, measure_nets(view, {guest.net.config.seed: [guest]}, conditions)


def measured_values(measured: MeasuredRow) -> dict[str, Any]:
    """A measured row for machines."""
    return {
        "seeds": list(measured.seeds),
        "top1": asdict(measured.top1),
        "topk": asdict(measured.topk),
        "top1_of_each_seed": [100 * float(each.mean()) for each in measured.wrong_top1],
        "topk_of_each_seed": [100 * float(each.mean()) for each in measured.wrong_topk],
        "center_top1": None if measured.center is None else asdict(measured.center),
        "unconverged": list(measured.unconverged),
        "skipped": sorted(measured.skipped),
        "geometry": {str(q): asdict(each) for q, each in measured.geometry.items()},
    }
