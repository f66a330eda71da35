"""``verydeep train``: settings, messages and files."""

import hashlib
import json
import shutil
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.interruption import interrupt_when
from tests.kills import Forker
from tests.runs import SMALL_NET, Cli, make_photographs, read_csv
from verydeep.engine import progress
from verydeep.models.weights.model_folder import load_config, load_model


def test_a_run_has_all_of_its_files(trained: Path) -> None:
    left = {path.relative_to(trained).as_posix() for path in trained.rglob("*") if path.is_file()}
    others = {name for name in left if name.startswith("evaluations/val")}  # of the tests of evaluate
    assert left - others == {
        ".lock", "run.json", "metrics.jsonl", "train.log", "curves.png", "checkpoints/step-000000020.safetensors",
        "model/config.json", "model/model.safetensors", "best/config.json", "best/model.safetensors",
        "evaluations/test-dense-256,384,512/errors.json", "evaluations/test-dense-256,384,512/predictions.csv",
        "evaluations/test-dense-256,384,512/examples.png", "evaluations/test-dense-256,384,512/classes.csv",
        "evaluations/test-dense-256,384,512/confusion.csv", "evaluations/test-dense-256,384,512/confusion.png",
        "evaluations/test-dense-256,384,512/environment.json", "environment.json", "report.html",
    }  # fmt: skip
    recipe = json.loads((trained / "run.json").read_text())["recipe"]
    assert (recipe["batch_size"], recipe["momentum"], recipe["weight_decay"]) == (12, 0.9, 5e-4)
    assert recipe["stages"][0]["scale"] == {"smallest": 256, "largest": 512}
    for picture in (trained / "curves.png", trained / "evaluations" / "test-dense-256,384,512" / "examples.png"):
        with Image.open(picture) as image:
            assert min(image.size) > 200
    lines = [json.loads(line) for line in (trained / "metrics.jsonl").read_text().splitlines()]
    ends = [line for line in lines if "epoch" in line]
    assert [line["epoch"] for line in ends] == [1, 2, 3, 4]
    for line in ends:
        assert line["grad_norm"] > 0 and 0 <= line["dead_fc6"] <= 1 and 0 <= line["dead_fc7"] <= 1
    log = (trained / "train.log").read_text()
    assert "Plan: net A" in log and "20 steps of 12 images" in log and "60 training images of 3 classes" in log
    assert "There are only 20 photographs per class" in log and "transfer" in log


def test_the_mean_is_that_of_the_training_images(trained: Path, photographs: Path) -> None:
    import numpy as np

    images = [Image.open(path) for path in sorted((photographs / "train").rglob("*.jpg"))]
    pixels = np.concatenate([np.asarray(image).reshape(-1, 3) for image in images])
    # Measured at the smallest S, so resampling moves it a little, and shapes weigh otherwise.
    assert load_config(trained / "model").mean_rgb == pytest.approx(pixels.mean(axis=0), abs=1.0)


def test_a_run_is_not_overwritten(trained: Path, photographs: Path, inside: Cli) -> None:
    refused = inside("train", photographs, *SMALL_NET, "--out", trained, check=False)
    assert refused.returncode == 1
    assert "already holds a run" in refused.stderr and "--resume" in refused.stderr


def test_a_deeper_net_copies_layers_and_mean_of_net_a(
    trained: Path, photographs: Path, inside: Cli, tmp_path: Path
) -> None:
    done = inside("train", photographs, *SMALL_NET, "--network", "B", "--init-from", trained, "--epochs", 1)
    assert "copied: conv1_1, conv2_1, conv3_1, conv3_2, fc6, fc7, fc8" in done.stdout
    assert "initialized at random (the paper takes only" in done.stdout and "conv1_2" in done.stdout
    run = tmp_path / "runs" / f"{photographs.name}-B-256-c32-w0.0625-f16-s0"
    assert load_config(run / "model").mean_rgb == load_config(trained / "model").mean_rgb
    assert json.loads((run / "run.json").read_text())["recipe"]["stages"][0]["learning_rate"] == pytest.approx(
        1e-2 * (12 / 256) ** 0.5
    )


