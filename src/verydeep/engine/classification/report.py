"""What is left for a reader: tables of errors, what must be known of them, and files."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from rich.table import Table

from verydeep.configs.networks import PAPER_CROP
from verydeep.configs.protocols import View
from verydeep.configs.scales import format_scales, in_pixels
from verydeep.data.split import Split
from verydeep.data.submission import check_complete, write_submission
from verydeep.engine.classification.evaluation import (
    ClassificationEvaluation,
    MapGeometry,
    NetPredictions,
    fuse_posteriors,
)
from verydeep.engine.classification.pictures import draw_examples
from verydeep.engine.classification.posteriors import posterior_cache_message
from verydeep.engine.log import Log
from verydeep.engine.nets.digests import digest_of_net
from verydeep.engine.nets.net import Net
from verydeep.engine.reporting.confusion import draw_confusion, write_confusion
from verydeep.engine.reporting.remarks import seen_images_remarks
from verydeep.files import atomic_write_text, write_json
from verydeep.ops.metrics import class_errors, ranks


def write_evaluation_report(
    evaluation: ClassificationEvaluation,
    split: Split,
    nets: Sequence[Net],
    folder: Path,
    about: dict[str, Any],
    log: Log,
) -> None:
    """Show the table of errors and what must be known of it, and write it all into a folder.

    Written are errors.json, predictions.csv, classes.csv, confusion.csv, confusion.png and examples.png.
    """
    weights, precision = about["weights"], about["precision"]
    who = str(nets[0]) if len(nets) == 1 else f"{len(nets)} nets"
    title = f"{who} on {len(evaluation.indices):,} images of {split.name}, {precision}, {weights} weights"
    title += ", fast decoding" if about["fast_decode"] else ""
    log.show(errors_table(evaluation, title))
    log.info(f"Expected calibration error: {evaluation.calibration:.1f} points. {posterior_cache_message()}")
    notes = list(evaluation_remarks(evaluation, split, nets))
    for note in notes:
        log.info(note)
    which = {"nets": [str(net.path) for net in nets], "digests": [digest_of_net(net) for net in nets]}
    about = {**about, **which, "split": split.name, "layout": split.layout}
    write_evaluation(folder, evaluation, split, {**about, "notes": notes})
    draw_examples(split, evaluation, folder / "examples.png")
    draw_confusion(folder / "confusion.png", evaluation.confusion, split.class_words)
    log.info(f"Written: {folder}/ (errors.json, predictions.csv, classes.csv, confusion.csv, .png, examples.png)")


def write_evaluation(folder: Path, evaluation: ClassificationEvaluation, split: Split, about: dict[str, Any]) -> None:
    """Write an evaluation into a folder.

    errors.json holds all rows and ``about``; predictions.csv a line an image, classes.csv a line a class, confusion.csv
    a line for each true class with the counts of the predicted ones.
    """
    rows = [asdict(row) for row in evaluation.rows]
    for values, row in zip(rows, evaluation.rows, strict=True):
        values["pixels"] = [in_pixels(scale, row.crop) for scale in row.scales]
    report = {**about, "num_images": len(evaluation.indices), "rows": rows, "skipped": evaluation.skipped}
    names = split.class_names
    with atomic_write_text(folder / "predictions.csv") as file:
        write_predictions(file, evaluation, split)
    with atomic_write_text(folder / "classes.csv") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["class", "words", "images", "error", "low", "high"])
        for each in class_errors(evaluation.confusion):
            shares = (each.error.percent, each.error.low, each.error.high)
            words = split.class_words[each.label]
            writer.writerow([names[each.label], words, each.num_images, *(f"{share:.2f}" for share in shares)])
    write_confusion(folder / "confusion.csv", evaluation.confusion, names)
    # Last, as the sign that all of it is there.
    write_json(folder / "errors.json", report | {"expected_calibration_error": evaluation.calibration})


def write_predictions(file: TextIO, evaluation: ClassificationEvaluation, split: Split) -> None:
    """path, label, rank of the label (1 is right), and the five most probable classes with their posteriors."""
    assert split.labels is not None
    top = min(5, len(split.class_names))
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["path", "label", "rank", *(f"{what}{i}" for i in range(1, top + 1) for what in ("class", "p"))])
    places = ranks(evaluation.posteriors, split.labels[evaluation.indices])
    best = np.argsort(-evaluation.posteriors, axis=1, kind="stable")[:, :top]
    for index, place, classes, posterior in zip(evaluation.indices, places, best, evaluation.posteriors, strict=True):
        guesses = [cell for k in classes for cell in (split.class_names[k], f"{posterior[k]:.6f}")]
        writer.writerow([split.files[index], split.class_names[split.labels[index]], int(place) + 1, *guesses])


def write_classification_submission(path: Path, tested: Sequence[NetPredictions], split: Split, view: View) -> None:
    """Write the ILSVRC test server's file: the five best classes of every image, labels or not (section 4.4).

    Raises:
        VerydeepError: an image could not be decoded, or the classes are not ILSVRC's.
    """
    said = fuse_posteriors([each.mean_posteriors(view) for each in tested])
    check_complete(path, split, len(said.indices))
    write_submission(path, split.files, split.class_names, said.posteriors)


def evaluation_remarks(evaluation: ClassificationEvaluation, split: Split, nets: Sequence[Net]) -> Iterator[str]:
    """Return sentences that a reader needs before quoting the figures."""
    yield from seen_images_remarks(nets, split)
    for net in nets:
        if net.config.provenance.converged is False:
            yield f"Not converged: the learning rate of {net.path} did not make all its drops."
    if any(each.inside < 1 for row in evaluation.rows for each in row.geometry):
        yield from small_crop_remark(evaluation.rows[0].crop)
    if evaluation.skipped:
        yield f"Skipped: {len(evaluation.skipped)} files that cannot be decoded (listed in errors.json)."
    if evaluation.write_error:
        yield f"The posteriors could not be cached: {evaluation.write_error}"


def errors_table(evaluation: ClassificationEvaluation, title: str) -> Table:
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
            "\n".join(format_scales(row.scales, row.crop)),
            "\n".join(f"{each.map_height}x{each.map_width} {each.inside:.0%}" for each in row.geometry),
            *map(str, shares),
            style="bold" if last else "",
        )
    return table


def describe_map_sizes(geometry: Mapping[int, MapGeometry]) -> str:
    """Return a sentence about the map size, and the windows, at each test scale."""
    maps = "; ".join(
        f"Q={q} {each.map_height}x{each.map_width}, {each.inside:.0%}" for q, each in sorted(geometry.items())
    )
    return f"Map size, and the share of the windows' area that lies inside the image: {maps}."


def small_crop_remark(crop: int) -> Iterator[str]:
    """Warn that small windows reach beyond the images."""
    if crop < 64:
        yield (
            f"Crop {crop} is below 64, so windows reach beyond the images: the errors say little about which view is "
            "better."
        )
