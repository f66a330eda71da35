"""`verydeep predict`: files, folders and patterns; for people and for programs."""

import csv
import io
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import verydeep as vd
from tests.crashes import crash_decoders
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
    trained: Path, photographs: Path, inside: Cli, tmp_path: Path
) -> None:
    (tmp_path / "notes.jpg").write_text("these are notes")
    refused = inside("predict", trained, "notes.jpg", check=False)
    assert refused.returncode == 1 and "notes.jpg" in refused.stderr and "Traceback" not in refused.stderr
    good = photographs / "test" / "bee" / "001.jpg"
    done = inside("predict", trained, "notes.jpg", good, "--bad-images", "skip", "--format", "json")
    assert list(read_predictions(done.stdout)) == [str(good)]
    assert done.stderr.startswith("Skipped: notes.jpg is not an image") and done.stderr.count("\n") == 1
    assert "Skipped: notes.jpg" in inside("predict", trained, "notes.jpg", good, "--bad-images", "skip").stdout


def test_images_that_cannot_be_used_do_not_lose_the_results_of_others(
    trained: Path, photographs: Path, inside: Cli, tmp_path: Path
) -> None:
    folder = tmp_path / "photos"
    shutil.copytree(photographs / "test" / "bee", folder)
    (folder / "0 empty.jpg").write_bytes(b"")
    (folder / "half.jpg").write_bytes((folder / "001.jpg").read_bytes()[:700])
    Image.new("RGB", (3000, 2)).save(folder / "line.png")
    Image.new("1", (20_000, 20_000)).save(folder / "huge.png")
    Image.new("RGB", (1, 1)).save(folder / "point.png")
    (folder / "gone.jpg").symlink_to("nowhere.jpg")
    good = ["000.jpg", "001.jpg", "002.jpg", "point.png"]
    bad = ["0 empty.jpg", "gone.jpg", "half.jpg", "huge.png", "line.png"]
    for workers in (0, 1):
        done = inside("predict", trained, "photos", "--format", "json", "--workers", workers, check=False)
        assert done.returncode == 1
        assert list(read_predictions(done.stdout)) == [f"photos/{name}" for name in good]
        *skipped, problem = done.stderr.splitlines()
        assert sorted(line.split("photos/")[1][:6] for line in skipped) == [name[:6] for name in bad]
        assert problem.startswith("verydeep: 5 of 9 images have no result, the first because photos/")
    done = inside("predict", trained, "photos/line.png", "photos/000.jpg", check=False)
    assert done.stderr == (
        "verydeep: 1 of 2 images has no result: photos/line.png has 3000x2 pixels, one side more than 100 times the "
        "other; crop or remove it.\n"
    )
    done = inside("predict", trained, "photos/gone.jpg", "photos/line.png", check=False)
    assert done.returncode == 1 and done.stdout == ""
    assert done.stderr.startswith("verydeep: Not one of the 2 images can be used, the first because photos/")


def test_each_file_of_a_list_has_a_row(trained: Path, photographs: Path) -> None:
    one, other = (photographs / "test" / "bee" / name for name in ("000.jpg", "001.jpg"))
    scores = vd.predict(trained, [one, one, other], workers=0).scores
    assert len(scores) == 3 and np.array_equal(scores[0], scores[1]) and not np.array_equal(scores[1], scores[2])
    values = vd.describe(trained, [one, one, other], workers=0).values
    assert len(values) == 3 and np.array_equal(values[0], values[1])


def test_python_has_the_reasons(trained: Path, photographs: Path, tmp_path: Path) -> None:
    good = np.asarray(Image.open(photographs / "test" / "bee" / "001.jpg"))
    with pytest.warns(UserWarning, match="^1 of 3 images has no result: image 2 has 300x2 pixels"):
        predictions = vd.predict(trained, [good, np.zeros((2, 300, 3), np.uint8), good], workers=0)
    assert predictions.images == ("image 1", "image 3")
    assert list(predictions.skipped) == ["image 2"]
    assert predictions.problem.startswith("1 of 3 images has no result: image 2 has 300x2 pixels")
    assert "Skipped: image 2 has 300x2 pixels" in str(predictions)
    tolerant = vd.predict(trained, [good, np.zeros((2, 300, 3), np.uint8)], workers=0, bad_images="skip")
    assert tolerant.problem == "" and len(tolerant.skipped) == 1
    assert vd.predict(trained, good, workers=0).problem == ""
    with pytest.raises(vd.DataError, match=r"^image 1 has 300x2 pixels, one side more than 100 times"):
        vd.predict(trained, np.zeros((2, 300, 3), np.uint8), workers=0)


@pytest.mark.skipif(not hasattr(signal, "SIGBUS"), reason="the signals of POSIX")
@pytest.mark.parametrize("number", [signal.SIGSEGV, signal.SIGABRT])
def test_a_file_that_crashes_the_only_process_is_named(
    trained: Path, photographs: Path, tmp_path: Path, number: signal.Signals
) -> None:
    environment = crash_decoders(tmp_path / "hook", "bee/001.jpg", number, after=trained, in_child=False)
    words = ("predict", trained, photographs / "test", "--workers", 0)
    done = subprocess.run(
        [sys.executable, "-m", "verydeep", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
        env={**environment, "PYTHONFAULTHANDLER": ""},
    )
    assert done.returncode == -number
    file = photographs / "test" / "bee" / "001.jpg"
    assert done.stderr.endswith(f"verydeep: {file} crashes the decoder: remove the file.\n"), done.stderr
