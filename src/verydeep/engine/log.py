"""Messages of a job: sent to the logger "verydeep", and written to the log file of a run."""

import io
import logging
import sys
import warnings
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

from rich.console import Console
from rich.table import Table

from verydeep.disk import explain_write
from verydeep.engine.process import owns_process
from verydeep.results.tables import TextTable
from verydeep.wording import escape_controls

LOGGER = logging.getLogger("verydeep")
"""Its level and handlers are the program's own affair; the command line adds one that prints."""


class Log:
    """Sends messages to the logger, and to a log file where there is one."""

    def __init__(self, path: Path | None = None, *, silent: bool = False) -> None:
        """``path`` is the log file; all processes but the main one are silent and write none."""
        self.path, self.silent = path, silent

    def info(self, text: str) -> None:
        """Send one line; names of files in it may hold what breaks lines."""
        if self.silent:
            return
        text = escape_controls(text)
        LOGGER.info("%s", text)
        self._write(text)

    def warn(self, text: str) -> None:
        """Send one line that a caller in Python must see: there it is a warning."""
        if self.silent:
            return
        text = escape_controls(text)
        if owns_process():
            LOGGER.info("%s", text)
        else:
            warnings.warn(text, stacklevel=_count_own_frames())
        self._write(text)

    def send_notes(self, *notes: Iterable[str]) -> None:
        """Send each note about the data once, however many splits have it."""
        for note in dict.fromkeys(chain.from_iterable(notes)):
            self.info(note)

    def record(self, text: str) -> None:
        """Write one line or more to the log file alone."""
        if not self.silent:
            self._write(text)

    def show(self, table: Table | TextTable) -> None:
        """Send a table, as wide as the terminal."""
        if self.silent:
            return
        LOGGER.info("%s", render_text(table))
        self._write(render_text(table, width=120))

    def _write(self, text: str) -> None:
        if self.path is not None:
            with explain_write(self.path), self.path.open("a", encoding="utf-8", errors="backslashreplace") as file:
                file.write(f"{text}\n")


def _count_own_frames() -> int:
    """Return the ``stacklevel`` at which the caller of verydeep stands, seen from the function that warns."""
    frame, count = sys._getframe(1), 1
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).startswith("verydeep."):
        frame, count = frame.f_back, count + 1
    return count


def render_text(table: Table | TextTable, width: int | None = None) -> str:
    """Return a table as text without colors, as wide as the terminal or as ``width``."""
    console = Console(file=io.StringIO(), width=width)
    with console.capture() as capture:
        console.print(table)
    return capture.get().rstrip("\n")
