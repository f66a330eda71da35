"""Value ranges: which numbers of a file become black and white where its values are not bytes.

A file of 16-bit integers may hold 12 bits, and floating-point values may end at 1, 255 or anywhere. The range is chosen
once for all files of a data set whose values have one type, so that their relative brightness stays (``choose_range``).
It is recorded with the net that learns from them, and holds for every image that the net predicts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from verydeep.ops.arrays import AnyArray, BoolArray, FloatArray, UInt8Array

ValueType = Literal["uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float"]
"""Type of the pixel values of a file; all floating-point types are one."""

ValueRange = tuple[float, float]
"""The values that become black and white."""

ValueRanges = Mapping[ValueType, ValueRange]
"""Type of values -> their range in a data set."""

RangeKeeper = Literal["net", "classifier", "archive", "run", "test images"]
"""What ranges were recorded with."""


class RecordedRanges(NamedTuple):
    """Ranges that hold for further images."""

    ranges: ValueRanges
    keeper: RangeKeeper = "net"


SMALLEST_SHARE = 1 / 8
"""Share of a usual range that the largest value must reach; otherwise the largest value itself becomes white."""

LARGEST_FLOAT = 1e30
"""Larger floating-point values mark missing pixels."""


@dataclass(frozen=True)
class Extent:
    """The smallest and the largest value of files."""

    smallest: float
    largest: float


@dataclass(frozen=True)
class Clipping:
    """How much of the values of files lies outside of a range."""

    extent: Extent
    """Of all values."""
    num_values: int
    """Number of values that are not missing."""
    num_outside: int
    """Number of those that become black or white because they are outside."""


def join_extents(extents: Sequence[Extent]) -> Extent:
    """Return the extent of the values of several files; that of black alone if there are none."""
    smallest = min((each.smallest for each in extents), default=0.0)
    return Extent(smallest, max((each.largest for each in extents), default=0.0))


def find_present(values: AnyArray, missing: float | None) -> BoolArray:
    """Return which values stand for a brightness: finite ones other than the mark of missing pixels."""
    present = np.ones(values.shape, np.bool_) if missing is None else values != missing
    if values.dtype.kind == "f":
        with np.errstate(invalid="ignore", over="ignore"):
            present &= np.abs(values.astype(np.float32)) < LARGEST_FLOAT
    return present


def measure_extent(values: AnyArray, missing: float | None = None) -> Extent | None:
    """Return the extent of the values of an image; None if there are none but missing pixels."""
    present = values[find_present(values, missing)]
    return Extent(float(present.min()), float(present.max())) if present.size else None


def measure_clipping(values: AnyArray, value_range: ValueRange, missing: float | None = None) -> Clipping | None:
    """Count the values of an image that lie outside of a range; None if there are none but missing pixels."""
    present = values[find_present(values, missing)]
    if not present.size:
        return None
    black, white = value_range
    outside = (present < black) | (present > white)
    return Clipping(Extent(float(present.min()), float(present.max())), present.size, int(outside.sum()))


def add_clippings(clippings: Sequence[Clipping]) -> Clipping:
    """Return the clipping of all of these images together."""
    extent = join_extents([each.extent for each in clippings])
    return Clipping(extent, sum(each.num_values for each in clippings), sum(each.num_outside for each in clippings))


def choose_range(value_type: ValueType, extent: Extent | None) -> ValueRange:
    """Choose the range of all files of a data set whose values have this type.

    Black is 0. White is the end of the smallest usual range that holds the largest value: 8, 10, 12, 14, 16, ... bits,
    and 0 to 1 for floating-point values. If less than an eighth of that range is used, white is the largest value. If
    there are negative values, black is the smallest value and white the largest.
    """
    smallest, largest = (0.0, 0.0) if extent is None else (extent.smallest, extent.largest)
    if smallest < 0:
        return smallest, largest
    white = next(end for end in _usual_ends(value_type) if end >= largest)
    return 0.0, (largest if 0 < largest < SMALLEST_SHARE * white else white)


def _usual_ends(value_type: ValueType) -> list[float]:
    ends = [2.0**bits - 1 for bits in range(8, 65, 2)]
    if value_type == "float":
        return [1.0, *ends, LARGEST_FLOAT]
    limit = float(np.iinfo(value_type).max)
    return [*(end for end in ends if end < limit), limit]


def scale_values(values: AnyArray, value_range: ValueRange, *, missing: float | None = None) -> UInt8Array:
    """Return the gray levels of values: 256 equal steps from black to white; values outside become black or white.

    Integers of 12 bits lose their last four bits, as those of 16 bits lose eight. Missing pixels are black.
    """
    black, white = value_range
    is_integer = values.dtype.kind in "iu"
    number = np.float32 if values.dtype.itemsize <= 2 or values.dtype == np.float32 else np.float64
    width = white - black + is_integer
    with np.errstate(invalid="ignore", over="ignore"):
        levels_per_unit = number(256 / width if width > 0 else np.inf)
        if not np.isfinite(levels_per_unit):  # a range of no width, or of nearly none
            return np.zeros(values.shape, np.uint8)
        floats: FloatArray = values.astype(number)
        levels = (floats - black) * levels_per_unit
        levels = np.where(find_present(values, missing), levels, 0).clip(0, 255)
    return levels.astype(np.uint8)


def name_values(value_type: ValueType) -> str:
    """Return what values of a type are called."""
    bits = f"{_count_bits(value_type)}-bit values"
    return {"f": "floating-point values", "i": f"signed {bits}", "u": bits}[value_type[0]]


def _count_bits(value_type: ValueType) -> int:
    return 0 if value_type == "float" else np.iinfo(value_type).bits


def describe_range(
    value_type: ValueType, value_range: ValueRange, extent: Extent, keeper: RangeKeeper | None = None
) -> str:
    """Return which values files have and what becomes of them, as the end of a sentence.

    Args:
        value_type: type of their values.
        value_range: the values that become black and white.
        extent: of the files.
        keeper: what the range was recorded with; None: it was chosen by the files.
    """
    (black, white), bits, noun = value_range, _count_bits(value_type), name_values(value_type)
    if bits and black == 0 and white + 1 < 2 ** (bits - 1) and float(np.log2(white + 1)).is_integer():
        noun = f"{round(np.log2(white + 1))}-bit values in {bits} bits"
    if keeper is not None:
        rule = f"{black:.6g} to {white:.10g} become 0 to 255, as recorded with the {keeper}"
        return f"{noun}: {rule} (the largest value here is {extent.largest:.6g})"
    if black < 0:
        return f"{noun}: scaled from their smallest value over the data set, {black:.6g}, to their largest, {white:.6g}"
    if white not in _usual_ends(value_type):
        return f"{noun}: scaled by their largest value over the data set, {white:.6g}"
    return f"{noun}: 0 to {white:.10g} become 0 to 255 (the largest value over the data set is {extent.largest:.6g})"


_CORRECTIONS: Mapping[RangeKeeper, str] = {
    "net": ", or correct value_ranges in the net's config.json",
    "classifier": ", or train a new classifier with such files",
    "archive": ", or make a new archive",
}


def describe_clipping(
    value_type: ValueType,
    value_range: ValueRange,
    keeper: RangeKeeper,
    num_files: int,
    clippings: Sequence[Clipping],
) -> str:
    """Return a sentence about files whose values exceed a recorded range, and what to do.

    Args:
        value_type: type of their values.
        value_range: the recorded one.
        keeper: what it was recorded with.
        num_files: number of files of this type.
        clippings: of those files that exceed the range.
    """
    (black, white), total, count = value_range, add_clippings(clippings), len(clippings)
    is_darker, is_brighter = total.extent.smallest < black, total.extent.largest > white
    ends = [f"smallest value is {total.extent.smallest:.6g}"] * is_darker
    ends += [f"largest value is {total.extent.largest:.6g}"] * is_brighter
    share = total.num_outside / total.num_values
    percent = f"{share:.0%}" if share >= 0.01 else "less than 1%"
    colors = " or ".join(["black"] * is_darker + ["white"] * is_brighter)
    verb, their = ("exceeds", "its") if count == 1 else ("exceed", "their")
    return (
        f"{count:,} of {num_files:,} {'file' if num_files == 1 else 'files'} with {name_values(value_type)} {verb} "
        f"{black:.6g} to {white:.10g}, the range recorded with the {keeper}: {their} {f' and {their} '.join(ends)}, "
        f"and {percent} of {their} pixels become {colors}. Rescale {their} values to that range"
        f"{_CORRECTIONS.get(keeper, '')}."
    )
