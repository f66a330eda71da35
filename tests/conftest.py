"""Photographs on which swapped axes, mirroring and swapped colors show, and settings of all tests."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import settings
from PIL import Image

from tests.runs import SHORT_TRAINING, SMALL_NET, Cli, make_photographs, verydeep
from verydeep import cli as command_line
from verydeep.data.folders.folder import open_folder
from verydeep.data.split import Split
from verydeep.ops.arrays import UInt8Array

if TYPE_CHECKING:
    from tests.kills import Forker

# A shell that starts the tests in the background lets them ignore Ctrl-C, which some of them send.
signal.signal(signal.SIGINT, signal.default_int_handler)

if "PYTEST_XDIST_WORKER" in os.environ:
    # Several processes on the same cores, and in them torch with as many threads each, are slower than one.
    torch.set_num_threads(1)
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# The machine may be shared: a property is wrong or right, not slow.
settings.register_profile("no deadline", deadline=None)
settings.load_profile("no deadline")


def picture(height: int, width: int, seed: int = 0) -> UInt8Array:
    """(height, width, 3): red on average, brighter to the right and darker downwards, with blobs and some noise."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    blobs = sum(
        np.sin(x / rng.uniform(2, 9) + rng.uniform(0, 6)) * np.cos(y / rng.uniform(2, 9) + rng.uniform(0, 6))
        for _ in range(4)
    )
    ramp = x / width - 0.6 * y / height
    color = np.array([170.0, 110.0, 50.0]) + rng.normal(0, 12, 3)
    pixels = color + 45 * ramp[..., None] + 16 * blobs[..., None] * rng.uniform(0.3, 1.5, 3)
    noisy = pixels + rng.normal(0, 6, (height, width, 3))
    return np.asarray(noisy.clip(0, 255), np.uint8)


SHAPES = ((45, 61), (70, 50), (53, 53), (41, 98), (61, 45))
"""(height, width) of the photographs below, in turn."""


@pytest.fixture(scope="session", autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Use a cache folder of the session, so that tests neither read nor fill the user's."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("VERYDEEP_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="session")
def class_folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """train/ of three classes with 11 JPEGs each, one of them gray, val/ with four each."""
    root = tmp_path_factory.mktemp("class-folders")
    number = 0
    for part, count in (("train", 11), ("val", 4)):
        for name in ("ant", "bell", "crab"):
            (root / part / name).mkdir(parents=True)
            for i in range(count):
                image = Image.fromarray(picture(*SHAPES[number % len(SHAPES)], seed=number))
                image = image.convert("L") if number % 11 == 4 else image
                image.save(root / part / name / f"{i:02d}.jpg", quality=93)
                number += 1
    return root


@pytest.fixture(scope="session")
def train_split(class_folders: Path) -> Split:
    return open_folder(class_folders, "train", seed=0, val_fraction=0.2)


@pytest.fixture(scope="session")
def val_split(class_folders: Path) -> Split:
    return open_folder(class_folders, "val", seed=0, val_fraction=0.2)


@pytest.fixture(scope="session")
def real_photographs() -> list[Path]:
    """Two JPEGs of 640x427 in scikit-learn, found without importing it."""
    spec = find_spec("sklearn")
    assert spec is not None and spec.origin is not None
    return [Path(spec.origin).parent / "datasets" / "images" / name for name in ("china.jpg", "flower.jpg")]


@pytest.fixture(scope="session")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Class folders in train/, val/ and test/ whose classes have different colors."""
    return make_photographs(tmp_path_factory.mktemp("photographs"), {"train": 20, "val": 5, "test": 3})


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Return the folder of real data that VERYDEEP_DATA names; without one the test is skipped."""
    if "VERYDEEP_DATA" not in os.environ:
        pytest.skip("VERYDEEP_DATA names no folder of real data")
    return Path(os.environ["VERYDEEP_DATA"])


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    """Run ``verydeep`` with these arguments in a folder of the test's own."""
    return partial(verydeep, cwd=tmp_path)


@pytest.fixture
def inside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """Run ``verydeep`` as ``cli`` does, but within this process, which starts faster."""

    def run(*arguments: object, check: bool = True) -> subprocess.CompletedProcess[str]:
        words, code = list(map(str, arguments)), 0
        with monkeypatch.context() as patch:
            patch.chdir(tmp_path)
            patch.setattr(sys, "argv", ["verydeep", *words])
            try:
                command_line.main()
            except SystemExit as stop:
                code = int(stop.code or 0)
        done = subprocess.CompletedProcess(words, code, *capsys.readouterr())
        assert code == 0 or not check, done.stdout + done.stderr
        return done

    return run


@pytest.fixture(scope="session")
def forker() -> Iterator["Forker"]:
    """A process that has imported everything and forks for each command."""
    from tests.kills import start_forker

    with start_forker() as process:
        yield process


@pytest.fixture(scope="session")
def inputs(forker: "Forker", tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the commands of ``tests/jobs.py`` run in."""
    from tests.jobs import make_inputs

    folder = tmp_path_factory.mktemp("inputs")
    make_inputs(forker, folder)
    return folder


@pytest.fixture(scope="session")
def trained(forker: "Forker", photographs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of a small net A on the photographs: four epochs, jittered S, seed 3."""
    run = tmp_path_factory.mktemp("trained") / "run"
    done = forker.run(run.parent, "train", photographs, *SMALL_NET, *SHORT_TRAINING, "--out", run)
    assert done.code == 0, done.output
    return run
