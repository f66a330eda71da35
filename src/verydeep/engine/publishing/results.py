"""Errors of a net, read from the folders of its evaluations."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from msgspec import Meta

from verydeep.engine.nets.digests import digest_of_folder
from verydeep.engine.reporting.summary import GLOSSARY
from verydeep.json_files import read_json
from verydeep.ops.metrics import Share
from verydeep.paths import real_path

OMITTED = (
    GLOSSARY,
    "Errors and class recall",
    "Crop ",
    "Expected calibration error",
    "The posteriors could not be cached",
    "Not converged:",
)
"""Beginnings of remarks about the table or the machine, or about facts that the net's config.json holds."""


@dataclass(frozen=True)
class Result:
    """The protocol of one evaluation, the last row of its table."""

    data: str
    """The folder's name."""
    split: str
    num_images: int
    protocol: str
    """View, test scales and precision: "dense, Q=256,384,512, fp32"."""
    errors: dict[str, Share]
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class _ClassErrors:
    top1: Share
    topk: Share
    k: int

    def by_name(self) -> dict[str, Share]:
        shares = {"top-1 error": self.top1}
        return shares if self.k == 1 else shares | {f"top-{self.k} error": self.topk}


@dataclass(frozen=True)
class _BoxErrors:
    error: Share


@dataclass(frozen=True)
class _Row:
    view: str
    scales: list[int]
    errors: _ClassErrors | None = None
    truth: _BoxErrors | None = None
    """Errors of boxes of the true class."""
    guesses: _BoxErrors | None = None
    """Errors of boxes of predicted classes."""

    def errors_by_name(self) -> dict[str, Share]:
        if self.errors is not None:
            return self.errors.by_name()
        boxes = {"error of the true class's box": self.truth, "localization error": self.guesses}
        return {name: found.error for name, found in boxes.items() if found is not None}


@dataclass(frozen=True)
class _Evaluation:
    """The fields of an errors.json that a card needs."""

    data: str
    split: str
    num_images: int
    precision: str
    nets: Annotated[list[str], Meta(min_length=1)]
    digests: list[str]
    remarks: list[str]
    rows: list[_Row]

    def result(self) -> Result:
        row = self.rows[-1]
        remarks = (remark.replace(self.nets[0], "this net") for remark in self.remarks)
        return Result(
            data=Path(self.data).name,
            split=self.split,
            num_images=self.num_images,
            protocol=f"{row.view}, Q={','.join(map(str, row.scales))}, {self.precision}",
            errors=row.errors_by_name(),
            remarks=tuple(f"{self.split}: {remark}" for remark in remarks if not remark.startswith(OMITTED)),
        )


def read_results(run: Path, folder: Path) -> list[Result]:
    """Return the evaluations of a single net, by folder name.

    Evaluations are recognized by the digest of the net, because a path may be another net's by now.

    Args:
        run: the net as the command line names it: a folder, a weight file, a published net.
        folder: its model folder, in a run or by itself.

    Raises:
        DataError: an errors.json is damaged.
    """
    parents = (folder.parent, run) if run.is_dir() else (Path(),)
    places = dict.fromkeys(real_path(parent / "evaluations") for parent in parents)
    paths = [path for place in places for path in sorted(place.glob("*/errors.json"))]
    evaluations = [read_json(path, _Evaluation) for path in paths]
    digests = [digest_of_folder(folder)] if evaluations else []
    return [evaluation.result() for evaluation in evaluations if evaluation.digests == digests and evaluation.rows]
