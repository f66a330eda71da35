"""Scales in the paper's units, as text and in pixels."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verydeep.configs.scales import TrainScale, in_pixels, parse_test_scales
from verydeep.errors import OptionError


@pytest.mark.parametrize(
    ("crop", "pixels"), [(32, (37, 55, 73)), (64, (73, 110, 146)), (96, (110, 165, 219)), (224, (256, 384, 512))]
)
def test_pixels_by_hand(crop: int, pixels: tuple[int, ...]) -> None:
    """256 * 32 / 224 = 36.57, 384 * 32 / 224 = 54.86, 512 * 32 / 224 = 73.14 and so on."""
    assert tuple(in_pixels(scale, crop) for scale in (256, 384, 512)) == pixels


@given(scale=st.integers(224, 4000), crop=st.integers(1, 20).map(lambda k: 32 * k))
def test_pixels_are_rounded_halves_up(scale: int, crop: int) -> None:
    assert in_pixels(scale, crop) == math.floor(Fraction(scale * crop, 224) + Fraction(1, 2))


def test_the_crop_itself_is_whole_at_any_crop() -> None:
    assert [in_pixels(224, crop) for crop in (32, 64, 96, 224, 320)] == [32, 64, 96, 224, 320]


def test_a_half_goes_up() -> None:
    """241.5 pixels, exactly."""
    assert in_pixels(1127, 48) == 242


scales = st.tuples(st.integers(224, 4096), st.integers(224, 4096)).map(lambda pair: TrainScale(*sorted(pair)))


@given(scales)
def test_a_train_scale_prints_what_it_reads(scale: TrainScale) -> None:
    assert TrainScale.parse(str(scale)) == scale


@given(st.integers(224, 2000), st.integers(0, 2096))
def test_a_text_reads_what_it_prints(smallest: int, more: int) -> None:
    text = f"{smallest}-{smallest + more}" if more else str(smallest)
    scale = TrainScale.parse(text)
    assert str(scale) == text
    assert (scale.smallest, scale.largest) == (smallest, smallest + more)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "-",
        "256-",
        "-512",
        "512-256",
        "200",
        "223",
        "100-300",
        "256-512-600",
        "256,512",
        "256.5",
        "x",
        " 256",
        "+256",
        "4097",
        "256-4097",
    ],
)
def test_other_train_scales_are_refused(text: str) -> None:
    with pytest.raises(OptionError, match=r"^`scale[`=]"):
        TrainScale.parse(text)


@pytest.mark.parametrize(
    ("text", "one", "several"),
    [
        ("256", 256, (256,)),
        ("256-512", 384, (256, 384, 512)),
        ("320-400", 360, (320, 360, 400)),
        ("300-301", 300, (300, 301)),
    ],
)
def test_test_scales_follow_s(text: str, one: int, several: tuple[int, ...]) -> None:
    """Sections 4.1 and 4.2 by hand: a net is tested at S or at the range."""
    scale = TrainScale.parse(text)
    assert (scale.middle, scale.test_scales) == (one, several)


@given(scales)
def test_test_scales_rise_from_the_crop_and_hold_the_middle(scale: TrainScale) -> None:
    assert scale.middle in scale.test_scales
    assert list(scale.test_scales) == sorted(set(scale.test_scales)) and scale.test_scales[0] >= 224


def test_both_ends_in_pixels() -> None:
    assert TrainScale.parse("256-512").in_pixels(64) == (73, 146)
    assert TrainScale.parse("384").in_pixels(32) == (55, 55)


@given(st.lists(st.integers(224, 4096), min_size=1, max_size=6, unique=True))
def test_test_scales_come_back_rising(values: list[int]) -> None:
    assert parse_test_scales(",".join(map(str, values))) == tuple(sorted(values))


@pytest.mark.parametrize(
    "text", ["", ",", "256,", "256,256", "223", "256,100", "256;384", "256-512", "a", "256,x", "-256", "256,4097"]
)
def test_other_test_scales_are_refused(text: str) -> None:
    with pytest.raises(OptionError, match=r"^`scales="):
        parse_test_scales(text)
