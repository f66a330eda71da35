"""Predictions of known posteriors, so that errors can be counted by hand."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from verydeep.data.split import Split
from verydeep.engine.inference import SingleView, ViewAtScale
from verydeep.engine.nets.net import EnsembleMember, Net
from verydeep.engine.posteriors import NetPredictions
from verydeep.models.weights.model_folder import ModelConfig

NAMES = ("ant", "bell", "crab")


def net_named(name: str, **values: Any) -> Net:
    config = ModelConfig("B-5x5", NAMES, NAMES, crop=32, width=1 / 64, fc_width=4)
    return Net(Path("runs") / name, Path("runs") / name / "model", replace(config, **values))


def make_predictions(rows: dict[tuple[SingleView, int], list[list[float]]], indices: list[int]) -> NetPredictions:
    """Posteriors by view and scale, of images that are 12 pixels wider than high."""
    posteriors = {ViewAtScale(view, scale): np.array(row, np.float32) for (view, scale), row in rows.items()}
    pixels = {256: 37, 384: 55, 512: 73}
    sizes = {q: np.tile([[pixels[q], pixels[q] + 12]], (len(indices), 1)) for q in {view.scale for view in posteriors}}
    return NetPredictions(posteriors, np.array(indices), sizes)


@pytest.fixture
def known_predictions(val_split: Split) -> tuple[Split, EnsembleMember, NetPredictions]:
    """Posteriors of twelve images of three classes (four each), image 2 skipped; errors as counted below."""
    assert val_split.labels is not None and val_split.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    indices = [0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11]
    rows: dict[tuple[SingleView, int], list[list[float]]] = {
        ("dense", 256): [[0.8, 0.1, 0.1]] * 11,  # right for class 0 alone: 8 of 11 wrong
        ("dense", 384): [[0.05, 0.9, 0.05]] * 11,  # 7 of 11
        ("center", 256): [[0.2, 0.3, 0.5]] * 11,
        ("center", 384): [[0.3, 0.2, 0.5]] * 11,
        ("crops", 256): [[0.2, 0.1, 0.7]] * 11,  # 7 of 11
        ("crops", 384): [[0.4, 0.3, 0.3]] * 11,  # 8 of 11
    }
    predictions = replace(make_predictions(rows, indices), skipped={val_split.files[2]: "cut short"})
    return val_split, EnsembleMember(net_named("x"), (256, 384)), predictions
