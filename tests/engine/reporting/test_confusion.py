"""A confusion, drawn."""

import base64
import io
import re
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import colormaps
from PIL import Image

from verydeep.engine.reporting.confusion import draw_confusion


def test_confusions_in_percent_of_the_true_class(tmp_path: Path) -> None:
    """Rows are true; a class without images stays empty; names may hold what TeX would read."""
    words = ("ant, emmet", "$bell_1$", "crab")
    confusion = [[1, 3, 0], [0, 0, 0], [5, 0, 5]]
    with mpl.rc_context({"svg.fonttype": "none"}):
        draw_confusion(tmp_path / "confusion.svg", np.array(confusion), words)
    drawing = (tmp_path / "confusion.svg").read_text()
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", drawing)
    words_and_axes = [text for text in texts if not text.isdigit()]
    assert words_and_axes[:8] == ["ant", "$bell_1$", "crab", "predicted", "ant", "$bell_1$", "crab", "true"]
    assert [text for text in texts if text in ("1", "3", "5")] == ["1", "3", "5", "5"], "numbers of images"
    assert {"0", "100", "% of the true class"} <= set(texts)
    encoded = next(re.finditer(r"data:image/png;base64,\s*([^\"]*)", drawing))[1]
    pixels = np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB"))[::-1]  # SVG mirrors it back
    centers = [(2 * i + 1) * len(pixels) // 6 for i in range(3)]
    for row, shares in zip(centers, [[25, 75, 0], [0, 0, 0], [50, 0, 50]], strict=True):
        for column, share in zip(centers, shares, strict=True):
            expected = np.multiply(colormaps["viridis"](share / 100)[:3], 255)
            assert pixels[row, column] == pytest.approx(expected, abs=3)


def test_more_than_20_classes_have_no_numbers(tmp_path: Path) -> None:
    with mpl.rc_context({"svg.fonttype": "none"}):
        draw_confusion(tmp_path / "confusion.svg", 777 * np.eye(21, dtype=np.int64), [f"class {i}" for i in range(21)])
    assert "777" not in (tmp_path / "confusion.svg").read_text()
