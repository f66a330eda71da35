"""Which classes are taken for which, drawn."""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from verydeep.engine.reporting.confusion import draw_confusion


def test_confusions_in_percent_of_the_true_class(drawn: dict[str, list[Any]], tmp_path: Path) -> None:
    """Rows are true; a class without images stays empty; names may hold what TeX would read."""
    words = ("ant, emmet", "$bell_1$", "crab")
    confusion = [[1, 3, 0], [0, 0, 0], [5, 0, 5]]
    draw_confusion(tmp_path / "confusion.png", np.array(confusion), words)
    ((shares, options),) = drawn["imshow"]
    assert shares.tolist() == [[25, 75, 0], [0, 0, 0], [50, 0, 50]]
    assert (options["vmin"], options["vmax"]) == (0, 100)
    assert drawn["set_xticks"][0][1] == drawn["set_yticks"][0][1] == ["ant", "$bell_1$", "crab"]
    assert [each[-1] for each in drawn["set"]] == [{"xlabel": "predicted", "ylabel": "true"}]
    with Image.open(tmp_path / "confusion.png") as image:
        assert min(image.size) > 300
