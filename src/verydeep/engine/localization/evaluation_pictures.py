"""Pictures of an evaluation of localization nets: examples, and shares of images over IoU."""

from typing import TYPE_CHECKING

import numpy as np

from verydeep.configs.scales import format_scales
from verydeep.data.split import Split
from verydeep.engine.localization.box_evaluation import BoxRow, LocalizationEvaluation
from verydeep.engine.localization.drawing import outline_box, show_image
from verydeep.engine.plotting import name_classes, subplots
from verydeep.ops.arrays import Float64Array
from verydeep.ops.localization_errors import RIGHT_AT, success_rates

if TYPE_CHECKING:
    from matplotlib.figure import Figure

NUM_EXAMPLES = 10

IOU_THRESHOLDS = np.linspace(0.05, 1, 96)

LINE_STYLES = {"constant": ":", "center": "--", "dense": "-"}
"""Line style of the curve of each view."""


def draw_box_examples(split: Split, evaluation: LocalizationEvaluation) -> "Figure":
    """Draw ten images from the best to the worst by the IoU of the true class's box, evenly spaced by rank.

    Annotations are dashed, the boxes of the last row are solid; the title of a wrong one is red.
    """
    errors, classes = evaluation.errors, evaluation.candidate_classes
    assert classes.labels is not None and split.boxes is not None
    counted = np.flatnonzero(errors.counted)
    order = counted[np.argsort(-errors.truth_overlaps[counted], kind="stable")]
    ranks = example_ranks(len(order))
    columns = min(5, len(ranks))
    rows = -(-len(ranks) // columns)
    figure, grid = subplots(rows, columns, figsize=(2.1 * columns, 2.3 * rows), layout="constrained", squeeze=False)
    for axes in grid.flat:
        axes.axis("off")
    names = name_classes(split.class_words)
    for axes, rank in zip(grid.flat, ranks, strict=False):
        row = order[rank]
        index, overlap = int(classes.indices[row]), errors.truth_overlaps[row]
        image = split.open_image(index)
        size = image.size
        image.thumbnail((320, 320))
        show_image(axes, image, size, "equal")
        for box in split.boxes[index]:
            outline_box(axes, box, "tab:green", 1.5, "dashed")
        outline_box(axes, errors.boxes.xyxy[row, 0], "tab:orange", 1.5, "solid")
        axes.set_title(
            f"{names[classes.labels[row]]}\nrank {rank + 1:,} of {len(order):,}, IoU {overlap:.2f}",
            fontsize=8,
            parse_math=False,
            color="tab:green" if overlap >= RIGHT_AT else "tab:red",
        )
    figure.supxlabel("dashed: annotation; solid: box of the true class", fontsize=8)
    return figure


def example_ranks(num_images: int) -> list[int]:
    """Return evenly spaced ranks, from 0, the best, to the worst; all where there are few images."""
    return np.unique(np.linspace(0, num_images - 1, NUM_EXAMPLES).round().astype(int)).tolist() if num_images else []


def draw_success(evaluation: LocalizationEvaluation) -> "Figure":
    """Draw the share of images whose box reaches an IoU, over that IoU, for each row of an evaluation.

    The left panel is about the true class's box, the right one about the best of the boxes of the guessed classes.
    """
    titles = ["box of the true class"]
    if evaluation.errors.guess_overlaps is not None:
        titles.append(f"boxes of {evaluation.candidate_classes.guesses.shape[1]} guessed classes")
    figure, (panels,) = subplots(
        1, len(titles), figsize=(0.5 + 4.5 * len(titles), 4.2), layout="constrained", sharey=True, squeeze=False
    )
    for row in evaluation.rows:
        errors = row.errors
        for axes, overlaps in zip(panels, (errors.truth_overlaps, errors.guess_overlaps), strict=False):
            assert overlaps is not None
            axes.plot(
                IOU_THRESHOLDS,
                success_shares(overlaps[errors.counted]),
                LINE_STYLES[row.view],
                color="tab:gray" if row.view == "constant" else None,
                linewidth=2.5 if row is evaluation.rows[-1] else 1.3,
                label=curve_label(row, show_net=len(evaluation.ensemble.members) > 1),
            )
    for axes, title in zip(panels, titles, strict=True):
        axes.axvline(RIGHT_AT, color="black", linewidth=0.8)
        axes.set(title=title, xlabel="IoU of at least", xlim=(IOU_THRESHOLDS[0], 1), ylim=(0, 100))
        axes.grid(alpha=0.3)
    panels[0].set_ylabel("% of the images")
    panels[0].legend(fontsize=8, loc="lower left")
    return figure


def success_shares(overlaps: Float64Array) -> Float64Array:
    """Return the percentage of images (n,) whose box reaches each IoU threshold: (T,)."""
    return np.array([share.percent for share in success_rates(overlaps, IOU_THRESHOLDS)])


def curve_label(row: BoxRow, *, show_net: bool) -> str:
    """Return the label of a row's curve."""
    scales = ", ".join(format_scales(row.scales, row.crop))
    name = row.net if show_net and row.net else row.view
    return f"{name}, Q={scales}" if scales else name
