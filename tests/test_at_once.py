"""Commands that run at the same time on one cache, run, archive or weight file give the results of one alone."""

import os
import shutil
from pathlib import Path

import pytest

from tests.jobs import JOBS, NET, Job, read_results
from tests.kills import Attempt, Forker
from tests.runs import SMALL_NET

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
NUM = 8


@pytest.fixture
def work(inputs: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(inputs, tmp_path / "work"))


def alone(forker: Forker, work: Path, job: Job) -> dict[str, bytes]:
    """Return the results of one command, and undo it."""
    before = Path(shutil.copytree(work, work.with_name("before")))
    done = forker.run(work, *job.arguments)
    assert done.code == 0, done.output
    results = read_results(work, job)
    shutil.rmtree(work)
    before.rename(work)
    return results


def split_by_code(attempts: list[Attempt]) -> tuple[list[Attempt], list[Attempt]]:
    """Return those that succeeded and those that refused in one sentence; nothing else may happen."""
    refused = [attempt for attempt in attempts if attempt.code != 0]
    for attempt in refused:
        assert attempt.code == 1 and "Traceback" not in attempt.output, attempt.output
        assert attempt.output.splitlines()[-1].startswith("verydeep: ")
    return [attempt for attempt in attempts if attempt.code == 0], refused


@pytest.mark.parametrize("name", ["evaluate", "transfer"])
def test_one_cache(forker: Forker, work: Path, name: str) -> None:
    """All of them compute or read the same posteriors or descriptors, and write to folders of their own."""
    job = JOBS[name]
    expected = alone(forker, work, job)
    *words, out = job.arguments
    attempts = forker.run_at_once(work, [[*words, f"{out}{number}"] for number in range(NUM)])
    assert [attempt.code for attempt in attempts] == [0] * NUM, [attempt.output[-500:] for attempt in attempts]
    for number in range(NUM):
        (work / f"{out}{number}").rename(work / str(out))
        assert read_results(work, job) == expected
        shutil.rmtree(work / str(out))


def test_one_archive(forker: Forker, work: Path) -> None:
    """One describes; the others say that it does, or find everything described."""
    job = JOBS["features"]
    expected = alone(forker, work, job)
    succeeded, refused = split_by_code(forker.run_at_once(work, [job.arguments] * NUM))
    assert succeeded and all("archive" in attempt.output for attempt in refused)
    assert read_results(work, job) == expected


def test_one_run(forker: Forker, work: Path) -> None:
    """One trains; the others are refused."""
    job = JOBS["train"]
    expected = alone(forker, work, job)
    succeeded, refused = split_by_code(forker.run_at_once(work, [job.arguments] * NUM))
    assert len(succeeded) == 1 and len(refused) == NUM - 1
    assert read_results(work, job) == expected


def test_one_weight_file(forker: Forker, work: Path) -> None:
    """Each converts it in the cache; whoever is first, all read the same net."""
    command = ["predict", "thin.pth", "photos/val/apple/000.jpg", "--format", "csv", *SMALL_NET[-4:]]
    expected = forker.run(work, *command)
    shutil.rmtree(work / "cache")
    attempts = forker.run_at_once(work, [command] * NUM)
    assert [attempt.code for attempt in attempts] == [0] * NUM, [attempt.output[-500:] for attempt in attempts]
    tables = [[line for line in attempt.output.splitlines() if line.startswith("photos")] for attempt in attempts]
    assert tables == [[line for line in expected.output.splitlines() if line.startswith("photos")]] * NUM
    assert tables[0] and list((work / "cache").rglob("*.tmp")) == []


PLACES = {
    "report": Job(("report", NET, "--out", "page.html"), ("page.html",)),
    "verify": Job(("verify", "photos", "--out", "findings", "--workers", 0), ("findings",)),
    "export": Job(("export", NET, "--format", "onnx", "--out", "net.onnx"), ("net.onnx",)),
    "explain": Job(("explain", NET, "photos/val/apple/000.jpg", "--out", "maps", "--workers", 0), ("maps",)),
    **{name: JOBS[name] for name in ("evaluate", "convert", "prepare")},
}
"""Commands that write to one folder or file."""


@pytest.mark.parametrize("name", PLACES)
def test_one_place(forker: Forker, work: Path, name: str) -> None:
    """It has the files of one of those that wrote it, whole."""
    expected = alone(forker, work, PLACES[name])
    succeeded, _ = split_by_code(forker.run_at_once(work, [PLACES[name].arguments] * NUM))
    assert succeeded and expected and read_results(work, PLACES[name]) == expected
    assert list(work.rglob("*.tmp")) == []
