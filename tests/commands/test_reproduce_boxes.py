"""``verydeep reproduce table8 ... table10``: from photographs to the tables; stopped and gone on; refusals."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import verydeep.commands.reproduce as command
from tests.commands.test_reproduce import after
from tests.runs import Cli
from tests.thin_nets import describe, leave_run, make_boxes, make_pictures, thin_networks
from verydeep.configs.paper import LOCALIZATION_TABLES
from verydeep.configs.protocols import PaperNet
from verydeep.engine.classification import report as class_report
from verydeep.engine.localization import report as box_report
from verydeep.engine.nets.collection import find_nets
from verydeep.engine.training import ladder, run
from verydeep.engine.training.run import train_run
from verydeep.errors import VerydeepError
from verydeep.ops.metrics import Share

Reproduce = Callable[..., str]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """photos/ of six classes with val/ and boxes, thin nets, a terminal that folds nothing; pictures are not drawn."""
    make_pictures(tmp_path / "photos" / "train", 4, first=100)
    make_pictures(tmp_path / "photos" / "val", 2)
    make_boxes(tmp_path / "photos")
    thin_networks(monkeypatch, tmp_path / "cache")
    pictures = {box_report: ("draw_success", "draw_examples"), class_report: ("draw_confusion", "draw_examples")}
    for module, names in {**pictures, run: ("draw_curves",)}.items():
        for name in names:
            monkeypatch.setattr(module, name, lambda *_: None)
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def reproduce(home: Path, capsys: pytest.CaptureFixture[str]) -> Reproduce:
    """Runs it and returns what it said."""

    def call(what: command.What, **options: Any) -> str:
        common: dict[str, Any] = {
            "data": "photos",
            "crop": 32,
            "epochs": 2,
            "batch_size": 8,
            "precision": "fp32",
            "workers": 0,
        }
        capsys.readouterr()
        command.reproduce(what, **common | options)
        return capsys.readouterr().out

    return call


def table_of(home: Path, name: str) -> dict[str, Any]:
    (place,) = (home / "runs" / "tables").iterdir()
    values = json.loads((place / f"{name}.json").read_text())
    assert isinstance(values, dict) and (place / f"{name}.md").exists()
    return values


def trainings(told: str) -> list[str]:
    return re.findall(r"Training \d+ of \d+: (\S+), seed 0", told)


def test_from_photographs_to_the_tables(
    home: Path, reproduce: Reproduce, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stopped before the fifth net, the same command goes on; Table 9 needs one more, Table 10 none."""
    with monkeypatch.context() as interrupted:
        interrupted.setattr(ladder, "train_run", after(4, KeyboardInterrupt(), train_run))
        with pytest.raises(KeyboardInterrupt):
            reproduce("table8")
    told = capsys.readouterr().out
    assert told.index("Boxes of val") < told.index("To be trained")
    plan = [line.split() for line in told[told.index("To be trained") : told.index("Training 1 of 6")].splitlines()[2:]]
    assert [(line[0], line[2]) for line in plan if len(line) > 4 and line[1] == "0"] == [
        ("A/256", "random"), ("D/256", "A/256"), ("D/384", "D/256"), ("D/384scr-fc", "D/384"),
        ("D/384pcr-fc", "D/384"), ("D/384pcr", "D/384"),
    ]  # fmt: skip
    assert trainings(told) == ["A/256", "D/256", "D/384", "D/384scr-fc", "D/384pcr-fc"]
    assert trainings(reproduce("table8")) == ["D/384pcr-fc", "D/384pcr"]
    check_table_8(home)
    nets = {str(net.paper_net()) for net in find_nets(home / "runs")}
    assert nets == {"A/256", "D/256", "D/384", "D/384scr-fc", "D/384pcr-fc", "D/384pcr"}

    told = reproduce("table9")
    assert trainings(told) == ["D/256pcr"]
    check_table_9(home, told)

    before = (home / "runs" / "tables").stat().st_mtime_ns
    told = reproduce("table10", train=False, out=Path("elsewhere"))
    assert not trainings(told) and "To be trained" not in told
    table = json.loads((home / "elsewhere" / "table10.json").read_text())
    fused, *others = table["rows"]
    assert fused["label"] == "VGG" and all(row["measured"] is None for row in others)
    assert fused["measured"] == table_of(home, "table9")["rows"][3]["measured"]
    assert (home / "runs" / "tables").stat().st_mtime_ns == before

    told = reproduce("table9", train=False, tune_threshold=True)
    assert "t was chosen for each half of the images on the other half." in told
    told = reproduce("table9", train=False, tune_threshold=True, split="train", out=Path("train"))
    assert "t was chosen on the 12 images of val." in told and "trained on" in told


