"""A picture of photographs and their predicted classes."""

from pathlib import Path

import numpy as np

from verydeep.data.split import Split
from verydeep.engine.classification.evaluation import EnsemblePredictions
from verydeep.engine.plotting import name_classes, new_figure, save_figure
from verydeep.ops.arrays import Int64Array

EXAMPLES_STREAM = 3

CELL_HEIGHT = 1.17
"""Height of a photograph's cell with its caption, where the width is 1."""
INCHES = 1.5
"""Width of a cell."""


def draw_examples(
    split: Split, predictions: EnsemblePredictions, path: Path, *, seed: int = 0, count: int = 24
) -> None:
    """Draw photographs chosen by the seed, each under its most probable class: green if right, red if wrong.

    Args:
        split: of the images; it has labels.
        predictions: of the images.
        path: of the picture.
        seed: of the choice.
        count: largest number of photographs.
    """
    assert split.labels is not None
    count = min(count, len(predictions.indices))
    generator = np.random.Generator(np.random.Philox(key=[seed, EXAMPLES_STREAM]))
    chosen: Int64Array = np.sort(generator.choice(len(predictions.indices), count, replace=False))
    num_columns = min(8, count)
    height = CELL_HEIGHT * -(-count // num_columns)
    figure = new_figure(figsize=(INCHES * num_columns, INCHES * height))
    names = name_classes(split.class_words)
    axes = figure.add_axes((0, 0, 1, 1))  # one for all photographs: matplotlib takes 50 ms for each
    for place, row in enumerate(chosen):
        index, posterior = int(predictions.indices[row]), predictions.posteriors[row]
        guess = int(posterior.argmax())
        image = split.open_image(index)
        image.thumbnail((256, 256))
        left, bottom = place % num_columns, height - CELL_HEIGHT * (place // num_columns + 1)
        half_width, half_height = (0.48 * side / max(image.size) for side in image.size)
        center = (left + 0.5, bottom + 0.5)
        extent = (center[0] - half_width, center[0] + half_width, center[1] - half_height, center[1] + half_height)
        axes.imshow(image, extent=extent)
        axes.text(
            center[0],
            extent[3] + 0.03,
            f"{names[guess]} {posterior[guess]:.0%}",
            ha="center",
            fontsize=8,
            parse_math=False,
            color="tab:green" if guess == split.labels[index] else "tab:red",
        )
    axes.set(xlim=(0, num_columns), ylim=(0, height))
    axes.axis("off")
    save_figure(figure, path)