def test_fc8_is_drawn_for_other_classes(trained: Path, tmp_path: Path, inside: Cli) -> None:
    data = make_photographs(tmp_path / "data", {"train": 8, "val": 2})
    for part in ("train", "val"):
        (data / part / "bee").rename(data / part / "beetle")
    done = inside("train", data, *SMALL_NET, "--init-from", trained, "--epochs", 1, "--out", "run")
    assert "initialized at random (other classes: 3 there, 3 here): fc8" in done.stdout
    assert json.loads((tmp_path / "run" / "run.json").read_text())["recipe"]["stages"][0][
        "learning_rate"
    ] == pytest.approx(1e-3 * (12 / 256) ** 0.5)


def test_folders_that_hold_no_run_are_refused(photographs: Path, tmp_path: Path, inside: Cli) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "todo.txt").write_text("")
    for folder in ("notes", "nowhere"):
        resumed = inside("train", "--resume", folder, check=False).stderr
        assert resumed == f"verydeep: There is no run in {folder}: give a folder that `verydeep train` wrote.\n"
    for name in ("a", "b"):
        (tmp_path / "runs" / name / "model").mkdir(parents=True)
        (tmp_path / "runs" / name / "run.json").write_text("{}")
    for folder, remedy in (("runs/a/model", "runs/a"), ("runs", "runs/a, runs/b")):
        resumed = inside("train", "--resume", folder, check=False).stderr
        assert resumed == f"verydeep: There is no run in {folder}: give {remedy}.\n"
    other = inside("train", photographs, *SMALL_NET, "--out", "notes", check=False)
    assert (
        other.returncode == 1
        and "--out notes holds files that do not belong to a run: choose a new folder." in other.stderr
    )
    assert [path.name for path in (tmp_path / "notes").iterdir()] == ["todo.txt"]


def test_an_error_of_all_processes_is_printed_once(forker: Forker, photographs: Path, tmp_path: Path) -> None:
    words = ("train", photographs, *SMALL_NET, "--batch-size", 1, "--out", "run")
    done, other = forker.run_in_two_processes(tmp_path, *words)
    assert (
        done.code == 1 and done.stderr == "verydeep: A batch of 1 cannot be shared by 2 processes: lower --devices.\n"
    )
    assert "verydeep: " not in other.output


def test_a_flat_folder_is_never_tested_on_what_it_was_trained_on(tmp_path: Path, inside: Cli) -> None:
    make_photographs(tmp_path, {"flat": 10})
    inside("train", "flat", *SMALL_NET, "--epochs", 1, "--seed", 7, "--out", "run")
    tested = (tmp_path / "run" / "evaluations" / "val-dense-256" / "predictions.csv").read_text().splitlines()[1:]
    assert len(tested) == 6
    again = inside("evaluate", "flat", "run", "--precision", "fp32", "--out", "again")
    assert (tmp_path / "again" / "predictions.csv").read_text().splitlines()[1:] == tested
    assert "training images" not in again.stdout
    trained_on = inside("evaluate", "flat", "run", "--split", "train", "--out", "trained-on")
    assert "These are the training images of run" in trained_on.stdout
    old_names, key = [f"bee/{path.name}" for path in (tmp_path / "flat" / "bee").iterdir()], (7).to_bytes(16, "little")
    ranks = {name: hashlib.blake2b(name.encode(), key=key).hexdigest() for name in old_names}
    added = {f"bee/new{number}.jpg" for number in range(60)}
    ranks |= {name: hashlib.blake2b(name.encode(), key=key).hexdigest() for name in added}
    last = [name for name in added if ranks[name] > max(ranks[name] for name in old_names)]
    first = [name for name in added if ranks[name] < min(ranks[name] for name in old_names)]
    for name in last:  # a fifth of all, by rank, would be some of those trained on
        Image.new("RGB", (50, 60)).save(tmp_path / "flat" / name)
    assert len(last) >= 5 and first
    inside("evaluate", "flat", "run", "--out", "more")
    old, trained, more = (
        {row["path"] for row in read_csv(tmp_path / name / "predictions.csv")}
        for name in ("again", "trained-on", "more")
    )
    assert more == old and not old & trained
    Image.new("RGB", (50, 60)).save(tmp_path / "flat" / first[0])
    changed = inside("evaluate", "flat", "run", "--out", "changed")
    assert "Photographs were added or removed since the training of run" in changed.stdout
    assert {row["path"] for row in read_csv(tmp_path / "changed" / "predictions.csv")} == {*old, first[0]}
    copy = tmp_path / "other" / "bee"
    copy.mkdir(parents=True)
    name = next(name for name in sorted(trained) if name.startswith("bee/"))
    shutil.copy(tmp_path / "flat" / name, copy / "elsewhere.jpg")
    elsewhere = inside("evaluate", "other", "run", "--out", "elsewhere")
    assert "elsewhere.jpg is a copy of the training photograph" in elsewhere.stdout


