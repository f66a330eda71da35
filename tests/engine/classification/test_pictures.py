"""What the pictures show."""

import re
from pathlib import Path

import matplotlib as mpl
import numpy as np

from verydeep.data.split import Split
from verydeep.engine.classification.evaluation import EnsemblePredictions
from verydeep.engine.classification.pictures import draw_examples

GREEN, RED = "#2ca02c", "#d62728"


def test_examples_tell_right_from_wrong(val_split: Split, tmp_path: Path) -> None:
    """All twelve, four a class, each called a bell with 70%; only the bells' captions are green."""
    posteriors = np.tile(np.array([0.1, 0.7, 0.2], np.float32), (12, 1))
    predictions = EnsemblePredictions(np.arange(12), posteriors, None, {}, {}, "")
    with mpl.rc_context({"svg.fonttype": "none", "image.composite_image": False}):
        draw_examples(val_split, predictions, tmp_path / "examples.svg")
    drawing = (tmp_path / "examples.svg").read_text()
    captions = re.findall(r"<text style=\"[^\"]*fill: (#\w+)[^>]*>([^<]*)</text>", drawing)
    assert captions == [(color, "bell 70%") for color in (RED,) * 4 + (GREEN,) * 4 + (RED,) * 4]
    assert drawing.count("<image") == 12
