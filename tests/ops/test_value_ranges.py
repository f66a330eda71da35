import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verydeep.ops.value_ranges import (
    Extent,
    ValueRange,
    ValueType,
    choose_range,
    describe_range,
    measure_extent,
    scale_values,
)


@pytest.mark.parametrize(
    ("value_type", "smallest", "largest", "expected"),
    [
        ("uint16", 0, 255, (0, 255)),
        ("uint16", 3, 256, (0, 1023)),
        ("uint16", 0, 3472, (0, 4095)),
        ("uint16", 0, 4096, (0, 16383)),
        ("uint16", 0, 40_000, (0, 65535)),
        ("int16", 0, 30_000, (0, 32767)),
        ("int16", -1024, 3071, (-1024, 3071)),
        ("uint32", 0, 4_000_000_000, (0, 2**32 - 1)),
        ("int32", 0, 70_000, (0, 2**18 - 1)),
        ("uint16", 0, 1, (0, 1)),
        ("uint16", 0, 0, (0, 255)),
        ("float", 0, 1, (0, 1)),
        ("float", 0.1, 0.4, (0, 1)),
        ("float", 0, 1.02, (0, 1.02)),
        ("float", 0, 0.05, (0, 0.05)),
        ("float", 0, 254.5, (0, 255)),
        ("float", 0, 60_000, (0, 65535)),
        ("float", -1, 1, (-1, 1)),
        ("float", 0, 0, (0, 1)),
    ],
)
def test_the_smallest_usual_range_that_holds_the_values(
    value_type: ValueType, smallest: float, largest: float, expected: ValueRange
) -> None:
    assert choose_range(value_type, Extent(smallest, largest)) == expected


@given(st.floats(0, 2**64, allow_subnormal=False), st.sampled_from(["uint64", "float"]))
def test_the_largest_value_is_no_darker_than_an_eighth(largest: float, value_type: ValueType) -> None:
    black, white = choose_range(value_type, Extent(0, largest))
    assert black == 0 and (largest == 0 or white / 8 <= largest <= white * (1 + 1e-9))


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_integers_lose_their_last_bits(bits: int) -> None:
    values = np.arange(2**bits, dtype=np.uint16)
    assert (scale_values(values, (0, 2**bits - 1)) == values >> (bits - 8)).all()


@given(st.lists(st.floats(-1e6, 1e6), min_size=2), st.floats(-1e6, 1e6), st.floats(0, 1e6))
def test_levels_rise_with_values(numbers: list[float], black: float, width: float) -> None:
    levels = scale_values(np.sort(np.array(numbers)), (black, black + width))
    assert levels.dtype == np.uint8 and (np.diff(levels.astype(int)) >= 0).all()


def test_floats_from_0_to_1_are_256_steps() -> None:
    values = np.array([-0.2, 0, 0.5 / 256, 1 / 256, 0.5, 255.9 / 256, 1, 7, np.nan, np.inf, 1e35])
    assert scale_values(values, (0, 1)).tolist() == [0, 0, 0, 1, 128, 255, 255, 255, 0, 0, 0]
    assert scale_values(np.array([-9999, 0, 9], np.int16), (0, 9), missing=-9999).tolist() == [0, 0, 230]
    assert scale_values(values, (0.3, 0.3)).tolist() == [0] * 11
    for number, width in ((np.float64, 4e-307), (np.float32, 1e-37)):
        assert scale_values(np.zeros(2, number), (0, width)).tolist() == [0, 0], "256 steps per width overflow"


def test_missing_values_do_not_count() -> None:
    assert measure_extent(np.array([[np.nan, 2.5], [-np.inf, 0.5]])) == Extent(0.5, 2.5)
    assert measure_extent(np.array([-9999, 4, 8], np.int16), missing=-9999) == Extent(4, 8)
    assert measure_extent(np.array([np.nan])) is None


def test_the_rule_is_said_in_words() -> None:
    text = describe_range("uint16", (0, 4095), Extent(2, 3472))
    assert text == "12-bit values in 16 bits: 0 to 4095 become 0 to 255 (the largest value over the data set is 3472)"
    text = describe_range("uint16", (0, 4095), Extent(0, 900), "archive")
    assert text.endswith("0 to 4095 become 0 to 255, as recorded with the archive (the largest value here is 900)")
    assert describe_range("uint16", (0, 65535), Extent(2, 60_000)).startswith("16-bit values: 0 to 65535 become")
    text = describe_range("float", (0, 1.7), Extent(0, 1.7))
    assert text == "floating-point values: scaled by their largest value over the data set, 1.7"
    text = describe_range("int16", (-1024, 3071), Extent(-1024, 3071))
    assert text == (
        "signed 16-bit values: scaled from their smallest value over the data set, -1024, to their largest, 3071"
    )
