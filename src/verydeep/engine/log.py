"""What a job says while it goes on: to the person at the terminal, and to its log."""

import sys
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table


class Log:
    """Says things to the person at the terminal, and keeps them in a log where there is one."""

    def __init__(self, path: Path | None = None, *, silent: bool = False) -> None:
        """``path`` is the log; all processes but the main one are silent and write none."""
        self.path, self.silent = path, silent

    def info(self, text: str) -> None:
        """One line or more."""
        for console in self._consoles():
            console.print(text, markup=False)

    def show(self, table: Table) -> None:
        """A table."""
        for console in self._consoles():
            console.print(table)

    def _consoles(self) -> Iterator[Console]:
        if self.silent:
            return
        yield Console(highlight=False, soft_wrap=True)
        sys.stdout.flush()
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as file:
                yield Console(file=file, width=120, soft_wrap=True)
