"""The base of all results, and how they are printed."""

import csv
import html
import io
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, Literal, TextIO

from rich.console import Console, Group
from rich.text import Text

from verydeep.files import CsvLines
from verydeep.paths import escape_bytes
from verydeep.results.tables import TextTable
from verydeep.wording import count_of, escape_controls

Record = dict[str, object]
Format = Literal["table", "json", "csv"]

HTML_ROWS = 100
"""Rows that a notebook shows."""
PIPE_WIDTH = 10_000
"""Columns of output that is not a terminal, where nothing needs to be folded."""


LONG = 100
"""Letters of a list from which a ``repr`` counts its items."""


class Result(ABC):
    """Base of the frozen dataclasses that the public functions return."""

    formats: ClassVar[Mapping[str, str]] = {}
    """Format of each key's values in the table, such as ".1%"."""

    @property
    def problem(self) -> str:
        """A sentence if something failed (the command line then exits with 1); otherwise an empty string."""
        return ""

    @property
    def summary(self) -> str:
        """One plain sentence that says how good the result is; it is printed first. Empty if there is none."""
        return ""

    @abstractmethod
    def records(self) -> list[Record]:
        """Return plain records, which become rows of a data frame, or lines of JSON or CSV."""

    def as_dict(self) -> Record:
        """Return all fields as plain Python values: dictionaries, lists, strings and numbers."""
        return {field.name: plain_value(getattr(self, field.name)) for field in fields(self)}  # type: ignore[arg-type]

    def table(self) -> TextTable | None:
        """Return the table that people read, or None; unless overridden, it shows the records."""
        headings = self.columns()
        records = [{key: record[key] for key in headings} for record in self.records()]
        if not records:
            return None
        cells = self._cells(records, [record.get("rank") == 1 for record in self.records()])
        return TextTable(tuple(headings.values()), cells, num_labels=count_labels(records[0]))

    def columns(self) -> Mapping[str, str]:
        """Return the heading of each column of the table, by key of the records; unless overridden, the key itself."""
        return {key: key for record in self.records()[:1] for key in record}

    def _cells(self, records: Sequence[Record], starts: Sequence[bool]) -> tuple[tuple[str, ...], ...]:
        """Return the cells of a table of records; a first cell like the one above it is left empty.

        ``starts`` says which records are the first ones of an image, which may be there twice.
        """
        rows = [[format_value(value, self.formats.get(key, "")) for key, value in each.items()] for each in records]
        firsts = [row[0] for row in rows]
        for row, above, is_start in zip(rows[1:], firsts, starts[1:], strict=False):
            row[0] = "" if row[0] == above and not is_start else row[0]
        return tuple(map(tuple, rows))

    def footer(self) -> Sequence[str]:
        """Return the sentences below the table."""
        return ()

    def __repr__(self) -> str:
        """Return the names of all fields, and the values of those that are short."""
        values = ((field.name, getattr(self, field.name)) for field in fields(self))  # type: ignore[arg-type]
        return f"{type(self).__name__}({', '.join(f'{name}={short_text(value)}' for name, value in values)})"

    def __str__(self) -> str:
        """Return the tables and remarks as text, for ``print``."""
        return self.to_text(PIPE_WIDTH)

    def sections(self) -> list[tuple[TextTable | None, Sequence[str]]]:
        """Return each table with the remarks below it; unless overridden, there is one table."""
        return [(self.table(), self.footer())]

    def footers(self) -> list[str]:
        """Return the sentences below all tables."""
        return [line for _, footer in self.sections() for line in footer]

    def __rich__(self) -> Group:
        """Return all tables and remarks, for a terminal."""
        # The terminal breaks long lines, so that a path can be copied.
        parts: list[TextTable | Text] = [_unbroken(self.summary)] if self.summary else []
        for table, remarks in self.sections():
            parts += [] if table is None else [table]
            parts += [_unbroken(escape_controls(remark)) for remark in remarks]
        return Group(*parts)

    def to_text(self, width: int = 120) -> str:
        """Return all tables and remarks as text."""
        console = Console(file=io.StringIO(), width=width)
        with console.capture() as capture:
            console.print(self, crop=False)
        return escape_bytes(capture.get().rstrip("\n"))

    def _repr_html_(self) -> str:
        """Return all tables and remarks, for a notebook."""
        parts = [f"<p><b>{html.escape(line)}</b></p>" for line in self.summary.splitlines()]
        for table, remarks in self.sections():
            if table is not None:
                parts.append(replace(table, rows=table.rows[:HTML_ROWS]).to_html())
                if len(table.rows) > HTML_ROWS:
                    parts.append(f"<p>{HTML_ROWS} of {len(table.rows):,} rows are shown.</p>")
            parts += [f"<p>{html.escape(remark)}</p>" for remark in remarks]
        return escape_bytes("".join(parts))


