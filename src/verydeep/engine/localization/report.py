"""What an evaluation of boxes leaves for its reader: a table, what must be known of it, files and pictures."""

import csv
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich.table import Table

from verydeep.configs.networks import PAPER_CROP
from verydeep.configs.scales import in_pixels, scales_in_words
from verydeep.data.decoding import Decoding
from verydeep.data.split import Split
from verydeep.data.submission import check_complete, write_localization_submission
from verydeep.engine.classification.report import describe_map_sizes
from verydeep.engine.localization.box_ensemble import BoxEnsemble
from verydeep.engine.localization.boxed_split import BoxedSplit
from verydeep.engine.localization.evaluation import LocalizationEvaluation, guess_boxes
from verydeep.engine.localization.pictures import draw_examples, draw_success
from verydeep.engine.log import Log
from verydeep.engine.nets.digests import digest_of_net
from verydeep.engine.reporting.remarks import seen_images_remarks
from verydeep.engine.runtime import Runtime
from verydeep.files import atomic_write_text, write_json
from verydeep.ops.bootstrap import paired_difference
from verydeep.ops.localization_errors import RIGHT_AT


def write_localization_report(
    evaluation: LocalizationEvaluation, part: BoxedSplit, folder: Path, about: dict[str, Any], log: Log
) -> None:
    """Show the table of errors and what must be known of it, and write it all into a folder.

    Written are errors.json, boxes.csv, success.png and examples.png.
    """
    split = part.split
    who = ", ".join(str(member.net) for member in evaluation.ensemble.members)
    title = f"{who} on {evaluation.rows[-1].truth.num_images:,} images of {split.name}, {about['precision']}"
    log.show(errors_table(evaluation, title))
    notes = list(evaluation_remarks(evaluation, part.whole, about["weights"]))
    for note in notes:
        log.info(note)
    write_boxes(folder / "boxes.csv", evaluation, split)
    draw_success(evaluation, folder / "success.png")
    draw_examples(split, evaluation, folder / "examples.png")
    # Last, as the sign that all of it is there.
    write_json(folder / "errors.json", {**about, **as_values(evaluation, split), "notes": notes})
    log.info(f"Written: {folder}/ (errors.json, boxes.csv, success.png, examples.png)")


def errors_table(evaluation: LocalizationEvaluation, title: str) -> Table:
    """Rows of errors in percent with their 95% intervals, narrow enough for a terminal of 80 columns."""
    several = len(evaluation.ensemble.members) > 1
    guessing = evaluation.rows[-1].guesses is not None
    crops = {row.crop for row in evaluation.rows}
    table = Table(title=title, title_justify="left", box=None, padding=(0, 1, 0, 0), pad_edge=False)
    table.caption = (
        f"Errors in %, with 95% intervals: no IoU of {RIGHT_AT} with an instance, of the true class's box"
        f"{', of up to five boxes of guessed classes' if guessing else ''}."
    )
    table.caption_justify = "left"
    for heading in ("net" if several else "boxes", "Q" if crops == {PAPER_CROP} else "Q (px)"):
        table.add_column(heading, no_wrap=True)
    headings = ("true class's error", "mean IoU", *(["localization error"] if guessing else []))
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    for row in evaluation.rows:
        cells = [str(row.truth.error), str(row.truth.mean_iou)]
        cells += [] if row.guesses is None else [str(row.guesses.error)]
        table.add_row(
            row.net if several and row.net else row.view,
            "\n".join(scales_in_words(row.scales, row.crop)),
            *cells,
            style="bold" if row is evaluation.rows[-1] else "",
        )
    return table


