"""The files that an evaluation leaves, and the lists that it refuses to leave."""

import csv
import json
from dataclasses import replace
from pathlib import Path

import pytest

from verydeep.data.split import Split
from verydeep.engine.classification.evaluation import NetPredictions, evaluate_predictions
from verydeep.engine.classification.report import write_classification_submission, write_evaluation
from verydeep.errors import VerydeepError


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_files_written(known: tuple[Split, NetPredictions], tmp_path: Path) -> None:
    split, tested = known
    split = replace(split, class_words=("ant, emmet", "bell", "crab"))
    evaluation = evaluate_predictions([tested], split, "dense")
    write_evaluation(tmp_path / "out", evaluation, split, {"net": "runs/x"})
    report = json.loads((tmp_path / "out" / "errors.json").read_text())
    assert (report["net"], report["num_images"], report["skipped"]) == ("runs/x", 11, {split.files[2]: "cut short"})
    assert [(row["view"], row["scales"], row["pixels"]) for row in report["rows"]][2:] == [
        ("dense", [256], [37]),
        ("dense", [384], [55]),
        ("dense", [256, 384], [37, 55]),
    ]
    assert report["rows"][2]["errors"]["top1"]["percent"] == pytest.approx(100 * 8 / 11)
    assert report["expected_calibration_error"] == pytest.approx(100 * (0.5 - 4 / 11))
    lines = read(tmp_path / "out" / "predictions.csv")
    assert [line["path"] for line in lines] == [split.files[i] for i in tested.predictions.indices]
    assert [line["label"] for line in lines] == ["ant"] * 3 + ["bell"] * 4 + ["crab"] * 4
    assert [int(line["rank"]) for line in lines] == [2] * 3 + [1] * 4 + [3] * 4
    first = lines[0]
    assert [first["class1"], first["class2"], first["class3"]] == ["bell", "ant", "crab"]
    assert [float(first[f"p{i}"]) for i in (1, 2, 3)] == pytest.approx([0.5, 0.425, 0.075], abs=1e-6)
    classes = read(tmp_path / "out" / "classes.csv")
    assert [(line["class"], line["words"], line["images"], line["error"]) for line in classes] == [
        ("ant", "ant, emmet", "3", "100.00"), ("bell", "bell", "4", "0.00"), ("crab", "crab", "4", "100.00"),
    ]  # fmt: skip
    z2 = 1.959964**2  # Wilson's interval of 0 of 4 ends at z^2 / (n + z^2)
    assert (classes[1]["low"], classes[1]["high"]) == ("0.00", f"{100 * z2 / (4 + z2):.2f}")
    assert (tmp_path / "out" / "confusion.csv").read_text() == "true,ant,bell,crab\nant,0,3,0\nbell,0,4,0\ncrab,0,4,0\n"
    left = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert left == ["classes.csv", "confusion.csv", "errors.json", "predictions.csv"]


def test_an_image_that_cannot_be_decoded_is_not_submitted(known: tuple[Split, NetPredictions], tmp_path: Path) -> None:
    split, tested = known
    with pytest.raises(VerydeepError, match=r"1 images of .* cannot be decoded"):
        write_classification_submission(tmp_path / "guesses.txt", [tested], replace(split, labels=None), "dense")
    assert not list(tmp_path.iterdir())
