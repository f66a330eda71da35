"""metrics.jsonl: the course of a training, one line for each report."""

import json
import os
from pathlib import Path
from typing import Annotated, Any, Required, TypedDict

import msgspec
from msgspec import Meta

from verydeep.disk import explain_write
from verydeep.engine.training.event_log import EventLog
from verydeep.engine.training.fit import StepReport
from verydeep.errors import DataError
from verydeep.paths import describe_read_error


class MetricsLine(TypedDict, total=False):
    """A line of the file; where it ends an epoch, it also has the fields of ``EpochReport``."""

    step: Required[Annotated[int, Meta(ge=1)]]
    loss: Required[float]
    learning_rate: Required[float]
    stage: int
    seconds: float
    epoch: Annotated[int, Meta(ge=0)]
    train_loss: float
    val_error: float | None
    is_best: bool
    grad_norm: float
    dead_fc6: float
    dead_fc7: float
    off_target: float | None


def metrics_of(report: StepReport) -> dict[str, Any]:
    """Return the numbers of a report by name."""
    values = {
        "step": report.step,
        "loss": report.loss,
        "learning_rate": report.learning_rate,
        "stage": report.stage,
    }
    return values if report.epoch is None else values | vars(report.epoch)


class MetricsLog:
    """Writes metrics.jsonl: one JSON object for each report; on resume, lines after the checkpoint are cut."""

    def __init__(self, path: Path, length: int = 0, events: EventLog | None = None) -> None:
        """Open for appending, and cut all beyond ``length`` bytes, which was written after the checkpoint.

        Args:
            path: of the file.
            length: of the file at the checkpoint, in bytes.
            events: gets the same numbers.
        """
        self.path, self.events = path, events
        with explain_write(path):
            path.touch()
            os.truncate(path, min(length, path.stat().st_size))
            self.file = path.open("a", encoding="utf-8")

    def write(self, report: StepReport, seconds: float) -> None:
        """Append a report; ``seconds`` counts from the start, or from the resumption, of the run."""
        values = metrics_of(report)
        if self.events is not None:
            self.events.write(values)
        with explain_write(self.path):
            self.file.write(json.dumps(values | {"seconds": round(seconds, 2)}) + "\n")
            self.file.flush()

    def length(self) -> int:
        """Bring all lines to the disk; returns the length of the file in bytes."""
        with explain_write(self.path):
            os.fsync(self.file.fileno())
        return self.file.tell()

    def close(self) -> None:
        """Close the file."""
        if self.events is not None:
            self.events.close()
        with explain_write(self.path):
            self.file.close()


def read_metrics(path: Path) -> list[MetricsLine]:
    """Read every complete line of a metrics.jsonl.

    Raises:
        DataError: the file cannot be read, or a line is damaged.
    """
    try:
        with path.open(encoding="utf-8") as file:
            return [msgspec.convert(json.loads(line), MetricsLine) for line in file if line.endswith("\n")]
    except PermissionError as error:
        raise DataError(describe_read_error(path, error)) from None
    except (OSError, ValueError, RecursionError):
        raise DataError(f"{path} is damaged: restore it, or remove it.") from None
