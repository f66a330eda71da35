"""``verydeep predict``: files, folders and patterns; for people and for machines."""

import csv
import io
import json
from pathlib import Path

import pytest

from tests.runs import Cli


def test_json_csv_and_table_tell_the_same(trained: Path, photographs: Path, inside: Cli) -> None:
    photo = photographs / "test" / "bee" / "001.jpg"
    common = ("predict", trained, photo, "--precision", "fp32", "--top", 2)
    (line,) = inside(*common, "--format", "json").stdout.splitlines()
    result = json.loads(line)
    assert result["path"] == str(photo)
    names, shares = zip(*((guess["class"], guess["probability"]) for guess in result["classes"]), strict=True)
    assert len(set(names)) == 2 and shares[0] >= shares[1] > 0 and sum(shares) <= 1.000001
    rows = list(csv.DictReader(io.StringIO(inside(*common, "--format", "csv").stdout)))
    assert [row["class"] for row in rows] == list(names)
    assert [float(row["probability"]) for row in rows] == pytest.approx(shares, abs=1e-6)
    table = inside(*common).stdout
    assert f"{shares[0]:.1%}" in table and names[0] in table


@pytest.mark.parametrize("view", ["dense", "crops", "dense+crops"])
def test_predictions_are_the_evaluations(
    trained: Path, photographs: Path, inside: Cli, tmp_path: Path, view: str
) -> None:
    common = ("--views", view, "--scales", "256,384", "--precision", "fp32", "--workers", 0)
    inside("evaluate", photographs, trained, "--split", "test", *common, "--out", "report")
    told = inside("predict", trained, photographs / "test", *common, "--format", "json", "--top", 3).stdout
    with (tmp_path / "report" / "predictions.csv").open(newline="") as file:
        lines = {line["path"]: line for line in csv.DictReader(file)}
    results = [json.loads(line) for line in told.splitlines()]
    assert len(results) == len(lines) == 9
    for result in results:
        line = lines[Path(result["path"]).relative_to(photographs / "test").as_posix()]
        assert [guess["class"] for guess in result["classes"]] == [line[f"class{i}"] for i in (1, 2, 3)]
        shares = [guess["probability"] for guess in result["classes"]]
        assert shares == pytest.approx([float(line[f"p{i}"]) for i in (1, 2, 3)], abs=1e-5)


def test_the_views_see_other_things(trained: Path, photographs: Path, inside: Cli) -> None:
    """Dense and crops differ, and together are their mean."""
    said = {}
    for view in ("dense", "crops", "dense+crops"):
        told = inside(
            "predict", trained, photographs / "test", "--views", view, "--precision", "fp32", "--format", "json"
        )
        results = [json.loads(line) for line in told.stdout.splitlines()]
        said[view] = {(r["path"], guess["class"]): guess["probability"] for r in results for guess in r["classes"]}
    dense, crops = said["dense"], said["crops"]
    assert max(abs(dense[key] - crops[key]) for key in dense) > 1e-3
    for key, share in said["dense+crops"].items():
        assert share == pytest.approx((dense[key] + crops[key]) / 2, abs=1e-5)


def test_predictions_are_not_kept(trained: Path, photographs: Path, inside: Cli, cache: Path) -> None:
    before = sorted(cache.rglob("*"))
    inside("predict", trained, photographs / "test", "--workers", 0)
    assert sorted(cache.rglob("*")) == before


def test_a_file_that_is_no_photograph_is_named_or_skipped(
    trained: Path, photographs: Path, cli: Cli, inside: Cli, tmp_path: Path
) -> None:
    (tmp_path / "notes.jpg").write_text("these are notes")
    refused = cli("predict", trained, "notes.jpg", check=False)
    assert refused.returncode == 1 and "notes.jpg" in refused.stderr and "Traceback" not in refused.stderr
    good = photographs / "test" / "bee" / "001.jpg"
    done = inside("predict", trained, "notes.jpg", good, "--bad-images", "skip", "--format", "json")
    assert len(done.stdout.splitlines()) == 1 and "skipped notes.jpg" in done.stderr
