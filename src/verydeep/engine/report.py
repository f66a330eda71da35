"""What a run leaves for its reader: metrics, curves, tables of errors, pictures of predictions."""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from verydeep.configs.networks import PAPER_CROP
from verydeep.configs.scales import in_pixels
from verydeep.data.decoding import decode
from verydeep.data.split import Split
from verydeep.engine.evaluation import Evaluation, write_evaluation
from verydeep.engine.source import fingerprint
from verydeep.engine.training import Report
from verydeep.models.weights.native import ModelConfig

EXAMPLES_STREAM = 3


class MetricsLog:
    """metrics.jsonl: one JSON object a report, cut on resume to what the checkpoint knew of."""

    def __init__(self, path: Path, length: int = 0) -> None:
        """Open for appending; what lies beyond ``length`` bytes was written after the checkpoint and is cut."""
        path.touch()
        os.truncate(path, min(length, path.stat().st_size))
        self.file = path.open("a", encoding="utf-8")

    def write(self, report: Report, seconds: float) -> None:
        """Append one report; ``seconds`` since the run began or was resumed."""
        values: dict[str, Any] = {
            "step": report.step,
            "loss": report.loss,
            "learning_rate": report.learning_rate,
        }
        if report.epoch is not None:
            values |= vars(report.epoch)
        self.file.write(json.dumps(values | {"seconds": round(seconds, 2)}) + "\n")
        self.file.flush()

    def length(self) -> int:
        """Bytes so far, all of them on the disk."""
        os.fsync(self.file.fileno())
        return self.file.tell()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Every complete line of a metrics.jsonl."""
    return [
        json.loads(line) for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")
    ]


class Journal:
    """Says things to the person at the terminal, and keeps them in a log where there is one."""

    def __init__(self, path: Path | None = None, *, silent: bool = False) -> None:
        """``path`` is the log; all processes but the main one are silent and write none."""
        self.consoles: list[Console] = []
        if not silent:
            self.consoles.append(Console(highlight=False, soft_wrap=True))
            if path is not None:
                self.consoles.append(Console(file=path.open("a", encoding="utf-8"), width=120, soft_wrap=True))

    def say(self, text: str) -> None:
        """One line or more."""
        for console in self.consoles:
            console.print(text, markup=False)
            console.file.flush()

    def show(self, table: Table) -> None:
        """A table."""
        for console in self.consoles:
            console.print(table)
            console.file.flush()


def leave_evaluation(
    evaluation: Evaluation,
    split: Split,
    config: ModelConfig,
    folder: Path,
    about: dict[str, Any],
    journal: Journal,
) -> None:
    """Show the table of errors and what must be known of it; write errors.json, predictions.csv, examples.png."""
    weights, precision = about["weights"], about["precision"]
    title = f"{config.network} on {len(evaluation.indices):,} images of {split.name}, {precision}, {weights} weights"
    title += ", fast decoding" if about["fast_decode"] else ""
    journal.show(errors_table(evaluation, title))
    notes = list(caveats(evaluation, split, config, weights))
    for note in notes:
        journal.say(note)
    write_evaluation(folder, evaluation, split, {**about, "split": split.name, "layout": split.layout, "notes": notes})
    draw_examples(split, evaluation, folder / "examples.png")
    journal.say(f"Written: {folder}/ (errors.json, predictions.csv, examples.png)")


def caveats(evaluation: Evaluation, split: Split, config: ModelConfig, weights: str) -> Iterator[str]:
    """What a reader must know before he quotes the figures."""
    seen, known = fingerprint(split), config.split
    if seen == known.get("train"):
        yield "Note: these are the images that the net was trained on."
    elif seen == known.get("val"):
        if weights == "best":
            yield "Note: these images chose these weights, so the errors are not of unseen data."
        elif known.get("plateau"):
            yield "Note: these images decided when the learning rate dropped, so the errors are not of unseen data."
    elif split.name == "all" and known.get("data") == str(split.root.resolve()):
        yield "Note: most of these images are those that the net was trained on."
    elif known.get(split.name) is not None and known.get("data") == str(split.root.resolve()):
        yield "Note: the folder has changed since the training, so some images may have been trained on."
    if evaluation.skipped:
        yield f"Skipped: {len(evaluation.skipped)} files that cannot be decoded (listed in errors.json)."
    limited = [row for row in evaluation.rows if row.geometry is not None and row.geometry.inside < 1]
    if limited and config.crop < 64:
        yield "Note: at this crop the windows reach beyond the image: differences of views are geometry-limited."


def errors_table(evaluation: Evaluation, title: str) -> Table:
    """Rows of errors in percent with their 95% intervals, narrow enough for a terminal of 80 columns."""
    k, crop = evaluation.rows[0].errors.k, evaluation.crop
    table = Table(title=title, title_justify="left", box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.caption = "In %, with 95% intervals. Map: positions of dense testing, share of their windows inside."
    table.caption_justify = "left"
    for heading in ("view", "Q" if crop == PAPER_CROP else "Q (px)", "map"):
        table.add_column(heading, no_wrap=True)
    for heading in ("top-1 error", *([f"top-{k} error"] if k > 1 else []), "class recall"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in evaluation.rows:
        scales = (str(q) if crop == PAPER_CROP else f"{q} ({in_pixels(q, crop)})" for q in row.scales)
        geometry = row.geometry
        shape = "" if geometry is None else f"{geometry.map_height}x{geometry.map_width} {geometry.inside:.0%}"
        shares = [row.errors.top1, *([row.errors.topk] if k > 1 else []), row.errors.class_recall]
        last = row is evaluation.rows[-1]
        table.add_row(row.view, "\n".join(scales), shape, *map(str, shares), style="bold" if last else "")
    return table


def draw_curves(metrics: Sequence[dict[str, Any]], path: Path, title: str) -> None:
    """A picture of the loss, the validation error and the drops of the learning rate over the steps."""
    plt = _pyplot()
    figure, axes = plt.subplots(figsize=(8, 4), layout="constrained")
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
        right.set_ylabel("validation top-1 error %", color="tab:red")
        right.set_ylim(0, None)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def draw_examples(split: Split, evaluation: Evaluation, path: Path, *, seed: int = 0, count: int = 24) -> None:
    """A sheet of photographs drawn by the seed, each with its most probable class; wrong ones are red."""
    assert split.labels is not None
    plt = _pyplot()
    count = min(count, len(evaluation.indices))
    generator = np.random.Generator(np.random.Philox(key=[seed, EXAMPLES_STREAM]))
    rows: npt.NDArray[np.int64] = np.sort(generator.choice(len(evaluation.indices), count, replace=False))
    columns = min(8, count)
    figure, grid = plt.subplots(
        -(-count // columns),
        columns,
        figsize=(1.5 * columns, 1.75 * -(-count // columns)),
        layout="constrained",
        squeeze=False,
    )
    for axes in grid.flat:
        axes.axis("off")
    for axes, row in zip(grid.flat, rows, strict=False):
        index, posterior = int(evaluation.indices[row]), evaluation.posteriors[row]
        guess = int(posterior.argmax())
        image = decode(split.path(index), camera_rotation=split.camera_rotation)
        image.thumbnail((256, 256))
        axes.imshow(image)
        words = split.class_words[guess].split(",")[0]
        axes.set_title(
            f"{words} {posterior[guess]:.0%}",
            fontsize=8,
            parse_math=False,
            color="tab:green" if guess == split.labels[index] else "tab:red",
        )
    figure.savefig(path, dpi=120)
    plt.close(figure)


def _pyplot() -> Any:
    """Matplotlib without a window; imported only where a picture is drawn, as it takes a second."""
    import matplotlib  # noqa: PLC0415

    if "matplotlib.pyplot" not in sys.modules:
        matplotlib.use("Agg")
    import matplotlib.pyplot as plt  # noqa: PLC0415

    return plt
