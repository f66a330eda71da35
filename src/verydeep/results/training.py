"""The result of `train`: a run, and how well its net does."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from verydeep.results.measured_table import MeasuredTable
from verydeep.results.result import Record, Result
from verydeep.results.tables import TextTable
from verydeep.wording import count_of


@dataclass(frozen=True, eq=False, repr=False)
class TrainedRun(Result):
    """A finished run. It can be used as the path of its folder, and as a net in every function."""

    path: Path
    """The folder of the run."""
    network: str
    """Name of the network, such as A."""
    crop: int
    """Side of the net's input, in pixels."""
    seed: int
    """Seed of all random choices of the run."""
    num_steps: int
    """Number of updates of the weights."""
    converged: bool
    """Whether the learning rate dropped as often as planned."""
    evaluation: MeasuredTable | None
    """Errors of the test after the training; None if the data have no labeled images to test on."""
    report: Path | None = None
    """The report page; None if it could not be written."""

    def __fspath__(self) -> str:
        """Return the folder, so that the run is a path."""
        return str(self.path)

    @property
    def summary(self) -> str:
        """One plain sentence about the test."""
        if self.evaluation is None:
            return f"Trained for {count_of(self.num_steps, 'step')}; there are no labeled photographs to test on."
        return self.evaluation.summary

    def records(self) -> list[Record]:
        """Return one record: the run, and the errors of its net in percent."""
        record: Record = {
            "run": str(self.path),
            "network": self.network,
            "crop": self.crop,
            "seed": self.seed,
            "num_steps": self.num_steps,
            "converged": self.converged,
        }
        return [record | ({} if self.evaluation is None else self.evaluation.records()[-1])]

    def table(self) -> TextTable | None:
        """Return the table of errors."""
        return None if self.evaluation is None else self.evaluation.table()

    def footer(self) -> Sequence[str]:
        """Return the remarks, and where the run is."""
        lines = [] if self.evaluation is None else list(self.evaluation.footer())
        return [*lines, f"Run: {self.path}", *([] if self.report is None else [f"Report: {self.report}"])]
