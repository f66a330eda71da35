"""A table of the paper measured on a user's data: printed, and written for machines and for a page."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

from rich.table import Table
from rich.text import Text

from verydeep.engine.log import Log
from verydeep.engine.nets.net import Net
from verydeep.files import write_json, writing


class MeasuredTable(Protocol):
    """What a measured table has to say, of classes or of boxes."""

    @property
    def name(self) -> str:
        """Of its files."""

    @property
    def title(self) -> str:
        """What it is of."""

    def headings(self) -> list[str]:
        """Of its columns."""

    def cells(self) -> Iterator[list[str]]:
        """Its rows, as text."""

    def remarks(self) -> Iterator[str]:
        """What stands below it."""

    def as_values(self) -> dict[str, Any]:
        """All of it for machines, but for the remarks."""


def write_measured_table(findings: MeasuredTable, folder: Path, log: Log) -> None:
    """Print a table and what it says, and write it: <name>.json for machines, <name>.md for a page."""
    remarks = list(findings.remarks())
    table = Table(title=findings.title, title_justify="left", box=None, padding=(0, 1, 0, 0), pad_edge=False)
    first, *others = findings.headings()
    table.add_column(first, overflow="fold")
    for heading in others:
        table.add_column(heading, justify="right")
    for name, *cells in findings.cells():
        table.add_row(Text(name), *cells)
    log.show(table)
    for remark in remarks:
        log.info(remark)
    write_json(folder / f"{findings.name}.json", {**findings.as_values(), "remarks": remarks})
    lines = [findings.headings(), ["---"] * len(findings.headings()), *findings.cells()]
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    bullets = "\n".join(f"- {remark.strip()}" for remark in remarks)
    with writing(folder / f"{findings.name}.md") as beside:
        beside.write_text(f"## {findings.title}\n\n{body}\n\n{bullets}\n", encoding="utf-8")
    log.info(f"Written: {folder}/{findings.name}.json and .md\n")


def table_title(name: str) -> str:
    """Table 3 of "table3", Shallow of "shallow"."""
    return name.replace("table", "Table ").capitalize()


def unconverged_remarks(runs: Iterable[str]) -> Iterator[str]:
    """Runs that are no answer, if there are any."""
    if found := sorted(set(runs)):
        yield f"Not converged, and no answer (not all drops of the learning rate were made): {', '.join(found)}."


def training_remarks(nets: Iterable[Net]) -> Iterator[str]:
    """What else differs between the nets of a table."""
    each = list(nets)
    trained_on = sorted({str(net.config.provenance.get("data")) for net in each} - {"None"})
    if len(trained_on) > 1:
        yield f"Note: the nets were trained on different data: {', '.join(trained_on)}."
    lengths = sorted({int(net.config.provenance.get("epochs", 0)) for net in each} - {0})
    if len(lengths) > 1:
        yield f"Note: the nets were trained for different times: {', '.join(map(str, lengths))} epochs at most."