def evaluation_remarks(evaluation: LocalizationEvaluation, split: Split, weights: str) -> Iterator[str]:
    """What a reader must know before he quotes the figures; ``split`` is the part with the images that have no box."""
    ensemble, candidate_classes = evaluation.ensemble, evaluation.candidate_classes
    if ensemble.classes is not None:
        yield (
            f"Classes: the best {candidate_classes.guesses.shape[1]} of {ensemble.classes.told}; "
            f"the true one is not among them on {candidate_classes.class_error}% of the images."
        )
    used = " and ".join(f"{threshold:g}" for threshold in evaluation.thresholds)
    if len(evaluation.tuned_thresholds) == 2:
        yield f"Merged up to a distance of {used}: each half of the images by what was best on the other half."
    elif evaluation.tuned_thresholds:
        yield f"Merged up to a distance of {used}, chosen on the validation part."
    else:
        yield f"Merged up to a distance of {used}."
    if evaluation.geometry:
        yield describe_map_sizes(evaluation.geometry)
    if evaluation.rows[0].view == "constant":
        yield "Constant: the mean box of the training part, on every image; it sees nothing."
        wrong = [
            each.truth_overlaps[None, evaluation.truth.counted] < RIGHT_AT for each in evaluation.box_errors_of_rows
        ]
        gained = paired_difference(wrong[-1], wrong[0])
        if gained.high >= 0:
            yield (
                f"Not better than the constant box beyond chance ({gained} points of the true class's error): train "
                "more epochs or at a larger --learning-rate, and look at examples.png; where objects fill the pictures "
                "the constant box is hard to beat."
            )
    yield from seen_images_remarks(ensemble.nets, split)
    for member in ensemble.members:
        if member.net.config.provenance.converged is False:
            yield f"Not converged: {member.net.path} did not make all drops of its learning rate."
    if evaluation.skipped:
        yield f"Skipped: {len(evaluation.skipped)} files that cannot be decoded (listed in errors.json)."


def as_values(evaluation: LocalizationEvaluation, split: Split) -> dict[str, Any]:
    """All rows for machines."""
    ensemble = evaluation.ensemble
    rows = [{**asdict(row), "pixels": [in_pixels(scale, row.crop) for scale in row.scales]} for row in evaluation.rows]
    return {
        "nets": [str(member.net.path) for member in ensemble.members],
        "digests": [digest_of_net(member.net) for member in ensemble.members],
        "view": ensemble.view,
        "classes": "truth" if ensemble.classes is None else ensemble.classes.told,
        "split": split.name,
        "layout": split.layout,
        "num_images": evaluation.rows[-1].truth.num_images,
        "class_error": None if ensemble.classes is None else asdict(evaluation.candidate_classes.class_error),
        "thresholds": list(evaluation.thresholds),
        "tuned": [asdict(each) for each in evaluation.tuned_thresholds],
        "rows": rows,
        "geometry": {str(scale): asdict(each) for scale, each in evaluation.geometry.items()},
        "skipped": list(evaluation.skipped),
    }


def write_boxes(path: Path, evaluation: LocalizationEvaluation, split: Split) -> None:
    """A line an image: its class, the IoU and the box of that class, then each guess, its rating and its box.

    Boxes are xmin, ymin, xmax, ymax, inclusive, in the file's pixels, of the last row of the table.
    """
    candidate_classes, box_errors = evaluation.candidate_classes, evaluation.box_errors_of_rows[-1]
    assert candidate_classes.labels is not None
    box = ("xmin", "ymin", "xmax", "ymax")
    guesses = range(1, candidate_classes.guesses.shape[1] + 1)
    header = ["path", "label", "iou", *box, *(f"{what}{i}" for i in guesses for what in ("class", "rating", *box))]
    with atomic_write_text(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        each = zip(
            candidate_classes.indices, candidate_classes.labels, candidate_classes.guesses,
            box_errors.truth_overlaps, box_errors.merged.boxes,
            box_errors.merged.scores, strict=True,
        )  # fmt: skip
        for index, label, classes, overlap, boxes, scores in each:
            cells = [split.files[index], split.class_names[label], f"{overlap:.4f}", *(f"{x:.1f}" for x in boxes[0])]
            for guess, rating, found in zip(classes, scores[1:], boxes[1:], strict=True):
                cells += [split.class_names[guess], f"{rating:.4f}", *(f"{x:.1f}" for x in found)]
            writer.writerow(cells)


def write_box_submission(
    path: Path,
    ensemble: BoxEnsemble,
    split: Split,
    threshold: float,
    runtime: Runtime,
    decoding: Decoding,
) -> None:
    """Write the ILSVRC localization server's file: five classes and their boxes of every image, boxes known or not.

    Raises:
        VerydeepError: an image could not be decoded, or the classes are not ILSVRC's.
    """
    found = guess_boxes(ensemble, split, threshold, runtime, decoding)
    if found is None:
        return
    candidate_classes, merged = found
    check_complete(path, split, len(candidate_classes.indices))
    write_localization_submission(path, split.files, split.class_names, candidate_classes.guesses, merged.boxes)
