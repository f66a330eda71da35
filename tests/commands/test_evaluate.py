"""``verydeep evaluate``: tables, files and refusals."""

import csv
import json
from pathlib import Path

import pytest

from tests.runs import Cli, make_photographs


def test_errors_and_predictions_agree(trained: Path, photographs: Path, cli: Cli, tmp_path: Path) -> None:
    done = cli("evaluate", photographs, trained, "--scales", "256,384", "--precision", "fp32", "--out", "report")
    assert "256 (37)" in done.stdout and "384 (55)" in done.stdout and "fp32" in done.stdout
    report = json.loads((tmp_path / "report" / "errors.json").read_text())
    assert [(row["view"], row["scales"], row["pixels"]) for row in report["rows"]] == [
        ("center", [256], [37]), ("center", [384], [55]), ("dense", [256], [37]), ("dense", [384], [55]),
        ("dense", [256, 384], [37, 55]),
    ]  # fmt: skip
    with (tmp_path / "report" / "predictions.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == report["num_images"] == 15
    wrong = sum(line["class1"] != line["label"] for line in lines)
    assert report["rows"][-1]["errors"]["top1"]["percent"] == pytest.approx(100 * wrong / 15)
    for line in lines:
        assert line["path"].startswith(line["label"])
        assert abs(sum(float(line[f"p{i}"]) for i in (1, 2, 3)) - 1) < 1e-4
        assert (line["rank"] == "0") == (line["class1"] == line["label"])
    assert report["rows"][2]["geometry"]["map_height"] == 2
    assert 0.2 < report["rows"][2]["geometry"]["inside"] < 0.5  # about a third at crop 32


def test_the_plateaus_own_images_are_told(photographs: Path, cli: Cli, tmp_path: Path) -> None:
    from tests.runs import SMALL_NET

    cli("train", photographs, *SMALL_NET, "--epochs", 74, "--out", "run")
    done = cli("evaluate", photographs, "run")
    assert "decided when the learning rate dropped" in done.stdout
    assert "not of unseen data" in cli("evaluate", photographs, "run", "--weights", "best").stdout
    assert "not of unseen data" not in cli("evaluate", photographs, "run", "--split", "test").stdout


def test_other_classes_are_refused(trained: Path, tmp_path: Path, cli: Cli) -> None:
    data = make_photographs(tmp_path / "data", {"train": 2, "val": 2})
    (data / "train" / "bee").rename(data / "train" / "beetle")
    (data / "val" / "bee").rename(data / "val" / "beetle")
    refused = cli("evaluate", data, trained, check=False)
    assert refused.returncode == 1 and "'beetle'" in refused.stderr and "'bee'" in refused.stderr


def test_a_scale_below_the_crop_is_refused(trained: Path, photographs: Path, cli: Cli) -> None:
    refused = cli("evaluate", photographs, trained, "--scales", "200,256", check=False)
    assert refused.returncode == 1 and "--scales" in refused.stderr


def test_images_without_labels_have_no_error(trained: Path, tmp_path: Path, cli: Cli) -> None:
    data = make_photographs(tmp_path / "data", {"train": 2, "val": 2})
    (data / "test").mkdir()
    (data / "val" / "bee" / "000.jpg").rename(data / "test" / "000.jpg")
    refused = cli("evaluate", data, trained, "--split", "test", check=False)
    assert refused.returncode == 1 and "no labels" in refused.stderr
