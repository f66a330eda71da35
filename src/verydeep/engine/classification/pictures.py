"""A picture of photographs and their predicted classes."""

from pathlib import Path, PurePath

import numpy as np

from verydeep.data.split import Split
from verydeep.engine.classification.ensemble_errors import EnsemblePredictions
from verydeep.engine.plotting import name_classes, new_figure, save_figure, shorten_middle
from verydeep.ops.arrays import BoolArray, Float32Array, Int64Array
from verydeep.ops.metrics import predicted_classes
from verydeep.results.predictions import ScoreKind

EXAMPLES_STREAM = 3
MAX_EXAMPLES = 24

CELL_HEIGHT = 1.35
"""Height of a photograph's cell with its caption, where the width is 1."""
FORMATS: dict[ScoreKind, str] = {"probability": ".0%", "margin": "+.2f"}
"""How a score is written."""
INCHES = 1.5
"""Width of a cell."""
MAX_LETTERS = 20
"""Longest line of a caption."""


def draw_examples(split: Split, predictions: EnsemblePredictions, path: Path) -> None:
    """Draw photographs under their true class, their prediction (green if right, red if wrong) and their file name.

    Half of them are right, chosen at random; half are the mistakes with the highest probability, which come last.
    """
    assert split.labels is not None
    guesses = predicted_classes(predictions.posteriors)
    right = guesses == split.labels[predictions.indices]
    chosen = choose_examples(right, predictions.posteriors.max(axis=1), MAX_EXAMPLES)
    count = len(chosen)
    num_columns = min(8, count)
    height = CELL_HEIGHT * -(-count // num_columns)
    figure = new_figure(figsize=(INCHES * num_columns, INCHES * height))
    names = [shorten_middle(name, MAX_LETTERS) for name in name_classes(split.class_words)]
    axes = figure.add_axes((0, 0, 1, 1))  # one for all photographs: matplotlib takes 50 ms for each
    for place, row in enumerate(chosen):
        index, posterior = int(predictions.indices[row]), predictions.posteriors[row]
        guess = int(guesses[row])
        image = split.open_image(index)
        image.thumbnail((256, 256))
        left, bottom = place % num_columns, height - CELL_HEIGHT * (place // num_columns + 1)
        half_width, half_height = (0.48 * side / max(image.size) for side in image.size)
        center = (left + 0.5, bottom + 0.5)
        extent = (center[0] - half_width, center[0] + half_width, center[1] - half_height, center[1] + half_height)
        axes.imshow(image, extent=extent)
        score = format(posterior[guess], FORMATS[predictions.kind])
        lines = (
            (shorten_middle(PurePath(split.files[index]).name, MAX_LETTERS), "tab:gray", 6),
            (f"{names[guess]} {score}", "tab:green" if right[row] else "tab:red", 8),
            (f"true: {names[split.labels[index]]}", "black", 8),
        )
        for line, (text, color, size) in enumerate(lines):
            height_of_line = extent[3] + 0.03 + 0.1 * line
            axes.text(
                center[0], height_of_line, text, ha="center", fontsize=size, parse_math=False, color=color, clip_on=True
            )
    axes.set(xlim=(0, num_columns), ylim=(0, height))
    axes.axis("off")
    save_figure(figure, path)


def choose_examples(right: BoolArray, confidence: Float32Array, count: int) -> Int64Array:
    """Return the rows of the photographs to draw: right ones in order, then the mistakes, most confident first.

    Half are right and half are wrong; where there are too few of one kind, the other fills its places.

    Args:
        right: (n,) whether each prediction is right.
        confidence: (n,) probability of each predicted class.
        count: Largest number of photographs.
    """
    generator = np.random.Generator(np.random.Philox(key=[0, EXAMPLES_STREAM]))
    rows, mistakes = np.flatnonzero(right), np.flatnonzero(~right)
    mistakes = mistakes[np.argsort(-confidence[mistakes], kind="stable")]
    num_mistakes = min(len(mistakes), max(count // 2, count - len(rows)))
    num_right = min(len(rows), count - num_mistakes)
    chosen = np.sort(generator.choice(rows, num_right, replace=False)) if num_right else rows[:0]
    return np.concatenate([chosen, mistakes[:num_mistakes]]).astype(np.int64)
