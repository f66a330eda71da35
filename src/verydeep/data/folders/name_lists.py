"""Lists of photographs: standard input, CSV files, and text files with a name on each line."""

import codecs
import csv
import os
import re
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path, PurePath

from verydeep.data.folders.path_finder import PathFinder
from verydeep.data.pixels.formats import FORMATS, identify_format
from verydeep.errors import DataError
from verydeep.wording import shorten_list

STANDARD_INPUT = "-"
PATH_COLUMN = "path"
_NAMES_OF_FILES = (PATH_COLUMN, "file", "filename", "file_name", "filepath", "image", "image_path")
"""Columns that hold names of files, the first of these that is there."""
_MAX_BEGINNING, _MAX_LINES = 16_384, 20
"""Bytes and lines of a text file in which a name of a file makes it a list."""
_CONTROL_CHARACTER = re.compile(rb"[\x01-\x08\x0b\x0c\x0e-\x1f\x7f]")
"""What no text has, apart from tabs, ends of lines, and zero bytes between names."""


def expand_lists(arguments: Sequence[str]) -> Iterator[str]:
    """Yield the arguments, with the names that standard input ("-"), CSV and text files list in their places.

    Raises:
        DataError: a list cannot be read, or is empty.
    """
    for argument in arguments:
        if argument == STANDARD_INPUT:
            yield from read_standard_input()
        elif argument.lower().endswith(".csv") and Path(argument).is_file():
            yield from read_paths(Path(argument))
        elif Path(argument).suffix.lower() not in FORMATS and os.path.isfile(argument):  # noqa: PTH113 - never raises
            yield from read_lines(Path(argument)) or [argument]
        else:
            yield argument


def read_standard_input() -> list[str]:
    """Return the names of standard input: a line each, or separated by zero bytes, as by ``find -print0``.

    Raises:
        DataError: there are none.
    """
    names = _split_names(sys.stdin.buffer.read())
    if not names:
        raise DataError("Standard input lists no photographs: write the name of a file on each line.")
    return names


def _split_names(content: bytes) -> list[str]:
    content = content.removeprefix(codecs.BOM_UTF8)
    separator = b"\0" if b"\0" in content else b"\n"
    return [os.fsdecode(name.removesuffix(b"\r")) for name in content.split(separator) if name.strip()]


def read_lines(path: Path) -> list[str]:
    """Return the files that a text file lists, one on each line; nothing if it is no such list, such as an image.

    Names are relative as in ``read_paths``.
    """
    try:
        with path.open("rb") as file:
            beginning = file.read(_MAX_BEGINNING)
            if identify_format(beginning) is not None or _CONTROL_CHARACTER.search(beginning):
                return []
            if not any(_is_there(path, name.strip()) for name in _split_names(beginning)[:_MAX_LINES]):
                return []
            file.seek(0)
            names = _split_names(file.read())
    except OSError:  # decoding reports it
        return []
    return _find_listed(path.parent, map(str.strip, names))


def read_paths(path: Path) -> list[str]:
    """Return the files that a CSV file lists in its column ``path`` or ``file``, or in its first column.

    Fields are separated by commas, semicolons (spreadsheets in much of Europe) or tabs.

    A name is relative to the folder of the CSV file, or, if there is no such file, to the current folder.

    Raises:
        DataError: the file cannot be read as CSV, or lists nothing.
    """
    try:
        with path.open("rb") as file:
            is_utf16 = file.read(2) in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)  # "Unicode text" of spreadsheets
        encoding, errors = ("utf-16", "replace") if is_utf16 else ("utf-8-sig", "surrogateescape")
        with path.open(encoding=encoding, newline="", errors=errors) as text:
            first = text.readline()
            text.seek(0)
            rows = [row for row in csv.reader(text, delimiter=_find_delimiter(path, first)) if any(map(str.strip, row))]
    except (OSError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as CSV ({error}).") from None
    header = [cell.strip().lower() for cell in rows[0]] if rows else []
    named = [name for name in _NAMES_OF_FILES if name in header]
    column = header.index(named[0]) if named else 0
    names = [row[column].strip() for row in rows if len(row) > column and row[column].strip()]
    if named or (names and not _looks_like_file(path, names[0])):  # the first line is a header
        names = names[1:]
    if names and not named and not any(_looks_like_file(path, name) for name in names[:_MAX_LINES]):
        raise DataError(
            f"{path} has no column {PATH_COLUMN} (its columns: {shorten_list(header)}): name the column of photographs "
            f"{PATH_COLUMN}."
        )
    if not names:
        raise DataError(f"{path} lists no photographs: give it a column called {PATH_COLUMN}.")
    return _find_listed(path.parent, names)


def _find_listed(folder: Path, names: Iterable[str]) -> list[str]:
    """Return the paths of the files that a list names: relative to the list's folder, or to the current one.

    They may begin with the name of the list's folder.
    A missing file is taken to be in the list's folder if a name there differs from it only in upper and lower case.
    """
    inside, current = PathFinder(folder), PathFinder(Path())

    def find(name: str) -> str:
        path = PurePath(name)
        if ".." in path.parts:
            is_inside = os.path.exists(folder / name)  # noqa: PTH110 - never raises
            return os.path.join(folder, name) if is_inside else name  # noqa: PTH118 - a million names
        with suppress(DataError):  # its folder may not be read; decoding reports it
            found = inside.find(path)
            if found is None and current.find(path) is None:
                found = inside.find_file(path) or (name if inside.find_other_case(path) else None)
            return name if found is None else os.path.join(folder, found)  # noqa: PTH118 - as above
        return name

    return [find(name) for name in names]


def _is_there(path: Path, name: str) -> bool:
    return os.path.isfile(path.parent / name) or os.path.isfile(name)  # noqa: PTH113 - never raises


def _find_delimiter(path: Path, first: str) -> str:
    """Return what separates the fields of a CSV file, by its first line."""
    whole = first.strip()
    if "," in whole or _looks_like_file(path, whole):
        return ","
    return next((delimiter for delimiter in ";\t" if delimiter in whole), ",")


def _looks_like_file(path: Path, name: str) -> bool:
    """Whether a field is the name of a file, there or missing, and no heading."""
    return Path(name).suffix.lower() in FORMATS or _is_there(path, name)
