"""Requests to stop a training."""

import signal

import pytest

from verydeep.engine.process import own_process
from verydeep.engine.training import stopping
from verydeep.engine.training.stopping import StopRequest


def act(number: int, _frame: object) -> None:
    raise InterruptedError(number)


def test_only_a_later_signal_is_a_second_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux sends the death signal once for each thread of a launcher that is killed."""
    before = signal.signal(signal.SIGTERM, act)
    try:
        with own_process(), StopRequest() as stop:
            for _ in range(3):
                signal.raise_signal(signal.SIGTERM)
            assert stop.signal == signal.SIGTERM
            monkeypatch.setattr(stopping, "REPEAT_SECONDS", 0)
            with pytest.raises(InterruptedError):
                signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGTERM, before)
