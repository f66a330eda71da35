"""``verydeep reproduce``: Tables 1 and 2, the shallow net from photographs to its table, and refusals."""

import inspect
import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import verydeep as vd
import verydeep.commands.reproduce as command
from tests.interruption import interrupt_when
from tests.runs import Cli, run_and_print
from tests.table1 import NUM_PARAMETERS, TABLE_1
from tests.thin_nets import FC_WIDTH, SIZES, WIDTH, WIDTHS, make_pictures, narrow_config, save_run
from verydeep.configs.ladder import LADDER
from verydeep.configs.protocols import PaperNet
from verydeep.data.pixels.decoding import Decoding
from verydeep.engine.nets.collection import find_nets
from verydeep.engine.nets.folders import RunFolder
from verydeep.engine.training.settings import RunSettings
from verydeep.errors import VerydeepError, WeightsError

PUBLISHED_MILLIONS = {"A": 133, "A-LRN": 133, "B": 133, "C": 134, "D": 138, "E": 144}
"""Table 2."""

NETS_OF_TABLE_6 = ("D/256", "D/384", "D/256-512fc", "C/256", "C/384", "E/256", "E/384", "D/256-512", "E/256-512")


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
    common = {"data": "photos", "crop": 32, "epochs": 2, "batch_size": 8, "precision": "fp32", "workers": 0}
    run_and_print(command.reproduce, table, **{**common, **WIDTHS, **options})


def test_shallow_from_photographs_to_the_table(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Stopped in the second training, the same command goes on; then there is nothing left to train."""
    begun = home / "runs" / f"photos-B-256-{SIZES}-s0" / "run.json"
    with interrupt_when(begun.exists), pytest.raises(KeyboardInterrupt):
        reproduce("shallow")
    output = capsys.readouterr().out
    plan = [line.split() for line in output[: output.index("Training 1 of 3")].splitlines()]
    planned = {line[0]: line[2] for line in plan if len(line) > 5 and line[1] == "0"}
    assert list(planned.items()) == [("A/256", "random"), ("B/256", "A/256"), ("B-5x5/256", "random")]
    ended = {str(net.paper_net(**WIDTHS)): net.ended for net in find_nets(home / "runs")}
    assert ended == {"A/256": True, "B/256": False}
    weights = home / "runs" / f"photos-A-256-{SIZES}-s0" / "model" / "model.safetensors"
    trained = weights.stat().st_mtime_ns

    reproduce("shallow")
    output = capsys.readouterr().out
    assert re.findall(r"Training \d of 2: (\S+), seed 0", output) == ["B/256", "B-5x5/256"]
    assert weights.stat().st_mtime_ns == trained
    settings = json.loads((home / "runs" / f"photos-B-256-{SIZES}-s0" / "run.json").read_text())
    assert settings["init_from"] == f"runs/photos-A-256-{SIZES}-s0" and settings["fc_width"] == FC_WIDTH
    assert json.loads((home / "runs" / f"photos-B-5x5-256-{SIZES}-s0" / "run.json").read_text())["init_from"] is None

    (place,) = (home / "runs" / "tables").iterdir()
    assert place.name == f"photos-val-{SIZES}-fp32"
    table = json.loads((place / "shallow.json").read_text())
    assert [row["protocol"] for row in table["rows"]] == ["B/256/256 : center", "B-5x5/256/256 : center"]
    assert table["num_images"] == 12 and (table["width"], table["fc_width"]) == (WIDTH, FC_WIDTH)
    assert f"12 val images, by nets of width {WIDTH} and FC width {FC_WIDTH}" in output
    for row in table["rows"]:
        # Two epochs of three steps make all three drops, or none of the rows is an answer.
        assert row["measured"]["seeds"] == [0] and row["measured"]["unconverged"] == []
        # The run's own report after training tells the same of the central crop at Q = 256.
        name = row["protocol"].split("/")[0]
        errors = home / "runs" / f"photos-{name}-256-{SIZES}-s0" / "evaluations" / "val-dense-256" / "errors.json"
        (center,) = [each for each in json.loads(errors.read_text())["rows"] if each["view"] == "center"]
        assert center["scales"] == [256]
        assert row["measured"]["top1"]["percent"] == center["errors"]["top1"]["percent"]
    (difference,) = table["differences"]
    first, second = (row["measured"]["top1"]["percent"] for row in table["rows"])
    assert difference["points"] == pytest.approx(first - second)
    assert "7% higher" in output and "photos" in output

    page = (place / "shallow.md").read_text()
    reproduce("shallow", train=False, out=Path("elsewhere"))
    output = capsys.readouterr().out
    assert "Training" not in output and "To train" not in output
    assert (home / "elsewhere" / "shallow.md").read_text() == page


def test_a_net_half_trained_is_resumed(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Stopped in its second epoch, it keeps the first."""
    run = home / "runs" / f"photos-B-5x5-256-{SIZES}-s3"
    save_run(home / "runs", narrow_config(PaperNet.parse("B/256"), home / "photos", seed=3))
    with interrupt_when((run / "checkpoints" / "step-000000003.safetensors").exists), pytest.raises(KeyboardInterrupt):
        reproduce("shallow", seeds="3")
    capsys.readouterr()
    reproduce("shallow", train=False)  # as long as it is not at its end it is no answer
    assert "not converged" in capsys.readouterr().out

    reproduce("shallow", seeds="3")
    output = capsys.readouterr().out
    assert "its checkpoint" in output and "Resumed at step 3" in output and "Training 1 of 1" in output
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5, 6]
    assert "not converged" not in output