def test_a_run_of_an_older_version_is_resumed(tmp_path: Path, inside: Cli) -> None:
    """It does not know which photographs of each class were the last ones held out."""
    make_photographs(tmp_path, {"flat": 8})
    inside("train", "flat", *SMALL_NET, "--epochs", 1, "--out", "run")
    for path in (tmp_path / "run").glob("*/config.json"):
        config = json.loads(path.read_text())
        if config.get("split"):
            assert config["split"].pop("last_ranks").keys() == {"apple", "bee", "cloud"}
            path.write_text(json.dumps(config))
    assert "has changed" not in inside("train", "--resume", "run").stderr


def test_a_stuck_loss_is_reported(photographs: Path, inside: Cli) -> None:
    done = inside("train", photographs, *SMALL_NET, "--epochs", 2, "--learning-rate", 1e-9, "--out", "run")
    assert (
        "The net is worse than guessing: its average loss after 10 steps" in done.stdout
        and "more --epochs (now 10 steps in all)" in done.stdout
    )


def test_a_run_is_not_resumed_on_changed_data(tmp_path: Path, inside: Cli) -> None:
    data = make_photographs(tmp_path / "data", {"train": 8, "val": 2})
    inside("train", data, *SMALL_NET, "--epochs", 1, "--out", "run")
    (data / "train" / "bee" / "000.jpg").unlink()
    refused = inside("train", "--resume", "run", check=False)
    assert refused.returncode == 1 and "has changed since" in refused.stderr


def test_the_saved_net_is_that_of_the_end(trained: Path) -> None:
    model, config = load_model(trained / "model")
    assert (config.network, config.train_scale, config.crop, config.seed) == ("A", "256-512", 32, 3)
    assert not model.training
    assert (config.provenance.data or "").endswith("photographs0")


def test_options_that_a_resumed_run_would_ignore_are_refused(trained: Path, inside: Cli) -> None:
    other = inside("train", "elsewhere", "--resume", trained, "--crop", 64, "--seed", 1, check=False)
    assert other.returncode == 1 and "omit --crop, --seed." in other.stderr


def test_a_run_reports_each_epoch(trained: Path) -> None:
    log = (trained / "train.log").read_text()
    lines = [line for line in log.splitlines() if line.startswith("Epoch ")]
    assert len(lines) == 4 and all("of 4: loss " in line and "validation top-1 error " in line for line in lines)


