"""A command that is killed at any moment continues to the same result (docs/reliability.md, promise 1)."""

import os
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

import numpy as np
import pytest

from tests.jobs import JOBS, NET, begin, find_differences, kill, run_whole
from tests.kills import Forker

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")

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
