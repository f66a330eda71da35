"""metrics.jsonl: how a training went, report by report."""

import json
import os
from pathlib import Path
from typing import Any

from verydeep.engine.training.fit import StepReport


class MetricsLog:
    """metrics.jsonl: one JSON object a report, cut on resume to what the checkpoint knew of."""

    def __init__(self, path: Path, length: int = 0) -> None:
        """Open for appending; what lies beyond ``length`` bytes was written after the checkpoint and is cut."""
        path.touch()
        os.truncate(path, min(length, path.stat().st_size))
        self.file = path.open("a", encoding="utf-8")

    def write(self, report: StepReport, seconds: float) -> None:
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
