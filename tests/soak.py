"""Long jobs, with their memory, open files and threads: ``python -m tests.soak LOG.csv PLOT.png [SHARE]``.

Each job runs in a process of its own, which is looked at ten times in a second while it works. SHARE makes all jobs
smaller: 1 is 200,000 small images through evaluate and features, 5,000 photographs of a common size through evaluate,
5,000 training steps, and 200 resumptions of one run.
"""

import csv
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from PIL import Image

import verydeep as vd
from tests.runs import make_photographs
from verydeep.engine.training.metrics_log import read_metrics
from verydeep.models.weights.model_folder import ModelConfig, save_config, save_weights

IMAGES, PHOTOGRAPHS, STEPS, RESUMES = 200_000, 5_000, 5_000, 200
NET = {"crop": 32, "width": 0.0625, "fc_width": 16, "batch_size": 12, "precision": "fp32", "workers": 0}


def link_photographs(photos: Path, folder: Path, count: int) -> None:
    """Fill two class folders with links to a few photographs."""
    sources = sorted(photos.rglob("*.jpg"))
    for label in ("apple", "bee"):
        (folder / "val" / label).mkdir(parents=True)
    for number in range(count):
        label = ("apple", "bee")[number % 2]
        os.link(sources[number % len(sources)], folder / "val" / label / f"{number:06d}.jpg")


def evaluate(folder: Path, share: float) -> None:
    vd.evaluate(folder / "many", folder / "run", split="val", out=folder / "tested", workers=0)


