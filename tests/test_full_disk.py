"""A full disk is one sentence, loses nothing, and with room the same command gives what it would have given."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.jobs import JOBS, NET, Job, is_complete, make_inputs, read_results
from tests.kills import Attempt
from tests.small_disk import SmallDisk, small_disk
from tests.thin_nets import make_pictures, save_box_run
from verydeep.configs.protocols import PaperNet

pytestmark = pytest.mark.skipif(not Path("/proc/self/ns/mnt").exists(), reason="mounts a disk")

DISK = "disk"
PHOTO = "photos/val/apple/000.jpg"
SHARES = [float(share) for share in os.environ.get("VERYDEEP_FULL_DISK", "0.2").split(",")]
"""Shares of the room that a command needs: with each, it fails in another write."""


def on_disk(job: Job) -> Job:
    """Return a job whose results lie on the small disk."""
    places = {result.split("/")[0] for result in job.results}
    words = tuple(f"{DISK}/{word}" if word in places else word for word in job.arguments)
    return Job(words, tuple(f"{DISK}/{result}" for result in job.results))


WRITERS = {
    **{name: on_disk(job) for name, job in JOBS.items()},
    "export": Job(("export", NET, "--format", "onnx", "--out", "disk/net.onnx"), ("disk/net.onnx",)),
    "explain": Job(("explain", NET, PHOTO, "--out", "disk/maps", "--workers", 0), ("disk/maps",)),
    "localize": Job(("localize", "boxes/D-256pcr-s0", PHOTO, "--out", "disk/boxes", "--workers", 0), ("disk/boxes",)),
    "report": Job(("report", NET, "--out", "disk/page.html"), ()),
    "verify": Job(("verify", "photos", "--out", "disk/findings", "--workers", 0), ()),
    "search": Job(
        ("search", "described", PHOTO, "--out", "disk/neighbors.png", "--workers", 0), ("disk/neighbors.png",)
    ),
    "push": Job(("push", NET, "jane/net", "--out", "disk/card"), ("disk/card",)),
    "predict": Job(("predict", NET, "photos/val", "--format", "csv", "--workers", 0), ("disk/output",)),
    "completion": Job(("--completion", "bash"), ("disk/output",)),
}

CACHED = ("evaluate", "transfer", "reproduce")
CONDITIONS = {"predict": {"output": "disk/output"}, "completion": {"output": "disk/output"}}


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SmallDisk]:
    """A small disk in a folder with the inputs of all commands."""
    work = tmp_path_factory.mktemp("work")
    with small_disk(work / DISK) as disk:
        make_inputs(disk.forker, work)
        make_pictures(work / "boxed", 4)
        save_box_run(work / "boxes", PaperNet.parse("D/256pcr"), work / "boxed")
        done = disk.forker.run(work, "features", NET, "photos", "--out", "described", "--workers", 0)
        assert done.code == 0, done.output
        yield disk


def run(disk: SmallDisk, name: str, job: Job, cache: str = "cache") -> Attempt:
    """Run a command; a training that was begun is resumed."""
    work, words = disk.path.parent, job.arguments
    if (disk.seen / "output").exists():
        (disk.seen / "output").unlink()
    folder = disk.seen.parent / job.results[0] if job.results else disk.path
    if name == "train" and (folder.parent / "run.json").exists():
        words = ("train", "--resume", Path(job.results[0]).parent)
    return disk.forker.run(work, *words, cache=cache, **CONDITIONS.get(name, {}))


def reset(disk: SmallDisk, job: Job) -> None:
    """Remove the results of a command and its cache."""
    disk.clear()
    work = disk.path.parent
    for name in ("cache", *(result.split("/")[0] for result in job.results if not result.startswith(DISK))):
        if (work / name).is_dir():
            shutil.rmtree(work / name)
        else:
            (work / name).unlink(missing_ok=True)


def check_refusal(disk: SmallDisk, attempt: Attempt) -> None:
    """Check that a command that failed said why and where in one sentence, and left nothing half-written."""
    *_, last = attempt.output.strip().splitlines()
    assert attempt.code == 1 and "Traceback" not in attempt.output, attempt.output
    assert last.startswith("verydeep: ") and last.endswith("."), attempt.output
    assert DISK in last or "standard output" in last, last
    assert "make room" in last, last
    assert list(disk.seen.rglob("*.tmp")) == []


def check_full_disk(disk: SmallDisk, name: str, job: Job, cache: str, shares: list[float]) -> None:
    """Run a command on a disk with too little room, and then with room."""
    reset(disk, job)
    whole = run(disk, name, job, cache)
    assert whole.code == 0, whole.output
    expected, used = read_results(disk.seen.parent, job), disk.used()
    num_refused = 0
    for share in shares:
        reset(disk, job)
        disk.leave(int(share * used))
        attempt = run(disk, name, job, cache)
        if attempt.code == 0:
            assert "could not be cached" in attempt.output or read_results(disk.seen.parent, job) == expected
            reset(disk, job)
        else:
            check_refusal(disk, attempt)
            num_refused += 1
        disk.make_room()
        done = run(disk, name, job, cache)
        assert done.code == 0 or is_complete(done), done.output
        found = read_results(disk.seen.parent, job)
        assert found.keys() == expected.keys() and [path for path in found if found[path] != expected[path]] == []
    assert num_refused or cache != "cache" or min(shares) > 0


@pytest.mark.parametrize("name", WRITERS)
def test_the_disk_of_the_results_is_full(disk: SmallDisk, name: str) -> None:
    check_full_disk(disk, name, WRITERS[name], "cache", SHARES)


@pytest.mark.parametrize("name", CACHED)
def test_the_disk_of_the_cache_is_full(disk: SmallDisk, name: str) -> None:
    """Posteriors are given without being kept; descriptors, which may not fit into memory, are not."""
    check_full_disk(disk, name, JOBS[name], "disk/cache", SHARES)


def test_the_disk_of_both_is_full(disk: SmallDisk) -> None:
    check_full_disk(disk, "evaluate", WRITERS["evaluate"], "disk/cache", SHARES)


@pytest.mark.parametrize("name", [name for name in WRITERS if name not in CONDITIONS])
def test_a_disk_is_read_only(disk: SmallDisk, name: str) -> None:
    reset(disk, WRITERS[name])
    disk.remount("ro")
    try:
        attempt = run(disk, name, WRITERS[name])
    finally:
        disk.remount("rw")
    *_, last = attempt.output.strip().splitlines()
    assert attempt.code == 1 and "Traceback" not in attempt.output, attempt.output
    assert last.startswith("verydeep: ") and DISK in last and "read-only" in last, last


@pytest.mark.parametrize("name", ["evaluate", "transfer"])
def test_a_cache_that_is_read_only_is_not_used(disk: SmallDisk, name: str) -> None:
    job = JOBS[name]
    reset(disk, job)
    (disk.seen / "cache").mkdir()
    disk.remount("ro")
    try:
        attempt = run(disk, name, job, "disk/cache")
    finally:
        disk.remount("rw")
    assert attempt.code == 0 and "so nothing new is kept" in attempt.output, attempt.output
    assert read_results(disk.path.parent, job)
