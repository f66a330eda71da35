"""Numbers and lists in messages."""

from verydeep.wording import count_of, join_choices, name_given, rate_text


def test_plurals() -> None:
    assert [count_of(number, "step") for number in (0, 1, 2, 1224)] == ["0 steps", "1 step", "2 steps", "1,224 steps"]
    assert [count_of(2, noun) for noun in ("class", "box", "training image")] == [
        "2 classes",
        "2 boxes",
        "2 training images",
    ]


def test_rates_have_three_digits() -> None:
    assert [rate_text(rate) for rate in (0.01, 1.97642e-06, 0.00176777, 1.0)] == ["0.01", "1.98e-06", "0.00177", "1"]


def test_choices() -> None:
    assert [join_choices(text) for text in ("a", "ab", "abc")] == ["a", "a or b", "a, b or c"]


def test_only_options_that_were_given_are_named() -> None:
    given = [dict(zip("abc", flags, strict=True)) for flags in ((0, 0, 0), (0, 1, 0), (1, 0, 1), (1, 1, 1))]
    assert [name_given(options) for options in given] == ["", "`b`", "`a` and `c`", "`a`, `b` and `c`"]
