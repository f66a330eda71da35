"""What a run leaves for its reader: metrics, a log, tables of errors."""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from verydeep.configs.networks import PAPER_CROP
from verydeep.configs.scales import in_pixels
from verydeep.data.split import Split
from verydeep.engine.evaluation import Evaluation, write_evaluation
from verydeep.engine.members import Net
from verydeep.engine.pictures import draw_confusion, draw_examples
from verydeep.engine.posteriors import kept_in_words
from verydeep.engine.source import fingerprint
from verydeep.engine.training import Report


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

    def close(self) -> None:
        """No more reports."""
        self.file.close()


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """Every complete line of a metrics.jsonl."""
    return [
        json.loads(line) for line in path.read_text(encoding="utf-8").splitlines(keepends=True) if line.endswith("\n")
    ]


class Journal:
    """Says things to the person at the terminal, and keeps them in a log where there is one."""

    def __init__(self, path: Path | None = None, *, silent: bool = False) -> None:
        """``path`` is the log; all processes but the main one are silent and write none."""
        self.path, self.silent = path, silent

    def say(self, text: str) -> None:
        """One line or more."""
        for console in self._consoles():
            console.print(text, markup=False)

    def show(self, table: Table) -> None:
        """A table."""
        for console in self._consoles():
            console.print(table)

    def _consoles(self) -> Iterator[Console]:
        if self.silent:
            return
        yield Console(highlight=False, soft_wrap=True)
        sys.stdout.flush()
        if self.path is not None:
            with self.path.open("a", encoding="utf-8") as file:
                yield Console(file=file, width=120, soft_wrap=True)


def leave_evaluation(
    evaluation: Evaluation,
    split: Split,
    nets: Sequence[Net],
    folder: Path,
    about: dict[str, Any],
    journal: Journal,
) -> None:
    """Show the table of errors and what must be known of it, and write it all into a folder.

    Written are errors.json, predictions.csv, classes.csv, confusion.csv, confusion.png and examples.png.
    """
    weights, precision = about["weights"], about["precision"]
    who = str(nets[0]) if len(nets) == 1 else f"{len(nets)} nets"
    title = f"{who} on {len(evaluation.indices):,} images of {split.name}, {precision}, {weights} weights"
    title += ", fast decoding" if about["fast_decode"] else ""
    journal.show(errors_table(evaluation, title))
    journal.say(f"Expected calibration error: {evaluation.calibration:.1f} points. {kept_in_words()}")
    notes = list(caveats(evaluation, split, nets, weights))
    for note in notes:
        journal.say(note)
    about = {**about, "nets": [str(net.path) for net in nets], "split": split.name, "layout": split.layout}
    write_evaluation(folder, evaluation, split, {**about, "notes": notes})
    draw_examples(split, evaluation, folder / "examples.png")
    draw_confusion(folder / "confusion.png", evaluation, split)
    journal.say(f"Written: {folder}/ (errors.json, predictions.csv, classes.csv, confusion.csv, .png, examples.png)")


def caveats(evaluation: Evaluation, split: Split, nets: Sequence[Net], weights: str) -> Iterator[str]:
    """What a reader must know before he quotes the figures."""
    known: dict[str, None] = {}
    for net in nets:
        known.update(dict.fromkeys(net_caveats(net, evaluation, split, weights)))
    yield from known
    if evaluation.skipped:
        yield f"Skipped: {len(evaluation.skipped)} files that cannot be decoded (listed in errors.json)."
    if evaluation.not_kept:
        yield f"The posteriors were not kept for the next time: {evaluation.not_kept}"


def net_caveats(net: Net, evaluation: Evaluation, split: Split, weights: str) -> Iterator[str]:
    """What one net has seen of these images, and whether it was trained to its end."""
    config = net.config
    yield from seen_before(net, split, weights)
    if config.provenance.get("converged") is False:
        yield f"Not converged: {net.path} did not make all drops of its learning rate."
    geometry = [each for row in evaluation.rows for each in row.geometry]
    if config.crop < 64 and any(each.inside < 1 for each in geometry):
        yield "Note: at this crop the windows reach beyond the image: differences of views are geometry-limited."


def seen_before(net: Net, split: Split, weights: str) -> Iterator[str]:
    """What a net has seen of these images, if anything."""
    seen, known = fingerprint(split), net.config.split
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
        yield (
            f"Note: {net.path}: the folder has changed since the training, or was divided otherwise, so some images "
            "may have been trained on."
        )


def errors_table(evaluation: Evaluation, title: str) -> Table:
    """Rows of errors in percent with their 95% intervals, narrow enough for a terminal of 80 columns."""
    k, crops = evaluation.rows[0].errors.k, {row.crop for row in evaluation.rows}
    several = len({row.net for row in evaluation.rows}) > 1
    table = Table(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.caption = "In %, with 95% intervals. Map: positions of dense testing, share of their windows inside."
    table.caption_justify = "left"
    for heading in ("net, view" if several else "view", "Q" if crops == {PAPER_CROP} else "Q (px)", "map"):
        table.add_column(heading, no_wrap=True)
    for heading in ("top-1 error", *([f"top-{k} error"] if k > 1 else []), "class recall"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in evaluation.rows:
        shares = [row.errors.top1, *([row.errors.topk] if k > 1 else []), row.errors.class_recall]
        last = row is evaluation.rows[-1]
        table.add_row(
            f"{row.net} {row.view}" if several else row.view,
            "\n".join(scales_in_words(row.scales, row.crop)),
            "\n".join(f"{each.map_height}x{each.map_width} {each.inside:.0%}" for each in row.geometry),
            *map(str, shares),
            style="bold" if last else "",
        )
    return table


def scales_in_words(scales: Sequence[int], crop: int) -> list[str]:
    """Test scales as reports print them: in the paper's units, and in pixels where these differ."""
    return [str(q) if crop == PAPER_CROP else f"{q} ({in_pixels(q, crop)})" for q in scales]
