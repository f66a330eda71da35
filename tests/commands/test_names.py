"""Commands on files, folders and data sets with names of any bytes, and without a cache."""

import json
import sys
from pathlib import Path

import pytest

from tests.runs import SMALL_NET, Cli, make_photographs


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_names_that_are_not_utf8(tmp_path: Path, inside: Cli) -> None:
    """A data set, its link, a class and a file; so are the run, its classifier and their reports."""
    data = make_photographs(tmp_path / "caf\udce9", {"train": 5, "val": 2})
    for part in ("train", "val"):
        (data / part / "bee").rename(data / part / "b\udce9e")
    (data / "val" / "b\udce9e" / "000.jpg").rename(data / "val" / "b\udce9e" / "\udcff.jpg")
    (tmp_path / "link\udce9").symlink_to(data)
    inside("train", "link\udce9", *SMALL_NET, "--epochs", 1)
    (run,) = (tmp_path / "runs").iterdir()
    assert run.name.startswith("link\udce9-A-256")
    assert json.loads((run / "model" / "config.json").read_text())["class_names"] == ["apple", r"b\udce9e", "cloud"]
    (evaluation,) = (run / "evaluations").iterdir()
    assert r"b\udce9e/\udcff.jpg" in (evaluation / "predictions.csv").read_text()
    photograph = "link\udce9/val/b\udce9e/\udcff.jpg"
    line = inside("predict", run, photograph, "--format", "json").stdout.splitlines()[0]
    assert json.loads(line)["image"].endswith("\udcff.jpg")
    inside("transfer", data, run, "--scales", "256", "--c", "1", "--out", "few\udce9")
    assert r"b\udce9e" in inside("predict", "few\udce9", photograph).stdout


def test_without_a_cache_commands_go_on_and_say_so(
    photographs: Path, trained: Path, tmp_path: Path, inside: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("VERYDEEP_CACHE", str(tmp_path / "file"))
    done = inside("transfer", photographs, trained, "--scales", "256", "--c", "1", "--out", "few")
    assert "VERYDEEP_CACHE" in done.stdout and (tmp_path / "few" / "classifier.json").exists()
    inside("evaluate", photographs, trained, "--scales", "256", "--workers", 0, "--out", "evaluated")
    assert (tmp_path / "evaluated" / "errors.json").exists()
