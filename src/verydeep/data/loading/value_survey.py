"""Look through the files of a data set for values that are not bytes, and choose their ranges."""

from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from verydeep.data.pixels.decoding import find_value_type, measure_file_clipping, measure_values
from verydeep.data.pixels.formats import promises_bytes, read_beginning
from verydeep.data.split import Split
from verydeep.ops.value_ranges import (
    Clipping,
    Extent,
    RangeKeeper,
    ValueRange,
    ValueType,
    choose_range,
    describe_clipping,
    describe_range,
    join_extents,
)

MAX_MEASURED = 1000
"""Files of one type of values that are decoded to find its extent; they are spread over all of them."""


@dataclass(frozen=True)
class ValuesOfType:
    """The files of a data set whose values have one type, and the range of all of them."""

    value_type: ValueType
    num_files: int
    num_measured: int
    """Number of files that were decoded."""
    extent: Extent
    """Of the measured files."""
    value_range: ValueRange
    keeper: RangeKeeper | None = None
    """What the range was recorded with; None: it was chosen by these files."""
    clippings: tuple[Clipping, ...] = ()
    """Of those measured files that exceed a recorded range."""

    def __str__(self) -> str:
        measured = f", measured on {self.num_measured:,} of them" if self.num_measured < self.num_files else ""
        if self.keeper is not None and self.clippings:
            return describe_clipping(self.value_type, self.value_range, self.keeper, self.num_measured, self.clippings)
        verb = "file has" if self.num_files == 1 else "files have"
        rule = describe_range(self.value_type, self.value_range, self.extent, self.keeper)
        return f"{self.num_files:,} {verb} {rule}{measured}."


Recorded = Mapping[ValueType, tuple[ValueRange, RangeKeeper]]
"""Ranges that hold for further files, and what each was recorded with."""


def survey_values(splits: Sequence[Split], recorded: Recorded) -> Generator[float, None, list[ValuesOfType]]:
    """Find the files of one data set whose values are not bytes, and choose a range for each type of values.

    Files whose suffix promises bytes are not opened. Of the others the header is read, and up to a thousand files of
    each type are decoded.

    Args:
        splits: splits of one data set.
        recorded: ranges that hold here too.

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
        results.append((yield from _measure(value_type, list(unique), recorded.get(value_type))))
    return results


def _measure(
    value_type: ValueType, paths: Sequence[Path], recorded: tuple[ValueRange, RangeKeeper] | None
) -> Generator[float, None, ValuesOfType]:
    """Decode files whose values have one type, and choose their range if none was recorded."""
    chosen = np.linspace(0, len(paths) - 1, min(len(paths), MAX_MEASURED)).round().astype(int)
    extents: list[Extent | None] = []
    clippings: list[Clipping] = []
    for index in chosen.tolist():
        if recorded is None:
            extents.append(measure_values(paths[index]))
        elif (clipping := measure_file_clipping(paths[index], recorded[0])) is not None:
            extents.append(clipping.extent)
            clippings += [clipping] * (clipping.num_outside > 0)
        yield 0
    extent = join_extents([each for each in extents if each is not None])
    if recorded is None:
        return ValuesOfType(value_type, len(paths), len(chosen), extent, choose_range(value_type, extent))
    return ValuesOfType(value_type, len(paths), len(chosen), extent, *recorded, tuple(clippings))


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
