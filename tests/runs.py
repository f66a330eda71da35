"""A small folder of photographs, a small net, and the command line as a user starts it."""

import csv
import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from verydeep.cli import print_messages
from verydeep.results.result import Result, print_result

SMALL_NET = (
    *("--crop", "32", "--width", "0.0625", "--fc-width", "16", "--batch-size", "12"),
    *("--precision", "fp32", "--workers", "0"),
)
SHORT_TRAINING = ("--epochs", 4, "--scale", "256-512", "--seed", 3)


def make_photographs(root: Path, counts: dict[str, int]) -> Path:
    """Make class folders in splits (train, val, ...): textures in three colors, with sides that 32 does not divide."""
    rng = np.random.default_rng(5)
    shapes = [(45, 61), (70, 50), (53, 53)]
    for part, count in counts.items():
        for label, name in enumerate(["apple", "bee", "cloud"]):
            folder = root / part / name
            folder.mkdir(parents=True)
            for i in range(count):
                height, width = shapes[i % 3]
                pixels = rng.integers(0, 120, (height, width, 3))
                pixels[..., label] += 120
                Image.fromarray(pixels.astype(np.uint8)).save(folder / f"{i:03d}.jpg", quality=92)
    return root


Cli = Callable[..., subprocess.CompletedProcess[str]]


def verydeep(
    *arguments: object, cwd: Path | None = None, check: bool = True, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    command = [sys.executable, "-m", "verydeep", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, timeout=240, check=False, env=environment)
    if check:
        assert done.returncode == 0, done.stdout + done.stderr
    return done


def run_and_print(function: Callable[..., Result], *arguments: Any, **options: Any) -> None:
    """Call a public function, and print its messages and its result as the command line does."""
    with print_messages("stdout"):
        result = function(*arguments, **options)
    print_result(result, "table", sys.stdout)


def metrics_of(run: Path) -> list[dict[str, Any]]:
    """Return the lines of metrics.jsonl without the time, which differs from run to run."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        del line["seconds"]
    return lines


def losses_of(run: Path) -> Sequence[float]:
    return [line["loss"] for line in metrics_of(run)]


def read_report(folder: Path) -> dict[str, Any]:
    """The values in the errors.json of an evaluation."""
    values = json.loads((folder / "errors.json").read_text())
    assert isinstance(values, dict)
    return values


def read_csv(path: Path) -> list[dict[str, str]]:
    """A record for each line of a CSV file."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def read_predictions(lines: str) -> dict[str, dict[str, float]]:
    """Image -> class -> probability or margin, highest first, as `verydeep predict --format json` prints them."""
    predictions: dict[str, dict[str, float]] = {}
    for record in map(json.loads, lines.splitlines()):
        score = record["probability"] if "probability" in record else record["margin"]
        predictions.setdefault(record["image"], {})[record["class"]] = score
    return predictions


@contextmanager
def full_disk() -> Iterator[None]:
    """No file can grow beyond 8,000 bytes, as on a disk without room."""
    resource = pytest.importorskip("resource", reason="limits the size of files")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8000, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
