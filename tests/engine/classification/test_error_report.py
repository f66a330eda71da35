"""The files that an evaluation leaves, and the lists that it refuses to leave."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from tests.engine.conftest import make_predictions
from tests.runs import read_csv
from verydeep.data.split import Split
from verydeep.engine.classification.ensemble_errors import average_scales, evaluate_predictions
from verydeep.engine.classification.error_report import (
    build_evaluation_table,
    write_classification_submission,
    write_evaluation,
)
from verydeep.engine.nets.net import EnsembleMember
from verydeep.engine.posteriors import NetPredictions
from verydeep.errors import VerydeepError
from verydeep.ops.metrics import Share

CONDITIONS = {"data": "photos", "view": "dense", "weights": "last", "precision": "fp32", "fast_decode": False}


def test_files_written(known_predictions: tuple[Split, EnsembleMember, NetPredictions], tmp_path: Path) -> None:
    split, member, predictions = known_predictions
    split = replace(split, class_words=("ant, emmet", "bell", "crab"))
    net = replace(member.net, folder=tmp_path)
    for name in ("config.json", "model.safetensors"):  # only their digest is needed
        (tmp_path / name).write_text(name)
    evaluation = evaluate_predictions([member], [predictions], split, "dense")
    table = build_evaluation_table(evaluation, split, [net], CONDITIONS)
    write_evaluation(tmp_path / "out", evaluation, table, split)
    report = json.loads((tmp_path / "out" / "errors.json").read_text())
    assert report["nets"] == ["runs/x"] and report["precision"] == "fp32" and len(report["digests"]) == 1
    assert (report["num_images"], report["skipped"]) == (11, {split.files[2]: "cut short"})
    assert report["remarks"] == list(table.remarks) and any("Skipped: 1 file " in remark for remark in table.remarks)
    assert [(row["view"], row["scales"], row["pixels"]) for row in report["rows"]][2:] == [
        ("dense", [256], [37]),
        ("dense", [384], [55]),
        ("dense", [256, 384], [37, 55]),
    ]
    # Only the four bells are right: Wilson's interval of 4 of 11.
    expected = "Right on 36% of 11 val photographs [15, 65]; best class bell 100%, weakest ant 0%."
    assert report["summary"] == table.summary == expected
    assert table.to_text().startswith(expected) and "docs/glossary.md" in table.remarks[0]
    assert report["rows"][2]["errors"]["top1"]["percent"] == pytest.approx(100 * 8 / 11)
    assert report["expected_calibration_error"] == pytest.approx(100 * (0.5 - 4 / 11))
    lines = read_csv(tmp_path / "out" / "predictions.csv")
    assert [line["path"] for line in lines] == [split.files[i] for i in predictions.indices]
    assert [line["label"] for line in lines] == ["ant"] * 3 + ["bell"] * 4 + ["crab"] * 4
    assert [int(line["rank"]) for line in lines] == [2] * 3 + [1] * 4 + [3] * 4
    first = lines[0]
    assert [first["class1"], first["class2"], first["class3"]] == ["bell", "ant", "crab"]
    assert [float(first[f"p{i}"]) for i in (1, 2, 3)] == pytest.approx([0.5, 0.425, 0.075], abs=1e-6)
    classes = read_csv(tmp_path / "out" / "classes.csv")
    assert [(line["class"], line["words"], line["images"], line["error"]) for line in classes] == [
        ("ant", "ant, emmet", "3", "100.00"), ("bell", "bell", "4", "0.00"), ("crab", "crab", "4", "100.00"),
    ]  # fmt: skip
    z2 = 1.959964**2  # Wilson's interval of 0 of 4 ends at z^2 / (n + z^2)
    assert (classes[1]["low"], classes[1]["high"]) == ("0.00", f"{100 * z2 / (4 + z2):.2f}")
    assert (tmp_path / "out" / "confusion.csv").read_text() == "true,ant,bell,crab\nant,0,3,0\nbell,0,4,0\ncrab,0,4,0\n"
    left = sorted(path.name for path in (tmp_path / "out").iterdir())
    pictures = ["confusion.png", "examples.png"]
    assert left == sorted(["classes.csv", "confusion.csv", "errors.json", "predictions.csv", *pictures])


def test_the_table_has_the_figures_of_the_report(
    known_predictions: tuple[Split, EnsembleMember, NetPredictions], tmp_path: Path
) -> None:
    split, member, predictions = known_predictions
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_text(name)
    evaluation = evaluate_predictions([member], [predictions], split, "dense")
    table = build_evaluation_table(evaluation, split, [replace(member.net, folder=tmp_path)], CONDITIONS)
    assert table.title == "x on 11 val images, fp32, last weights"
    assert table.headings == ("view", "Q (px)", "map", "top-1 error", "top-2 error", "class recall")
    assert [row[:3] for row in table.rows] == [
        ("center", "256 (37)", ""), ("center", "384 (55)", ""), ("dense", "256 (37)", "2x2 44%"),
        ("dense", "384 (55)", "2x3 60%"), ("dense", "256 (37)\n384 (55)", "2x2 44%\n2x3 60%"),
    ]  # fmt: skip
    for row, values in zip(table.rows, table.values["rows"], strict=True):
        shares = (values["errors"][name] for name in ("top1", "topk", "class_recall"))
        assert list(row[3:]) == [str(Share(**share)) for share in shares]
    assert any("Crop 32 is below 64" in remark for remark in table.remarks)


def test_a_central_crop_that_errs_less_than_by_chance_is_named(
    known_predictions: tuple[Split, EnsembleMember, NetPredictions], tmp_path: Path
) -> None:
    """It is right on all ants and bells where the whole image is right on none, or on one image more."""
    split, member, predictions = known_predictions
    for name in ("config.json", "model.safetensors"):
        (tmp_path / name).write_text(name)
    single = replace(member, net=replace(member.net, folder=tmp_path), scales=(256,))
    wrong, ant, bell = [0.2, 0.1, 0.7], [0.8, 0.1, 0.1], [0.1, 0.8, 0.1]
    for right, remark in ((range(7), True), ([3], False)):
        rows = {
            ("dense", 256): [wrong] * 11,
            ("center", 256): [(ant if row < 3 else bell) if row in right else wrong for row in range(11)],
        }
        changed = make_predictions(rows, predictions.indices.tolist())
        evaluation = evaluate_predictions([single], [changed], split, "dense")
        table = build_evaluation_table(evaluation, split, [single.net], CONDITIONS)
        assert (
            any("higher than that of central crops" in line and "`views=center`" in line for line in table.remarks)
            == remark
        )


def test_an_image_that_cannot_be_decoded_is_not_submitted(
    known_predictions: tuple[Split, EnsembleMember, NetPredictions], tmp_path: Path
) -> None:
    split, member, predictions = known_predictions
    fused = average_scales(member, predictions, "dense")
    with pytest.raises(VerydeepError, match=r"1 image of .* cannot be decoded"):
        write_classification_submission(tmp_path / "guesses.txt", fused, replace(split, labels=None))
    assert not list(tmp_path.iterdir())
