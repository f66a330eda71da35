"""The result of `report`: a page about runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from verydeep.results.result import Record, Result


@dataclass(frozen=True, eq=False, repr=False)
class ReportPage(Result):
    """A report page. It can be used as the path of its file."""

    path: Path
    """The file of the page, which a browser opens."""
    runs: tuple[Path, ...]
    """Folders of the runs that the page is about."""
    num_photographs: int
    """Number of different photographs in the evaluations on the page."""
    num_thumbnails: int
    """Number of photographs that have a thumbnail on the page."""
    sentences: tuple[str, ...]
    """Two sentences about the runs."""
    remarks: tuple[str, ...]
    """Sentences about what the page leaves out."""

    def __fspath__(self) -> str:
        """Return the file, so that the page is a path."""
        return str(self.path)

    @property
    def summary(self) -> str:
        """Two sentences about the runs."""
        return " ".join(self.sentences)

    def records(self) -> list[Record]:
        """Return one record: the page, its runs, and the numbers of photographs and thumbnails."""
        return [
            {
                "page": str(self.path),
                "runs": [str(run) for run in self.runs],
                "num_photographs": self.num_photographs,
                "num_thumbnails": self.num_thumbnails,
            }
        ]

    def table(self) -> None:
        """Return None: the footer contains everything."""

    def footer(self) -> Sequence[str]:
        """Return the remarks, and where the page is."""
        return [*self.remarks, f"Written: {self.path}"]
