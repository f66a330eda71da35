"""What the pictures show."""

from pathlib import Path
from typing import Any

import numpy as np

from verydeep.data.split import Split
from verydeep.engine.classification.evaluation import ClassificationEvaluation
from verydeep.engine.classification.pictures import draw_examples


def evaluation_of(
    split: Split, posteriors: np.ndarray[Any, Any], confusion: list[list[int]]
) -> ClassificationEvaluation:
    indices = np.arange(len(posteriors))
    return ClassificationEvaluation((), posteriors, indices, calibration=0, confusion=np.array(confusion), skipped={})


def test_examples_tell_right_from_wrong(val_split: Split, drawn: dict[str, list[Any]], tmp_path: Path) -> None:
    """All twelve, four a class, each called a bell with 70%; only the bells' titles are green."""
    posteriors = np.tile(np.array([0.1, 0.7, 0.2], np.float32), (12, 1))
    draw_examples(val_split, evaluation_of(val_split, posteriors, [[0] * 3] * 3), tmp_path / "examples.png")
    assert [title for title, _ in drawn["set_title"]] == ["bell 70%"] * 12
    colors = [options["color"] for _, options in drawn["set_title"]]
    assert colors == ["tab:red"] * 4 + ["tab:green"] * 4 + ["tab:red"] * 4
    assert len(drawn["imshow"]) == 12