def draw_photographs(folder: Path) -> list[Path]:
    """Draw photographs of four shapes into a folder."""
    rng, paths = np.random.default_rng(0), []
    for number, (height, width) in enumerate([(341, 256), (256, 384), (300, 400), (375, 500)]):
        pixels = rng.integers(0, 256, (height // 8, width // 8, 3)).astype(np.uint8)
        paths.append(folder / f"{number}.jpg")
        Image.fromarray(pixels).resize((width, height)).save(paths[-1])
    return paths


def photographs(folder: Path, share: float) -> None:
    """Evaluate photographs of a common size, which take more memory than the net."""
    (folder / "large").mkdir()
    draw_photographs(folder / "large")
    link_photographs(folder / "large", folder / "many-large", int(PHOTOGRAPHS * share))
    config = ModelConfig("A", ("apple", "bee"), ("apple", "bee"), crop=224, width=0.0625, fc_width=16)
    save_weights(folder / "net", config.build().state_dict())
    save_config(folder / "net", config)
    vd.evaluate(folder / "many-large", folder / "net", split="val", out=folder / "tested-large", workers=0)


def features(folder: Path, share: float) -> None:
    vd.features(folder / "run", str(folder / "many"), out=folder / "archive", workers=0)


def train(folder: Path, share: float) -> None:
    """Train 5,000 steps: two in each epoch."""
    vd.train(folder / "photos", **NET, epochs=max(2, int(STEPS * share / 2)), out=folder / "long")


class _Interruption(logging.Handler):
    """Ends a training after its first epoch, as Ctrl-C does."""

    def emit(self, record: logging.LogRecord) -> None:
        if record.getMessage().startswith("Epoch"):
            raise KeyboardInterrupt


@contextmanager
def interrupted() -> Iterator[None]:
    """Interrupt the training inside after its first epoch."""
    logger, interruption, level = logging.getLogger("verydeep"), _Interruption(), logging.getLogger("verydeep").level
    logger.addHandler(interruption)
    logger.setLevel(logging.INFO)
    try:
        with suppress(KeyboardInterrupt):
            yield
    finally:
        logger.removeHandler(interruption)
        logger.setLevel(level)


def begin_run(folder: Path, epochs: int) -> None:
    """Train an epoch of a run, and interrupt it."""
    with interrupted():
        vd.train(folder / "photos", **NET, epochs=epochs, out=folder / "resumed")


def resume_once(folder: Path) -> None:
    """Continue with one more epoch of the run."""
    with interrupted():
        vd.train(folder / "photos", resume=folder / "resumed")


def resume(folder: Path, share: float) -> None:
    """Resume a run again and again in one process; each time it is interrupted after an epoch."""
    num_resumes = max(2, int(RESUMES * share))
    begin_run(folder, num_resumes + 2)
    for _ in range(num_resumes):
        resume_once(folder)
    epochs = [line for line in read_metrics(folder / "resumed" / "metrics.jsonl") if "epoch" in line]
    assert len(epochs) == num_resumes + 1, len(epochs)


JOBS: dict[str, Callable[[Path, float], None]] = {
    function.__name__: function for function in (evaluate, photographs, train, resume, features)
}


@dataclass(frozen=True)
class Sample:
    """A process at one time."""

    resident_bytes: int
    open_files: int
    threads: int


def look_at(process: Path) -> Sample | None:
    """Return the state of a process by its folder in /proc; None if it has just ended."""
    status = dict(line.split(":", 1) for line in (process / "status").read_text().splitlines())
    if "VmRSS" not in status:
        return None
    return Sample(int(status["VmRSS"].split()[0]) << 10, len(list((process / "fd").iterdir())), int(status["Threads"]))


def watch(job: str, folder: Path, share: float) -> list[tuple[float, Sample]]:
    """Run a job in a process of its own, and look at the process until it ends; return seconds and states."""
    samples, begin = [], time.monotonic()
    command = [sys.executable, "-m", "tests.soak", "--job", job, str(folder), str(share)]
    environment = {**os.environ, "VERYDEEP_CACHE": str(folder / "cache")}
    log = (folder / f"{job}.txt").open("w")
    with log, subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT) as process:
        while process.poll() is None:
            if (sample := look_at(Path(f"/proc/{process.pid}"))) is not None:
                samples.append((round(time.monotonic() - begin, 1), sample))
            time.sleep(0.1)
    assert process.returncode == 0, (folder / f"{job}.txt").read_text()[-2000:]
    return samples


def growth(values: list[int]) -> float:
    """Return by which share the largest value exceeds those of the second tenth."""
    tenth = max(1, len(values) // 10)
    return float(max(values[tenth:]) / np.median(values[tenth : 2 * tenth]) - 1)


def make_inputs(folder: Path, share: float) -> None:
    """Make photographs, a run and a folder of many photographs."""
    make_photographs(folder / "photos", {"train": 8, "val": 3})
    vd.train(folder / "photos", **NET, epochs=1, out=folder / "run")
    link_photographs(folder / "photos", folder / "many", int(IMAGES * share))


def draw(samples: dict[str, list[tuple[float, Sample]]], path: Path) -> None:
    """Draw the memory of all jobs over their time."""
    from matplotlib.figure import Figure

    figure = Figure((8, 4), layout="constrained")
    axes = figure.subplots()
    for job, own in samples.items():
        times = np.array([seconds for seconds, _ in own])
        axes.plot(100 * times / times[-1], [sample.resident_bytes / 1e6 for _, sample in own], label=job)
    axes.set(xlabel="% of the job's time", ylabel="resident memory (MB)", xlim=(0, 100), ylim=(0, None))
    axes.legend()
    figure.savefig(path, dpi=120)


def main() -> None:
    if sys.argv[1] == "--job":
        JOBS[sys.argv[2]](Path(sys.argv[3]), float(sys.argv[4]))
        return
    share = float(sys.argv[3]) if len(sys.argv) > 3 else 1
    samples = {}
    with tempfile.TemporaryDirectory() as temporary, Path(sys.argv[1]).open("w", newline="") as file:
        make_inputs(Path(temporary), share)
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["job", "seconds", "resident_bytes", "open_files", "threads"])
        for job in JOBS:
            samples[job] = found = watch(job, Path(temporary), share)
            rows = ([job, seconds, *vars(sample).values()] for seconds, sample in found)
            writer.writerows(islice(rows, 0, None, max(1, len(found) // 200)))
            file.flush()
            figures = {name: [getattr(sample, name) for _, sample in found] for name in vars(found[0][1])}
            print(
                job,
                f"{found[-1][0]:.0f} s",
                {name: f"{growth(each):.1%}" for name, each in figures.items()},
                flush=True,
            )
    draw(samples, Path(sys.argv[2]))


if __name__ == "__main__":
    main()
