"""Where what a test found is left, unless the user says it."""

from hashlib import sha256
from pathlib import Path

from verydeep.engine.datasets import data_name
from verydeep.engine.evaluation_tasks import BoxEvaluationTask, ClassEvaluationTask

LONGEST_NAME = 120


def evaluation_folder(
    runs: tuple[Path, ...], test: ClassEvaluationTask | BoxEvaluationTask, data: str
) -> tuple[Path, str]:
    """The folder and the name of the evaluation of these runs: in the run, or beside the runs.

    Of nets that are no folders here, published ones and weight files, in this folder.

    Data other than what a net was trained on are part of the name.
    """
    nets = test.nets
    scales = ",".join(map(str, sorted({scale for each in nets for scale in each.scales})))
    known = {Path(each.net.config.provenance.data or "").name for each in nets}
    words = map(protocol_name, test.words)
    name = "-".join([*([] if known == {data_name(data)} else [data_name(data)]), *words, scales])
    if any(each.net.path not in (each.net.folder, each.net.folder.parent) for each in nets):
        return Path(), f"{'+'.join(map(net_name, runs))}-{name}"
    if len(runs) == 1 and runs[0] == nets[0].net.folder and runs[0].name in ("model", "best"):
        return runs[0].parent, f"{runs[0].name}-{name}" if runs[0].name == "best" else name
    if len(runs) == 1:
        return runs[0], name
    return runs[0].parent, f"{'+'.join(path.name for path in runs)}-{name}"


def net_name(path: Path) -> str:
    """A net as part of the name of a folder; of the Hub with its owner."""
    return path.name if path.exists() else path.as_posix().replace("hf-hub:", "").replace("/", "-")


def protocol_name(protocol: str) -> str:
    """A protocol as the name of a folder: "D_256_256+E_256_256-crops"."""
    return protocol.replace(" + ", "+").replace(" : ", "-").replace(" @ ", "@").replace("/", "_")


def shorten_name(name: str) -> str:
    """A name that file systems take; of a long one the end is a hash (errors.json says it all)."""
    return name if len(name) <= LONGEST_NAME else f"{name[:LONGEST_NAME]}-{sha256(name.encode()).hexdigest()[:8]}"
