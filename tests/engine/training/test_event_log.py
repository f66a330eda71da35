"""Event files hold what metrics.jsonl holds, as TensorBoard itself reads them."""

import json
from pathlib import Path

import pytest

from tests.interruption import interrupt_when
from tests.runs import SMALL_NET, Cli

tensorboard = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")


def read_scalars(run: Path) -> dict[str, list[tuple[int, float]]]:
    events = tensorboard.EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    return {tag: [(each.step, each.value) for each in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def read_lines(run: Path, name: str) -> list[tuple[int, float]]:
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [(line["step"], pytest.approx(line[name])) for line in lines if line.get(name) is not None]


def test_tensorboard_reads_the_metrics_also_of_a_resumed_run(photographs: Path, tmp_path: Path, inside: Cli) -> None:
    """The second file goes on where the first one ends."""
    metrics = tmp_path / "run" / "metrics.jsonl"
    with interrupt_when(lambda: metrics.exists() and metrics.read_bytes().count(b"\n") >= 9):
        stopped = inside(
            *("train", photographs, *SMALL_NET, "--epochs", 6, "--out", "run", "--tensorboard"), check=False
        )
    assert stopped.returncode == 130
    inside("train", "--resume", "run", "--tensorboard")
    names = ("loss", "learning_rate", "val_error", "train_loss", "grad_norm")
    scalars = read_scalars(tmp_path / "run")
    assert {name: scalars[name] for name in names} == {name: read_lines(tmp_path / "run", name) for name in names}
    assert len(scalars["val_error"]) == 6 and "seconds" not in scalars
    assert len(list((tmp_path / "run" / "tensorboard").iterdir())) == 2


def test_without_the_option_there_are_no_event_files(trained: Path) -> None:
    assert not (trained / "tensorboard").exists()