def test_the_nets_of_a_table_are_trained_with_its_conditions(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for table, nets in (("ladder", list(map(str, LADDER))), ("table6", (*NETS_OF_TABLE_6, "A/256"))):
        runs = home / table
        run = RunFolder(runs / f"photos-A-256-{SIZES}-s0")
        with interrupt_when(run.settings.exists), pytest.raises(KeyboardInterrupt):
            reproduce(table, seeds="0,12", bad_images="skip", fast_decode=True, runs=runs)
        lines = [line.split() for line in capsys.readouterr().out.splitlines()]
        planned = {(line[0], line[1]) for line in lines if len(line) > 5 and line[1] in ("0", "12")}
        assert planned == {(net, seed) for net in nets for seed in ("0", "12")}
        settings = RunSettings.load(run)
        assert (settings.width, settings.fc_width, settings.split_seed, settings.crop) == (WIDTH, FC_WIDTH, 0, 32)
        assert settings.data == str(home / "photos") and not settings.bf16
        assert (settings.recipe.epochs, settings.recipe.batch_size) == (2, 8)
        assert settings.decoding == Decoding("skip", fast=True)


def test_nets_have_the_papers_width_by_default(home: Path) -> None:
    """On the generated set, too, where `verydeep train` makes narrow nets, which belong to no row."""
    defaults = inspect.signature(command.reproduce).parameters
    assert (defaults["width"].default, defaults["fc_width"].default) == (1.0, 4096)
    save_run(home / "runs", narrow_config(PaperNet.parse("B/256"), home / "photos"))
    with pytest.raises(WeightsError, match=r"No net in `runs` belongs to a row of shallow .*B-256-s0, width 0.0625"):
        command.reproduce("shallow", data="photos", crop=32, train=False, precision="fp32", workers=0)


# Refusals.


def test_no_runs_and_no_training_is_one_sentence(home: Path, inside: Cli) -> None:
    refused = inside("reproduce", "table6", "--data", "photos", "--crop", 32, "--no-train", check=False)
    assert refused.returncode == 1 and refused.stdout.count("\n") <= 1
    assert re.fullmatch(
        r"verydeep: No net in --runs belongs to a row of table6 with crop 32 .*--no-train.*\n", refused.stderr
    )
    assert not (home / "runs").exists()


@pytest.mark.parametrize(
    ("options", "message"),
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
def test_impossible_requests_are_refused_in_one_sentence(options: dict[str, Any], message: str, home: Path) -> None:
    (home / "photos" / "test").mkdir()
    Image.new("RGB", (40, 50)).save(home / "photos" / "test" / "0.png")
    with pytest.raises(VerydeepError, match=message) as caught:
        reproduce("shallow", **options)
    assert "\n" not in str(caught.value)
    assert not (home / "runs").exists()


def test_tables_are_not_written_among_other_files(tmp_path: Path, inside: Cli) -> None:
    (tmp_path / "mine").mkdir()
    for name in ("table3.json", "table3.md", "table3 notes.md"):
        (tmp_path / "mine" / name).touch()
    refused = inside("reproduce", "table3", "--data", "nowhere", "--out", "mine", check=False)
    assert (
        refused.returncode == 1
        and "--out mine holds files that do not belong to tables: choose a new" in refused.stderr
    )
