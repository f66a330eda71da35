"""Lists of photographs: standard input, and CSV files."""

import csv
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from verydeep.errors import DataError

STANDARD_INPUT = "-"
PATH_COLUMN = "path"


def expand_lists(arguments: Sequence[str]) -> Iterator[str]:
    """Yield the arguments, with the names that standard input ("-") and CSV files list in their places.

    Raises:
        DataError: a list cannot be read, or is empty.
    """
    for argument in arguments:
        if argument == STANDARD_INPUT:
            yield from read_standard_input()
        elif argument.lower().endswith(".csv") and Path(argument).is_file():
            yield from read_paths(Path(argument))
        else:
            yield argument


def read_standard_input() -> list[str]:
    """Return the names of standard input: a line each, or separated by zero bytes, as by ``find -print0``.

    Raises:
        DataError: there are none.
    """
    content = sys.stdin.buffer.read()
    separator = b"\0" if b"\0" in content else b"\n"
    names = [os.fsdecode(name.removesuffix(b"\r")) for name in content.split(separator) if name.strip()]
    if not names:
        raise DataError("Standard input lists no photographs: write the name of a file on each line.")
    return names


def read_paths(path: Path) -> list[str]:
    """Return the files that a CSV file lists in its column ``path``, or in its first column.

    A name is relative to the folder of the CSV file, or, if there is no such file, to the current folder.

    Raises:
        DataError: the file cannot be read as CSV, or lists nothing.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="", errors="surrogateescape") as text:
            rows = [row for row in csv.reader(text) if any(cell.strip() for cell in row)]
    except (OSError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as CSV ({error}).") from None
    header = [cell.strip().lower() for cell in rows[0]] if rows else []
    column = header.index(PATH_COLUMN) if PATH_COLUMN in header else 0
    names = [row[column].strip() for row in rows if len(row) > column and row[column].strip()]
    if PATH_COLUMN in header or (names and not _exists(path, names[0])):  # the first line is a header
        names = names[1:]
    if not names:
        raise DataError(f"{path} lists no photographs: give it a column called {PATH_COLUMN}.")
    return [str(path.parent / name) if (path.parent / name).exists() else name for name in names]


def _exists(path: Path, name: str) -> bool:
    return (path.parent / name).exists() or Path(name).exists()
