"""How one of several processes ends."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.runs import SMALL_NET
from verydeep.engine.launching import describe_signal


def test_a_process_ends_with_its_code_after_its_last_words() -> None:
    """Without the end of its interpreter, where PyTorch may abort: objects are not deleted."""
    script = """
import atexit
from verydeep.engine.launching import end_process

class Loud:
    def __del__(self):
        print("deleted")

loud = Loud()
atexit.register(print, "exit function", end="")
print("last words")
end_process(3)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (3, "last words\nexit function", "")


def list_processes(parent: int) -> list[int]:
    """The processes that torchrun has started."""
    return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def wait_for_a_step(run: Path) -> bool:
    """Steps begin and end with an exchange, so that a process that is killed now is missed by the others there."""
    return (run / "metrics.jsonl").exists()


def wait_for_a_checkpoint(run: Path) -> bool:
    """The main process writes a checkpoint, and the others wait for it."""
    return any(run.glob("checkpoints/.*/*"))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("killed", "is_time"),
    [(2, Path.exists), (2, wait_for_a_step), (1, wait_for_a_checkpoint)],
    ids=["before the first step", "between steps", "in a checkpoint"],
)
def test_a_process_that_was_killed_is_reported(
    killed: int, is_time: Callable[[Path], bool], photographs: Path, tmp_path: Path
) -> None:
    words = ["train", photographs, *SMALL_NET, "--epochs", 1000, "--workers", 0, "--devices", 2, "--out", "run"]
    command = [sys.executable, "-m", "verydeep", *map(str, words)]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as job:
        while not is_time(tmp_path / "run") and job.poll() is None:
            time.sleep(0.001)
        os.kill(sorted(list_processes(job.pid))[killed - 1], signal.SIGKILL)
        _, errors = job.communicate(timeout=60)
    assert job.returncode == 1
    assert errors == (
        f"verydeep: Process {killed} of 2 was killed, most often because memory ran out: free memory, or give fewer "
        "--devices or --workers. Saved results are not lost: continue with --resume RUN.\n"
    )


def restart(command: Sequence[str], run: Path) -> bool:
    """Kill a process of a training that torchrun runs; return whether the processes found each other again."""
    with subprocess.Popen(
        [*command, run.name],
        cwd=run.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as job:
        while not list((run / "checkpoints").glob("*.safetensors")) and job.poll() is None:
            time.sleep(0.05)
        os.kill(list_processes(job.pid)[-1], signal.SIGKILL)
        try:
            output, _ = job.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            processes = list_processes(job.pid)
            for pid in (job.pid, *processes):
                os.kill(pid, signal.SIGKILL)
            return False
    if "connectFullMesh" in output:
        return False
    assert job.returncode == 0, output
    return True


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_torchrun_restarts_a_training_from_its_last_checkpoint(photographs: Path, tmp_path: Path) -> None:
    """The command is the same, without --resume; so is the net.

    At times the new processes do not find each other (gloo in PyTorch 2.13 waits, or is refused): then once more.
    """
    words = ["train", photographs, *SMALL_NET, "--epochs", 30, "--workers", 0]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=3"]
    command = [*torchrun, "-m", "verydeep", *map(str, words), "--out"]
    runs = (tmp_path / f"run{number}" for number in range(3))
    run = next((run for run in runs if restart(command, run)), None)
    if run is None:
        pytest.skip("the processes of three restarts did not find each other")
    assert "Resumed at step" in (run / "train.log").read_text()
    subprocess.run([*command, "whole"], cwd=tmp_path, check=True, capture_output=True, timeout=200)
    weights = [(folder / "model" / "model.safetensors").read_bytes() for folder in (run, tmp_path / "whole")]
    assert weights[0] == weights[1]


def test_signals_that_a_process_cannot_report_are_described() -> None:
    assert describe_signal(signal.SIGSEGV, 0, 2) == (
        "Process 1 of 2 crashed (SIGSEGV): run the same command with `devices=1`"
    )
    assert [describe_signal(number, 0, 2) for number in (-1, 0, signal.SIGTERM, signal.SIGINT)] == [""] * 4
