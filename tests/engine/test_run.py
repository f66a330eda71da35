"""A whole run: a net whose FC layers alone are fine-tuned."""

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from tests.runs import SMALL_NET, Cli, losses_of
from verydeep.models.weights.native import load_config, load_tensors


def layers_that_moved(run: Path, source: Path) -> set[str]:
    before, after = load_tensors(source / "model"), load_tensors(run / "model")
    return {name.split(".")[0] for name, tensor in before.items() if not torch.equal(tensor, after[name])}


def test_only_the_fc_layers_learn(photographs: Path, trained: Path, tmp_path: Path, cli: Cli) -> None:
    """In one process, and in two: the same losses, and convolutions that stay bit for bit those of the source."""
    words = (*SMALL_NET, "--scale", "256-512", "--init-from", trained, "--fine-tune", "fc", "--epochs", 1, "--seed", 8)
    cli("train", photographs, *words)
    run = tmp_path / "runs" / f"{photographs.name}-A-256-512fc-c32-s8"
    assert layers_that_moved(run, trained) == {"fc6", "fc7", "fc8"}
    config = load_config(run / "model")
    assert (config.fine_tuned, config.scale, load_config(trained / "model").fine_tuned) == ("fc", "256-512", "all")
    settings = json.loads((run / "run.json").read_text())
    assert settings["fine_tuned"] == "fc"
    assert settings["recipe"]["stages"][0]["learning_rate"] == pytest.approx(1e-3 * (12 / 256) ** 0.5)
    (checkpoint,) = (run / "checkpoints").iterdir()
    with safe_open(checkpoint, framework="pt") as file:
        assert not [name for name in file.keys() if name.startswith("momentum.conv")]  # noqa: SIM118
    assert "M of fc6, fc7 and fc8 learn)" in (run / "train.log").read_text()

    cli("train", photographs, *words, "--devices", 2, "--out", "two")
    assert losses_of(tmp_path / "two") == pytest.approx(losses_of(run), rel=1e-5)
    assert layers_that_moved(tmp_path / "two", trained) == {"fc6", "fc7", "fc8"}