def check_table_8(home: Path) -> None:
    """Each row is what the run's own report after its training says of the central crop at Q = 384."""
    table = table_of(home, "table8")
    assert [row["paper"] for row in table["rows"]] == [{"val": val, "test": None} for val in (36.4, 34.3, 33.1)]
    assert table["num_images"] == 12 and len(table["differences"]) == 3
    for row in table["rows"]:
        assert row["measured"]["protocol"] == row["protocol"]
        assert row["measured"]["seeds"] == [0] and row["measured"]["unconverged"] == []
        folder = home / "runs" / f"photos-{row['protocol'].split('/384 ')[0].replace('/', '-')}-c32-s0"
        (evaluation,) = (folder / "evaluations").glob("val-boxes-dense-*/errors.json")
        rows = json.loads(evaluation.read_text())["rows"]
        (center,) = [each for each in rows if (each["view"], each["scales"]) == ("center", [384])]
        assert row["measured"]["error"] == center["truth"]["error"]
        assert row["measured"]["mean_iou"] == pytest.approx(center["truth"]["mean_iou"])
    run = json.loads((home / "runs" / "photos-D-384pcr-c32-s0" / "run.json").read_text())
    assert run["init_from"] == "runs/photos-D-384-c32-s0" and run["regression"] == "per-class"


def check_table_9(home: Path, told: str) -> None:
    """No jittered nets are there, so the best of what is names the classes, and that is said."""
    rows = table_of(home, "table9")["rows"]
    best = "D/256/224,256,288"  # 8.6% in Table 4, as D/384, which comes later
    boxes = ("D/256pcr/256", "D/384pcr/384", "D/384pcr/352,384", "D/256pcr/256 + D/384pcr/352,384")
    assert [row["measured"]["protocol"] for row in rows] == [f"{each} @ {best}" for each in boxes]
    for row, each in zip(rows, boxes, strict=True):
        assert f"* {each}: the classes of {best}, as no converged runs name the row's own." in told
        shown = next(line for line in told.splitlines() if line.startswith(f"{row['protocol']}*"))
        assert str(Share(**row["measured"]["error"])) in shown and f"{row['paper']['val']}/" in shown


@pytest.fixture
def one_row(home: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Table 8 with its last row alone, and the net that this starts from."""
    table = LOCALIZATION_TABLES["table8"]
    monkeypatch.setitem(LOCALIZATION_TABLES, "table8", replace(table, rows=table.rows[2:]))
    leave_run(home / "runs", describe(PaperNet.parse("D/384"), home / "photos"))
    return home


def test_a_net_half_trained_is_resumed(one_row: Path, reproduce: Reproduce, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stopped in its second epoch, it keeps the first."""
    with monkeypatch.context() as interrupted:
        interrupted.setattr(run, "save", after(1, SystemExit(130), run.save))
        with pytest.raises(SystemExit):
            reproduce("table8")
    assert "not converged" in reproduce("table8", train=False)  # as long as it is not at its end it is no answer
    told = reproduce("table8")
    assert "its checkpoint" in told and "Resumed at step 3" in told and trainings(told) == ["D/384pcr"]
    metrics = one_row / "runs" / "photos-D-384pcr-c32-s0" / "metrics.jsonl"
    assert [json.loads(line)["step"] for line in metrics.read_text().splitlines()] == [1, 2, 3, 4, 5, 6]
    assert "not converged" not in told


def test_bad_boxes_are_mended_for_training_too(one_row: Path, reproduce: Reproduce) -> None:
    lines = (one_row / "photos" / "boxes.csv").read_text().splitlines()
    place = next(i for i, line in enumerate(lines) if line.startswith("train/bell/0.png,bell"))
    lines[place] = "train/bell/0.png,bell,2,3,500,40"
    (one_row / "photos" / "boxes.csv").write_text("\n".join(lines))
    before = {path for path in one_row.rglob("*") if path.is_file()}
    with pytest.raises(VerydeepError, match=f"Line {place + 1} of photos/boxes.csv reaches beyond"):
        reproduce("table8")
    assert {path for path in one_row.rglob("*") if path.is_file()} == before, "before any training"
    reproduce("table8", bad_boxes="clip")
    assert table_of(one_row, "table8")["rows"][0]["measured"] is not None


# Refusals.


@pytest.mark.parametrize("what", ["table8", "table9", "table10"])
def test_no_runs_and_no_training_is_one_sentence(what: str, home: Path, inside: Cli) -> None:
    refused = inside("reproduce", what, "--data", "photos", "--crop", 32, "--no-train", check=False)
    assert refused.returncode == 1
    told = refused.stderr.splitlines()[-1]
    assert re.fullmatch(rf"verydeep: No run answers for any row of {what} at crop 32 .*--no-train.*", told)
    assert not (home / "runs").exists()


@pytest.mark.parametrize("missing", ["", "train/", "val/"])
def test_photographs_without_boxes_are_told_before_any_training(missing: str, home: Path, inside: Cli) -> None:
    """All, those to train on, those to test on."""
    path = home / "photos" / "boxes.csv"
    kept = [line for line in path.read_text().splitlines() if not line.startswith(missing)]
    path.write_text("\n".join(kept)) if missing else path.unlink()
    refused = inside("reproduce", "table8", "--data", "photos", "--crop", 32, "--bad-boxes", "skip", check=False)
    assert refused.returncode == 1 and "Training" not in refused.stdout
    told = refused.stderr.splitlines()[-1]
    assert told.startswith("verydeep: ") and ("holds no boxes" if not missing else f"photos/{missing[:-1]} has") in told
    assert not (home / "runs").exists()


def test_a_threshold_of_merging_is_of_boxes(home: Path) -> None:
    with pytest.raises(VerydeepError, match="--tune-threshold is of boxes, and table3 is of classes"):
        command.reproduce("table3", data="photos", tune_threshold=True)
