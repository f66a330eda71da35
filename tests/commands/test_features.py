"""``verydeep features``: what it writes, by one process and by two, and what it refuses."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.engine.archive.archives import read_archive
from tests.kills import Forker
from tests.runs import Cli

FP32 = ("--precision", "fp32", "--workers", 0)


def test_photographs_are_described_and_added_to(trained: Path, photographs: Path, inside: Cli, tmp_path: Path) -> None:
    done = inside("features", trained, photographs / "test" / "bee", "--out", "archive", *FP32)
    assert "Images: 3." in done.stdout and f"Descriptors: {trained.name} relu7, test scale 256, fp32." in done.stdout
    assert "Written: archive/ (manifest.json, shards/): 3 images, 16 numbers each, 0.0 MB." in done.stdout
    assert done.stdout.endswith("Try:  verydeep search archive photo.jpg\n")
    again = inside("features", trained, photographs / "test", photographs / "val" / "bee" / "*.jpg", "--out", "archive")
    assert "Images: 14, of which 3 are already described." in again.stdout and "14 images" in again.stdout
    descriptors = read_archive(tmp_path / "archive").values()
    assert len(descriptors) == 14
    assert all(np.linalg.norm(values) == pytest.approx(1, abs=1e-3) for values in descriptors)


def test_options_are_in_the_manifest(trained: Path, photographs: Path, inside: Cli, tmp_path: Path) -> None:
    how = ("--layer", "pool5", "--scales", "320,256", "--aggregate", "stack", "--fast-decode")
    inside("features", trained, photographs / "test", "--out", "archive", *how, *FP32)
    manifest = json.loads((tmp_path / "archive" / "manifest.json").read_text())
    assert manifest["dimensions"] == 2 * 32 and manifest["num_images"] == 9
    assert (manifest["layer"], manifest["scales"], manifest["aggregation"]) == ("pool5", [256, 320], "stack")
    assert (manifest["precision"], manifest["fast_decode"], manifest["weights"]) == ("fp32", True, "last")


def test_omitted_options_are_the_archives(trained: Path, photographs: Path, inside: Cli, tmp_path: Path) -> None:
    """--weights and --fast-decode, too."""
    for name in ("model", "best"):
        shutil.copytree(trained / "model", tmp_path / "run" / name)
    config = tmp_path / "run" / "best" / "config.json"
    config.write_text(config.read_text().replace('"seed": 3', '"seed": 4'))  # another net
    inside("features", "run", photographs / "test", "--out", "archive", "--weights", "best", "--fast-decode", *FP32)
    inside("features", "run", photographs / "val", "--out", "archive")
    manifest = json.loads((tmp_path / "archive" / "manifest.json").read_text())
    assert (manifest["weights"], manifest["fast_decode"], manifest["num_images"]) == ("best", True, 24)
    refused = inside("features", "run", photographs, "--out", "archive", "--weights", "last", check=False)
    assert refused.returncode == 1 and "another net" in refused.stderr


def test_two_processes_share_the_work(
    forker: Forker, trained: Path, photographs: Path, inside: Cli, tmp_path: Path
) -> None:
    """Both write, none twice, and what they write is what one writes; what one of them skips is listed."""
    shutil.copytree(photographs / "val", tmp_path / "photos")
    (tmp_path / "photos" / "bad.jpg").write_text("no picture")
    common = ("features", trained, "photos", *FP32, "--bad-images", "skip")
    done, other = forker.run_in_two_processes(tmp_path, *common, "--out", "two")
    assert done.code == other.code == 0 and other.output == ""
    assert done.stdout.count("Written: ") == 1 and "15 images" in done.stdout and "Skipped: 1 file" in done.stdout
    assert list(json.loads((tmp_path / "two" / "skipped.json").read_text())) == ["bad.jpg"]
    writers = {path.stem.split("-")[1] for path in (tmp_path / "two" / "shards").iterdir()}
    inside(*common, "--out", "one")
    one, two = read_archive(tmp_path / "one"), read_archive(tmp_path / "two")
    assert len(writers) == 2 and one.keys() == two.keys() and len(one) == 15
    assert all(two[path] == pytest.approx(one[path], abs=1e-3) for path in one)
    assert "Images: 16, of which 15 are already described." in inside(*common, "--out", "two").stdout


def test_a_bad_file_does_not_stop_a_job(trained: Path, photographs: Path, inside: Cli, tmp_path: Path) -> None:
    """It is tried again by the next job."""
    shutil.copytree(photographs / "val", tmp_path / "photos")
    (tmp_path / "photos" / "apple" / "bad.jpg").write_text("no picture")
    words = ("features", trained, "photos", *FP32, "--out", "archive")
    for _ in range(2):
        done = inside(*words, check=False)
        assert done.returncode == 1 and len(read_archive(tmp_path / "archive")) == 15
        assert "bad.jpg is not an image" in done.stderr and "--bad-images skip accepts" in done.stderr
    assert inside(*words, "--bad-images", "skip").returncode == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--layer", "fc9"), "has no layer fc9"),
        (("--scales", "100"), "--scales 100"),
        (("--devices", 0), "--devices 0"),
        (("--workers", -1), "--workers -1"),
        (("--weights", "best", "--precision", "fp32"), "best"),
    ],
)
def test_impossible_options_are_refused(
    trained: Path, photographs: Path, inside: Cli, tmp_path: Path, arguments: tuple[object, ...], message: str
) -> None:
    shutil.copytree(trained / "model", tmp_path / "run" / "model")
    done = inside("features", "run", photographs / "test", "--out", "archive", *arguments, check=False)
    assert done.returncode == 1 and message in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "archive").exists()


def test_error_of_one_of_two_processes_is_printed_once(
    forker: Forker, trained: Path, photographs: Path, tmp_path: Path
) -> None:
    shutil.copytree(photographs / "test", tmp_path / "photos")
    (tmp_path / "photos" / "bad.jpg").write_text("no picture")
    attempts = forker.run_in_two_processes(tmp_path, "features", trained, "photos", "--out", "archive", *FP32)
    stderr = "".join(attempt.stderr for attempt in attempts)
    errors = [line for line in stderr.splitlines() if line.startswith("verydeep: ")]
    assert 1 in [attempt.code for attempt in attempts] and "Traceback" not in stderr
    assert ["bad.jpg" in error for error in errors] == [True]


def test_code_of_the_page_reads_an_archive(
    trained: Path, photographs: Path, inside: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside("features", trained, photographs / "test", "--out", "photos-described", *FP32)
    page = Path(__file__).parents[2] / "docs" / "features.md"
    (code, *_) = re.findall(r"^```python no-run\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(tmp_path)
    values: dict[str, object] = {}
    exec(code, values)
    descriptors = read_archive(tmp_path / "photos-described")
    assert values["paths"] == list(descriptors) and len(descriptors) == 9
    expected = np.stack(list(descriptors.values())).astype(np.float32)
    assert np.array_equal(values["values"], expected)  # type: ignore[arg-type]
