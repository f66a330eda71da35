"""Runs that are resumed with another number of epochs, or trained on from their nets."""

import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
from PIL import Image, ImageOps

from tests.interruption import interrupt_when
from tests.runs import SMALL_NET, Cli, make_photographs, metrics_of
from verydeep.configs.recipes import RECIPES, shorten
from verydeep.engine.training.extension import has_same_steps
from verydeep.engine.training.metrics_log import read_metrics
from verydeep.engine.training.schedule import Schedule, new_schedule
from verydeep.models.weights.model_folder import load_config


def stop_in_second_epoch(inside: Cli, data: Path, epochs: int) -> Path:
    """Train in ``run`` until the seventh of five steps an epoch."""
    metrics = data.parent / "run" / "metrics.jsonl"
    with interrupt_when(lambda: metrics.exists() and metrics.read_text().count("\n") == 6):
        words = ("train", data, *SMALL_NET, "--workers", 0, "--epochs", epochs, "--out", "run")
        assert inside(*words, check=False).returncode == 130
    assert len(metrics_of(metrics.parent)) == 7
    return metrics.parent


def set_losses(run: Path, loss: float) -> None:
    lines = [json.dumps({**line, "loss": loss}) + "\n" for line in read_metrics(run / "metrics.jsonl")]
    (run / "metrics.jsonl").write_text("".join(lines))


@pytest.fixture
def data(photographs: Path, tmp_path: Path) -> Path:
    (tmp_path / "photos").symlink_to(photographs)
    return tmp_path / "photos"


