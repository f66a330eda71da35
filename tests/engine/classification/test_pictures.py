"""What the pictures show."""

import re
from pathlib import Path

import matplotlib as mpl
import numpy as np

from verydeep.data.split import Split
from verydeep.engine.classification.ensemble_errors import EnsemblePredictions
from verydeep.engine.classification.pictures import choose_examples, draw_examples

GREEN, RED = "#2ca02c", "#d62728"


def test_examples_tell_right_from_wrong(val_split: Split, tmp_path: Path) -> None:
    """All twelve, four a class, each called a bell with 70%; only the bells' predictions are green, and come first."""
    posteriors = np.tile(np.array([0.1, 0.7, 0.2], np.float32), (12, 1))
    predictions = EnsemblePredictions(np.arange(12), posteriors, None, {}, {}, "")
    with mpl.rc_context({"svg.fonttype": "none", "image.composite_image": False}):
        draw_examples(val_split, predictions, tmp_path / "examples.svg")
    drawing = (tmp_path / "examples.svg").read_text()
    captions = re.findall(r"<text style=\"[^\"]*fill: (#\w+)[^>]*>([^<]*)</text>", drawing)
    predicted = [caption for caption in captions if caption[1] == "bell 70%"]
    assert predicted == [(color, "bell 70%") for color in (GREEN,) * 4 + (RED,) * 8]
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", drawing)
    expected = [
        text
        for name in ("bell", "ant", "crab")
        for index in range(12)
        if val_split.files[index].startswith(f"{name}/")
        for text in (Path(val_split.files[index]).name, "bell 70%", f"true: {name}")
    ]
    assert texts == expected
    assert drawing.count("<image") == 12


def test_half_are_right_and_half_the_most_confident_mistakes() -> None:
    right = np.array([True, False] * 10)
    confidence = np.linspace(0.4, 0.9, 20, dtype=np.float32)
    chosen = choose_examples(right, confidence, count=8)
    assert right[chosen].tolist() == [True] * 4 + [False] * 4
    assert chosen[4:].tolist() == [19, 17, 15, 13] and sorted(chosen[:4]) == chosen[:4].tolist()


def test_too_few_of_one_kind_make_room_for_the_other() -> None:
    confidence = np.full(10, 0.5, np.float32)
    for num_right, expected in ((10, (6, 0)), (9, (5, 1)), (1, (1, 5)), (0, (0, 6))):
        right = np.arange(10) < num_right
        chosen = choose_examples(right, confidence, count=6)
        assert (int(right[chosen].sum()), int((~right[chosen]).sum())) == expected
    assert len(choose_examples(np.array([True, False]), confidence[:2], count=24)) == 2
