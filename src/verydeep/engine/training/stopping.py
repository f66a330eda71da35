"""SIGINT and SIGTERM during a training: the state is saved first."""

import signal
import time
from collections.abc import Callable
from types import FrameType
from typing import Any

from verydeep.data.loading.batches import is_waiting
from verydeep.engine.process import owns_process

STUCK_SECONDS = 20
"""Seconds between a signal and the first look whether the training still waits for a batch, which may never come."""

REPEAT_SECONDS = 2
"""A signal that comes so soon after the first is the same request: Linux tells the end of a parent once for each thread
of it, and a launcher passes on the signal that a scheduler has sent to all processes."""


class StopRequest:
    """Remembers SIGINT or SIGTERM until the training loop looks, so that it can save first.

    A second request acts at once. If no batch comes that the loop could stop after, the process ends without saving;
    the last checkpoint stays. In a process of a Python caller, whose signals are the caller's, it never remembers any.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._signal_time = 0.0
        self._handlers: dict[int, Callable[..., Any] | int | None] = {}

    def __enter__(self) -> "StopRequest":
        if owns_process():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._handlers[number] = signal.signal(number, self._remember)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore_handlers()
        if self.signal is not None and hasattr(signal, "alarm"):
            signal.alarm(0)

    def _remember(self, number: int, _frame: FrameType | None) -> None:
        if self.signal is not None:
            if time.monotonic() - self._signal_time > REPEAT_SECONDS:
                self._restore_handlers()
                signal.raise_signal(number)
            return
        self.signal, self._signal_time = number, time.monotonic()
        if hasattr(signal, "alarm"):
            signal.signal(signal.SIGALRM, self._end_if_stuck)
            signal.alarm(STUCK_SECONDS)

    def _end_if_stuck(self, _number: int, frame: FrameType | None) -> None:
        assert self.signal is not None
        if is_waiting(frame):
            raise SystemExit(128 + self.signal)
        signal.alarm(STUCK_SECONDS)

    def _restore_handlers(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
