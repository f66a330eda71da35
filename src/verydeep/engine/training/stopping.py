"""SIGINT and SIGTERM, answered once all is saved."""

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any


class StopRequest:
    """Remembers SIGINT or SIGTERM until the loop asks, so that it can save first; a second one acts at once."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __enter__(self) -> "StopRequest":
        self._before: dict[int, Callable[..., Any] | int | None] = {}
        for number in (signal.SIGINT, signal.SIGTERM):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        self.signal = number
        for each, handler in self._before.items():
            signal.signal(each, handler)
