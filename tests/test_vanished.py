"""A folder that is removed while a command works in it is one sentence, and the command can be run again."""

import os
import shutil
from pathlib import Path

import pytest

from tests.jobs import JOBS, Job, begin, read_results
from tests.kills import Forker

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")

REMOVALS: dict[str, tuple[str, str, str]] = {
    "a run in its first epoch": ("train", "run", r"os.mkdir \S*run/best$"),
    "a run between two checkpoints": ("train", "run", r"os.remove \S*run/checkpoints/step-000000002"),
    "a run while a checkpoint is written": ("train", "run", r"os.rename \S*run/checkpoints/.step-000000004"),
    "an archive while a shard is written": ("features", "archive", r"os.rename \S*archive/shards"),
    "the folder of an evaluation": ("evaluate", "place", r"os.rename \S+\.tmp/tested "),
    "the folder of a converted net": ("convert", "place", r"os.rename \S+\.tmp/converted "),
    "a prepared set between two images": ("prepare", "place", r"os.rename \S*ILSVRC2012_val_0+3\S* "),
    "a class of a prepared set that is complete": ("prepare", "place/ready/train", r"os.rename \S*val_0+3\S* "),
    "the cache while descriptors are written": ("transfer", "cache", r"os.rename \S*/descriptors/\w+/relu7"),
}
"""What vanishes -> the command, the folder, and the change before which it is removed."""


@pytest.mark.parametrize("name", REMOVALS)
def test_a_folder_that_vanishes_is_one_sentence(forker: Forker, inputs: Path, tmp_path: Path, name: str) -> None:
    command, removed, change = REMOVALS[name]
    job = JOBS[command]
    if removed.startswith("place"):
        (out,) = job.results
        job = Job(tuple(f"place/{out}" if word == out else word for word in job.arguments), (f"place/{out}",))
    work = tmp_path / "work"
    begin(inputs, work)
    attempt = forker.run(work, *job.arguments, before=change, remove=removed)
    assert attempt.code == 1 and "Traceback" not in attempt.output, attempt.output
    last = attempt.output.strip().splitlines()[-1]
    assert last.startswith("verydeep: ") and removed in last and "removed" in last and "again" in last, last
    if removed != "cache":
        shutil.rmtree(work / removed, ignore_errors=True)
    done = forker.run(work, *job.arguments)
    assert done.code == 0 and read_results(work, job), done.output


def test_a_cache_of_posteriors_that_vanishes_costs_nothing(forker: Forker, inputs: Path, tmp_path: Path) -> None:
    """They are in memory, too."""
    work, job = tmp_path / "work", JOBS["evaluate"]
    begin(inputs, work)
    done = forker.run(work, *job.arguments, before=r"os.mkdir \S*/dense-256$", remove="cache")
    assert done.code == 0, done.output
    found = read_results(work, job)
    begin(inputs, work)
    assert forker.run(work, *job.arguments).code == 0
    assert found == read_results(work, job)
