"""``verydeep features``: what it leaves, by one process and by two, and what it refuses."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from tests.engine.archive.archives import content
from tests.runs import Cli

FP32 = ("--precision", "fp32", "--workers", 0)


def test_photographs_are_described_and_added_to(trained: Path, photographs: Path, inside: Cli, tmp_path: Path) -> None:
    done = inside("features", trained, photographs / "test" / "bee", "--out", "there", *FP32)
    assert "Images: 3." in done.stdout and f"Described by {trained.name} relu7, Q=256, fp32." in done.stdout
    assert "Written: there/ (manifest.json, shards/): 3 images, 16 dimensions, 0.0 MB." in done.stdout
    assert done.stdout.endswith("Try:  verydeep search there photo.jpg\n")
    again = inside("features", trained, photographs / "test", photographs / "val" / "bee" / "*.jpg", "--out", "there")
    assert "Images: 14, of which 3 are described already." in again.stdout and "14 images" in again.stdout
    found = content(tmp_path / "there")
    assert len(found) == 14 and all(np.linalg.norm(values) == pytest.approx(1, abs=1e-3) for values in found.values())


def test_options_say_how(trained: Path, photographs: Path, inside: Cli, tmp_path: Path) -> None:
    how = ("--layer", "pool5", "--scales", "320,256", "--aggregate", "stack", "--fast-decode")
    inside("features", trained, photographs / "test", "--out", "there", *how, *FP32)
    told = json.loads((tmp_path / "there" / "manifest.json").read_text())
    assert told["dimensions"] == 2 * 32 and told["num_images"] == 9
    assert (told["layer"], told["scales"], told["aggregation"]) == ("pool5", [256, 320], "stack")
    assert (told["precision"], told["fast_decode"], told["weights"]) == ("fp32", True, "last")


def test_options_left_out_are_as_they_were(trained: Path, photographs: Path, inside: Cli, tmp_path: Path) -> None:
    """Also --weights and --fast-decode."""
    for name in ("model", "best"):
        shutil.copytree(trained / "model", tmp_path / "run" / name)
    config = tmp_path / "run" / "best" / "config.json"
    config.write_text(config.read_text().replace('"seed": 3', '"seed": 4'))  # another net
    inside("features", "run", photographs / "test", "--out", "there", "--weights", "best", "--fast-decode", *FP32)
    inside("features", "run", photographs / "val", "--out", "there")
    told = json.loads((tmp_path / "there" / "manifest.json").read_text())
    assert (told["weights"], told["fast_decode"], told["num_images"]) == ("best", True, 24)
    refused = inside("features", "run", photographs, "--out", "there", "--weights", "last", check=False)
    assert refused.returncode == 1 and "another net" in refused.stderr


def test_two_processes_share_the_work(trained: Path, photographs: Path, cli: Cli, inside: Cli, tmp_path: Path) -> None:
    """Both write, none twice, and what they write is what one writes; what one of them skips is listed."""
    shutil.copytree(photographs / "val", tmp_path / "photos")
    (tmp_path / "photos" / "bad.jpg").write_text("no picture")
    common = ("features", trained, "photos", *FP32, "--bad-images", "skip")
    done = cli(*common, "--out", "two", "--devices", 2)
    assert done.stdout.count("Written: ") == 1 and "15 images" in done.stdout and "Skipped: 1 files" in done.stdout
    assert list(json.loads((tmp_path / "two" / "skipped.json").read_text())) == ["bad.jpg"]
    writers = {path.stem.split("-")[1] for path in (tmp_path / "two" / "shards").iterdir()}
    inside(*common, "--out", "one")
    one, two = content(tmp_path / "one"), content(tmp_path / "two")
    assert len(writers) == 2 and one.keys() == two.keys() and len(one) == 15
    assert all(two[path] == pytest.approx(one[path], abs=1e-3) for path in one)
    assert "Images: 16, of which 15 are described already." in inside(*common, "--out", "two").stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--layer", "fc9"), "--layer fc9 is no layer of this net"),
        (("--scales", "100"), "--scales '100'"),
        (("--devices", 0), "--devices 0"),
        (("--workers", -1), "--workers -1"),
        (("--weights", "best", "--precision", "fp32"), "best"),
    ],
)
def test_what_cannot_be_is_told(
    trained: Path, photographs: Path, inside: Cli, tmp_path: Path, arguments: tuple[object, ...], told: str
) -> None:
    shutil.copytree(trained / "model", tmp_path / "run" / "model")
    done = inside("features", "run", photographs / "test", "--out", "there", *arguments, check=False)
    assert done.returncode == 1 and told in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "there").exists()


def test_what_one_of_two_processes_cannot_do_is_told(
    trained: Path, photographs: Path, cli: Cli, tmp_path: Path
) -> None:
    shutil.copytree(photographs / "test", tmp_path / "photos")
    (tmp_path / "photos" / "bad.jpg").write_text("no picture")
    done = cli("features", trained, "photos", "--out", "there", "--devices", 2, *FP32, check=False)
    told = [line for line in done.stderr.splitlines() if line.startswith("verydeep: ")]
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert ["bad.jpg" in line for line in told] == [True]


def test_the_documents_code_reads_what_is_left(
    trained: Path, photographs: Path, inside: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    shutil.copy(photographs / "test" / "bee" / "001.jpg", tmp_path / "holiday.jpg")
    inside("features", trained, photographs / "test", "--out", "photos-described", *FP32)
    page = Path(__file__).parents[2] / "docs" / "features.md"
    reading, searching = re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    monkeypatch.chdir(tmp_path)
    found: dict[str, object] = {}
    exec(reading, found)
    held = content(tmp_path / "photos-described")
    assert found["paths"] == list(held) and len(held) == 9
    assert np.array_equal(found["values"], np.stack(list(held.values())).astype(np.float32))  # type: ignore[arg-type]
    exec(searching, {})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 5 and lines[0] == f"1.000 {photographs / 'test' / 'bee' / '001.jpg'}"
