"""The folder of an evaluation: its name, where the user does not give one, and a check of one that exists."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from verydeep.data.split import Split
from verydeep.engine.datasets import check_outside_data, data_folder, data_name, fingerprint
from verydeep.engine.evaluation_tasks import ClassifierEvaluationTask, EvaluationTask, list_training_records
from verydeep.engine.nets.net import net_path
from verydeep.engine.reporting.remarks import has_changed
from verydeep.errors import DataError, OptionError
from verydeep.files import check_output_folder, check_writable
from verydeep.json_files import read_json
from verydeep.paths import number_paths, real_path


def evaluation_folder(sources: Sequence[object], task: EvaluationTask, data: str) -> tuple[Path, str]:
    """Return the folder that holds the evaluations of runs, and the name of this one.

    The folder is the run, or that of several runs; for published nets and weight files it is the current folder. The
    name includes the data set if a net was trained on another one.
    """
    members = task.members
    if isinstance(task, ClassifierEvaluationTask):
        return task.classifier.path, data_name(data)
    runs = tuple(map(net_path, sources))
    scales = ",".join(map(str, sorted({scale for member in members for scale in member.scales})))
    trained_on = {data_name(str(member.net.config.provenance.data or "")) for member in members}
    data_part = [] if trained_on == {data_name(data)} else [data_name(data)]
    name = "-".join([*data_part, *map(protocol_name, task.name_parts), scales])
    if any(member.net.path not in (member.net.folder, member.net.folder.parent) for member in members):
        return Path(), f"{'+'.join(map(net_name, runs))}-{name}"
    if len(runs) == 1 and runs[0] == members[0].net.folder and runs[0].name in ("model", "best"):
        return runs[0].parent, f"{runs[0].name}-{name}" if runs[0].name == "best" else name
    if len(runs) == 1:
        return runs[0], name
    return runs[0].parent, f"{'+'.join(path.name for path in runs)}-{name}"


def net_name(path: Path) -> str:
    """Return a net as part of a folder's name; a net of the Hub includes its owner."""
    return path.name if path.exists() else path.as_posix().replace("hf-hub:", "").replace("/", "-")


def protocol_name(protocol: str) -> str:
    """Return a protocol as part of a folder's name: "D_256_256+E_256_256-crops"."""
    return protocol.replace(" + ", "+").replace(" : ", "-").replace(" @ ", "@").replace("/", "_")


def number_folder(folder: Path, root: Path) -> Path:
    """Return the folder of a new evaluation; it gets a number if it holds one of photographs in another folder.

    Args:
        folder: as named after the data set, of which there may be two.
        root: folder of the photographs.
    """
    return next(path for path in number_paths(folder) if not _is_of_others(path, root))


def _is_of_others(folder: Path, root: Path) -> bool:
    """Whether a folder holds an evaluation of photographs that lie, still, in another folder."""
    if not is_evaluation(folder):
        return False
    recorded = Path(str(read_json(folder / "errors.json", dict[str, Any]).get("root", root)))
    return recorded.is_dir() and real_path(recorded) != real_path(root)


def name_change(task: EvaluationTask, split: Split) -> list[str]:
    """Return a part of the evaluation's name if the images have changed since a training, whose evaluation stays."""
    is_changed = any(has_changed(each, split) for each in list_training_records(task))
    return [f"changed-{fingerprint(split)[:6]}"] if is_changed else []


def seed_folder(folder: Path, task: EvaluationTask, tasks: Sequence[EvaluationTask]) -> Path:
    """Return the folder of one of several tests: one below ``folder`` for each seed."""
    return folder / f"s{task.members[0].net.config.seed}" if len(tasks) > 1 else folder


def check_results_folder(folder: Path, data: str, splits: Sequence[Split]) -> None:
    """Refuse to write results among the photographs.

    Raises:
        OptionError: the folder is that of the data set, or lies among photographs of a class.
        ResourceError: the folder may not be written.
    """
    if real_path(folder) == real_path(data_folder(data)):
        raise OptionError(f"`out` {folder} is the folder of the data set: choose another one for the results.", "out")
    for split in splits:
        check_outside_data(folder, split)
    check_writable(folder)


def check_evaluation_folder(folder: Path) -> None:
    """Refuse to write an evaluation into a folder of other files; earlier evaluations may be there, or below it.

    Raises:
        OptionError: The folder holds other files, or is a file.
    """
    if not is_evaluation(folder):
        check_output_folder(folder, lambda name: name.startswith(".") or is_evaluation(folder / name), "evaluations")


def is_evaluation(folder: Path) -> bool:
    """Whether a folder holds an evaluation, by the fields of its errors.json."""
    try:
        return read_json(folder / "errors.json", dict[str, Any]).keys() >= {"summary", "rows", "remarks"}
    except DataError:
        return False
