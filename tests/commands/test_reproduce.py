"""``verydeep reproduce``: Tables 1 and 2, the shallow net from photographs to its table, and refusals."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import verydeep as vd
import verydeep.commands.reproduce as command
from tests.runs import Cli, run_and_print
from tests.table1 import NUM_PARAMETERS, TABLE_1
from tests.thin_nets import FC_WIDTH, make_pictures
from verydeep.configs.ladder import LADDER
from verydeep.configs.paper import SHALLOW_TABLE
from verydeep.data.decoding import Decoding
from verydeep.engine.nets.collection import Collection, find_nets
from verydeep.engine.training import ladder, run
from verydeep.engine.training.plan import TrainRequest
from verydeep.engine.training.run import train_run
from verydeep.errors import VerydeepError

PUBLISHED_MILLIONS = {"A": 133, "A-LRN": 133, "B": 133, "C": 134, "D": 138, "E": 144}
"""Table 2."""


def test_table_2_without_data() -> None:
    """As a process, which loads nothing that would make it take seconds."""
    code = (
        "import sys; from verydeep.cli import main; sys.argv = ['verydeep', 'reproduce', 'table2']; main(); "
        "assert not {'torch', 'numpy', 'PIL', 'matplotlib'} & sys.modules.keys()"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    lines = [line.split() for line in done.stdout.splitlines()]
    rows = {line[0]: line[1:] for line in lines if line and line[0] in NUM_PARAMETERS}
    assert rows.keys() == PUBLISHED_MILLIONS.keys()
    for name, (count, millions) in rows.items():
        assert int(count.replace(",", "")) == NUM_PARAMETERS[name]
        assert int(millions) == PUBLISHED_MILLIONS[name]


def test_table_1_without_data() -> None:
    (table,) = vd.reproduce("table1").tables
    names, depths = zip(*(heading.splitlines() for heading in table.headings), strict=True)
    assert names == ("A", "A-LRN", "B", "C", "D", "E")
    assert [each.split()[0] for each in depths] == ["11", "11", "13", "16", "16", "19"]
    for name, column in zip(names, zip(*table.rows, strict=True), strict=True):
        assert " ".join(column).split() == TABLE_1[name].split()
    assert [record["network"] for record in table.records()] == list(names)


# The shallow net, end to end.


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """photos/ of six classes with val/, thin nets, a terminal that folds nothing; the folder the test runs in."""
    make_pictures(tmp_path / "photos" / "train", 4, first=100)
    make_pictures(tmp_path / "photos" / "val", 2)
    monkeypatch.setenv("VERYDEEP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "300")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def reproduce(table: str, **options: Any) -> None:
    run_and_print(
        command.reproduce,
        table,
        **{"data": "photos", "crop": 32, "epochs": 2, "batch_size": 8, "precision": "fp32", "workers": 0, **options},
    )


def after(count: int, error: BaseException, action: Callable[..., None]) -> Callable[..., None]:
    """The action, but its call after so many raises."""
    calls: list[object] = []

    def counted(*arguments: Any) -> None:
        if len(calls) == count:
            raise error
        calls.append(None)
        action(*arguments)

    return counted


def test_shallow_from_photographs_to_the_table(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stopped after the first net, the same command goes on; then there is nothing left to train."""
    with monkeypatch.context() as interrupted:
        interrupted.setattr(ladder, "train_run", after(1, KeyboardInterrupt(), train_run))
        with pytest.raises(KeyboardInterrupt):
            reproduce("shallow")
    told = capsys.readouterr().out
    plan = [line.split() for line in told[: told.index("Training 1 of 3")].splitlines()]
    planned = {line[0]: line[2] for line in plan if len(line) > 5 and line[1] == "0"}
    assert list(planned.items()) == [("A/256", "random"), ("B/256", "A/256"), ("B-5x5/256", "random")]
    assert [str(net.paper_net()) for net in find_nets(home / "runs")] == ["A/256"]
    weights = home / "runs" / "photos-A-256-c32-s0" / "model" / "model.safetensors"
    trained = weights.stat().st_mtime_ns

    reproduce("shallow")
    told = capsys.readouterr().out
    assert re.findall(r"Training \d of 2: (\S+), seed 0", told) == ["B/256", "B-5x5/256"]
    assert weights.stat().st_mtime_ns == trained
    settings = json.loads((home / "runs" / "photos-B-256-c32-s0" / "run.json").read_text())
    assert settings["init_from"] == "runs/photos-A-256-c32-s0" and settings["fc_width"] == FC_WIDTH
    assert json.loads((home / "runs" / "photos-B-5x5-256-c32-s0" / "run.json").read_text())["init_from"] is None

    (place,) = (home / "runs" / "tables").iterdir()
    assert place.name in ("photos-val-c32-fp32", "photos-val-c32-bf16")
    table = json.loads((place / "shallow.json").read_text())
    assert [row["protocol"] for row in table["rows"]] == ["B/256/256 : center", "B-5x5/256/256 : center"]
    assert table["num_images"] == 12
    for row in table["rows"]:
        # Two epochs of three steps make all three drops, or none of the rows is an answer.
        assert row["measured"]["seeds"] == [0] and row["measured"]["unconverged"] == []
        # The run's own report after training tells the same of the central crop at Q = 256.
        name = row["protocol"].split("/")[0]
        errors = home / "runs" / f"photos-{name}-256-c32-s0" / "evaluations" / "val-dense-256" / "errors.json"
        (center,) = [each for each in json.loads(errors.read_text())["rows"] if each["view"] == "center"]
        assert center["scales"] == [256]
        assert row["measured"]["top1"]["percent"] == center["errors"]["top1"]["percent"]
    (difference,) = table["differences"]
    first, second = (row["measured"]["top1"]["percent"] for row in table["rows"])
    assert difference["points"] == pytest.approx(first - second)
    assert "7% higher" in told and "photos" in told

    page = (place / "shallow.md").read_text()
    reproduce("shallow", train=False, out=Path("elsewhere"))
    told = capsys.readouterr().out
    assert "Training" not in told and "To be trained" not in told
    assert (home / "elsewhere" / "shallow.md").read_text() == page


