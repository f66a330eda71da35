"""CSV files that people write about their photographs."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from verydeep.errors import DataError
from verydeep.paths import describe_read_error


def read_csv(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield number and fields of each line after the header; empty ones are left out.

    Fields are separated by commas, semicolons or tabs, and are yielded in the order of ``columns``. A line with too few
    or too many fields gives as many.

    Args:
        path: of a file in UTF-8; the first of ``columns`` alone may hold other bytes, as names of files do.
        columns: names that the header must have, in any order and case.

    Raises:
        DataError: the file cannot be read as CSV, or its header is another one.
    """
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as text:
            delimiter = find_delimiter(text.readline(), columns)
            text.seek(0)
            reader = csv.reader(text, delimiter=delimiter, strict=True)
            header = [name.strip() for name in next(reader, [])]
            _check_utf8(header, 1)
            names = [name.lower() for name in header]
            if sorted(names) != sorted(columns):
                raise DataError(f"Line 1 of {path} is {','.join(header)!r}; it must be {','.join(columns)}.")
            order = [names.index(column) for column in columns]
            for line in reader:
                if line:
                    row = [line[index] for index in order if index < len(line)] + line[len(header) :]
                    _check_utf8(row[1:], reader.line_num)  # the first is a path, whose bytes are the file's own
                    yield reader.line_num, row
    except PermissionError as error:
        raise DataError(describe_read_error(path, error)) from None
    except (OSError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as CSV in UTF-8 ({error}); save it in this format.") from None


def find_delimiter(header: str, columns: Sequence[str]) -> str:
    """Return what separates the columns of a header: a comma, a tab, or a semicolon, as in much of Europe."""
    for delimiter in ";\t":
        if sorted(name.strip(' "\r\n').lower() for name in header.split(delimiter)) == sorted(columns):
            return delimiter
    return ","


def _check_utf8(fields: Sequence[str], line: int) -> None:
    if any("\udc80" <= letter <= "\udcff" for field in fields for letter in field):
        raise csv.Error(f"line {line} has other bytes")