class ImageResult(Result):
    """Base of the results about images that a user gave, some of which may have been skipped."""

    images: tuple[str, ...]
    skipped: Mapping[str, str]
    bad_images: Literal["error", "skip"]

    @property
    def problem(self) -> str:
        """A sentence if an image could not be used and ``bad_images`` is not "skip"; otherwise an empty string."""
        if not self.skipped or self.bad_images == "skip":
            return ""
        first, num_images = escape_controls(next(iter(self.skipped.values()))), len(self.images) + len(self.skipped)
        if len(self.skipped) == 1:
            return f"1 of {num_images:,} images has no result: {first}"
        return f"{len(self.skipped):,} of {num_images:,} images have no result, the first because {first}"

    def _skipped_lines(self) -> list[str]:
        """Return a line for each file that could not be used; most reasons begin with its name."""
        lines = self.skipped.items()
        return [f"Skipped: {reason}" if file in reason else f"Skipped {file}: {reason}" for file, reason in lines]


def _unbroken(line: str) -> Text:
    return Text(escape_controls(line, but="\n"), no_wrap=True, overflow="ignore")


def print_result(
    result: Result,
    format: Format,  # noqa: A002 - the option's name
    file: TextIO,
    translate: Callable[[str], str] = str,
) -> None:
    """Print a result: as a table, as JSON with one object a line, or as CSV.

    ``translate`` changes the names of parameters in text for people.
    """
    if format == "table":
        wide = not (file.isatty() or "COLUMNS" in os.environ)
        text = result.to_text(PIPE_WIDTH if wide else Console(file=file).width)
        file.write(f"{translate(text)}\n" if text else "")
        return
    records = result.records()
    if format == "json":
        file.writelines(f"{json.dumps(record, ensure_ascii=False)}\n" for record in records)
    elif records:
        writer = csv.DictWriter(CsvLines(file), dict.fromkeys(key for record in records for key in record))
        writer.writeheader()
        writer.writerows({key: csv_value(value) for key, value in record.items()} for record in records)


def format_value(value: object, specification: str = "") -> str:
    """Return a value as a cell of a table; words for booleans are specified as "yes/no"."""
    if value is None:
        return ""
    if isinstance(value, bool):
        yes, _, no = (specification or "yes/").partition("/")
        return yes if value else no
    if isinstance(value, int | float):
        return format(value, specification or ("," if isinstance(value, int) else ".4g"))
    text = ",".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
    return escape_controls(text)


def csv_value(value: object) -> object:
    """Return a value as a cell of a CSV file: 0 and 1 for booleans, six digits, lists as JSON."""
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, float):
        return format(value, ".6g")
    return json.dumps(value, ensure_ascii=False) if isinstance(value, list | dict) else value


def plain_value(value: Any) -> object:
    """Return a value made of dictionaries, lists, strings and numbers alone."""
    if hasattr(value, "tolist"):  # an array
        return value.tolist()
    if isinstance(value, Path):
        return value.as_posix()
    if isinstance(value, Mapping):
        return {str(key): plain_value(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain_value(each) for each in value]
    if is_dataclass(value):
        return {field.name: plain_value(getattr(value, field.name)) for field in fields(value)}
    return value


def short_text(value: Any) -> str:
    """Return a value as it stands in a short ``repr``: the shape of an array, the length of a longer list."""
    if hasattr(value, "shape"):
        return f"{value.dtype} {tuple(value.shape)}"
    if isinstance(value, Result):
        return f"<{type(value).__name__}>"
    if isinstance(value, Mapping | list | tuple) and (len(value) > 3 or len(repr(value)) > LONG):
        return f"<{count_of(len(value), 'item')}>"
    return f"'{value.as_posix()}'" if isinstance(value, Path) else repr(value)


def count_labels(record: Record) -> int:
    """Return how many columns of words stand before the first column of numbers."""
    for count, value in enumerate(record.values()):
        if isinstance(value, int | float):
            return max(1, count)
    return len(record)
