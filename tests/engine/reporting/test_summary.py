"""Plain sentences about results."""

import pytest

from verydeep.engine.reporting.summary import percent_text, summarize_right


def test_the_sentence_has_the_share_its_interval_and_two_classes() -> None:
    """Wilson's interval of 491 of 736, computed by statsmodels: 63.2 to 70.0."""
    classes = [("roses, rose", 28.0), ("daisy", 81.0), ("tulips", 70.0)]
    expected = "Right on 67% of 736 photographs [63, 70]; best class daisy 81%, weakest roses 28%."
    assert summarize_right(491, 736, classes) == expected
    assert summarize_right(491, 736, classes, part="val") == expected.replace("736 photographs", "736 val photographs")
    assert summarize_right(491, 736, classes, part="all") == expected.replace("736 photographs", "all 736 photographs")


def test_a_single_class_and_equal_classes_are_not_compared() -> None:
    assert summarize_right(1, 1, [("daisy", 100.0)]) == "Right on 100% of 1 photograph [21, 100]."
    assert summarize_right(4, 4, [("a", 100.0), ("b", 100.0)], "Box of the true class right").endswith(
        "; every class 100%."
    )


@pytest.mark.parametrize(
    ("percent", "text"), [(0, "0%"), (100, "100%"), (99.7, "99.7%"), (0.2, "0.2%"), (99.4, "99%"), (66.7, "67%")]
)
def test_mistakes_are_not_rounded_away(percent: float, text: str) -> None:
    assert percent_text(percent) == text
