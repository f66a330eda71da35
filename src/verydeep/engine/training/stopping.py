"""SIGINT and SIGTERM during a training: the state is saved first."""

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

from verydeep.engine.process import owns_process


class StopRequest:
    """Remembers SIGINT or SIGTERM until the training loop looks, so that it can save first; a second one acts at once.

    In a process of a Python caller, whose signals are the caller's, it never remembers any.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._handlers: dict[int, Callable[..., Any] | int | None] = {}

    def __enter__(self) -> "StopRequest":
        if owns_process():
            for number in (signal.SIGINT, signal.SIGTERM):
                self._handlers[number] = signal.signal(number, self._remember)
        return self

    def __exit__(self, *_: object) -> None:
        self._restore_handlers()

    def _remember(self, number: int, _frame: FrameType | None) -> None:
        self.signal = number
        self._restore_handlers()

    def _restore_handlers(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)
