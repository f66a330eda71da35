"""`verydeep predict`: files, folders and patterns; for people and for programs."""

import csv
import io
import json
from pathlib import Path

import pytest

from tests.runs import Cli, read_predictions


def test_json_csv_and_table_agree(trained: Path, photographs: Path, inside: Cli) -> None:
    photo = photographs / "test" / "bee" / "001.jpg"
    common = ("predict", trained, photo, "--precision", "fp32", "--top", 2)
    records = [json.loads(line) for line in inside(*common, "--format", "json").stdout.splitlines()]
    assert [list(record) for record in records] == [["image", "rank", "class", "words", "probability"]] * 2
    assert [(record["image"], record["rank"]) for record in records] == [(str(photo), 1), (str(photo), 2)]
    shares = [record["probability"] for record in records]
    assert records[0]["class"] != records[1]["class"] and shares[0] >= shares[1] > 0 and sum(shares) <= 1.000001
    rows = list(csv.DictReader(io.StringIO(inside(*common, "--format", "csv").stdout)))
    assert [row["class"] for row in rows] == [record["class"] for record in records]
    assert [float(row["probability"]) for row in rows] == pytest.approx(shares, abs=1e-6)
    table = inside(*common).stdout
    assert f"{shares[0]:.1%}" in table and records[0]["class"] in table


@pytest.mark.parametrize("view", ["dense", "crops", "dense+crops"])
def test_predictions_are_those_of_evaluate(
    trained: Path, photographs: Path, inside: Cli, tmp_path: Path, view: str
) -> None:
    common = ("--views", view, "--scales", "256,384", "--precision", "fp32", "--workers", 0)
    inside("evaluate", photographs, trained, "--split", "test", *common, "--out", "report")
    done = inside("predict", trained, photographs / "test", *common, "--format", "json", "--top", 3)
    with (tmp_path / "report" / "predictions.csv").open(newline="") as file:
        lines = {line["path"]: line for line in csv.DictReader(file)}
    predictions = read_predictions(done.stdout)
    assert len(predictions) == len(lines) == 9
    for image, classes in predictions.items():
        line = lines[Path(image).relative_to(photographs / "test").as_posix()]
        assert list(classes) == [line[f"class{i}"] for i in (1, 2, 3)]
        assert list(classes.values()) == pytest.approx([float(line[f"p{i}"]) for i in (1, 2, 3)], abs=1e-5)


def test_views_differ(trained: Path, photographs: Path, inside: Cli) -> None:
    """Dense and crops differ, and together are their mean."""
    shares = {}
    for view in ("dense", "crops", "dense+crops"):
        options = ("--views", view, "--precision", "fp32", "--format", "json")
        predictions = read_predictions(inside("predict", trained, photographs / "test", *options).stdout)
        shares[view] = {
            (image, name): share for image, classes in predictions.items() for name, share in classes.items()
        }
    dense, crops = shares["dense"], shares["crops"]
    assert max(abs(dense[key] - crops[key]) for key in dense) > 1e-3
    for key, share in shares["dense+crops"].items():
        assert share == pytest.approx((dense[key] + crops[key]) / 2, abs=1e-5)


def test_predictions_are_not_cached(trained: Path, photographs: Path, inside: Cli, cache: Path) -> None:
    before = sorted(cache.rglob("*"))
    inside("predict", trained, photographs / "test", "--workers", 0)
    assert sorted(cache.rglob("*")) == before


def test_a_file_that_is_no_photograph_is_an_error_or_skipped(
    trained: Path, photographs: Path, cli: Cli, inside: Cli, tmp_path: Path
) -> None:
    (tmp_path / "notes.jpg").write_text("these are notes")
    refused = cli("predict", trained, "notes.jpg", check=False)
    assert refused.returncode == 1 and "notes.jpg" in refused.stderr and "Traceback" not in refused.stderr
    good = photographs / "test" / "bee" / "001.jpg"
    done = inside("predict", trained, "notes.jpg", good, "--bad-images", "skip", "--format", "json")
    assert list(read_predictions(done.stdout)) == [str(good)]
    assert "Skipped notes.jpg: notes.jpg is not an image" in done.stderr
    assert "Skipped notes.jpg" in inside("predict", trained, "notes.jpg", good, "--bad-images", "skip").stdout
