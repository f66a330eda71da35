"""Ctrl-C and SIGTERM: no traceback from any process, the right exit code, a terminal that can be used."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from tests.runs import SMALL_NET

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def start(words: Sequence[object], folder: Path, stderr: int, python: Sequence[str] = ()) -> subprocess.Popen[str]:
    """Start the command line as a shell does: in a process group of its own, with Ctrl-C not ignored."""
    return subprocess.Popen(
        [sys.executable, *python, "-m", "verydeep", *map(str, words)],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        start_new_session=True,
        env=os.environ | {"VERYDEEP_CACHE": str(folder / "cache")},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # noqa: PLW1509 - tests start no threads
    )


def children_of(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


def read_terminal(terminal: int) -> str:
    """Read what was written to a terminal whose other end is closed."""
    parts = []
    try:
        while part := os.read(terminal, 65536):
            parts.append(part)
    except OSError:  # so Linux says that nobody writes any more
        pass
    return b"".join(parts).decode()


@pytest.mark.parametrize(
    ("number", "code", "to_group"),
    [(signal.SIGINT, 130, True), (signal.SIGTERM, 143, True), (signal.SIGTERM, 143, False)],
)
def test_an_evaluation_with_workers_stops(
    number: int, code: int, to_group: bool, trained: Path, photographs: Path, tmp_path: Path
) -> None:
    words = ("evaluate", photographs, trained, "--split", "train", "--views", "dense+crops", "--workers", 2)
    terminal, stderr = pty.openpty()
    with start(words, tmp_path, stderr) as job:
        os.close(stderr)
        wait_for(lambda: len(children_of(job.pid)) >= 2 or job.poll() is not None)
        workers = children_of(job.pid)
        (os.killpg if to_group else os.kill)(job.pid, number)
        assert job.wait(60) == code
    shown = read_terminal(terminal)
    os.close(terminal)
    assert shown.endswith("verydeep: stopped; the same command continues from the posteriors that are saved.\r\n")
    assert "Traceback" not in shown and shown.rfind("\x1b[?25h") >= shown.rfind("\x1b[?25l")  # the cursor is shown
    wait_for(lambda: not any(map(is_running, workers)))


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_while_the_command_line_is_imported_leaves_no_traceback(number: int, tmp_path: Path) -> None:
    """Python prints each module that it has imported."""
    with start(("train",), tmp_path, subprocess.PIPE, ("-X", "importtime")) as job:
        assert job.stderr is not None
        while "verydeep.errors" not in job.stderr.readline():
            assert job.poll() is None
        os.kill(job.pid, number)
        _, rest = job.communicate(timeout=60)
    assert job.returncode in (-number, 128 + number)
    assert "Traceback" not in rest and "KeyboardInterrupt" not in rest


def test_processes_save_and_end_when_the_one_that_started_them_is_killed(photographs: Path, tmp_path: Path) -> None:
    words = ("train", photographs, *SMALL_NET, "--epochs", 1000, "--devices", 2, "--out", "run")
    metrics = tmp_path / "run" / "metrics.jsonl"
    with start(words, tmp_path, subprocess.PIPE) as job:
        wait_for(lambda: metrics.exists() and metrics.read_bytes().count(b"\n") >= 3)
        processes = children_of(job.pid)
        assert len(processes) == 2
        job.kill()
        wait_for(lambda: not any(map(is_running, processes)))
        _, errors = job.communicate()
    assert errors == ""
    last = json.loads(metrics.read_text().splitlines()[-1])["step"]
    assert [path.name for path in (tmp_path / "run" / "checkpoints").iterdir()] == [f"step-{last:09d}.safetensors"]
