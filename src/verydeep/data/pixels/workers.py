"""Processes that decode images: how they begin, how they end, and which file each of them is decoding."""

import atexit
import multiprocessing
import os
import re
import signal
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing.sharedctypes import RawArray
from pathlib import Path
from types import FrameType
from typing import Any

from verydeep.errors import ResourceError

MINUTES_PER_FILE = 10.0
"""Time for one file, after which its worker ends: the file makes a decoder loop, or its disk does not answer."""

_SLOT = 1024
"""Bytes of shared memory for each worker: eight of its process number, then the path of a file."""

_boards: deque[Any] = deque(maxlen=8)
"""Slots of the workers that this process started last, which outlive the workers."""

_slot: memoryview | None = None
"""The slot of this process, if it is a worker."""

_file: Path | str | None = None
"""The file that this process reads now."""

_FAILURE = re.compile(r"DataLoader worker \(pid(?:\(s\))? ([\d, ]*)\)|Pin memory thread exited")
_SIGNAL = re.compile(r"is killed by signal: ([\w ]+)")


_HELD = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def held_signals() -> Iterator[None]:
    """Hold back Ctrl-C and SIGTERM while the main thread starts processes; each of these calls `release_signals`.

    Python loses an exception that a handler raises while it forks, and the new process would raise it, too. A signal to
    all processes of a job would end one that has not yet said how it takes it.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    before = {number: handler for number in _HELD if callable(handler := signal.getsignal(number))}
    for number in before:  # the system may choose another thread for a signal, which the mask of this one lets through
        signal.signal(number, lambda number, _frame: came.append(number))
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _HELD) if hasattr(signal, "pthread_sigmask") else None
    try:
        yield
    finally:
        if mask is not None:
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in before.items():
            signal.signal(number, handler)
        if came:
            signal.raise_signal(came[0])


def release_signals() -> None:
    """Let signals through that were held back when this process was started."""
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, _HELD)


@dataclass(frozen=True)
class WorkerSetup:
    """Sets up the workers of one loader."""

    board: Any
    """Their slots, and a byte that is 1 when they are to end."""

    @classmethod
    def of(cls, num_workers: int) -> "WorkerSetup":
        """Return the setup of this number of workers."""
        board = RawArray("c", _SLOT * num_workers + 1)
        _boards.append(board)
        return cls(board)

    def __call__(self, worker: int) -> None:
        """Ignore signals, and run at a lower priority than the main process.

        Ctrl-C and a scheduler's SIGTERM reach all processes of a job, and workers must go on until the main process has
        saved. Its compute threads all wait for the slowest of them, so they need the cores more than a worker does.
        """
        global _slot  # noqa: PLW0603
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, self._end_if_failed)
        release_signals()
        if hasattr(signal, "SIGALRM"):
            signal.signal(signal.SIGALRM, signal.SIG_DFL)  # ends it, also within a decoder that never returns
        if hasattr(os, "nice"):
            os.nice(10)
        _slot = memoryview(self.board).cast("B")[worker * _SLOT : (worker + 1) * _SLOT]
        _slot[:8] = os.getpid().to_bytes(8, "little")

    def end_all(self) -> None:
        """End the workers after an error, whose traceback may keep their loader, and them, alive."""
        self.board[-1] = 1
        pids = {_pid(slot) for slot in _split_board(self.board)}
        for child in multiprocessing.active_children():
            if child.pid in pids:
                child.terminate()

    def _end_if_failed(self, _number: int, _frame: FrameType | None) -> None:
        """End this worker, but not by a SIGTERM that all processes of a job got."""
        if self.board[-1] != b"\0":
            os._exit(0)


def note_file(path: Path | str) -> None:
    """Note that this process begins to read a file, so that the error names it if the process crashes or is killed."""
    global _file  # noqa: PLW0603
    _file = path
    if _slot is not None:
        name = os.fsencode(path)[: _SLOT - 9] + b"\0"
        _slot[8 : 8 + len(name)] = name
        _set_alarm(60 * MINUTES_PER_FILE)


def forget_file() -> None:
    """Note that the file was read; a crash of this process has another cause."""
    global _file  # noqa: PLW0603
    _file = None
    if _slot is not None:
        _set_alarm(0)


def _set_alarm(seconds: float) -> None:
    """Let the system end this worker after a time, or never."""
    if hasattr(signal, "setitimer"):
        signal.setitimer(signal.ITIMER_REAL, seconds)


def describe_crash() -> str:
    """Return a sentence about the file that this process was reading, or nothing."""
    return "" if _file is None else f"{_file} crashes the decoder: remove the file."


def explain_killed_worker(error: Exception) -> ResourceError | None:
    """Return what a loader's error means to a user; None if the error is not about a killed worker."""
    match = _FAILURE.match(str(error))
    if match is None:
        return None
    cause = _SIGNAL.search(f"{error} {error.__cause__}")  # PyTorch's first error is the cause of a vaguer one
    file = next(filter(None, map(_noted_file, re.findall(r"\d+", match[1] or ""))), None)
    place = "" if file is None else f" while it decoded {file}"
    if cause is None:
        remedy = "give fewer `workers`, 0 for none" + ("" if file is None else ", or remove the file")
        return ResourceError(f"A process that decodes images ended{place}: {remedy}.")
    if cause[1] == "Alarm clock" and file is not None:
        return ResourceError(
            f"{file} was not decoded within {MINUTES_PER_FILE:g} minutes: remove the file, or check its disk."
        )
    if cause[1] == "Killed":
        return ResourceError(
            f"A process that decodes images was killed{place}, most often because memory ran out: give fewer "
            "`workers`, 0 for none, or free memory."
        )
    remedy = "find its file with `verydeep verify DATA`" if file is None else "replace or remove the file"
    return ResourceError(f"A process that decodes images crashed{place} ({cause[1].lower()}): {remedy}.")


def name_ended_workers(error: Exception) -> RuntimeError:
    """Return the error of a loader one of whose workers ended while it sent a batch."""
    time.sleep(1)  # in the main thread, PyTorch raises an error that names the signal
    active = {child.pid for child in multiprocessing.active_children()}
    ended = sorted(pid for pid in map(_pid, _slots()) if pid and pid not in active)
    return RuntimeError(f"DataLoader worker (pid(s) {', '.join(map(str, ended))}) ended: {error}")


def _slots() -> Iterator[bytes]:
    """Yield the slots of the workers that this process started last, the last loader first."""
    for board in reversed(_boards):
        yield from _split_board(board)


def _split_board(board: Any) -> list[bytes]:
    return [board[start : start + _SLOT] for start in range(0, len(board) - 1, _SLOT)]


def _pid(slot: bytes) -> int:
    return int.from_bytes(slot[:8], "little")


def _noted_file(pid: str) -> str | None:
    """Return the file that a worker was decoding, if it is known."""
    slot = next((slot for slot in _slots() if _pid(slot) == int(pid)), b"")
    return os.fsdecode(slot[8:].split(b"\0")[0]) or None


@atexit.register
def _end_workers() -> None:
    """End the workers with the main process: multiprocessing would send the SIGTERM that they ignore, and wait."""
    if hasattr(signal, "SIGCHLD"):
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # PyTorch's handler would report them
    for child in multiprocessing.active_children():
        if child.daemon:
            child.kill()
