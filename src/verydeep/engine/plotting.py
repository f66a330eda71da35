"""Matplotlib figures without a window, and names in any writing system.

``pyplot`` is not used: it holds the figures of a whole process, and its user's choice of a window system.
"""

import hashlib
import io
import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from PIL.PngImagePlugin import PngInfo

from verydeep.files import atomic_write
from verydeep.paths import real_path

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.text import Text

UNKNOWN = "?"
"""Stands for a character that no font of the machine has."""

DRAWN = b"Drawn by verydeep"
"""Comment in the pictures, which may be replaced."""

MAX_LINE, MAX_CLASS = 100, 30
"""Largest numbers of characters of a line in a figure, and of the name of a class."""


def new_figure(**options: Any) -> "Figure":
    """Return an empty figure; ``options`` are those of ``matplotlib.figure.Figure``."""
    from matplotlib.figure import Figure  # noqa: PLC0415 - takes half a second

    return Figure(**options)


def subplots(
    rows: int = 1, columns: int = 1, *, sharey: bool = False, squeeze: bool = True, **options: Any
) -> "tuple[Figure, Any]":
    """Return a figure and its axes, as ``pyplot.subplots`` does."""
    figure = new_figure(**options)
    return figure, figure.subplots(rows, columns, sharey=sharey, squeeze=squeeze)


def save_figure(figure: "Figure", path: Path, dpi: int = 120, origin: Sequence[Path] = ()) -> None:
    """Write a figure, with texts in the fonts that have their characters.

    Args:
        figure: to write.
        path: of the file; its suffix is the format.
        dpi: pixels per inch.
        origin: the photograph that the figure shows and the net; ``is_of_another`` knows the picture by that.

    Raises:
        ResourceError: the file cannot be written.
    """
    from matplotlib.text import Text  # noqa: PLC0415

    for text in figure.findobj(Text):
        if isinstance(text, Text):
            fit_text(text)
    kind = path.suffix[1:].lower()
    comment = _comment(origin)
    note: dict[str, Any] = {}
    if kind in ("jpg", "jpeg"):
        note = {"pil_kwargs": {"comment": comment}}
    elif kind == "png":
        note = {"metadata": {"Software": comment.decode()}}
    content = io.BytesIO()  # in a file, Pillow does not notice that the end of a JPEG has no room
    figure.savefig(content, dpi=dpi, format=kind, **note)
    with atomic_write(path) as temporary:
        temporary.write_bytes(content.getbuffer())


def png_note(origin: Sequence[Path]) -> PngInfo:
    """Return the comment of a PNG that the program itself encodes, as ``save_figure`` writes it."""
    note = PngInfo()
    note.add_text("Software", _comment(origin).decode())
    return note


def is_drawn(path: Path) -> bool:
    """Whether a file is a picture that ``save_figure`` wrote, as JPEG or PNG."""
    try:
        with path.open("rb") as file:
            return DRAWN in file.read(4096)
    except OSError:
        return False


def is_of_another(path: Path, origin: Sequence[Path]) -> bool:
    """Whether a file is a picture that ``save_figure`` wrote of another photograph, or by another net."""
    try:
        with path.open("rb") as file:
            found = re.search(DRAWN + rb" of ([0-9a-f]{16})", file.read(4096))
    except OSError:
        return False
    return found is not None and found[1] != _identify(origin)


def _comment(origin: Sequence[Path]) -> bytes:
    return DRAWN + b" of " + _identify(origin) if origin else DRAWN


def _identify(origin: Sequence[Path]) -> bytes:
    paths = b"\0".join(os.fsencode(real_path(path)) for path in origin)
    return hashlib.sha256(paths).hexdigest()[:16].encode()


def fit_text(text: "Text") -> None:
    """Give a text the fonts that have its characters; what none has, and what cannot be printed, is replaced."""
    content = text.get_text()
    if content.isascii() and content.isprintable() and "$" not in content and len(content) <= MAX_LINE:
        return
    if "\\mathdefault" not in content:  # matplotlib's own
        text.set_parse_math(False)
    content = "\n".join(shorten_middle(_make_printable(line), MAX_LINE) for line in content.split("\n"))
    families, missing = find_fonts(content)
    if families:
        text.set_fontfamily([*text.get_fontfamily(), *families])
    text.set_text("".join(UNKNOWN if letter in missing else letter for letter in content))


def name_classes(class_words: Sequence[str]) -> list[str]:
    """Return a short name of each class: its first words, or its number if no font of the machine has the script."""
    first = [words.split(",")[0] for words in class_words]
    counts = Counter(first)  # "Washington, DC" and "Washington, OR" stay apart
    names = [words if counts[name] > 1 else name for name, words in zip(first, class_words, strict=True)]
    names = [shorten_middle(_make_printable(name), MAX_CLASS) for name in names]
    missing = find_fonts("".join(names))[1]
    return [f"class {number}" if missing & set(name) else name for number, name in enumerate(names, start=1)]


def shorten_middle(text: str, length: int) -> str:
    """Return a text, or its beginning and its end if it is too long."""
    return text if len(text) <= length else f"{text[: length // 3]}…{text[len(text) - length + length // 3 + 1 :]}"


def find_fonts(text: str) -> tuple[list[str], set[str]]:
    """Return the families of fonts that a text needs besides the default one, and the characters that no font has."""
    from matplotlib.font_manager import FontProperties, findfont  # noqa: PLC0415

    missing = set(text) - {"\n"} - _letters_of(findfont(FontProperties()))
    families = []
    while missing:
        family, letters = max(_fonts_with(missing), key=lambda font: len(font[1]), default=("", frozenset()))
        if not letters:
            break
        families.append(family)
        missing -= letters
    return families, missing


def _make_printable(text: str) -> str:
    """Return a text without characters that are not drawn, such as variation selectors."""
    letters = []
    for letter in unicodedata.normalize("NFC", text):
        category = unicodedata.category(letter)
        if category in {"Cc", "Cs"}:
            letters.append(UNKNOWN)
        elif category[0] == "Z":
            letters.append(" ")
        elif category != "Cf" and not "\ufe00" <= letter <= "\ufe0f":
            letters.append(letter)
    return "".join(letters)


def _fonts_with(letters: Iterable[str]) -> "list[tuple[str, frozenset[str]]]":
    """Return the families that have some of the letters, upright fonts alone, with those letters."""
    from matplotlib.font_manager import fontManager  # noqa: PLC0415

    fonts = {entry.name: entry.fname for entry in fontManager.ttflist if entry.style == "normal"}
    fonts = {name: path for name, path in fonts.items() if not name.startswith("Last Resort")}  # draws frames
    return [(name, _letters_of(path) & set(letters)) for name, path in sorted(fonts.items())]


@cache
def _letters_of(path: str) -> frozenset[str]:
    """Return the characters that a font has; none if matplotlib cannot use it."""
    from matplotlib.ft2font import FT2Font  # noqa: PLC0415

    try:
        font = FT2Font(path)
        return frozenset(map(chr, font.get_charmap())) if font.scalable else frozenset()
    except (OSError, RuntimeError, ValueError):  # a damaged font, or a picture font
        return frozenset()
