"""Drawing of boxes on photographs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from verydeep.engine.plotting import fit_text, new_figure, save_figure
from verydeep.ops.arrays import FloatArray

if TYPE_CHECKING:
    from matplotlib.patches import Rectangle as RectanglePatch

SIDE_LIMITS = (480, 1000)
"""Pixels of the longer side of a photograph in its picture: smaller ones are enlarged, larger ones reduced."""

LABELS_PER_SIDE = 36
"""Longer side of a photograph in its picture, in sizes of the font."""

LINE_HEIGHT = 1.6
"""Height of a line of the title in sizes of the font."""

SMALLEST_FONT = 5
"""Pixels; a label that is still too long is cut off."""

DPI = 100
POINTS_PER_PIXEL = 72 / DPI

PALETTE = ("red", "blue", "green", "orange", "purple", "cyan", "brown", "pink", "olive", "gray")
"""Colors of classes, from Matplotlib's ``tab:`` colors."""

Rectangle = tuple[float, float, float, float]
"""left, upper, right, lower; y counts downwards"""


@dataclass(frozen=True)
class LabeledBox:
    """A box with its label, to be drawn."""

    xyxy: Sequence[float]
    """(4,) inclusive, in pixels of the photograph."""
    label: int
    """The class, which determines the color."""
    text: str


def draw_photograph(
    photograph: Image.Image,
    boxes: Sequence[LabeledBox],
    path: Path,
    origin: Sequence[Path] = (),
    title: Sequence[str] = (),
) -> None:
    """Draw a photograph twice, next to each other or a wide one in two rows: without boxes, and with them.

    Args:
        photograph: upright.
        boxes: the most important one first; it lies on top.
        path: of the picture; its suffix determines the format.
        origin: the files of the photograph and the net, by which the picture is known again.
        title: the lines above the photograph: its name, and that of the net.
    """
    side = min(max(*photograph.size, SIDE_LIMITS[0]), SIDE_LIMITS[1])
    width, height = (max(1, round(length * side / max(photograph.size))) for length in photograph.size)
    in_rows, gap = width > 2 * height, side // 50
    total_width, total_height = (width, 2 * height + gap) if in_rows else (2 * width + gap, height)
    upper = total_height
    total_height += round(LINE_HEIGHT * len(title) * side / LABELS_PER_SIDE)
    figure = new_figure(figsize=(total_width / DPI, total_height / DPI), dpi=DPI)
    resized = photograph.resize((width, height), Image.Resampling.LANCZOS)
    for x, y in ((0, upper - height), (0 if in_rows else width + gap, 0)):
        axes = figure.add_axes((x / total_width, y / total_height, width / total_width, height / total_height))
        show_image(axes, resized, photograph.size, "auto")
    draw_boxes(axes, boxes, photograph.size, (width, height))
    if title:
        center = (0.5, (1 + upper / total_height) / 2)
        _fit_font(figure.text(*center, "\n".join(title), ha="center", va="center", parse_math=False), side, total_width)
    save_figure(figure, path, DPI, origin)


def draw_boxes(axes: Any, boxes: Sequence[LabeledBox], size: tuple[int, int], picture: tuple[int, int]) -> None:
    """Draw boxes with their labels.

    Args:
        axes: show the photograph, and nothing else.
        boxes: the most important one first; it lies on top.
        size: width and height of the photograph, whose pixels the boxes count.
        picture: width and height of the axes in pixels of the picture.
    """
    line, ratio = max(picture) / 200, picture[0] / size[0]
    labels: list[Rectangle] = []
    for box, color in zip(boxes, choose_colors([box.label for box in boxes]), strict=True):
        outline = outline_box(axes, box.xyxy, color, line * POINTS_PER_PIXEL, "solid", margin=line / ratio)
        outline.set_zorder(2 - len(labels) / len(boxes))  # the first box is on top, the photograph at the bottom
        corner = (ratio * box.xyxy[0] - line / 2, ratio * box.xyxy[1] - line / 2)
        labels.append(_write_label(axes, box.text, color, corner, picture, labels))


def choose_colors(labels: Iterable[int]) -> list[str]:
    """Choose a color for each class of a picture: the same in every picture, unless another class already has it."""
    colors: dict[int, str] = {}
    for label in labels:
        ordered = [PALETTE[(label + shift) % len(PALETTE)] for shift in range(len(PALETTE))]
        colors.setdefault(label, next((color for color in ordered if color not in colors.values()), ordered[0]))
    return [f"tab:{colors[label]}" for label in labels]


