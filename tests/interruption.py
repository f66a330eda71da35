"""Commands that are interrupted at a message that they log."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def interrupted_at(start: str, count: int = 1) -> Iterator[None]:
    """Press Ctrl-C when the ``count``-th message that begins with ``start`` is logged within this context."""
    logger, remaining = logging.getLogger("verydeep"), count

    class Interrupter(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            nonlocal remaining
            remaining -= record.getMessage().strip().startswith(start)
            if remaining == 0:
                raise KeyboardInterrupt

    handler, level = Interrupter(), logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
