"""A command that is killed at any moment continues to the same result (docs/reliability.md, promise 1)."""

import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
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


def check_kills(forker: Forker, inputs: Path, folder: Path, name: str, num_kills: int, seed: int) -> None:
    """Kill a command at random moments, then let it finish, and compare with one that was not killed."""
    job, rng, work = JOBS[name], np.random.default_rng(seed), folder / "work"
    shutil.copytree(inputs, work)
    whole = forker.run(work, *job.arguments)
    assert whole.code == 0 and whole.num_moments > 0, whole.output
    expected = read_results(work, job)
    assert expected
    shutil.rmtree(work)
    shutil.copytree(inputs, work)
    for _ in range(num_kills):
        moment = int(rng.integers(1, whole.num_moments + 1))
        forker.run(work, *next_arguments(work, job), moment=moment)
    finish(forker, work, job)
    found = read_results(work, job)
    assert found.keys() == expected.keys()
    assert [path for path in expected if found[path] != expected[path]] == []


@pytest.mark.parametrize("name", JOBS)
def test_three_kills_change_nothing(forker: Forker, inputs: Path, tmp_path: Path, name: str) -> None:
    check_kills(forker, inputs, tmp_path, name, 3, seed=7)
