"""Look through the files of a data set for values that are not bytes, and choose their ranges."""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from verydeep.data.pixels.decoding import find_value_type, measure_values
from verydeep.data.pixels.formats import promises_bytes, read_beginning
from verydeep.data.split import Split
from verydeep.ops.value_ranges import Extent, ValueRange, ValueRanges, ValueType, choose_range, describe_range

MAX_MEASURED = 1000
"""Files of one type of values that are decoded to find its extent; they are spread over all of them."""


@dataclass(frozen=True)
class ValuesOfType:
    """The files of a data set whose values have one type, and the range of all of them."""

    value_type: ValueType
    num_files: int
    num_measured: int
    """Number of files that the range was chosen by; 0: it was recorded with a net."""
    extent: Extent | None
    """Of the measured files."""
    value_range: ValueRange

    def __str__(self) -> str:
        verb = "file has" if self.num_files == 1 else "files have"
        measured = f", measured on {self.num_measured:,} of them" if 0 < self.num_measured < self.num_files else ""
        return f"{self.num_files:,} {verb} {describe_range(self.value_type, self.value_range, self.extent)}{measured}."


def survey_values(splits: Sequence[Split], recorded: ValueRanges) -> Generator[float, None, list[ValuesOfType]]:
    """Find the files of one data set whose values are not bytes, and choose a range for each type of values.

    Files whose suffix promises bytes are not opened. Of the others the header is read, and up to a thousand files of
    each type are decoded.

    Args:
        splits: splits of one data set.
        recorded: ranges that a net was trained with, which hold here too.

    Yields:
        Numbers of files that are done, first of those that need no look.
    """
    found: dict[ValueType, dict[Path, None]] = {}  # a file may hold several samples
    possible = [path for split in splits for path in _possible_files(split)]
    yield sum(map(len, splits)) - len(possible)
    for path in possible:
        if _may_be_wide(read_beginning(path)) and (value_type := find_value_type(path)) is not None:
            found.setdefault(value_type, {})[path] = None
        yield 1
    results = []
    for value_type, unique in sorted(found.items()):
        paths = list(unique)
        if value_type in recorded:
            results.append(ValuesOfType(value_type, len(paths), 0, None, recorded[value_type]))
            continue
        chosen = np.linspace(0, len(paths) - 1, min(len(paths), MAX_MEASURED)).round().astype(int)
        extents = []
        for index in chosen.tolist():
            extents.append(measure_values(paths[index]))
            yield 0
        known = [extent for extent in extents if extent is not None]
        extent = Extent(min(each.smallest for each in known), max(each.largest for each in known)) if known else None
        results.append(ValuesOfType(value_type, len(paths), len(chosen), extent, choose_range(value_type, extent)))
    return results


def _possible_files(split: Split) -> list[Path]:
    """Return the files of a split whose names do not promise bytes."""
    if split.images is not None:
        return []
    return [split.root / file for file in split.files if not promises_bytes(file)]


def _may_be_wide(beginning: bytes) -> bool:
    """Whether a file's values may not be bytes, by its beginning; a PNG names its number of bits there."""
    return not beginning.startswith((b"\xff\xd8", b"GIF8", b"RIFF", b"BM")) and (
        not beginning.startswith(b"\x89PNG") or beginning[24:25] == b"\x10"
    )
