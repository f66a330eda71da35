"""Measured errors: the result of `evaluate`, and each table of `reproduce`."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from verydeep.results.result import Record, Result
from verydeep.results.tables import TextTable


@dataclass(frozen=True, eq=False, repr=False)
class MeasuredTable(Result):
    """Figures that were measured on a user's data, perhaps next to published ones."""

    name: str
    """Name of the table and of its files, such as ``table3``."""
    title: str
    """One line: which table, and which images."""
    headings: tuple[str, ...]
    """Headings of the columns."""
    rows: tuple[tuple[str, ...], ...]
    """Rows of cells, as text."""
    remarks: tuple[str, ...]
    """Sentences that a reader needs before quoting a figure."""
    values: Mapping[str, Any]
    """JSON values: all figures in full precision, without the remarks."""
    folder: Path | None = None
    """Folder with the figures, and more, in files; None if nothing was written."""

    def records(self) -> list[Record]:
        """Return one record for each row, with its figures in full precision."""
        return [dict(flatten(row)) for row in self.values["rows"]]

    def table(self) -> TextTable:
        """Return the table that people read."""
        return TextTable(self.headings, self.rows, self.title, bold_last=self.name == "errors")

    def footer(self) -> Sequence[str]:
        """Return the remarks, and where the files are."""
        return [*self.remarks, *([] if self.folder is None else [f"Written: {self.folder}/"])]


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield the values of nested mappings; the name of an inner one is joined to that of the outer one."""
    for key, value in values.items():
        name = f"{prefix}_{key}" if prefix else key
        if isinstance(value, Mapping):
            yield from flatten(value, name)
        else:
            yield name, list(value) if isinstance(value, tuple) else value
