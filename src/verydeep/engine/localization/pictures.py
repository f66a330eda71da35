"""Pictures of boxes: on one photograph, on examples of an evaluation, and how many boxes are how good."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from verydeep.configs.scales import scales_in_words
from verydeep.data.split import Split
from verydeep.engine.localization.evaluation import BoxRow, LocalizationEvaluation
from verydeep.engine.plotting import new_figure, subplots
from verydeep.ops.arrays import Float64Array, FloatArray
from verydeep.ops.localization_errors import RIGHT_AT, success

NUM_EXAMPLES = 10

SIDES = (480, 1000)
"""Pixels that the longer side of a photograph has in its picture: a smaller one is enlarged, a larger one reduced."""

SMALLEST_LETTERS = 5
"""Pixels; a label that is still too long is cut off."""

DPI = 100
POINTS = 72 / DPI
"""Of a pixel."""

PALETTE = ("red", "blue", "green", "orange", "purple", "cyan", "brown", "pink", "olive", "gray")
"""Of classes, in Matplotlib's ``tab:`` colors."""

LEAST_OVERLAPS = np.linspace(0.05, 1, 96)
"""Of IoU."""

STYLES = {"constant": ":", "center": "--", "dense": "-"}
"""Look -> line of its curve."""

Rectangle = tuple[float, float, float, float]
"""left, upper, right, lower; y counts downwards"""


@dataclass(frozen=True)
class NamedBox:
    """A box to be drawn, and what is told of it."""

    xyxy: Sequence[float]
    """(4,) inclusive, in the photograph's pixels."""
    label: int
    """The class, which has its color."""
    told: str


def draw_photograph(photograph: Image.Image, boxes: Sequence[NamedBox], path: Path) -> None:
    """A photograph, and beside it (below a wide one) the same with its boxes, each in a color and with its label.

    Args:
        photograph: as it is shown, after the camera's rotation.
        boxes: the most important one first.
        path: of the picture; its suffix tells the format.
    """
    side = min(max(*photograph.size, SIDES[0]), SIDES[1])
    width, height = (max(1, round(each * side / max(photograph.size))) for each in photograph.size)
    below, gap = width > 2 * height, side // 50
    total = (width, 2 * height + gap) if below else (2 * width + gap, height)
    figure = new_figure(figsize=(total[0] / DPI, total[1] / DPI), dpi=DPI)
    shown = photograph.resize((width, height), Image.Resampling.LANCZOS)
    for x, y in ((0, total[1] - height), (0 if below else width + gap, 0)):
        axes = figure.add_axes((x / total[0], y / total[1], width / total[0], height / total[1]))
        _show(axes, shown, photograph.size, "auto")
    line, ratio, taken = side / 200, width / photograph.width, list[Rectangle]()
    for box, color in zip(boxes, colors([box.label for box in boxes]), strict=True):
        outline = _outline(axes, box.xyxy, color, line * POINTS, "solid", inside=line / ratio)
        outline.set_zorder(2 - len(taken) / len(boxes))  # the first on top of the others, the photograph below all
        corner = (ratio * box.xyxy[0] - line / 2, ratio * box.xyxy[1] - line / 2)
        taken.append(_label(axes, box.told, color, corner, (width, height), taken))
    figure.savefig(path, dpi=DPI)


def colors(labels: Iterable[int]) -> list[str]:
    """A color for each class of a picture: the same in every picture, unless another class there has it already."""
    found: dict[int, str] = {}
    for label in labels:
        turns = range(label, label + len(PALETTE))
        free = (PALETTE[turn % len(PALETTE)] for turn in turns if PALETTE[turn % len(PALETTE)] not in found.values())
        found.setdefault(label, next(free, PALETTE[label % len(PALETTE)]))
    return [f"tab:{found[label]}" for label in labels]


