"""The results of `evaluate` and `reproduce`: tables of measured errors."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from verydeep.results.result import Record, Result
from verydeep.results.tables import TextTable


@dataclass(frozen=True, eq=False, repr=False)
class MeasuredTable(Result):
    """Figures that were measured on a user's data; a table of the paper also gives the published figures."""

    name: str
    """Name of the table and of its files, such as ``table3``."""
    title: str
    """One line that names the table and the images."""
    headings: tuple[str, ...]
    """Headings of the columns."""
    rows: tuple[tuple[str, ...], ...]
    """Cells of each row, as text."""
    remarks: tuple[str, ...]
    """Sentences that a reader needs before quoting a figure."""
    values: Mapping[str, Any]
    """All figures in full precision, as JSON values; without the remarks."""
    num_labels: int = 1
    """Number of columns at the left that contain words."""
    folder: Path | None = None
    """Folder of the files with these figures; None if nothing was written."""
    summary: str = ""
    """One plain sentence about the last row; empty for tables of the paper."""
    report: Path | None = None
    """The report page of the run, or of the evaluation; None if there is none."""

    def records(self) -> list[Record]:
        """Return one record for each row, with its figures in full precision; None where nothing was measured."""
        records = [dict(flatten(row)) for row in self.values["rows"]]
        keys = dict.fromkeys(key for record in records for key in record)
        # A value that is a mapping in some rows and None in others has the keys of the mapping.
        keys = {key: None for key in keys if not any(other.startswith(f"{key}_") for other in keys)}
        return [{key: record.get(key) for key in keys} for record in records]

    def table(self) -> TextTable:
        """Return the table that people read."""
        return TextTable(self.headings, self.rows, self.title, num_labels=self.num_labels)

    def footer(self) -> Sequence[str]:
        """Return the remarks, and where the files are."""
        written = [] if self.folder is None else [f"Written: {self.folder}/"]
        return [*self.remarks, *written, *([] if self.report is None else [f"Report: {self.report}"])]


@dataclass(frozen=True, eq=False, repr=False)
class MeasuredTables(Result):
    """One or several measured tables, such as the tables of the paper."""

    tables: tuple[MeasuredTable, ...]
    """The tables, in the order in which they were measured."""

    def records(self) -> list[Record]:
        """Return one record for each row of each table, with its figures in full precision."""
        return [{"table": table.name, **record} for table in self.tables for record in table.records()]

    def sections(self) -> list[tuple[TextTable | None, Sequence[str]]]:
        """Return each table with its remarks."""
        return [section for table in self.tables for section in table.sections()]


@dataclass(frozen=True, eq=False, repr=False)
class EvaluationResult(Result):
    """The errors of nets on a split."""

    tables: tuple[MeasuredTable, ...]
    """One table, or one for each seed of a protocol's nets; empty if only ``submission`` was written."""
    submission: Path | None = None
    """The file for the ILSVRC test server; None if it was not asked for."""

    @property
    def summary(self) -> str:
        """One plain sentence about each table."""
        return "\n".join(table.summary for table in self.tables if table.summary)

    @property
    def top1_error(self) -> float:
        """Top-1 error of the protocol (the last row), in percent; with several seeds, their mean."""
        return self._mean("errors_top1_percent")

    @property
    def top5_error(self) -> float:
        """Top-5 error in percent; with K < 6 classes, the top-(K-1) error, as a top-K error is always 0."""
        return self._mean("errors_topk_percent")

    @property
    def localization_error(self) -> float:
        """Localization error in percent: the boxes are those of the five most probable classes."""
        return self._mean("guesses_error_percent")

    def _mean(self, key: str) -> float:
        values = [float(str(table.records()[-1][key])) for table in self.tables]
        return sum(values) / len(values)

    def records(self) -> list[Record]:
        """Return one record for each row of each table, with its figures in full precision."""
        return [record for table in self.tables for record in table.records()]

    def sections(self) -> list[tuple[TextTable | None, Sequence[str]]]:
        """Return each table with its remarks."""
        sections = [section for table in self.tables for section in table.sections()]
        return sections if self.submission is None else [(None, [f"Written: {self.submission}"]), *sections]


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, object]]:
    """Yield the values of nested mappings; the name of an inner one is joined to that of the outer one."""
    for key, value in values.items():
        name = f"{prefix}_{key}" if prefix else key
        if isinstance(value, Mapping):
            yield from flatten(value, name)
        else:
            yield name, list(value) if isinstance(value, tuple) else value
