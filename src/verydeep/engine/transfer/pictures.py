"""One picture of photographs and of what is nearest to each of them."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from verydeep.data.decoding import decode
from verydeep.engine.pictures import pyplot
from verydeep.engine.transfer.search import Neighbor
from verydeep.errors import VerydeepError
from verydeep.files import writing

FORMATS = (".png", ".jpg", ".jpeg", ".pdf", ".svg", ".webp")
"""Suffixes of a picture."""

MOST_QUERIES, MOST_NEIGHBORS = 20, 50
"""That one picture holds; no format takes many more."""

COLUMNS = 5
"""Neighbors in a row."""

TILE, TEXT, GAP = 1.5, 0.3, 0.12
"""Inches: side of an image, height of the two lines below it, distance of one from another."""

LETTERS = 26
"""That fit below an image."""

DPI = 120


def draw_neighbors(queries: Sequence[Path], neighbors: Sequence[Sequence[Neighbor]], path: Path) -> None:
    """Each photograph, and right of it what is nearest to it, with similarity and name; more than fit are left out.

    What is not there any more, or cannot be decoded, is a gray tile that says so.

    Args:
        queries: the photographs.
        neighbors: of each, nearest first.
        path: of the picture; its suffix, one of ``FORMATS``, tells the format.

    Raises:
        VerydeepError: the disk is full or does not let us.
    """
    plt = pyplot()
    blocks = [(query, each[:MOST_NEIGHBORS]) for query, each in zip(queries, neighbors, strict=True)][:MOST_QUERIES]
    step, below = TILE + GAP, TILE + TEXT + GAP
    rows = [max(1, -(-len(each) // COLUMNS)) for _, each in blocks]
    span = min(2, max(rows))  # of a photograph, in tiles
    heights = [below * max(count, span) for count in rows]
    width, height = GAP + span * step + GAP + COLUMNS * step, GAP + sum(heights) + GAP * (len(blocks) - 1)
    figure = plt.figure(figsize=(width, height), dpi=DPI)

    def place(left: float, upper: float, side: float, file: Path, words: Sequence[str], weight: str) -> None:
        bottom = height - upper - side
        axes = figure.add_axes((left / width, bottom / height, side / width, side / height))
        show(axes, file)
        lines = "\n".join(shortened(each, int(LETTERS * side / TILE)) for each in words)
        figure.text(
            (left + side / 2) / width,
            (bottom - 0.04) / height,
            lines,
            ha="center",
            va="top",
            fontsize=7,
            fontweight=weight,
            parse_math=False,
            linespacing=1.1,
        )

    upper = GAP
    for (query, each), taken in zip(blocks, heights, strict=True):
        place(GAP, upper, span * step - GAP + (span - 1) * TEXT, query, [name_of(query)], "bold")
        for number, neighbor in enumerate(each):
            row, column = divmod(number, COLUMNS)
            left = 2 * GAP + span * step + column * step
            told = [f"{neighbor.similarity:.3f}", name_of(neighbor.path)]
            place(left, upper + row * below, TILE, neighbor.path, told, "normal")
        upper += taken + GAP
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # letters that no font here has become boxes
        with writing(path) as beside:
            figure.savefig(beside, dpi=DPI, format=path.suffix[1:].lower())
    plt.close(figure)


def show(axes: Any, file: Path) -> None:
    """An image in its tile, upright, or a word in its place."""
    side = round(2 * TILE * DPI)
    axes.set_axis_off()
    try:
        image = decode(file, camera_rotation=True, at_least=(side, side))
    except VerydeepError:
        axes.set(xlim=(0, 1), ylim=(0, 1))
        axes.fill_between([0, 1], 0, 1, color="lightgray", linewidth=0)
        axes.text(0.5, 0.5, "unreadable" if file.exists() else "missing", ha="center", va="center", fontsize=9)
    else:
        image.thumbnail((side, side))
        axes.imshow(image)
        axes.set_anchor("S")  # right above its words


def name_of(path: Path) -> str:
    """A file with its folder, which is often its class; what cannot be printed is replaced."""
    return "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in "/".join(path.parts[-2:])
    )


def shortened(text: str, letters: int) -> str:
    """Its end, if it is too long."""
    return text if len(text) <= letters else f"…{text[1 - letters :]}"
