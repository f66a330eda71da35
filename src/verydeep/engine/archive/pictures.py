"""Draw query photographs and their nearest neighbors in one picture."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from verydeep.data.split import Split
from verydeep.engine.archive.search import Neighbor
from verydeep.engine.plotting import new_figure, save_figure
from verydeep.errors import DataError

FORMATS = (".png", ".jpg", ".jpeg", ".pdf", ".svg", ".webp")
"""Suffixes of a picture."""

MAX_QUERIES, MAX_NEIGHBORS = 20, 50
"""Largest numbers in one picture; no format can hold many more."""

COLUMNS = 5
"""Neighbors in a row."""

TILE_SIDE, LABEL_HEIGHT, GAP = 1.5, 0.3, 0.12
"""Inches: side of an image, height of the label of two lines below it, distance between images."""

LABEL_LENGTH = 26
"""Characters that fit below an image."""

DPI = 120


@dataclass(frozen=True)
class Tile:
    """An image and its label; measures are in inches from the upper left corner of the picture."""

    left: float
    top: float
    side: float
    split: Split
    index: int
    """The image in the split."""
    label: tuple[str, ...]
    """Lines below the image: the name of a query, or the similarity and name of a neighbor."""


def draw_neighbors(queries: Split, neighbors: Sequence[Sequence[Neighbor]], path: Path) -> None:
    """Draw each query with its neighbors to the right, nearest first, and write the picture.

    Args:
        queries: the photographs that were searched for.
        neighbors: the neighbors of each, nearest first.
        path: the picture; its suffix, one of ``FORMATS``, determines the format.

    Raises:
        ResourceError: the disk is full or the folder is not writable.
    """
    figure = compose_picture(queries, neighbors)
    save_figure(figure, path, DPI)


def compose_picture(queries: Split, neighbors: Sequence[Sequence[Neighbor]]) -> Any:
    """Return a matplotlib figure with an axes for each image; an image that cannot be shown is a gray tile."""
    tiles, (width, height) = lay_out_tiles(queries, neighbors)
    figure = new_figure(figsize=(width, height), dpi=DPI)
    for tile in tiles:
        bottom, side = height - tile.top - tile.side, tile.side
        _show_image(
            figure.add_axes((tile.left / width, bottom / height, side / width, side / height)), tile.split, tile.index
        )
        figure.text(
            (tile.left + side / 2) / width,
            (bottom - 0.04) / height,
            "\n".join(shorten_text(line, int(LABEL_LENGTH * side / TILE_SIDE)) for line in tile.label),
            parse_math=False,
            horizontalalignment="center",
            verticalalignment="top",
            fontsize=7,
            linespacing=1.1,
            fontweight="bold" if tile.split is queries else "normal",
        )
    return figure


def lay_out_tiles(queries: Split, neighbors: Sequence[Sequence[Neighbor]]) -> tuple[list[Tile], tuple[float, float]]:
    """Return the tiles of a picture, and its width and height in inches.

    A query is as high as two rows of neighbors. Queries and neighbors that do not fit are left out.
    """
    blocks = [block[:MAX_NEIGHBORS] for block in neighbors[:MAX_QUERIES]]
    step, row_height = TILE_SIDE + GAP, TILE_SIDE + LABEL_HEIGHT + GAP
    num_columns = min(COLUMNS, max(map(len, blocks)))
    nums_rows = [-(-len(block) // COLUMNS) for block in blocks]
    query_rows = 2 if max(nums_rows) > 1 else 1
    query_side = TILE_SIDE + (query_rows - 1) * row_height
    left, top, tiles = GAP + query_side + 2 * GAP, GAP, []
    for query, (block, num_rows) in enumerate(zip(blocks, nums_rows, strict=True)):
        tiles.append(Tile(GAP, top, query_side, queries, query, (short_name(queries.path(query)),)))
        photographs = Split.of_photographs([neighbor.path for neighbor in block])
        for number, neighbor in enumerate(block):
            row, column = divmod(number, num_columns)
            label = (f"{neighbor.similarity:.3f}", short_name(neighbor.path))
            tiles.append(Tile(left + column * step, top + row * row_height, TILE_SIDE, photographs, number, label))
        top += max(num_rows, query_rows) * row_height + GAP
    return tiles, (left + num_columns * step, top)


def short_name(path: Path) -> str:
    """Return a file's name with its folder, which is often its class; unprintable characters are replaced."""
    return "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in "/".join(path.parts[-2:])
    )


def shorten_text(text: str, length: int) -> str:
    """Return a text, or its end if it is too long."""
    return text if len(text) <= length else f"…{text[1 - length :]}"


def _show_image(axes: Any, split: Split, index: int) -> None:
    """Show an image upright, or a gray tile that says why it cannot be shown."""
    side = round(2 * TILE_SIDE * DPI)
    axes.set_axis_off()
    try:
        image = split.open_image(index, at_least=(side, side))
    except DataError:
        reason = "unreadable" if os.path.exists(split.path(index)) else "missing"  # noqa: PTH110 - never raises
        axes.set(xlim=(0, 1), ylim=(0, 1))
        axes.fill_between([0, 1], 0, 1, color="lightgray", linewidth=0)
        axes.text(0.5, 0.5, reason, horizontalalignment="center", verticalalignment="center", fontsize=9)
    else:
        image.thumbnail((side, side))
        axes.imshow(image)
        axes.set_anchor("S")  # directly above its label
