"""CSV files that people write about their photographs."""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path

from verydeep.errors import DataError


def read_csv(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield number and fields of each line after the header that is not empty.

    Args:
        path: of a file in UTF-8.
        columns: names that the header must have, in this order.

    Raises:
        DataError: the file cannot be read as CSV, or its header is another one.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as text:
            reader = csv.reader(text, strict=True)
            header = [name.strip() for name in next(reader, [])]
            if header != list(columns):
                raise DataError(f"Line 1 of {path} is {','.join(header)!r}; it must be {','.join(columns)}.")
            for row in reader:
                if row:
                    yield reader.line_num, row
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path} cannot be read as CSV in UTF-8 ({error}); save it in this format.") from None
