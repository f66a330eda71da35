"""The picture of a training: its loss, its validation error, its learning rate."""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from verydeep.engine.plotting import save_figure, subplots
from verydeep.engine.training.metrics_log import MetricsLine

ROBUST_PERCENT = 99
"""The axis of the loss shows this share of the losses: a few peaks would flatten all others."""


def draw_curves(metrics: Sequence[MetricsLine], path: Path, title: str, error: str = "top-1 error") -> None:
    """Draw loss and validation error over the epochs, with the drops of the learning rate and the stages."""
    if not metrics:
        return
    figure, axes = subplots(figsize=(8, 4.5), layout="constrained")
    ends = [line for line in metrics if line.get("epoch") is not None]
    steps_per_epoch = ends[-1]["step"] / max(1, ends[-1]["epoch"]) if ends else 1
    epochs = np.array([line["step"] for line in metrics]) / steps_per_epoch
    losses = np.array([line["loss"] for line in metrics])
    axes.plot(epochs, losses, color="tab:blue", alpha=0.25, linewidth=0.7)
    window = max(1, len(losses) // 50)
    smooth = np.convolve(losses, np.ones(window) / window, mode="valid")
    axes.plot(epochs[window - 1 :], smooth, color="tab:blue", label="training loss")
    top = 1.05 * max(np.percentile(losses, ROBUST_PERCENT), smooth.max())
    axes.set(xlabel="epoch" if ends else "step", ylabel="training loss", title=title, ylim=(0, top or 1))
    rate_label, stage_label = "learning rate drops", "next stage"
    for (before, after), epoch in zip(pairwise(metrics), epochs[1:], strict=True):
        if after.get("stage", 1) > before.get("stage", 1):
            axes.axvline(epoch, color="tab:green", linestyle="--", linewidth=1.2, label=stage_label)
            stage_label = "_"  # only the first appears in the legend
        elif after["learning_rate"] < before["learning_rate"]:
            axes.axvline(epoch, color="tab:gray", linestyle=":", linewidth=1.2, label=rate_label)
            rate_label = "_"
    lines, labels = axes.get_legend_handles_labels()
    validated = [line for line in ends if line.get("val_error") is not None]
    if validated:
        right = axes.twinx()
        (curve,) = right.plot(
            [line["step"] / steps_per_epoch for line in validated],
            [line["val_error"] for line in validated],
            "o-",
            color="tab:red",
            markersize=4,
        )
        right.set_ylabel(f"validation {error}, %", color="tab:red")
        right.set_ylim(0, None)
        lines, labels = [*lines, curve], [*labels, f"validation {error}"]
    axes.legend(lines, labels, fontsize=8, loc="lower left", framealpha=0.8)
    save_figure(figure, path)
