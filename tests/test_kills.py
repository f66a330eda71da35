"""A command that is killed at any moment continues to the same result (docs/reliability.md, promise 1)."""

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.data.sets.ilsvrc_trees import make_kaggle
from tests.engine.archive.archives import read_archive
from tests.kills import Attempt, Forker, start_forker
from tests.runs import SMALL_NET, make_photographs
from verydeep.models.weights.model_folder import ModelConfig

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")

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


@pytest.fixture(scope="module")
def forker() -> Iterator[Forker]:
    with start_forker() as process:
        yield process


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


@pytest.fixture(scope="module")
def inputs(forker: Forker, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    make_inputs(forker, folder)
    return folder


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


Whole = Callable[[str], tuple[int, dict[str, bytes]]]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that every command runs in: results name it."""
    return tmp_path_factory.mktemp("kills") / "work"


@pytest.fixture(scope="module")
def whole(forker: Forker, inputs: Path, work: Path) -> Whole:
    return cache(partial(run_whole, forker, inputs, work))


@pytest.mark.parametrize("name", JOBS)
def test_three_kills_change_nothing(forker: Forker, inputs: Path, work: Path, whole: Whole, name: str) -> None:
    rng, (num_moments, expected) = np.random.default_rng(7), whole(name)
    begin(inputs, work)
    for _ in range(3):
        kill(forker, work, name, {"moment": int(rng.integers(1, num_moments + 1))})
    assert find_differences(forker, work, name, expected) == []


END_OF_EPOCH = r"os.rmdir .*checkpoints/\.step-0"
"""The first change after a checkpoint has its name."""

NAMED_MOMENTS: dict[str, tuple[str, *tuple[str, ...]]] = {
    "between the settings of a run and the config of its net": ("train", r"os.mkdir \S*run/model$"),
    "in the first epoch, before any checkpoint": ("train", r"os.mkdir \S*run/best$"),
    "between the net and the checkpoint": ("train", r"os.mkdir \S*run/checkpoints$"),
    "between the last byte of a checkpoint and its name": ("train", r"os.rename .*/step-0"),
    "at the end of an epoch": ("train", END_OF_EPOCH),
    "in the second resumption within an epoch": ("train", END_OF_EPOCH, *2 * [r"os.mkdir \S*run/model$"]),
    "between the training and its test": ("train", r"os.mkdir \S*run/evaluations$"),
    "between the posteriors of two views": ("evaluate", r"os.mkdir .*/dense-256$"),
    "between the posteriors and the evaluation": ("evaluate", r"os.mkdir \S*\.tested\.\w+\.tmp$"),
    "between the files of an evaluation and their name": ("evaluate", r"os.rename \S+\.tmp/tested \S*tested$"),
    "between the descriptors and their name": ("transfer", r"os.rename .*/descriptors/.*/relu7"),
    "between the descriptors and the classifier": ("transfer", r"os.mkdir \S*\.classifier\.\w+\.tmp$"),
    "between the manifest and the first shard": ("features", r"os.mkdir .*archive/shards$"),
    "between the last shard and the manifest": ("features", r"os.remove .*archive/skipped.json"),
    "between the weights and the config of a converted net": ("convert", r"os.mkdir .*/\.config\.json"),
    "between an image and its name": ("prepare", r"os.rename .*/ILSVRC2012_val_00000003"),
    "between two files of a table": ("reproduce", r"os.mkdir .*tables/\.table3\.md"),
}
"""Moment -> the command, and the change before which each of its attempts is killed."""


@pytest.mark.parametrize("moment", NAMED_MOMENTS)
def test_a_kill_at_a_named_moment_changes_nothing(
    forker: Forker, inputs: Path, work: Path, whole: Whole, moment: str
) -> None:
    name, *changes = NAMED_MOMENTS[moment]
    _, expected = whole(name)
    begin(inputs, work)
    for change in changes:
        assert kill(forker, work, name, {"before": change}), f"the moment did not come: {change}"
    assert find_differences(forker, work, name, expected) == []


def test_a_kill_within_a_write_of_a_checkpoint_changes_nothing(
    forker: Forker, inputs: Path, work: Path, whole: Whole
) -> None:
    """Only a checkpoint, with the momentum of each weight, grows beyond one and a half times the net."""
    _, expected = whole("train")
    begin(inputs, work)
    num_bytes = (work / NET / "model" / "model.safetensors").stat().st_size * 3 // 2
    assert kill(forker, work, "train", {"file_bytes": num_bytes})
    (torn,) = (work / "run" / "checkpoints").glob(".step-*.tmp/file")
    assert torn.stat().st_size <= num_bytes
    assert find_differences(forker, work, "train", expected) == []