def place_label(
    corner: tuple[float, float], size: tuple[float, float], picture: tuple[float, float], others: Sequence[Rectangle]
) -> Rectangle:
    """Place a label on top of a box, or as near above or below as other labels leave room.

    Args:
        corner: upper left corner of the box.
        size: width and height of the label.
        picture: width and height of the picture; the label stays inside.
        others: labels that are already placed.
    """
    width, height = size
    left = max(0.0, min(corner[0], picture[0] - width))
    lowest = max(0.0, picture[1] - height)
    preferred = min(corner[1] - height if corner[1] >= height else max(0.0, corner[1]), lowest)
    others = [other for other in others if other[0] < left + width and left < other[2]]
    uppers = [preferred, *(other[1] - height for other in others), *(other[3] for other in others)]
    free = [
        upper
        for upper in uppers
        if 0 <= upper <= lowest and not any(other[1] < upper + height and upper < other[3] for other in others)
    ]
    upper = min(free, key=lambda upper: abs(upper - preferred), default=preferred)
    return left, upper, left + width, upper + height


def show_image(axes: Any, image: Image.Image, size: tuple[int, int], aspect: str) -> None:
    """Show an image in the pixel coordinates of its file of this size; centers of pixels are whole numbers."""
    width, height = size
    axes.imshow(image, extent=(-0.5, width - 0.5, height - 0.5, -0.5), aspect=aspect)
    axes.axis("off")


def outline_box(
    axes: Any, xyxy: Sequence[float] | FloatArray, color: str, line_width: float, style: str, *, margin: float = 0
) -> "RectanglePatch":
    """Draw the edges of an inclusive box with a white border, so that they are visible on any background.

    Args:
        axes: show the image of the box.
        xyxy: (4,) inclusive, in pixels of the file.
        color: of the edges.
        line_width: in points.
        style: of the line.
        margin: smallest distance of the lines from the borders of the file, in its pixels.
    """
    from matplotlib.patches import Rectangle as Patch  # noqa: PLC0415
    from matplotlib.patheffects import withStroke  # noqa: PLC0415

    (left, right), (lower, upper) = axes.get_xlim(), axes.get_ylim()
    x, y = (
        np.clip((first - 0.5, last + 0.5), start + margin, end - margin)
        for first, last, start, end in ((xyxy[0], xyxy[2], left, right), (xyxy[1], xyxy[3], upper, lower))
    )
    patch = Patch(
        (x[0], y[0]), x[1] - x[0], y[1] - y[0], fill=False, edgecolor=color, linewidth=line_width, linestyle=style
    )
    patch.set_path_effects([withStroke(linewidth=2 * line_width, foreground="white")])
    axes.add_patch(patch)
    return patch


def _write_label(
    axes: Any,
    text: str,
    color: str,
    corner: tuple[float, float],
    picture: tuple[float, float],
    others: Sequence[Rectangle],
) -> Rectangle:
    """Write a label on a background of its color, and return its place in pixels of the picture."""
    from matplotlib.colors import to_rgb  # noqa: PLC0415

    is_light = np.dot(to_rgb(color), (0.299, 0.587, 0.114)) > 0.55
    label = axes.text(0, 0, text, transform=axes.transAxes, ha="center", va="center", parse_math=False)
    label.set_color("black" if is_light else "white")
    font_size = _fit_font(label, max(picture), picture[0])
    label.set(bbox={"boxstyle": "square,pad=0.25", "facecolor": color, "edgecolor": "none"})
    extent = label.get_window_extent()
    size = (extent.width + 0.5 * font_size, extent.height + 0.5 * font_size)
    left, upper, right, lower = place = place_label(corner, size, picture, others)
    label.set_position(((left + right) / 2 / picture[0], 1 - (upper + lower) / 2 / picture[1]))
    return place


def _fit_font(text: Any, side: float, width: float) -> float:
    """Choose the font of a text and its size for a photograph of this longer side, so that its lines fit into a width.

    Returns:
        The size in pixels.
    """
    fit_text(text)
    size = side / LABELS_PER_SIDE
    text.set_fontsize(size * POINTS_PER_PIXEL)
    while text.get_window_extent().width + size > width and size > SMALLEST_FONT:
        size *= 0.95  # in steps, as the width of a text is not exactly proportional to the font size
        text.set_fontsize(size * POINTS_PER_PIXEL)
    return size
