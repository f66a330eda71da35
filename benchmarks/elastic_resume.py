"""Stop a training and continue it on other numbers of processes; compare its losses with runs that were not stopped.

``python -m benchmarks.elastic_resume OUT.png`` trains a thin net on 1, 2 and 4 processes, and once more on 1, 2, 4, 3
and 1 in turn, each time with other workers and micro-batches. It prints the largest differences of the loss and draws
them. The 900 photographs are drawn: noise of three colors.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from tests.runs import make_photographs

NET = ("--crop", 32, "--width", 1 / 16, "--fc-width", 16, "--precision", "fp32")
TRAINING = (*NET, "--batch-size", 32, "--learning-rate", 1e-3, "--epochs", 4, "--seed", 1)
PARTS = ((1, 0, 32), (2, 1, 8), (4, 0, 3), (3, 1, 5), (1, 2, 7))
"""(processes, workers, images at once) of the run that is stopped."""


def start(folder: Path, *words: object) -> "subprocess.Popen[bytes]":
    """Start the command line."""
    command = [sys.executable, "-m", "verydeep", "train", *words, "--no-progress"]
    return subprocess.Popen([*map(str, command)], cwd=folder, stdout=subprocess.DEVNULL)


def read_losses(run: Path) -> np.ndarray:
    """Return the losses of all steps."""
    lines = (run / "metrics.jsonl").read_text().splitlines() if (run / "metrics.jsonl").exists() else []
    return np.array([json.loads(line)["loss"] for line in lines])


def main() -> None:
    """Train, compare, draw."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        make_photographs(folder / "photos", {"train": 300, "val": 10})
        losses = {}
        for processes in (1, 2, 4):
            name = f"{processes} process{'es' * (processes > 1)}"
            run = folder / str(processes)
            assert start(folder, "photos", *TRAINING, "--devices", processes, "--out", run.name).wait() == 0
            losses[name] = read_losses(run)
        whole, run, stops = losses["1 process"], folder / "stopped", list[int]()
        for number, (processes, workers, at_once) in enumerate(PARTS, start=1):
            words = ("--resume", run.name) if stops else ("photos", *TRAINING, "--out", run.name)
            options = ("--devices", processes, "--workers", workers, "--micro-batch", at_once)
            job, goal = start(folder, *words, *options), len(whole) * number // len(PARTS)
            while number < len(PARTS) and len(read_losses(run)) < goal and job.poll() is None:
                time.sleep(0.05)
            if number < len(PARTS):
                job.send_signal(signal.SIGTERM)
            assert job.wait() == (143 if number < len(PARTS) else 0)
            stops.append(len(read_losses(run)))
        losses["stopped, then continued"] = read_losses(run)
    print(f"{len(whole)} steps, loss {whole[0]:.3f} to {whole[-1]:.3f}; the stopped run stopped after steps {stops}")
    for name, values in losses.items():
        print(f"{name}: largest relative difference of the loss {np.max(np.abs(values / whole - 1)):.1e}")
    draw(losses, stops, Path(sys.argv[1]))


def draw(losses: dict[str, np.ndarray], stops: list[int], path: Path) -> None:
    """Draw the losses, and their differences from those of one process."""
    whole = losses["1 process"]
    figure, (upper, lower) = plt.subplots(2, 1, figsize=(7, 5), sharex=True, layout="constrained")
    for number, (name, values) in enumerate(losses.items()):
        steps, color = np.arange(1, len(values) + 1), f"C{number}"
        upper.plot(steps, values, color=color, linewidth=0.8, label=name)
        if values is not whole:  # equal bits are drawn at the lower edge
            lower.plot(steps, np.maximum(np.abs(values / whole - 1), 1e-9), ".", color=color, markersize=3)
    for axes in (upper, lower):
        for first, last, (processes, *_) in zip([0, *stops], stops, PARTS, strict=False):
            axes.axvline(last, color="gray", linewidth=0.6, linestyle=":")
            if axes is upper:
                axes.text((first + last) / 2, whole.max(), str(processes), ha="center", va="top", color="gray")
    upper.set_ylabel("loss (numbers: processes)")
    lower.set(xlabel="step", ylabel="relative difference\nfrom one process", yscale="log")
    upper.legend(fontsize=8)
    figure.savefig(path, dpi=130)


if __name__ == "__main__":
    main()
