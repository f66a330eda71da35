"""Commands that are killed, run at once or fill a disk, with their inputs and their results."""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch

from tests.data.sets.ilsvrc_trees import make_kaggle
from tests.engine.archive.archives import read_archive
from tests.kills import Attempt, Forker
from tests.runs import SMALL_NET, make_photographs
from verydeep.models.weights.model_folder import ModelConfig

NET = "trained/run"
TABLE = ("--crop", 32, "--width", 0.0625, "--fc-width", 16, "--precision", "fp32", "--workers", 0)


@dataclass(frozen=True)
class Job:
    """A command, and the files and folders it leaves, relative to the folder that it runs in."""

    arguments: tuple[object, ...]
    results: tuple[str, ...]


JOBS = {
    "train": Job(
        ("train", "photos", *SMALL_NET, "--epochs", 3, "--scale", "256-512", "--out", "run"),
        ("run/model", "run/best", "run/metrics.jsonl", "run/evaluations"),
    ),
    "evaluate": Job(("evaluate", "photos", NET, "--split", "train", "--out", "tested"), ("tested",)),
    "transfer": Job(("transfer", "photos", NET, "--out", "classifier"), ("classifier",)),
    "features": Job(("features", NET, "photos", "--out", "archive"), ("archive",)),
    "convert": Job(("convert", "thin.pth", "converted"), ("converted",)),
    "prepare": Job(("prepare", "ilsvrc", "kaggle", "ready"), ("ready",)),
    "reproduce": Job(
        ("reproduce", "table3", "--data", "photos", *TABLE, "--runs", "trained", "--no-train", "--out", "tables"),
        ("tables",),
    ),
}


def make_inputs(forker: Forker, folder: Path) -> None:
    """Make the files that the commands take: photographs, a run, weights, ILSVRC-2012."""
    make_photographs(folder / "photos", {"train": 8, "val": 3, "test": 3})
    make_kaggle(folder / "kaggle")
    net = ModelConfig("A", ("a", "b"), ("a", "b"), crop=32, width=0.0625, fc_width=16).build()
    torch.save(net.state_dict(), folder / "thin.pth")
    (folder / "trained").mkdir()
    done = forker.run(folder, "train", "photos", *SMALL_NET, "--epochs", 1, "--out", NET)
    assert done.code == 0, done.output
    shutil.rmtree(folder / "cache")


def read_results(folder: Path, job: Job) -> dict[str, bytes]:
    """Return the contents of the files that a command leaves; of metrics.jsonl without the times."""
    paths = [path for name in job.results for path in [folder / name, *(folder / name).rglob("*")] if path.is_file()]
    others = (".lock", "environment.json", "report.html")  # which name commands and times
    contents = {str(path.relative_to(folder)): path.read_bytes() for path in paths if path.name not in others}
    if archive := [result for result in job.results if result.endswith("archive")]:
        descriptors = read_archive(folder / archive[0])  # its shards are named by time and process
        return {path: descriptors[path].tobytes() for path in sorted(descriptors)}
    for path in [path for path in contents if path.endswith("metrics.jsonl")]:
        lines = [json.loads(line) for line in contents[path].splitlines()]
        contents[path] = repr([{**line, "seconds": 0} for line in lines]).encode()
    return contents


def is_complete(attempt: Attempt) -> bool:
    """Whether a command had nothing left to do, since it was killed after its last file appeared."""
    return "already exists" in attempt.output or "already holds" in attempt.output


def next_arguments(folder: Path, job: Job) -> tuple[object, ...]:
    if job.arguments[0] == "train" and (folder / "run" / "run.json").exists():
        return ("train", "--resume", "run")
    return job.arguments


def finish(forker: Forker, folder: Path, job: Job) -> None:
    done = forker.run(folder, *next_arguments(folder, job))
    assert done.code == 0 or is_complete(done), done.output
    assert done.code != 0 or list(folder.rglob("*.tmp")) == []


def run_whole(forker: Forker, inputs: Path, work: Path, name: str) -> tuple[int, dict[str, bytes]]:
    """Run a command without killing it; return the number of its moments, and its results."""
    begin(inputs, work)
    whole = forker.run(work, *JOBS[name].arguments)
    assert whole.code == 0 and whole.num_moments > 0, whole.output
    results = read_results(work, JOBS[name])
    assert results
    return whole.num_moments, results


def begin(inputs: Path, work: Path) -> None:
    """Make the folder of a command anew."""
    shutil.rmtree(work, ignore_errors=True)
    shutil.copytree(inputs, work)


def kill(forker: Forker, work: Path, name: str, conditions: Mapping[str, object]) -> bool:
    """Start a command, and kill it under the conditions of a ``Request``; return whether they came."""
    return forker.run(work, *next_arguments(work, JOBS[name]), **conditions).killed


def find_differences(forker: Forker, work: Path, name: str, expected: dict[str, bytes]) -> list[str]:
    """Let a command finish; return which of its results differ."""
    finish(forker, work, JOBS[name])
    found = read_results(work, JOBS[name])
    return sorted(path for path in {*expected, *found} if expected.get(path) != found.get(path))
