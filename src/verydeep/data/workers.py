"""Processes that decode images: how they begin, how they end, and which file each of them is decoding."""

import atexit
import multiprocessing
import os
import re
import signal
from collections import deque
from dataclasses import dataclass
from multiprocessing.sharedctypes import RawArray
from pathlib import Path
from typing import Any

from verydeep.errors import ResourceError

_SLOT = 1024
"""Bytes of shared memory for each worker: eight of its process number, then the path of a file."""

_boards: deque[Any] = deque(maxlen=8)
"""Slots of the workers that this process started last, which outlive the workers."""

_slot: memoryview | None = None
"""The slot of this process, if it is a worker."""

_FAILURE = re.compile(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]+)\) (?:is killed by signal: ([\w ]+))?")


@dataclass(frozen=True)
class WorkerSetup:
    """Sets up the workers of one loader."""

    board: Any
    """Their slots."""

    @classmethod
    def of(cls, num_workers: int) -> "WorkerSetup":
        """Return the setup of this number of workers."""
        board = RawArray("c", _SLOT * num_workers)
        _boards.append(board)
        return cls(board)

    def __call__(self, worker: int) -> None:
        """Ignore signals, and run at a lower priority than the main process.

        Ctrl-C and a scheduler's SIGTERM reach all processes of a job, and workers must go on until the main process has
        saved. Its compute threads all wait for the slowest of them, so they need the cores more than a worker does.
        """
        global _slot  # noqa: PLW0603
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if hasattr(os, "nice"):
            os.nice(10)
        _slot = memoryview(self.board).cast("B")[worker * _SLOT : (worker + 1) * _SLOT]
        _slot[:8] = os.getpid().to_bytes(8, "little")


def note_file(path: Path) -> None:
    """Note that this process begins to decode a file; if it is a worker and is killed, the error names the file."""
    if _slot is not None:
        name = os.fsencode(path)[: _SLOT - 9] + b"\0"
        _slot[8 : 8 + len(name)] = name


def explain_killed_worker(error: Exception) -> ResourceError | None:
    """Return what a loader's error means to a user; None if the error is not about a killed worker."""
    match = _FAILURE.match(str(error))
    if match is None:
        return None
    pids, cause = {int(pid) for pid in match[1].split(",")}, match[2] or "it ended unexpectedly"
    file = next(filter(None, map(_noted_file, pids)), None)
    place = "" if file is None else f" while it decoded {file}"
    if cause == "Killed":
        return ResourceError(
            f"A process that decodes images was killed{place}, most often because memory ran out: give fewer "
            "`workers`, 0 for none, or free memory."
        )
    remedy = "find it with `verydeep verify DATA`" if file is None else "replace or remove the file"
    return ResourceError(f"A process that decodes images crashed{place} ({cause.lower()}): {remedy}.")


def _noted_file(pid: int) -> str | None:
    """Return the file that a worker was decoding, if it is known."""
    for board in _boards:
        for start in range(0, len(board), _SLOT):
            slot = board[start : start + _SLOT]
            if int.from_bytes(slot[:8], "little") == pid:
                return os.fsdecode(slot[8:].split(b"\0")[0]) or None
    return None


@atexit.register
def _end_workers() -> None:
    """End the workers with the main process: multiprocessing would send the SIGTERM that they ignore, and wait."""
    for child in multiprocessing.active_children():
        if child.daemon:
            child.kill()
