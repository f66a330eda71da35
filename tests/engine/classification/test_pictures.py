"""What the pictures show."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from verydeep.data.split import Split
from verydeep.engine.classification.evaluation import Evaluation
from verydeep.engine.classification.pictures import draw_confusion, draw_examples


def evaluation_of(split: Split, posteriors: np.ndarray[Any, Any], confusion: list[list[int]]) -> Evaluation:
    indices = np.arange(len(posteriors))
    return Evaluation((), posteriors, indices, calibration=0, confusion=np.array(confusion), skipped={})


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
    """What matplotlib is given."""
    from matplotlib.axes import Axes

    found: dict[str, list[Any]] = {}

    def note(name: str) -> None:
        original = getattr(Axes, name)

        def noted(self: Axes, *values: Any, **options: Any) -> Any:
            found.setdefault(name, []).append((*values, options))
            return original(self, *values, **options)

        monkeypatch.setattr(Axes, name, noted)

    for name in ("imshow", "set_title", "set_xticks", "set_yticks", "set"):
        note(name)
    return found


def test_confusions_in_percent_of_the_true_class(val_split: Split, drawn: dict[str, list[Any]], tmp_path: Path) -> None:
    """Rows are true; a class without images stays empty; names may hold what TeX would read."""
    words = ("ant, emmet", "$bell_1$", "crab")
    split = Split("val", val_split.root, (), None, words, words, "", camera_rotation=False)
    confusion = [[1, 3, 0], [0, 0, 0], [5, 0, 5]]
    draw_confusion(tmp_path / "confusion.png", np.array(confusion), split.class_words)
    ((shares, options),) = drawn["imshow"]
    assert shares.tolist() == [[25, 75, 0], [0, 0, 0], [50, 0, 50]]
    assert (options["vmin"], options["vmax"]) == (0, 100)
    assert drawn["set_xticks"][0][1] == drawn["set_yticks"][0][1] == ["ant", "$bell_1$", "crab"]
    assert [each[-1] for each in drawn["set"]] == [{"xlabel": "predicted", "ylabel": "true"}]
    with Image.open(tmp_path / "confusion.png") as image:
        assert min(image.size) > 300


def test_examples_tell_right_from_wrong(val_split: Split, drawn: dict[str, list[Any]], tmp_path: Path) -> None:
    """All twelve, four a class, each called a bell with 70%; only the bells' titles are green."""
    posteriors = np.tile(np.array([0.1, 0.7, 0.2], np.float32), (12, 1))
    draw_examples(val_split, evaluation_of(val_split, posteriors, [[0] * 3] * 3), tmp_path / "examples.png")
    assert [title for title, _ in drawn["set_title"]] == ["bell 70%"] * 12
    colors = [options["color"] for _, options in drawn["set_title"]]
    assert colors == ["tab:red"] * 4 + ["tab:green"] * 4 + ["tab:red"] * 4
    assert len(drawn["imshow"]) == 12
