"""Rows of errors, the geometry behind them, refused classes, and the files written."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from verydeep.configs.networks import NETWORKS
from verydeep.data.split import Split
from verydeep.engine.evaluation import (
    check_classes,
    dense_geometry,
    evaluate,
    evaluate_split,
    views_to_compute,
    write_evaluation,
)
from verydeep.engine.inference import Predictions, View, ViewAtScale
from verydeep.engine.runtime import Runtime
from verydeep.errors import VerydeepError
from verydeep.models.initialization import initialize
from verydeep.models.vgg import VGG
from verydeep.models.weights.native import ModelConfig

TINY = VGG(NETWORKS["B-5x5"], 3, crop=32, width=1 / 64, fc_width=4)
FLOOR = VGG(NETWORKS["B-5x5"], 3, crop=64, width=1 / 64, fc_width=4, ceil_mode=False)
CPU = Runtime(torch.device("cpu"), bf16=False)


def counted(map_height: int, map_width: int, height: int, width: int, crop: int) -> float:
    """Share of the windows' pixels that lie in the image, counted one by one."""
    inside = np.zeros((map_height * 32 + crop, map_width * 32 + crop))
    inside[:height, :width] = 1
    corners = [(32 * i, 32 * j) for i in range(map_height) for j in range(map_width)]
    return float(np.mean([inside[top : top + crop, left : left + crop].mean() for top, left in corners]))


@settings(max_examples=25)
@given(height=st.integers(64, 200), width=st.integers(64, 200), net=st.sampled_from([TINY, FLOOR]))
def test_geometry_is_the_real_maps(height: int, width: int, net: VGG) -> None:
    with torch.no_grad():
        rows, columns = net(torch.zeros(1, 3, height, width)).shape[2:]
    geometry = dense_geometry(np.array([[height, width]]), net.crop, net.ceil_mode)
    assert (geometry.map_height, geometry.map_width) == (rows, columns)
    assert geometry.inside == pytest.approx(counted(rows, columns, height, width, net.crop))


def test_at_crop_32_a_third_of_the_windows_area_is_inside() -> None:
    """Q=256 is 37 px: windows of 0-32 and 32-64, 37/64 of them inside on each side (docs/choices.md)."""
    square = dense_geometry(np.array([[37, 37]]), 32)
    assert (square.map_height, square.map_width) == (2, 2)
    assert square.inside == pytest.approx((37 / 64) ** 2)
    assert square.inside == pytest.approx(1 / 3, abs=0.01)
    wide = dense_geometry(np.array([[37, 49]]), 32)
    assert wide.inside == pytest.approx(37 / 64 * 49 / 64)


@pytest.mark.parametrize("short", [224, 256, 288, 352, 384, 416, 512, 640, 768])
def test_the_papers_short_sides_lie_wholly_inside(short: int) -> None:
    """With maps: 1, 2, 3, 5, 6, 7, 10, 14, 18 positions."""
    geometry = dense_geometry(np.array([[short, short]]), 224)
    assert geometry.inside == 1
    assert geometry.map_height == geometry.map_width == (short - 224) // 32 + 1


@pytest.mark.parametrize(
    ("short", "floor", "ceil"), [(224, 3, 4), (256, 4, 5), (352, 8, 9), (384, 10, 10), (512, 15, 16)]
)
def test_long_sides_by_both_roundings(short: int, floor: int, ceil: int) -> None:
    """Of an image of 4:3."""
    sizes = np.array([[short, round(short * 4 / 3)]])
    assert dense_geometry(sizes, 224, ceil_mode=False).map_width == floor
    assert dense_geometry(sizes, 224).map_width == ceil


def test_of_many_images_the_median_map_and_the_mean_share() -> None:
    sizes = np.array([[37, 49], [37, 49], [73, 37]])
    geometry = dense_geometry(sizes, 32)
    assert (geometry.map_height, geometry.map_width) == (2, 2)
    each = [37 / 64 * 49 / 64, 37 / 64 * 49 / 64, 73 / 96 * 37 / 64]
    assert geometry.inside == pytest.approx(sum(each) / 3)


def test_beside_every_dense_scale_stands_the_central_crop() -> None:
    expected = [("center", 256), ("center", 384), ("dense", 256), ("dense", 384)]
    assert [(v.view, v.scale) for v in views_to_compute("dense", (256, 384))] == expected
    assert [(v.view, v.scale) for v in views_to_compute("center", (384,))] == [("center", 384)]


