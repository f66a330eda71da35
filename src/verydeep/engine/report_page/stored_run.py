"""A run as its folder holds it: settings, metrics, environments, evaluations; it may have moved to another machine."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from verydeep.engine.environment import ENVIRONMENT, Environment, read_environments
from verydeep.engine.evaluation_folders import is_evaluation
from verydeep.engine.nets.folders import RunFolder
from verydeep.engine.report_page.stored_evaluation import (
    PREDICTIONS,
    StoredEvaluation,
    measure_rows,
    read_evaluation,
    read_margins,
    read_predictions,
)
from verydeep.engine.report_page.stored_values import ConfigValues, EvaluationValues, Row, TransferValues
from verydeep.engine.training.metrics_log import MetricsLine, read_metrics
from verydeep.engine.training.settings import RunSettings
from verydeep.engine.transfer.classifier import FIELDS
from verydeep.engine.transfer.task import MARGINS, RESULTS
from verydeep.errors import DataError
from verydeep.json_files import read_json
from verydeep.models.weights.model_folder import CONFIG
from verydeep.ops.metrics import Share
from verydeep.paths import real_path

T = TypeVar("T")

OWN_TEST = "test photographs"
"""Name of a classifier's own test, which is no folder."""


@dataclass(frozen=True)
class StoredRun:
    """The files of a run, of a classifier, or of evaluations alone."""

    path: Path
    settings: RunSettings | None
    """None where there are none, or another version of verydeep wrote them."""
    config: ConfigValues
    """Content of the net's config.json, or of classifier.json."""
    metrics: tuple[MetricsLine, ...]
    """Lines of metrics.jsonl."""
    transfer: TransferValues
    environments: tuple[Environment, ...]
    evaluations: tuple[StoredEvaluation, ...]
    """The newest first."""
    problems: tuple[str, ...]
    """Sentences about evaluations that cannot be read."""

    @property
    def name(self) -> str:
        """Name of the folder."""
        return real_path(self.path).name

    @property
    def has_not_ended(self) -> bool:
        """Whether its training is still running, or was stopped."""
        return self.settings is not None and self.config.get("provenance", {}).get("converged") is None


def read_run(path: Path) -> StoredRun:
    """Read what a folder holds: a run, a classifier, or evaluations.

    Raises:
        DataError: it holds none of them, or a file is damaged.
    """
    if not path.is_dir():
        raise DataError(f"{path} is no folder: give one that `verydeep train`, `evaluate` or `transfer` wrote.")
    run = RunFolder(path)
    name = real_path(path).name
    transfer = _read(path / RESULTS, TransferValues)
    config = _read(run.model / CONFIG, ConfigValues) or _read(path / FIELDS, ConfigValues)
    names, words = config.get("class_names", ()), config.get("class_words", ())
    class_words = dict(zip(names, words, strict=False))
    evaluations, problems = [], []
    for folder in sorted(_evaluation_folders(path), key=_age):
        try:
            evaluations.append(read_evaluation(folder, name, class_words))
        except DataError as error:
            problems.append(str(error))
    if transfer and (path / PREDICTIONS).exists():
        evaluations.append(_read_own_test(path, transfer, class_words, len(names)))
    if transfer and (path / MARGINS).exists():
        evaluations.append(_read_margin_test(path, transfer, class_words))
    counts = transfer.get("class_images") or dict(
        zip(names, config.get("provenance", {}).get("class_images") or (), strict=False)
    )
    evaluations = [replace(each, training_counts=counts) for each in evaluations]
    if not (run.settings.exists() or config or transfer or evaluations):
        reason = f" {problems[0]}" if problems else ""
        raise DataError(
            f"{path} holds no run, classifier or evaluation: give a folder that `verydeep train`, `evaluate` or "
            f"`transfer` wrote.{reason}"
        )
    folders = [path] if (path / ENVIRONMENT).exists() else list(_evaluation_folders(path))
    environments = [each for folder in folders for each in read_environments(folder)]
    return StoredRun(
        path=path,
        settings=_read_settings(run),
        config=config,
        metrics=tuple(read_metrics(run.metrics)) if run.metrics.exists() else (),
        transfer=transfer,
        environments=tuple(environments),
        evaluations=tuple(evaluations),
        problems=tuple(problems),
    )


def _evaluation_folders(path: Path) -> Iterator[Path]:
    """Yield the folders of evaluations: the folder itself, or those in it, which have one for each seed or not."""
    if is_evaluation(path):
        yield path
    for pattern in ("*", "evaluations/*", "evaluations/*/*"):
        yield from (folder for folder in sorted(path.glob(pattern)) if folder.is_dir() and is_evaluation(folder))


def _age(folder: Path) -> float:
    return -(folder / "errors.json").stat().st_mtime


def _read(path: Path, kind: type[T]) -> T:
    """Return the content of a JSON file; nothing where there is none."""
    return read_json(path, kind) if path.exists() else kind()


def _read_settings(run: RunFolder) -> RunSettings | None:
    with suppress(DataError):
        return RunSettings.load(run)
    return None


def _read_own_test(
    path: Path, transfer: TransferValues, class_words: Mapping[str, str], num_classes: int
) -> StoredEvaluation:
    """Return the test of a classifier's first draw, in the form of an evaluation."""
    photographs = tuple(read_predictions(path / PREDICTIONS))
    rows = measure_rows(photographs, "linear SVMs", num_classes) if photographs else []
    values = _describe_own_test(path, transfer, len(photographs), rows)
    return StoredEvaluation(real_path(path).name, OWN_TEST, values, photographs, class_words)


def _read_margin_test(path: Path, transfer: TransferValues, class_words: Mapping[str, str]) -> StoredEvaluation:
    """Return the test of a classifier of photographs with several classes, in the form of an evaluation."""
    photographs = tuple(read_margins(path / MARGINS))
    draw = next(iter(transfer.get("draws", ())), None)
    score = None if draw is None else draw.get("score")
    if draw is None or score is None:
        raise DataError(f"{path / RESULTS} has no draw with a score: run `verydeep transfer` again.")
    row: Row = {"net": "", "view": "linear SVMs", "scales": [], "precision": Share(score, score, score)}
    if interval := draw.get("interval"):
        row["precision"] = interval
    values = _describe_own_test(path, transfer, draw.get("num_test", 0), [row])
    values["class_intervals"] = transfer.get("class_intervals", {})
    return StoredEvaluation(real_path(path).name, OWN_TEST, values, photographs, class_words)


def _describe_own_test(path: Path, transfer: TransferValues, num_images: int, rows: Sequence[Row]) -> EvaluationValues:
    return {
        "num_images": num_images,
        "rows": rows,
        "data": transfer.get("data"),
        "root": transfer.get("root"),
        "camera_rotation": transfer.get("camera_rotation"),
        "summary": transfer.get("summary", ""),
        "classifier": str(path),
        "split": transfer.get("split") or "",
        "skipped": transfer.get("skipped", {}),
        "remarks": [],
    }
