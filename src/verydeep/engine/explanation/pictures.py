"""Pictures of class score maps over their photographs, of the windows behind a position, and of filters."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from verydeep.engine.localization.drawing import DPI, LabeledBox, draw_boxes, outline_box, show_image
from verydeep.engine.plotting import new_figure, png_note, save_figure, shorten_middle
from verydeep.engine.score_maps import COLORS, overlay_map
from verydeep.files import atomic_write
from verydeep.ops.arrays import Float32Array
from verydeep.results.predictions import ScoreKind
from verydeep.results.score_map import ScoreMap
from verydeep.wording import count_of

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PANEL_SIDE = 320
"""Pixels of the longer side of a photograph."""

SMALLEST_CELL = (230, 150)
"""Smallest width and height of a cell, in pixels: texts and windows have to fit into those of elongated photographs."""

GAP, TITLE, CAPTION, BAR = 16, 34, 18, 10
"""Pixels between panels, above the columns, below a panel, and of the height of the color bar."""

MAX_NAME = 36
"""Characters of the name of a photograph or a net that fit above it."""

FILTER_PIXELS = 60
"""Side of a filter in the picture of all filters."""


@dataclass(frozen=True)
class ShownClass:
    """A class whose maps are drawn."""

    label: int
    name: str
    score: float
    """Its probability or margin for the whole photograph."""


@dataclass(frozen=True)
class _Grid:
    """Places of panels in a figure of several rows and columns."""

    panel: tuple[int, int]
    """Width and height of a photograph in a panel."""
    cell: tuple[int, int]
    """Width and height of a cell."""
    shape: tuple[int, int]
    """Numbers of rows and columns."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the figure."""
        rows, columns = self.shape
        return columns * (self.cell[0] + GAP) + GAP, TITLE + rows * (self.cell[1] + CAPTION + GAP)

    def place(self, row: int, column: int, size: tuple[int, int]) -> tuple[float, float, float, float]:
        """Return left, lower, width and height of a panel at the top of a cell, in shares of the figure."""
        width, height = self.size
        left = GAP + column * (self.cell[0] + GAP) + (self.cell[0] - size[0]) / 2
        lower = height - TITLE - row * (self.cell[1] + CAPTION + GAP) - size[1]
        return left / width, lower / height, size[0] / width, size[1] / height


def draw_maps(
    photograph: Image.Image,
    origin: tuple[Path, Path],
    title: list[str],
    maps: tuple[ScoreMap, ...],
    classes: list[ShownClass],
    positions: list[tuple[int, int]],
    boxes: list[LabeledBox],
    path: Path,
) -> None:
    """Draw a photograph with its boxes, and the map of each class at each test scale over it.

    Above the maps stands what the net sees at the chosen position, which is outlined in the maps of the first class.

    Args:
        photograph: upright.
        origin: files of the photograph and the net, by which the picture is known again.
        title: the lines above the photograph: its name, and that of the net.
        maps: of the photograph.
        classes: the most probable one first.
        positions: row and column of the chosen position of each map.
        boxes: on the photograph, the most important one first.
        path: of the picture.
    """
    ratio = PANEL_SIDE / max(photograph.size)
    panel = tuple(max(1, round(side * ratio)) for side in photograph.size)
    cell = (max(panel[0], SMALLEST_CELL[0]), max(panel[1], SMALLEST_CELL[1]))
    grid = _Grid((panel[0], panel[1]), cell, (1 + len(classes), 1 + len(maps)))
    figure = new_figure(figsize=tuple(side / DPI for side in grid.size), dpi=DPI)
    small = photograph.resize(grid.panel, Image.Resampling.LANCZOS)
    axes = figure.add_axes(grid.place(0, 0, grid.panel))
    show_image(axes, small, photograph.size, "auto")
    draw_boxes(axes, boxes, photograph.size, grid.panel)
    _write_title(figure, grid, 0, [shorten_middle(line, MAX_NAME) for line in title])
    limit = choose_limit(maps, classes)
    several = len({each.net for each in maps}) > 1
    for column, (score_map, position) in enumerate(zip(maps, positions, strict=True), start=1):
        _draw_window(figure, grid, column, photograph, score_map, position, several)
        for row, shown in enumerate(classes, start=1):
            axes = figure.add_axes(grid.place(row, column, grid.panel))
            show_image(axes, overlay_map(small, score_map, shown.label, limit), photograph.size, "auto")
            _mark_positions(axes, score_map, position if row == 1 else None)
            values = score_map.values[shown.label]
            _write_caption(axes, f"{_write(values.min(), score_map.kind)} to {_write(values.max(), score_map.kind)}")
    for row, shown in enumerate(classes, start=1):
        _draw_class(figure, grid, row, shown, maps[0].kind, limit)
    save_figure(figure, path, DPI, origin)


def choose_limit(maps: tuple[ScoreMap, ...], classes: list[ShownClass]) -> float:
    """Return the value of the last color: 1 for probabilities, for margins the largest one that is drawn."""
    if maps[0].kind == "probability":
        return 1.0
    return max(float(np.abs(each.values[shown.label]).max()) for each in maps for shown in classes) or 1.0


