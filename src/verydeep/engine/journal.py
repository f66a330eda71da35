"""What a run says while it goes on: to the person at the terminal, to its log, to metrics.jsonl."""

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from verydeep.engine.training import Report


class MetricsLog:
    """metrics.jsonl: one JSON object a report, cut on resume to what the checkpoint knew of."""

    def __init__(self, path: Path, length: int = 0) -> None:
        """Open for appending; what lies beyond ``length`` bytes was written after the checkpoint and is cut."""
        path.touch()
        os.truncate(path, min(length, path.stat().st_size))
        self.file = path.open("a", encoding="utf-8")

    def write(self, report: Report, seconds: float) -> None:
        """Append one report; ``seconds`` since the run began or was resumed."""
        values: dict[str, Any] = {
            "step": report.step,
            "loss": report.loss,
            "learning_rate": report.learning_rate,
        }
        if report.epoch is not None:
            values |= vars(report.epoch)
        self.file.write(json.dumps(values | {"seconds": round(seconds, 2)}) + "\n")
        self.file.flush()

    def length(self) -> int:
        """Bytes so far, all of them on the disk."""
        os.fsync(self.file.fileno())
        return self.file.tell()

    def close(self) -> None:
        """No more reports."""
        self.file.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Every complete line of a metrics.jsonl."""
    return [
        json.loads(line) for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")
    ]


class Journal:
    """Says things to the person at the terminal, and keeps them in a log where there is one."""

    def __init__(self, path: Path | None = None, *, silent: bool = False) -> None:
        """``path`` is the log; all processes but the main one are silent and write none."""
        self.path, self.silent = path, silent

    def say(self, text: str) -> None:
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
