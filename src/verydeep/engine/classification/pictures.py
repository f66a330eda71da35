"""Pictures for those who would rather look than read: predictions, confusions."""

from pathlib import Path

import numpy as np

from verydeep.data.split import Split
from verydeep.engine.classification.evaluation import ClassificationEvaluation
from verydeep.engine.plotting import subplots
from verydeep.ops.arrays import Int64Array

EXAMPLES_STREAM = 3


def draw_examples(
    split: Split, evaluation: ClassificationEvaluation, path: Path, *, seed: int = 0, count: int = 24
) -> None:
    """A sheet of photographs drawn by the seed, each with its most probable class; wrong ones are red."""
    assert split.labels is not None
    count = min(count, len(evaluation.indices))
    generator = np.random.Generator(np.random.Philox(key=[seed, EXAMPLES_STREAM]))
    rows: Int64Array = np.sort(generator.choice(len(evaluation.indices), count, replace=False))
    columns = min(8, count)
    figure, grid = subplots(
        -(-count // columns),
        columns,
        figsize=(1.5 * columns, 1.75 * -(-count // columns)),
        layout="constrained",
        squeeze=False,
    )
    for axes in grid.flat:
        axes.axis("off")
    for axes, row in zip(grid.flat, rows, strict=False):
        index, posterior = int(evaluation.indices[row]), evaluation.posteriors[row]
        guess = int(posterior.argmax())
        image = split.open_image(index)
        image.thumbnail((256, 256))
        axes.imshow(image)
        words = split.class_words[guess].split(",")[0]
        axes.set_title(
            f"{words} {posterior[guess]:.0%}",
            fontsize=8,
            parse_math=False,
            color="tab:green" if guess == split.labels[index] else "tab:red",
        )
    figure.savefig(path, dpi=120)
