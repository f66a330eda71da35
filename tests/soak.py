"""Long jobs, with their memory, open files and threads: ``python -m tests.soak LOG.csv PLOT.png [SHARE]``.

Each job runs in a process of its own, which is looked at ten times in a second while it works. SHARE makes all jobs
smaller: 1 is 200,000 photographs through evaluate and features, 5,000 training steps and 200 resumptions of one run.
"""

import csv
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import verydeep as vd
from tests.runs import make_photographs
from verydeep.engine.training.metrics_log import read_metrics

IMAGES, STEPS, RESUMES = 200_000, 5_000, 200
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


def resume(folder: Path, share: float) -> None:
    """Resume a run again and again in one process; each time it is interrupted after an epoch."""
    num_resumes, run = max(2, int(RESUMES * share)), folder / "resumed"
    logger, interruption = logging.getLogger("verydeep"), _Interruption()
    logger.setLevel(logging.INFO)
    logger.addHandler(interruption)
    with suppress(KeyboardInterrupt):
        vd.train(folder / "photos", **NET, epochs=num_resumes + 2, out=run)
    for _ in range(num_resumes):
        with suppress(KeyboardInterrupt):
            vd.train(folder / "photos", resume=run)
    epochs = [line for line in read_metrics(run / "metrics.jsonl") if "epoch" in line]
    assert len(epochs) == num_resumes + 1, len(epochs)


JOBS: dict[str, Callable[[Path, float], None]] = {
    function.__name__: function for function in (evaluate, features, train, resume)
}


@dataclass(frozen=True)
class Sample:
    """A process at one time."""

    job: str
    seconds: float
    resident_bytes: int
    open_files: int
    threads: int


def watch(job: str, folder: Path, share: float) -> list[Sample]:
    """Run a job in a process of its own, and look at the process until it ends."""
    samples, begin = [], time.monotonic()
    command = [sys.executable, "-m", "tests.soak", "--job", job, str(folder), str(share)]
    environment = {**os.environ, "VERYDEEP_CACHE": str(folder / "cache")}
    log = (folder / f"{job}.txt").open("w")
    with log, subprocess.Popen(command, env=environment, stdout=log, stderr=subprocess.STDOUT) as process:
        place = Path(f"/proc/{process.pid}")
        while process.poll() is None:
            status = dict(line.split(":", 1) for line in (place / "status").read_text().splitlines())
            if "VmRSS" in status:  # else it has just ended
                resident, files = int(status["VmRSS"].split()[0]) << 10, len(list((place / "fd").iterdir()))
                now = round(time.monotonic() - begin, 1)
                samples.append(Sample(job, now, resident, files, int(status["Threads"])))
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


def draw(samples: list[Sample], path: Path) -> None:
    """Draw the memory of all jobs over their time."""
    from matplotlib.figure import Figure

    figure = Figure((8, 4), layout="constrained")
    axes = figure.subplots()
    for job in JOBS:
        own = [sample for sample in samples if sample.job == job]
        times = np.array([sample.seconds for sample in own])
        axes.plot(100 * times / times[-1], [sample.resident_bytes / 1e6 for sample in own], label=job)
    axes.set(xlabel="% of the job's time", ylabel="resident memory (MB)", xlim=(0, 100), ylim=(0, None))
    axes.legend()
    figure.savefig(path, dpi=120)


def main() -> None:
    if sys.argv[1] == "--job":
        JOBS[sys.argv[2]](Path(sys.argv[3]), float(sys.argv[4]))
        return
    share = float(sys.argv[3]) if len(sys.argv) > 3 else 1
    samples = []
    with tempfile.TemporaryDirectory() as temporary, Path(sys.argv[1]).open("w", newline="") as file:
        make_inputs(Path(temporary), share)
        writer = csv.writer(file)
        writer.writerow(["job", "seconds", "resident_bytes", "open_files", "threads"])
        for job in JOBS:
            found = watch(job, Path(temporary), share)
            samples += found
            step = max(1, len(found) // 500)
            writer.writerows(vars(sample).values() for sample in found[::step])
            file.flush()
            figures = {name: [getattr(sample, name) for sample in found] for name in list(vars(found[0]))[2:]}
            print(job, f"{found[-1].seconds:.0f} s", {name: f"{growth(each):.1%}" for name, each in figures.items()})
    draw(samples, Path(sys.argv[2]))


if __name__ == "__main__":
    main()
