"""How one of several processes ends."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.runs import SMALL_NET, metrics_of
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


KILL_IN_VALIDATION = """
import os, signal, sys

def kill(event, arguments):
    if event == "open" and "/val/" in str(arguments[0]):
        if os.path.exists("run/metrics.jsonl") and os.path.getsize("run/metrics.jsonl"):
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(kill)
"""


def list_processes(parent: int) -> list[int]:
    """The processes that torchrun has started."""
    return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def wait_for_a_step(run: Path) -> bool:
    """Steps begin and end with an exchange, so that a process that is killed now is missed by the others there."""
    return (run / "metrics.jsonl").exists()


def wait_for_a_checkpoint(run: Path) -> bool:
    """The main process writes a checkpoint, and the others wait for it."""
    return any(run.glob("checkpoints/.*/*"))


def start_training(photographs: Path, folder: Path, environment: dict[str, str]) -> subprocess.Popen[str]:
    words = ["train", photographs, *SMALL_NET, "--epochs", 1000, "--devices", 2, "--out", "run"]
    return subprocess.Popen(
        [sys.executable, "-m", "verydeep", *map(str, words)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )


def check_report(job: subprocess.Popen[str], killed: int) -> None:
    """Wait for the end of a job; its error names the process that was killed."""
    _, errors = job.communicate(timeout=60)
    assert job.returncode == 1
    assert errors == (
        f"verydeep: Process {killed} of 2 was killed, most often because memory ran out: free memory, or give fewer "
        "--devices or --workers. Saved results are not lost: continue with --resume RUN.\n"
    )


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    ("killed", "is_time"),
    [(2, Path.exists), (2, wait_for_a_step), (1, wait_for_a_checkpoint)],
    ids=["before the first step", "between steps", "in a checkpoint"],
)
def test_a_process_that_was_killed_is_reported(
    killed: int, is_time: Callable[[Path], bool], photographs: Path, tmp_path: Path
) -> None:
    with start_training(photographs, tmp_path, {}) as job:
        while not is_time(tmp_path / "run") and job.poll() is None:
            time.sleep(0.001)
        os.kill(sorted(list_processes(job.pid))[killed - 1], signal.SIGKILL)
        check_report(job, killed)


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="kills")
def test_a_process_that_was_killed_in_a_validation_is_reported(photographs: Path, tmp_path: Path) -> None:
    """The first process, which validates on a single batch, kills itself when it opens a photograph for it."""
    metrics = tmp_path / "run" / "metrics.jsonl"
    (tmp_path / "sitecustomize.py").write_text(KILL_IN_VALIDATION)
    with start_training(photographs, tmp_path, {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}) as job:
        while not (metrics.exists() and metrics.read_text().count("\n") == 4) and job.poll() is None:
            time.sleep(0.05)
        check_report(job, 1)
    assert metrics.read_text().count("\n") == 4  # the fifth step ends the epoch


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_torchrun_restarts_a_training_from_its_last_checkpoint(photographs: Path, tmp_path: Path) -> None:
    """The command is the same, without --resume; each of its 40 steps is done, and noted once."""
    words = ["train", photographs, *SMALL_NET, "--epochs", 8, "--out", "run"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", "--max-restarts=1"]
    command = [*torchrun, "-m", "verydeep", *map(str, words)]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as job:
        while not list(tmp_path.glob("run/checkpoints/*.safetensors")) and job.poll() is None:
            time.sleep(0.01)
        os.kill(list_processes(job.pid)[-1], signal.SIGKILL)
        output, _ = job.communicate(timeout=200)
    assert job.returncode == 0, output
    assert "Resumed at step" in (tmp_path / "run" / "train.log").read_text()
    assert [line["step"] for line in metrics_of(tmp_path / "run")] == [*range(1, 41)]


def test_signals_that_a_process_cannot_report_are_described() -> None:
    assert describe_signal(signal.SIGSEGV, 0, 2) == (
        "Process 1 of 2 crashed (SIGSEGV): run the same command with `devices=1`"
    )
    assert [describe_signal(number, 0, 2) for number in (-1, 0, signal.SIGTERM, signal.SIGINT)] == [""] * 4
