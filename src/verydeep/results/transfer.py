"""The result of `transfer`: a classifier, and how well it does."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from verydeep.results.result import Record, Result


@dataclass(frozen=True, eq=False, repr=False)
class TransferredClassifier(Result):
    """A classifier of linear SVMs. It can be used as the path of its folder, for example as the run of `predict`."""

    path: Path
    """The folder of the classifier."""
    metric: str
    """Name of the score: mean class recall, or a kind of mean AP."""
    score: float | None
    """Mean score over all draws, in percent; None if no test image has a label."""
    deviation: float | None
    """Standard deviation of the score over draws, in percentage points; None if there is one draw."""
    draws: tuple[Mapping[str, Any], ...]
    """Values of each draw: score, interval, C, scores of all values of C, numbers of samples, scores of the classes."""
    remarks: tuple[str, ...]
    """Sentences about the result that a reader needs before quoting the score."""
    summary: str = ""
    """One plain sentence about the result."""
    report: Path | None = None
    """The report page; None if it could not be written."""

    def __fspath__(self) -> str:
        """Return the folder, so that the classifier is a path."""
        return str(self.path)

    def records(self) -> list[Record]:
        """Return one record for each draw."""
        return [
            {
                "draw": number,
                "metric": self.metric,
                "score": draw["score"],
                "low": draw["interval"] and draw["interval"]["low"],
                "high": draw["interval"] and draw["interval"]["high"],
                "C": draw["C"],
                "num_train": draw["num_train"],
                "num_test": draw["num_test"],
            }
            for number, draw in enumerate(self.draws, start=1)
        ]

    def table(self) -> None:
        """Return None: the footer contains everything."""

    def footer(self) -> Sequence[str]:
        """Return the remarks, and where the report page is."""
        return [*self.remarks, *([] if self.report is None else [f"Report: {self.report}"])]