@pytest.fixture
def known(val_split: Split) -> tuple[Split, Predictions]:
    """Posteriors of twelve images of three classes (four each), image 2 skipped; errors as counted below."""
    assert val_split.labels is not None and val_split.labels.tolist() == [0] * 4 + [1] * 4 + [2] * 4
    indices = np.array([0, 1, 3, 4, 5, 6, 7, 8, 9, 10, 11])
    rows: dict[tuple[View, int], list[list[float]]] = {
        ("dense", 256): [[0.8, 0.1, 0.1]] * 11,  # right for class 0 alone: 8 of 11 wrong
        ("dense", 384): [[0.05, 0.9, 0.05]] * 11,  # 7 of 11
        ("center", 256): [[0.2, 0.3, 0.5]] * 11,
        ("center", 384): [[0.3, 0.2, 0.5]] * 11,
    }
    posteriors = {ViewAtScale(view, scale): np.array(row, np.float32) for (view, scale), row in rows.items()}
    sizes = {scale: np.tile([[short, short + 12]], (11, 1)) for scale, short in ((256, 37), (384, 55))}
    return val_split, Predictions(posteriors, indices, sizes, {val_split.files[2]: "cut short"})


def test_rows_by_hand(known: tuple[Split, Predictions]) -> None:
    split, predictions = known
    evaluation = evaluate(TINY, split, predictions, "dense", (256, 384))
    got: list[object] = [(row.view, row.scales, row.errors.top1.percent) for row in evaluation.rows]
    assert got == [
        ("center", (256,), pytest.approx(100 * 7 / 11)),
        ("center", (384,), pytest.approx(100 * 7 / 11)),
        ("dense", (256,), pytest.approx(100 * 8 / 11)),
        ("dense", (384,), pytest.approx(100 * 7 / 11)),
        ("dense", (256, 384), pytest.approx(100 * 7 / 11)),  # (0.425, 0.5, 0.075)
    ]
    assert [row.geometry is not None for row in evaluation.rows] == [False, False, True, True, False]
    assert [row.errors.topk.percent for row in evaluation.rows[:2]] == pytest.approx([100 * 3 / 11, 100 * 4 / 11])
    assert evaluation.rows[-1].errors.class_recall.percent == pytest.approx(100 / 3)
    assert evaluation.posteriors[0] == pytest.approx([0.425, 0.5, 0.075])
    assert evaluation.skipped == {split.files[2]: "cut short"}
    with pytest.raises(VerydeepError, match="no labels"):
        evaluate_split(TINY, replace(split, labels=None), "dense", (256, 384), Runtime(torch.device("cpu"), bf16=False))


def test_files_written(known: tuple[Split, Predictions], tmp_path: Path) -> None:
    split, predictions = known
    evaluation = evaluate(TINY, split, predictions, "dense", (256, 384))
    write_evaluation(tmp_path / "out", evaluation, split, {"net": "runs/x"})
    report = json.loads((tmp_path / "out" / "errors.json").read_text())
    assert (report["net"], report["num_images"], report["skipped"]) == ("runs/x", 11, {split.files[2]: "cut short"})
    assert [(row["view"], row["scales"], row["pixels"]) for row in report["rows"]][2:] == [
        ("dense", [256], [37]),
        ("dense", [384], [55]),
        ("dense", [256, 384], [37, 55]),
    ]
    assert report["rows"][2]["errors"]["top1"]["percent"] == pytest.approx(100 * 8 / 11)
    with (tmp_path / "out" / "predictions.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert [line["path"] for line in lines] == [split.files[i] for i in predictions.indices]
    assert [line["label"] for line in lines] == ["ant"] * 3 + ["bell"] * 4 + ["crab"] * 4
    assert [int(line["rank"]) for line in lines] == [1] * 3 + [0] * 4 + [2] * 4
    first = lines[0]
    assert [first["class1"], first["class2"], first["class3"]] == ["bell", "ant", "crab"]
    assert [float(first[f"p{i}"]) for i in (1, 2, 3)] == pytest.approx([0.5, 0.425, 0.075], abs=1e-6)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["errors.json", "predictions.csv"]


def test_a_split_from_photographs_to_rows(val_split: Split) -> None:
    net = VGG(NETWORKS["A"], 3, crop=32, width=1 / 16, fc_width=8)
    initialize(net)
    evaluation = evaluate_split(net, val_split, "dense", (256, 512), CPU)
    assert [(row.view, row.scales) for row in evaluation.rows] == [
        ("center", (256,)),
        ("center", (512,)),
        ("dense", (256,)),
        ("dense", (512,)),
        ("dense", (256, 512)),
    ]
    assert evaluation.indices.tolist() == list(range(12))
    assert all(row.errors.num_images == 12 and row.errors.k == 2 for row in evaluation.rows)


def test_other_classes_are_refused(val_split: Split) -> None:
    names = ("ant", "bell", "crab")
    check_classes(val_split, ModelConfig("A", names, names), Path("runs/x"))
    for other, told in (
        (("ant", "bell"), "3 classes.*2"),
        (("ant", "bell", "dog"), "crab.*dog"),
        (("bell", "ant", "crab"), "ant.*bell"),
    ):
        with pytest.raises(VerydeepError, match=told):
            check_classes(val_split, ModelConfig("A", other, other), Path("runs/x"))