def cut_window(photograph: Image.Image, score_map: ScoreMap, position: tuple[int, int]) -> Image.Image:
    """Return the window of a position as the net sees it, of ``window`` pixels a side; beyond the image it is gray."""
    height, width = score_map.size
    rescaled = photograph.resize((width, height), Image.Resampling.BILINEAR)
    window = Image.new("RGB", (score_map.window, score_map.window), "lightgray")
    row, column = position
    window.paste(rescaled, (-score_map.stride * column, -score_map.stride * row))
    return window


def draw_filters(filters: Float32Array, path: Path, net: Path) -> None:
    """Draw a net's filters (C, 3, k, k) in rows of 8 to 16; gray is 0, and each is scaled to its largest weight."""
    count, _, side, _ = filters.shape
    columns = 8 if count <= 64 else 16
    rows = -(-count // columns)
    colors = np.ones((rows * (side + 1) + 1, columns * (side + 1) + 1, 3))
    for number, each in enumerate(filters):
        top, left = (place * (side + 1) + 1 for place in divmod(number, columns))
        scaled = 0.5 + 0.5 * each / (np.abs(each).max() or 1)
        colors[top : top + side, left : left + side] = scaled.transpose(1, 2, 0)
    factor = max(1, FILTER_PIXELS // side)
    enlarged = Image.fromarray((255 * colors).round().astype(np.uint8))
    enlarged = enlarged.resize((enlarged.width * factor, enlarged.height * factor), Image.Resampling.NEAREST)
    with atomic_write(path) as temporary:
        enlarged.save(temporary, format="PNG", pnginfo=png_note([net]))


def _draw_window(
    figure: "Figure",
    grid: _Grid,
    column: int,
    photograph: Image.Image,
    score_map: ScoreMap,
    position: tuple[int, int],
    several: bool,
) -> None:
    """Draw the window of a position under the title of its column."""
    side = min(grid.cell)
    left, lower, width, height = grid.place(0, column, (side, side))
    axes = figure.add_axes((left, lower, width, height))
    axes.imshow(cut_window(photograph, score_map, position), interpolation="nearest")
    axes.axis("off")
    _write_caption(axes, f"the window outlined below: {score_map.window}x{score_map.window} pixels")
    rows, columns = score_map.scores.shape[1:]
    title = (
        f"Q={score_map.scale}: {score_map.size[1]}x{score_map.size[0]} pixels, {count_of(rows * columns, 'position')}"
    )
    lines = [score_map.net, title] if several else [title]
    _write_title(figure, grid, column, lines)


def _write_title(figure: "Figure", grid: _Grid, column: int, lines: list[str]) -> None:
    """Write the title of a column."""
    left, _, width, _ = grid.place(0, column, grid.cell)
    middle, upper = left + width / 2, 1 - 8 / grid.size[1]
    figure.text(middle, upper, "\n".join(lines), ha="center", va="top", fontsize=8, parse_math=False)


def _mark_positions(axes: Any, score_map: ScoreMap, position: tuple[int, int] | None) -> None:
    """Mark the centers of all windows by dots, and outline the window of one position."""
    left, upper, right, lower = np.moveaxis(score_map.windows, 2, 0)
    limits = axes.get_xlim(), axes.get_ylim()
    axes.scatter((left + right) / 2 - 0.5, (upper + lower) / 2 - 0.5, s=3, color="white", alpha=0.6, linewidths=0)
    axes.set(xlim=limits[0], ylim=limits[1])
    if position is not None:
        edges = score_map.windows[position]
        outline_box(axes, edges - [0, 0, 1, 1], "black", 1.2, "solid")


def _draw_class(figure: "Figure", grid: _Grid, row: int, shown: ShownClass, kind: ScoreKind, limit: float) -> None:
    """Write a class's name and score into the first column of its row, with the meaning of the colors below."""
    left, lower, width, height = grid.place(row, 0, grid.cell)
    texts = figure.add_axes((left, lower, width, height))
    texts.axis("off")
    texts.text(0.5, 0.72, shown.name, ha="center", fontsize=13, parse_math=False)
    texts.text(0.5, 0.56, f"{kind} {_write(shown.score, kind)}", ha="center", fontsize=9)
    lowest = 0 if kind == "probability" else -limit
    bar = figure.add_axes((left + 0.15 * width, lower + 0.3 * height, 0.7 * width, BAR / grid.size[1]))
    bar.imshow(np.linspace(0, 1, 256)[None], cmap=COLORS[kind], aspect="auto")
    bar.set(
        yticks=[],
        xticks=[0, 127.5, 255],
        xticklabels=[_write(value, kind) for value in (lowest, (lowest + limit) / 2, limit)],
    )
    bar.tick_params(labelsize=7, length=2)


def _write(value: float, kind: ScoreKind) -> str:
    """Write a probability or a margin."""
    return format(value, ".0%" if kind == "probability" else "+.2f")


def _write_caption(axes: Any, text: str) -> None:
    """Write a line below a panel."""
    axes.annotate(
        text, (0.5, 0), (0, -3), "axes fraction", textcoords="offset points", ha="center", va="top", fontsize=7
    )
