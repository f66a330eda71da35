"""The picture of a training: its loss, its validation error, its learning rate."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from verydeep.engine.plotting import subplots


def draw_curves(metrics: Sequence[dict[str, Any]], path: Path, title: str, error: str = "top-1 error") -> None:
    """Draw the loss, the validation error (called ``error``) and the drops of the learning rate over the steps."""
    figure, axes = subplots(figsize=(8, 4), layout="constrained")
    steps = np.array([line["step"] for line in metrics])
    losses = np.array([line["loss"] for line in metrics])
    axes.plot(steps, losses, color="tab:blue", alpha=0.25, linewidth=0.7)
    window = max(1, len(losses) // 50)
    smooth = np.convolve(losses, np.ones(window) / window, mode="valid")
    axes.plot(steps[window - 1 :], smooth, color="tab:blue", label="training loss")
    axes.set(xlabel="step", ylabel="training loss", title=title, ylim=(0, None))
    rates = [line["learning_rate"] for line in metrics]
    for step, before, after in zip(steps[1:], rates, rates[1:], strict=False):
        if after < before:
            axes.axvline(step, color="tab:gray", linestyle=":", linewidth=1)
    epochs = [line for line in metrics if line.get("val_error") is not None]
    if epochs:
        right = axes.twinx()
        right.plot(
            [line["step"] for line in epochs],
            [line["val_error"] for line in epochs],
            "o-",
            color="tab:red",
            markersize=4,
        )
        right.set_ylabel(f"validation {error} %", color="tab:red")
        right.set_ylim(0, None)
    figure.savefig(path, dpi=120)
