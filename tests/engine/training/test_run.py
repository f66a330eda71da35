"""A whole run: a net whose FC layers alone are fine-tuned, and one that two processes want to train."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from tests.kills import Forker
from tests.runs import SMALL_NET, Cli, losses_of
from verydeep.files import try_lock
from verydeep.models.weights.model_folder import load_config, load_tensors


def layers_that_moved(run: Path, source: Path) -> set[str]:
    before, after = load_tensors(source / "model"), load_tensors(run / "model")
    return {name.split(".")[0] for name, tensor in before.items() if not torch.equal(tensor, after[name])}


def test_only_the_fc_layers_learn(
    photographs: Path, trained: Path, tmp_path: Path, inside: Cli, forker: Forker
) -> None:
    """In one process, and in two: the same losses, and convolutions that stay bit for bit those of the source."""
    words = (*SMALL_NET, "--scale", "256-512", "--init-from", trained, "--fine-tune", "fc", "--epochs", 1, "--seed", 8)
    inside("train", photographs, *words)
    run = tmp_path / "runs" / f"{photographs.name}-A-256-512fc-c32-w0.0625-f16-s8"
    assert layers_that_moved(run, trained) == {"fc6", "fc7", "fc8"}
    config = load_config(run / "model")
    assert (config.fine_tuned, config.train_scale, load_config(trained / "model").fine_tuned) == (
        "fc",
        "256-512",
        "all",
    )
    settings = json.loads((run / "run.json").read_text())
    assert settings["fine_tuned"] == "fc"
    assert settings["recipe"]["stages"][0]["learning_rate"] == pytest.approx(1e-3 * (12 / 256) ** 0.5)
    (checkpoint,) = (run / "checkpoints").iterdir()
    with safe_open(checkpoint, framework="pt") as file:
        assert not [name for name in file.keys() if name.startswith("momentum.conv")]  # noqa: SIM118
    assert " parameters learn (fc6 to fc8)" in (run / "train.log").read_text()

    attempts = forker.run_in_two_processes(tmp_path, "train", photographs, *words, "--out", "two")
    assert [each.code for each in attempts] == [0, 0], attempts
    assert losses_of(tmp_path / "two") == pytest.approx(losses_of(run), rel=1e-5)
    assert layers_that_moved(tmp_path / "two", trained) == {"fc6", "fc7", "fc8"}


def test_a_run_is_trained_by_one_job_at_a_time(photographs: Path, tmp_path: Path, inside: Cli, forker: Forker) -> None:
    """A second one, of one process or two, is refused and changes nothing; a killed one blocks nobody."""
    run = tmp_path / "run"
    words = (*SMALL_NET, "--scale", "256", "--epochs", 500, "--out", run, "--workers", 1)
    command = [sys.executable, "-m", "verydeep", "train", str(photographs), *map(str, words)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as first:
        try:
            while not list(run.glob("checkpoints/*.safetensors")):
                assert first.poll() is None
                time.sleep(0.1)
            message = f"verydeep: {run} is being trained by another process: wait until it ends, or stop it."
            refused = inside("train", "--resume", run, check=False)
            assert (refused.returncode, refused.stderr) == (1, f"{message}\n") and "Data:" not in refused.stdout
            one, two = forker.run_in_two_processes(tmp_path, "train", "--resume", run)
            assert one.code == 1 and two.code != 0 and (one.output + two.output).count(message) == 1
            assert "Data:" not in one.output + two.output
            assert first.poll() is None
        finally:
            first.kill()
    assert (run / "train.log").read_text().count("Data:") == 1
    with try_lock(run / ".lock") as free:
        assert free