def test_a_net_half_trained_is_resumed(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Stopped in its second epoch, it keeps the first."""
    only = replace(SHALLOW_TABLE, rows=SHALLOW_TABLE.rows[1:])  # the 5x5 net, which starts from nothing
    monkeypatch.setattr(command, "SHALLOW_TABLE", only)
    with monkeypatch.context() as interrupted:
        interrupted.setattr(run, "save", after(1, SystemExit(130), run.save))
        with pytest.raises(SystemExit):
            reproduce("shallow", seeds="3")
    assert [(net.config.seed, net.ended) for net in find_nets(home / "runs")] == [(3, False)]
    metrics = home / "runs" / "photos-B-5x5-256-c32-s3" / "metrics.jsonl"
    capsys.readouterr()
    reproduce("shallow", seeds="3", train=False)  # as long as it is not at its end it is no answer
    assert "not converged" in capsys.readouterr().out

    reproduce("shallow", seeds="3")
    told = capsys.readouterr().out
    assert "its checkpoint" in told and "Resumed at step 3" in told and "Training 1 of 1" in told
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert "not converged" not in told


def test_what_is_trained_has_the_papers_width_and_one_division(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the generated set, too, where `verydeep train` makes narrow nets, which answer for no row."""
    asked: list[tuple[Any, ...]] = []

    def listen(*arguments: Any) -> None:
        asked.append(arguments[:3])
        raise KeyboardInterrupt

    monkeypatch.setattr(ladder, "train_missing", listen)
    for table in ("ladder", "table6"):
        with pytest.raises(KeyboardInterrupt):
            reproduce(table, seeds="0,12", bad_images="skip", fast_decode=True)
    (rungs, seeds, request), (table_6, _, _) = asked
    assert rungs == LADDER and seeds == (0, 12)
    assert isinstance(request, TrainRequest)
    assert (request.width, request.fc_width, request.split_seed, request.crop) == (1.0, FC_WIDTH, 0, 32)
    assert (request.data, request.epochs, request.batch_size, request.precision) == ("photos", 2, 8, "fp32")
    assert (request.decoding, request.runs) == (Decoding("skip", True), Collection(Path("runs")))
    assert sorted(map(str, table_6)) == sorted(
        ["D/256", "D/384", "D/256-512fc", "C/256", "C/384", "E/256", "E/384", "D/256-512", "E/256-512"]
    )


# Refusals.


def test_no_runs_and_no_training_is_one_sentence(home: Path, cli: Cli) -> None:
    refused = cli("reproduce", "table6", "--data", "photos", "--crop", 32, "--no-train", check=False)
    assert refused.returncode == 1 and refused.stdout.count("\n") <= 1
    assert re.fullmatch(r"verydeep: No run answers for a row of table6 at crop 32 .*--no-train.*\n", refused.stderr)
    assert not (home / "runs").exists()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"seeds": "0,,1"}, "`seeds=0,,1`"),
        ({"seeds": "1,1"}, "`seeds=1,1`"),
        ({"seeds": "01,1"}, "`seeds=01,1`"),
        ({"seeds": "-1"}, "`seeds=-1`"),
        ({"seeds": ""}, "`seeds=`"),
        ({"crop": 33}, "`crop=33` .* multiple of 32"),
        ({"data": None}, "`data=FOLDER`"),
        ({"data": "no-photos"}, "no-photos"),
        ({"epochs": 0}, "`epochs=0`"),
        ({"batch_size": 0}, "`batch_size=0`"),
        ({"split": "test"}, "no labels"),
        ({"split": "mine"}, "mine"),
    ],
)
def test_what_cannot_be_is_one_sentence(options: dict[str, Any], told: str, home: Path) -> None:
    (home / "photos" / "test").mkdir()
    Image.new("RGB", (40, 50)).save(home / "photos" / "test" / "0.png")
    with pytest.raises(VerydeepError, match=told) as caught:
        reproduce("shallow", **options)
    assert "\n" not in str(caught.value)
    assert not (home / "runs").exists()
