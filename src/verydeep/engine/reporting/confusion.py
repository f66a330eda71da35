"""Confusion between classes, as a file and as a picture."""

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from verydeep.engine.plotting import name_classes, save_figure, subplots
from verydeep.files import CsvLines, atomic_write_text
from verydeep.ops.arrays import Int64Array

MAX_NUMBERED = 20
"""Classes up to which the picture has numbers."""


def write_confusion(path: Path, counts: Int64Array, class_names: Sequence[str]) -> None:
    """Write a CSV file with a line for each true class and a column for each predicted class.

    Args:
        path: of the file.
        counts: (K, K) images of the row's class that are predicted as the column's.
        class_names: K names.
    """
    with atomic_write_text(path) as file:
        writer = csv.writer(CsvLines(file))
        writer.writerow(["true", *class_names])
        writer.writerows([name, *row] for name, row in zip(class_names, counts.tolist(), strict=True))


def draw_confusion(path: Path, counts: Int64Array, class_words: Sequence[str]) -> None:
    """Draw a picture of the confusion: true classes as rows, predicted ones as columns, in percent of a row's images.

    Up to 20 classes, a cell has the number of its images.

    Args:
        path: of the picture.
        counts: (K, K) images of the row's class that are predicted as the column's.
        class_words: K names for people.
    """
    names = name_classes(class_words)
    shares = 100 * counts / counts.sum(axis=1, keepdims=True).clip(min=1)
    side = max(4.0, min(14.0, 0.3 * len(names) + 2))
    figure, axes = subplots(figsize=(side + 1, side), layout="constrained")
    picture = axes.imshow(shares, cmap="viridis", vmin=0, vmax=100)
    figure.colorbar(picture, ax=axes, label="% of the true class", shrink=0.8)
    axes.set(xlabel="predicted", ylabel="true")
    if len(names) <= MAX_NUMBERED:
        for (row, column), share in np.ndenumerate(shares):
            if counts[row, column]:
                color = "black" if share > 60 else "white"  # viridis ends with a bright yellow
                number = str(counts[row, column])
                axes.text(column, row, number, ha="center", va="center", fontsize=7, color=color)
        axes.set_title("numbers: images", fontsize=8)
    if len(names) <= 60:  # more cannot be read
        ticks = range(len(names))
        axes.set_xticks(ticks, names, rotation=90, fontsize=7, parse_math=False)
        axes.set_yticks(ticks, names, fontsize=7, parse_math=False)
    save_figure(figure, path)
