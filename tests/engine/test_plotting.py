"""Texts in figures: characters that the usual font lacks, and those that are no text."""

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen
from matplotlib.font_manager import fontManager
from matplotlib.ft2font import FT2Font
from matplotlib.text import Text
from PIL import Image

from verydeep.engine.plotting import fit_text, is_drawn, name_classes, new_figure, save_figure


@pytest.fixture
def cat_font(tmp_path: Path) -> Iterator[str]:
    """A font of the machine that has the character for cat, and no other."""
    pen = TTGlyphPen(None)
    for x, y in ((0, 0), (0, 800), (800, 800), (800, 0)):
        (pen.moveTo if (x, y) == (0, 0) else pen.lineTo)((x, y))
    pen.closePath()
    square = pen.glyph()
    builder = FontBuilder(1000, isTTF=True)
    builder.setupGlyphOrder([".notdef", "cat"])
    builder.setupCharacterMap({ord("猫"): "cat"})
    builder.setupGlyf({".notdef": square, "cat": square})
    builder.setupHorizontalMetrics({".notdef": (1000, 0), "cat": (1000, 0)})
    builder.setupHorizontalHeader(ascent=800, descent=-200)
    builder.setupNameTable({"familyName": "Cat Test", "styleName": "Regular"})
    builder.setupOS2(sTypoAscender=800, sTypoDescender=-200)
    builder.setupPost()
    builder.save(tmp_path / "cat.ttf")
    fonts = list(fontManager.ttflist)
    fontManager.addfont(tmp_path / "cat.ttf")
    yield "Cat Test"
    fontManager.ttflist[:] = fonts


def draw(text: str) -> Text:
    """Draw a text; a character that no font has would be a warning, which is an error in tests."""
    figure = new_figure(figsize=(2, 1))
    artist = figure.text(0.1, 0.5, text)
    fit_text(artist)
    figure.savefig(io.BytesIO(), format="png")
    return artist


def test_a_font_of_the_machine_is_used_for_another_script(cat_font: str) -> None:
    artist = draw("my 猫")
    assert artist.get_text() == "my 猫" and cat_font in artist.get_fontfamily()
    assert name_classes(["dog", "猫"]) == ["dog", "猫"]


def test_without_a_font_a_class_has_a_number_and_a_text_question_marks() -> None:
    unknown = "\U000130e0"  # a hieroglyph
    fonts = [font for font in fontManager.ttflist if not font.name.startswith("Last Resort")]
    assert not any(ord(unknown) in FT2Font(font.fname).get_charmap() for font in fonts)
    assert name_classes(["dog", f"{unknown}, feline"]) == ["dog", "class 2"]
    assert draw(f"my {unknown}").get_text() == "my ?"


@pytest.mark.parametrize(
    ("text", "drawn"),
    [
        ("cafe\u0301", "caf\u00e9"),
        ("caf\udce9 \x1b[31m\t", "caf? ?[31m?"),
        ("a\u00a0b\u200dc\ufe0f", "a bc"),
        ("$\\frac$ x_1 $y$", "$\\frac$ x_1 $y$"),
        ("two\nlines", "two\nlines"),
        ("k" * 300, "k" * 33 + "…" + "k" * 66),
    ],
)
def test_what_cannot_be_drawn_is_replaced(text: str, drawn: str) -> None:
    assert draw(text).get_text() == drawn


def test_names_of_classes_stay_apart() -> None:
    assert name_classes(["ant, emmet", "crane, bird", "crane, machine"]) == ["ant", "crane, bird", "crane, machine"]
    assert len(name_classes(["k" * 255])[0]) == 30


def test_a_figure_is_written_with_names_of_every_kind(tmp_path: Path) -> None:
    figure = new_figure(figsize=(4, 2), layout="constrained")
    axes = figure.subplots()
    names = name_classes(["$x$", "c\nd", "\U000130e0", "caf\udce9"])
    axes.set_xticks(range(4), names)
    axes.set(title="\udcff $x_$ \U000130e0 猫")
    save_figure(figure, tmp_path / "figure.png")
    with Image.open(tmp_path / "figure.png") as image:
        assert image.size == (480, 240)


@pytest.mark.parametrize("name", ["a.jpg", "a.JPEG", "a.png"])
def test_pictures_are_known_from_photographs(name: str, tmp_path: Path) -> None:
    save_figure(new_figure(figsize=(1, 1)), tmp_path / name)
    assert is_drawn(tmp_path / name)
    with Image.open(tmp_path / name) as image:
        image.convert("RGB").save(tmp_path / f"other-{name}", comment=b"mine")
    assert not is_drawn(tmp_path / f"other-{name}") and not is_drawn(tmp_path / "nowhere.png")
