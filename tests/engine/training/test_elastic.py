"""A run is stopped and continues on other numbers of processes, workers and images at once."""

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.interruption import interrupt_when
from tests.runs import SHORT_TRAINING, SMALL_NET, Cli, losses_of

TRAINING = (*SMALL_NET, *SHORT_TRAINING, "--learning-rate", 1e-3)
"""20 steps of 12 images, with dropout. At a rate of 1e-2 this net is chaotic: rounding errors grow tenfold a step."""


def count_lines(metrics: Path) -> int:
    return metrics.read_bytes().count(b"\n") if metrics.exists() else 0


def continue_until(num_steps: int, run: Path, *options: object) -> None:
    """Resume a run in a process of its own, and stop it by SIGTERM after some step of this number or a later one."""
    command = [sys.executable, "-m", "verydeep", "train", "--resume", run.name, *options]
    with subprocess.Popen([*map(str, command)], cwd=run.parent, stdout=subprocess.DEVNULL) as job:
        while job.poll() is None and count_lines(run / "metrics.jsonl") < num_steps:
            time.sleep(0.002)
        job.send_signal(signal.SIGTERM)
        assert job.wait(60) == 143


def test_a_run_continues_on_other_numbers_of_processes(photographs: Path, tmp_path: Path, inside: Cli) -> None:
    """Of one process, then of two, of which one has more micro-batches, then of one with a worker; 12 = 5 + 5 + 2."""
    inside("train", photographs, *TRAINING, "--out", "whole")
    run = tmp_path / "run"
    with interrupt_when(lambda: count_lines(run / "metrics.jsonl") == 5):
        assert inside("train", photographs, *TRAINING, "--out", "run", check=False).returncode == 130
    continue_until(9, run, "--devices", 2, "--micro-batch", 4)
    stopped_at = len(losses_of(run))
    assert 9 <= stopped_at < 20
    inside("train", "--resume", "run", "--micro-batch", 5, "--workers", 1)
    assert json.loads((run / "run.json").read_text())["micro_batch"] == 5
    assert losses_of(run) == pytest.approx(losses_of(tmp_path / "whole"), rel=1e-5)


def test_options_that_change_the_result_are_refused(trained: Path, inside: Cli) -> None:
    refused = inside("train", "--resume", trained, "--batch-size", 6, "--seed", 4, "--micro-batch", 4, check=False)
    assert refused.stderr == (
        f"verydeep: {trained} continues with the settings it began with: omit --seed, --batch-size.\n"
    )