def test_groups_and_copies_of_a_flat_folder(tmp_path: Path, inside: Cli) -> None:
    """No group is on both sides, in training and when the run is evaluated; a copy that is in both is reported."""
    data = make_photographs(tmp_path / "made", {"photos": 10}) / "photos"
    for path in data.rglob("*.jpg"):
        path.rename(path.with_name(f"plot{int(path.stem) // 2}-{path.stem}.jpg"))
    options = (*SMALL_NET, "--epochs", 1, "--workers", 0)
    done = inside("train", data, *options, "--group-by", r"(plot\d)-", "--out", "run")
    assert r"20% of each class in val (seed 0, grouped by (plot\d)-)" in done.stdout and "copy" not in done.stdout
    split = load_config(tmp_path / "run" / "model").split
    assert split is not None and split.group_by == r"(plot\d)-"
    assert json.loads((tmp_path / "run" / "run.json").read_text())["group_by"] == r"(plot\d)-"
    inside("evaluate", data, "run", "--workers", 0, "--out", "report")
    lines = (tmp_path / "report" / "predictions.csv").read_text().splitlines()[1:]
    tested = [line.split("/")[1].split("-")[0] for line in lines]
    assert len(tested) == 6 and len(set(tested)) == 1
    for name in ("apple", "bee"):
        shutil.copy(data / name / "plot0-000.jpg", data / name / "plot0-x.jpg")
    done = inside("train", data, *options, "--group-by", r"-(\w+)", "--out", "copies", "--val-fraction", 0.5)
    assert " test photographs are copies of training photographs (such as " in done.stdout
    refused = inside("train", data.parent, "--group-by", "plot", check=False)
    assert refused.returncode == 1 and "--group-by plot has no part in parentheses" in refused.stderr


def test_a_batch_larger_than_the_training_set_is_refused(photographs: Path, inside: Cli) -> None:
    done = inside("train", photographs, *SMALL_NET, "--batch-size", 61, check=False)
    assert done.returncode == 1
    assert done.stderr == "verydeep: --batch-size 61 is more than the 60 training photographs: give 60 or less.\n"
    inside("train", photographs, *SMALL_NET, "--batch-size", 60, "--epochs", 1, "--workers", 0, "--out", "run")


@pytest.mark.parametrize("balance", ["sampling", "weights"])
def test_unequal_classes_are_reported_or_balanced(tmp_path: Path, inside: Cli, balance: str) -> None:
    data = make_photographs(tmp_path / "data", {"train": 20, "val": 2})
    for number in range(2, 20):
        (data / "train/cloud" / f"{number:03d}.jpg").unlink()
    options = (*SMALL_NET, "--epochs", 2)
    plain = inside("train", data, *options, "--out", tmp_path / "plain").stdout
    assert "The classes are unequal: apple has 20 photographs, cloud 2." in plain and "--balance weights" in plain
    done = inside("train", data, *options, "--balance", balance, "--out", tmp_path / "balanced").stdout
    expected = {"sampling": "about 14 samples of each class", "weights": "a weight of 0.7 to 7"}[balance]
    assert "Balance: " in done and expected in done and "are unequal" not in done
    assert json.loads((tmp_path / "balanced/run.json").read_text())["recipe"]["balance"] == balance


def test_where_to_continue_is_said_last(
    photographs: Path, tmp_path: Path, inside: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while everything goes to one file, which gets a line of progress now and then: here for each step."""
    monkeypatch.setattr(progress, "LINE_SECONDS", 0)  # a training of minutes would write one, too
    monkeypatch.setattr(sys, "stderr", sys.stdout)  # as `2>&1` does
    metrics = tmp_path / "my run" / "metrics.jsonl"
    with interrupt_when(lambda: metrics.exists() and metrics.read_text().count("\n") == 2):
        stopped = inside(
            "train", photographs, *SMALL_NET, "--workers", 0, "--epochs", 9, "--out", "my run", check=False
        )
    lines = stopped.stdout.splitlines()
    assert stopped.returncode == 130 and any(line.startswith("Training") for line in lines)
    assert lines[-1] == "Stopped and saved at step 3: continue with `verydeep train --resume 'my run'`."