@pytest.mark.parametrize(("begun", "changed"), [(4, 6), (6, 4)])
def test_a_run_of_other_epochs_is_the_one_that_began_so(
    begun: int, changed: int, data: Path, tmp_path: Path, inside: Cli
) -> None:
    """Of four and of six epochs, the first drop of the rate is in the third or fourth."""
    run = stop_in_second_epoch(inside, data, begun)
    inside("train", "--resume", "run", "--epochs", changed, "--workers", 0)
    inside("train", data, *SMALL_NET, "--workers", 0, "--epochs", changed, "--out", "whole")
    assert metrics_of(run) == metrics_of(tmp_path / "whole")
    for name in ("run.json", "model/config.json", "model/model.safetensors", "best/config.json"):
        assert (run / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_epochs_that_a_run_cannot_have_are_refused(data: Path, tmp_path: Path, inside: Cli) -> None:
    run = stop_in_second_epoch(inside, data, 3)
    settings = (run / "run.json").read_bytes()
    fewer = inside("train", "--resume", "run", "--epochs", 1, check=False)
    assert "run has had 1 of its 3 epochs: use its net as it is, or give --epochs 3 or more." in fewer.stderr
    again = inside("train", data, *SMALL_NET, "--epochs", 5, "--out", "run", check=False)
    assert (
        "run already holds a run of 3 epochs: continue it with --resume run, or for 5 epochs choose another --out, "
        in (again.stderr)
    )
    inside("train", "--resume", "run", "--workers", 0)
    set_losses(run, 1.09)  # of guessing among three classes: ln 3 = 1.0986
    guessing = inside("train", "--resume", "run", "--epochs", 5, check=False).stderr
    assert "is still guessing, so start a new run with more --epochs and another --out." in guessing
    set_losses(run, 0.5)
    longer = inside("train", "--resume", "run", "--epochs", 5, check=False)
    assert (
        "from its net (the learning rate is then a tenth of the one from random weights): verydeep train"
        in longer.stderr
    )
    assert longer.returncode == 1
    assert (
        "run has had 3 of its 3 epochs, and their number cannot be changed, because its learning rate has dropped "
        "already; " in (longer.stderr)
    )
    assert inside("train", "--resume", "run", "--epochs", 2, check=False).stderr.startswith(
        "verydeep: run has had 3 of its 3 epochs, and their number cannot be changed, because its learning rate has "
        "dropped already; "
    )
    assert (run / "run.json").read_bytes() == settings
    start = longer.stderr.index("verydeep train")
    command = shlex.split(longer.stderr[start:])
    assert command[2:] == ["photos", "--init-from", "run", "--epochs", "2", "--scale", "256", "--out", "run-more"]
    inside(*command[1:], "--workers", 0)
    assert len([line for line in metrics_of(tmp_path / "run-more") if "epoch" in line]) == 2


def test_fewer_epochs_whose_rate_would_have_dropped_are_refused(data: Path, inside: Cli) -> None:
    stop_in_second_epoch(inside, data, 6)
    refused = inside("train", "--resume", "run", "--epochs", 2, check=False).stderr
    sentence = "verydeep: run has had 1 of its 6 epochs, and with 2 its learning rate would have dropped by now: give "
    found = re.fullmatch(f"{re.escape(sentence)}--epochs ([3-6]) or more.\n", refused)
    assert found is not None, refused
    least = int(found[1])
    assert inside("train", "--resume", "run", "--epochs", least - 1, check=False).returncode == 1
    inside("train", "--resume", "run", "--epochs", least)


@pytest.mark.parametrize("parts", [{"flat": 10}, {"train": 8, "val": 2}])
def test_a_run_continues_where_its_photographs_were_moved_to(
    parts: dict[str, int], tmp_path: Path, inside: Cli
) -> None:
    make_photographs(tmp_path / "old", parts)
    first = tmp_path / "old" / "flat" if "flat" in parts else tmp_path / "old"
    words = (*SMALL_NET, "--workers", 0)
    inside("train", first, *words, "--epochs", 2, "--out", "whole")
    metrics = tmp_path / "run" / "metrics.jsonl"
    with interrupt_when(lambda: metrics.exists() and metrics.read_text().count("\n") >= 3):
        inside("train", first, *words, "--epochs", 2, "--out", "run", check=False)
    refused = inside("train", "elsewhere/new", "--resume", "run", check=False).stderr
    assert f"run learns from {first}, which still exists: omit DATA." in refused
    (tmp_path / "elsewhere").mkdir()
    shutil.move(first, tmp_path / "elsewhere" / "new")
    lost = inside("train", "--resume", "run", check=False).stderr
    assert lost == (
        f"verydeep: run learns from {first}, which does not exist: if you moved it, name its new place, as in "
        "`verydeep train DATA --resume run`.\n"
    )
    make_photographs(tmp_path / "other", {"train": 3, "val": 2})
    others = inside("train", "other", "--resume", "run", check=False).stderr
    assert f"other does not hold the photographs that run learns from, which were in {first}: give their" in others
    shutil.copytree(tmp_path / "elsewhere" / "new", tmp_path / "namesakes" / "new")
    for path in (tmp_path / "namesakes").rglob("*.jpg"):  # a camera counts from 1 in each folder
        with Image.open(path) as photograph:
            ImageOps.invert(photograph).save(path)
    namesakes = inside("train", "namesakes/new", "--resume", "run", "--workers", 0, check=False).stderr
    assert "holds other photographs than run learns from, under the same names: give their new place" in namesakes
    inside("train", "elsewhere/new", "--resume", "run", "--workers", 0)
    assert metrics_of(tmp_path / "run") == metrics_of(tmp_path / "whole")
    assert json.loads((tmp_path / "run" / "run.json").read_text())["data"] == str(tmp_path / "elsewhere" / "new")
    assert "training images" not in inside("evaluate", "elsewhere/new", "run", "--workers", 0).stdout
    assert "is finished" in inside("train", "--resume", "run", "--workers", 0).stdout


def test_a_finished_run_says_so_first(trained: Path, tmp_path: Path, inside: Cli) -> None:
    shutil.copytree(trained, tmp_path / "run")
    done = inside("train", "--resume", "run", "--workers", 0)
    assert done.stdout.startswith("run is finished (4 of 4 epochs).\nData: ")
    assert "Plan:" not in done.stdout and "Resumed" not in done.stdout and "top-1 error" in done.stdout


def test_a_plateau_schedule_may_become_longer_until_its_last_plateau_ends() -> None:
    recipe = RECIPES["256"]
    longer, short = shorten(recipe, 100), shorten(recipe, 20)
    assert longer.has_plateaus and not short.has_plateaus
    schedule = new_schedule(recipe, 0, 0, 25_600)  # 100 steps an epoch
    assert has_same_steps(schedule, longer, 7400, 25_600)
    assert has_same_steps(schedule, short, 1200, 25_600) and not has_same_steps(schedule, short, 1201, 25_600)
    dropped = Schedule(**{**vars(schedule), "drops": 3, "best_step": 5000})
    assert has_same_steps(dropped, longer, 5499, 25_600) and not has_same_steps(dropped, longer, 5500, 25_600)
    assert not has_same_steps(dropped, short, 100, 25_600)


def test_a_net_is_not_validated_on_what_its_source_net_was_trained_on(tmp_path: Path, inside: Cli) -> None:
    """The division is that of the source net, where the folder lies now, or a copy of it."""
    make_photographs(tmp_path / "first", {"flat": 10})
    words = (*SMALL_NET, "--epochs", 1, "--workers", 0)
    inside("train", "first/flat", *words, "--out", "run")
    (tmp_path / "second").mkdir()
    shutil.move(tmp_path / "first" / "flat", tmp_path / "second" / "flat")
    inside("train", "second/flat", *words, "--init-from", "run", "--seed", 5, "--out", "moved")
    splits = [load_config(tmp_path / name / "model").split for name in ("run", "moved")]
    assert splits[0] is not None and splits[1] is not None and splits[0].val == splits[1].val

    shutil.copytree(tmp_path / "second" / "flat", tmp_path / "again")
    inside("train", "again", *words, "--init-from", "moved", "--seed", 5, "--out", "copied")
    copied = load_config(tmp_path / "copied" / "model").split
    assert copied is not None and copied.seed == splits[0].seed == 0
