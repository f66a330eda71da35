"""One picture of photographs and of what is nearest to each of them."""

import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from verydeep.data.split import Split
from verydeep.engine.archive.search import Neighbor
from verydeep.engine.plotting import new_figure
from verydeep.errors import VerydeepError
from verydeep.files import atomic_write

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


@dataclass(frozen=True)
class Tile:
    """An image and the words below it; all measures in inches, from the upper left corner of the picture."""

    left: float
    upper: float
    side: float
    split: Split
    index: int
    words: tuple[str, ...]


def draw_neighbors(queries: Split, neighbors: Sequence[Sequence[Neighbor]], path: Path) -> None:
    """Each photograph, and right of it what is nearest to it, with similarity and name; more than fit are left out.

    What is not there any more, or cannot be decoded, is a gray tile that says so.

    Args:
        queries: the photographs.
        neighbors: of each, nearest first.
        path: of the picture; its suffix, one of ``FORMATS``, tells the format.

    Raises:
        VerydeepError: the disk is full or does not let us.
    """
    tiles, (width, height) = lay_out_tiles(queries, [each[:MOST_NEIGHBORS] for each in neighbors[:MOST_QUERIES]])
    figure = new_figure(figsize=(width, height), dpi=DPI)
    for tile in tiles:
        bottom, side = height - tile.upper - tile.side, tile.side
        show(figure.add_axes((tile.left / width, bottom / height, side / width, side / height)), tile.split, tile.index)
        words = figure.text(
            (tile.left + side / 2) / width,
            (bottom - 0.04) / height,
            "\n".join(shorten_text(each, int(LETTERS * side / TILE)) for each in tile.words),
            parse_math=False,
        )
        words.set(ha="center", va="top", fontsize=7, linespacing=1.1)
        words.set_fontweight("normal" if len(tile.words) > 1 else "bold")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # letters that no font here has become boxes
        with atomic_write(path) as temporary:
            figure.savefig(temporary, dpi=DPI, format=path.suffix[1:].lower())


def lay_out_tiles(queries: Split, neighbors: Sequence[Sequence[Neighbor]]) -> tuple[list[Tile], tuple[float, float]]:
    """The tiles of a picture, and its width and height: a photograph is as high as two rows of neighbors."""
    step, below = TILE + GAP, TILE + TEXT + GAP
    columns = min(COLUMNS, max(map(len, neighbors)))
    rows = [-(-len(each) // COLUMNS) for each in neighbors]
    large = 2 if max(rows) > 1 else 1
    side = TILE + (large - 1) * below
    first, upper, tiles = GAP + side + 2 * GAP, GAP, []
    for query, (each, count) in enumerate(zip(neighbors, rows, strict=True)):
        tiles.append(Tile(GAP, upper, side, queries, query, (name_of(queries.path(query)),)))
        found = Split.of_photographs([one.path for one in each])
        for number, one in enumerate(each):
            row, column = divmod(number, columns)
            words = (f"{one.similarity:.3f}", name_of(one.path))
            tiles.append(Tile(first + column * step, upper + row * below, TILE, found, number, words))
        upper += max(count, large) * below + GAP
    return tiles, (first + columns * step, upper)


def show(axes: Any, split: Split, index: int) -> None:
    """An image in its tile, upright, or a word in its place."""
    side = round(2 * TILE * DPI)
    axes.set_axis_off()
    try:
        image = split.open_image(index, at_least=(side, side))
    except VerydeepError:
        word = "unreadable" if os.path.exists(split.path(index)) else "missing"  # noqa: PTH110 - False where we may not look
        axes.set(xlim=(0, 1), ylim=(0, 1))
        axes.fill_between([0, 1], 0, 1, color="lightgray", linewidth=0)
        axes.text(0.5, 0.5, word, ha="center", va="center", fontsize=9)
    else:
        image.thumbnail((side, side))
        axes.imshow(image)
        axes.set_anchor("S")  # right above its words


def name_of(path: Path) -> str:
    """A file with its folder, which is often its class; what cannot be printed is replaced."""
    return "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in "/".join(path.parts[-2:])
    )


def shorten_text(text: str, letters: int) -> str:
    """Its end, if it is too long."""
    return text if len(text) <= letters else f"…{text[1 - letters :]}"