def free_place(
    corner: tuple[float, float], size: tuple[float, float], room: tuple[float, float], taken: Sequence[Rectangle]
) -> Rectangle:
    """Where a label goes: on top of a box's upper left corner, or as near above or below as others leave room.

    Args:
        corner: of the box.
        size: width and height of the label.
        room: width and height of the picture, inside which it stays.
        taken: by other labels.
    """
    width, height = size
    left = max(0.0, min(corner[0], room[0] - width))
    lowest = max(0.0, room[1] - height)
    wanted = min(corner[1] - height if corner[1] >= height else max(0.0, corner[1]), lowest)
    inside = [other for other in taken if other[0] < left + width and left < other[2]]
    uppers = [wanted, *(other[1] - height for other in inside), *(other[3] for other in inside)]
    free = [
        upper
        for upper in uppers
        if 0 <= upper <= lowest and not any(other[1] < upper + height and upper < other[3] for other in inside)
    ]
    upper = min(free, key=lambda upper: abs(upper - wanted), default=wanted)
    return left, upper, left + width, upper + height


def draw_examples(split: Split, evaluation: LocalizationEvaluation, path: Path) -> None:
    """Ten images from the best to the worst by the IoU of the true class's box, chosen by rank.

    What the annotations say is dashed, what the last row of the evaluation says is solid; a wrong one's title is red.
    """
    box_errors, candidate_classes, truth = (
        evaluation.box_errors_of_rows[-1],
        evaluation.candidate_classes,
        evaluation.truth,
    )
    assert candidate_classes.labels is not None and split.boxes is not None
    counted = np.flatnonzero(truth.counted)
    order = counted[np.argsort(-box_errors.truth_overlaps[counted], kind="stable")]
    ranks = ranks_of_examples(len(order))
    columns = min(5, len(ranks))
    rows = -(-len(ranks) // columns)
    figure, grid = subplots(rows, columns, figsize=(2.1 * columns, 2.3 * rows), layout="constrained", squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    for axes, rank in zip(grid.flat, ranks, strict=False):
        row = order[rank]
        index, overlap = int(candidate_classes.indices[row]), box_errors.truth_overlaps[row]
        image = split.open_image(index)
        size = image.size
        image.thumbnail((320, 320))
        _show(axes, image, size, "equal")
        for box in split.boxes[index]:
            _outline(axes, box, "tab:green", 1.5, "dashed")
        _outline(axes, box_errors.merged.boxes[row, 0], "tab:orange", 1.5, "solid")
        words = split.class_words[candidate_classes.labels[row]].split(",")[0]
        axes.set_title(
            f"{words}\nrank {rank + 1:,} of {len(order):,}, IoU {overlap:.2f}",
            fontsize=8,
            parse_math=False,
            color="tab:green" if overlap >= RIGHT_AT else "tab:red",
        )
    figure.supxlabel("dashed: annotated; solid: predicted for the true class", fontsize=8)
    figure.savefig(path, dpi=120)


def ranks_of_examples(num_images: int) -> list[int]:
    """Evenly spaced ranks, from 0, the best, to the worst; all where there are not more images than examples."""
    return np.unique(np.linspace(0, num_images - 1, NUM_EXAMPLES).round().astype(int)).tolist() if num_images else []


def draw_success(evaluation: LocalizationEvaluation, path: Path) -> None:
    """The share of images whose box reaches an IoU, over that IoU, for each row of an evaluation.

    On the left of the true class's box, on the right of the best of the boxes of the guessed classes.
    """
    titles = ["box of the true class"]
    if evaluation.rows[-1].guesses is not None:
        titles.append(f"boxes of {evaluation.candidate_classes.guesses.shape[1]} guessed classes")
    figure, panels = subplots(
        1, len(titles), figsize=(0.5 + 4.5 * len(titles), 4.2), layout="constrained", sharey=True, squeeze=False
    )
    for row, box_errors in zip(evaluation.rows, evaluation.box_errors_of_rows, strict=True):
        last = row is evaluation.rows[-1]
        both = (box_errors.truth_overlaps, box_errors.guess_overlaps)
        for axes, overlaps in zip(panels[0], (each for each in both if each is not None), strict=True):
            axes.plot(
                LEAST_OVERLAPS,
                shares(overlaps[evaluation.truth.counted]),
                STYLES[row.view],
                color="tab:gray" if row.view == "constant" else None,
                linewidth=2.5 if last else 1.3,
                label=in_words(row, several=len(evaluation.ensemble.members) > 1),
            )
    for axes, title in zip(panels[0], titles, strict=True):
        axes.axvline(RIGHT_AT, color="black", linewidth=0.8)
        axes.set(title=title, xlabel="IoU of at least", xlim=(LEAST_OVERLAPS[0], 1), ylim=(0, 100))
        axes.grid(alpha=0.3)
    panels[0, 0].set_ylabel("% of the images")
    panels[0, 0].legend(fontsize=8, loc="lower left")
    figure.savefig(path, dpi=120)


def shares(overlaps: Float64Array) -> Float64Array:
    """(T,) percent of images (n,) whose best box reaches each of the thresholds."""
    return np.array([share.percent for share in success(overlaps, LEAST_OVERLAPS)])


def in_words(row: BoxRow, *, several: bool) -> str:
    """A row as its curve is called."""
    scales = ", ".join(scales_in_words(row.scales, row.crop))
    who = row.net if several and row.net else row.view
    return f"{who}, Q={scales}" if scales else who


def _show(axes: Any, image: Image.Image, size: tuple[int, int], aspect: str) -> None:
    """An image in the coordinates of the file, however it was rescaled: the centers of pixels are whole numbers."""
    width, height = size
    axes.imshow(image, extent=(-0.5, width - 0.5, height - 0.5, -0.5), aspect=aspect)
    axes.axis("off")


def _outline(
    axes: Any,
    xyxy: Sequence[float] | FloatArray,
    color: str,
    line: float,
    style: str,
    *,
    inside: float = 0,
) -> Any:
    """The edges of an inclusive box, on white, so that they are seen on any ground.

    Lines are ``line`` points wide, and keep a distance of ``inside`` pixels of the file from its borders.
    """
    from matplotlib.patches import Rectangle as Patch  # noqa: PLC0415
    from matplotlib.patheffects import withStroke  # noqa: PLC0415

    (left, right), (lower, upper) = axes.get_xlim(), axes.get_ylim()
    x, y = (
        np.clip((first - 0.5, last + 0.5), start + inside, end - inside)
        for first, last, start, end in ((xyxy[0], xyxy[2], left, right), (xyxy[1], xyxy[3], upper, lower))
    )
    patch = Patch((x[0], y[0]), x[1] - x[0], y[1] - y[0], fill=False, edgecolor=color, linewidth=line, linestyle=style)
    patch.set_path_effects([withStroke(linewidth=2 * line, foreground="white")])
    return axes.add_patch(patch)


def _label(
    axes: Any,
    told: str,
    color: str,
    corner: tuple[float, float],
    room: tuple[float, float],
    taken: Sequence[Rectangle],
) -> Rectangle:
    """Write a label on a ground of its color, and tell where; all in pixels of the picture, y counting downwards."""
    from matplotlib.colors import to_rgb  # noqa: PLC0415

    letters = max(room) / 36
    light = np.dot(to_rgb(color), (0.299, 0.587, 0.114)) > 0.55
    text = axes.text(0, 0, told, transform=axes.transAxes, ha="center", va="center", parse_math=False)
    text.set(fontsize=letters * POINTS, color="black" if light else "white")
    while text.get_window_extent().width + letters > room[0] and letters > SMALLEST_LETTERS:
        letters *= 0.95  # widths do not follow exactly: letters are fitted to the grid of pixels
        text.set_fontsize(letters * POINTS)
    text.set(bbox={"boxstyle": "square,pad=0.25", "facecolor": color, "edgecolor": "none"})
    extent = text.get_window_extent()
    size = (extent.width + 0.5 * letters, extent.height + 0.5 * letters)
    left, upper, right, lower = place = free_place(corner, size, room, taken)
    text.set_position(((left + right) / 2 / room[0], 1 - (upper + lower) / 2 / room[1]))
    return place
