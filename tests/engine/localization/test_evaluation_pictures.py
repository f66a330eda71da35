"""Pictures of an evaluation, by what their figures show."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.image import AxesImage
from matplotlib.patches import Rectangle
from PIL import Image

from tests.engine.localization.conftest import make_evaluation
from verydeep.data.split import Split
from verydeep.engine.localization.evaluation_pictures import draw_box_examples, draw_success, example_ranks


@pytest.mark.parametrize(
    ("num_images", "ranks"),
    [
        (0, []),
        (1, [0]),
        (3, [0, 1, 2]),
        (10, list(range(10))),
        (91, list(range(0, 91, 10))),
        (19, list(range(0, 19, 2))),
    ],
)
def test_ranks_are_evenly_spaced_from_the_best_to_the_worst(num_images: int, ranks: list[int]) -> None:
    assert example_ranks(num_images) == ranks


def test_examples_are_chosen_by_rank(boxed_split: Split, tmp_path: Path) -> None:
    """Ten of the eleven counted images, in the order of their IoU and not of their files; 0.5 is right."""
    overlaps = [0.5, 0.99, 0.2, 0.9, 0.8, 0.7, 0.6, 0.4, 0.3, 0.1, 0.45, 0.0]
    counted = [i != 1 for i in range(12)]
    evaluation = make_evaluation(boxed_split, [[0.0] * 12, overlaps], None, counted, ["center", "dense"])
    figure = draw_box_examples(boxed_split, evaluation)
    order = [3, 4, 5, 6, 0, 10, 7, 8, 2, 9, 11]
    ranks = [0, 1, 2, 3, 4, 6, 7, 8, 9, 10]
    assert boxed_split.labels is not None and boxed_split.boxes is not None
    panels = figure.get_axes()
    assert len(panels) == 10
    for rank, axes in zip(ranks, panels, strict=True):
        index = order[rank]
        words = ("ant", "$bell_1$", "crab")[boxed_split.labels[index]]
        assert axes.get_title() == f"{words}\nrank {rank + 1} of 11, IoU {overlaps[index]:.2f}"
        assert axes.title.get_color() == ("tab:green" if overlaps[index] >= 0.5 else "tab:red")
        (image,) = (child for child in axes.get_children() if isinstance(child, AxesImage))
        with Image.open(boxed_split.path(index)) as original:
            width, height = original.size
            assert np.abs(np.asarray(image.get_array(), np.int16) - np.asarray(original.convert("RGB"))).max() == 0
        assert tuple(image.get_extent()) == (-0.5, width - 0.5, height - 0.5, -0.5)
        patches = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
        annotations = [
            (x1 - 0.5, y1 - 0.5, x2 - x1 + 1, y2 - y1 + 1) for x1, y1, x2, y2 in boxed_split.boxes[index].tolist()
        ]
        rectangles = [(*patch.get_xy(), patch.get_width(), patch.get_height()) for patch in patches]
        assert rectangles == [*annotations, (index - 0.5, index + 0.5, 21, 22)]
        assert [patch.get_linestyle() for patch in patches] == ["dashed"] * len(annotations) + ["solid"]
    figure.savefig(tmp_path / "examples.png", dpi=120)
    with Image.open(tmp_path / "examples.png") as picture:
        assert picture.width > picture.height > 300


def test_success_counts_as_the_error_does(boxed_split: Split) -> None:
    truth = [[0.5] * 6 + [0.8] * 6, [0.05] + [0.3] * 5 + [1.0] * 6]
    guesses = [[0.0] * 3 + [0.5] * 9, [0.0] * 6 + [0.95] * 6]
    counted = [True] * 10 + [False] * 2
    evaluation = make_evaluation(boxed_split, truth, guesses, counted, ["constant", "dense"])
    panels = draw_success(evaluation).get_axes()
    assert [axes.get_title() for axes in panels] == ["box of the true class", "boxes of 2 guessed classes"]
    for axes, overlaps, name in zip(panels, (truth, guesses), ("truth", "guesses"), strict=True):
        constant, dense, half = axes.lines
        assert [constant.get_label(), dense.get_label()] == ["constant", "dense, Q=256 (37)"]
        assert half.get_xdata() == [0.5, 0.5]
        for line, values, row in zip((constant, dense), overlaps, evaluation.rows, strict=True):
            thresholds, shares = (np.asarray(data) for data in line.get_data())
            assert (thresholds[0], thresholds[-1]) == (0.05, 1) and len(thresholds) > 50
            assert np.isclose(thresholds, 0.5).any()
            expected = [100 * np.mean([value >= least for value in values[:10]]) for least in thresholds]
            np.testing.assert_allclose(shares, expected)
            error = getattr(row.errors, name).error.percent
            assert shares[np.isclose(thresholds, 0.5)].item() == pytest.approx(100 - error)


def test_success_of_the_true_class_alone_has_one_panel(boxed_split: Split) -> None:
    evaluation = make_evaluation(boxed_split, [[0.4] * 12], None, [True] * 12, ["center"])
    (axes,) = draw_success(evaluation).get_axes()
    assert len(axes.lines) == 2
