"""Report of an evaluation of localization nets: a table, remarks, files and pictures."""

import csv
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from verydeep.configs.networks import PAPER_CROP
from verydeep.configs.scales import format_scales, in_pixels
from verydeep.data.annotations import SIDES
from verydeep.data.pixels.decoding import Decoding
from verydeep.data.sets.submission import check_complete, write_localization_submission
from verydeep.data.split import Split
from verydeep.engine.classification.error_report import describe_map_sizes
from verydeep.engine.localization.box_ensemble import BoxEnsemble
from verydeep.engine.localization.box_evaluation import BoxRow, LocalizationEvaluation
from verydeep.engine.localization.box_predictions import predict_boxes
from verydeep.engine.localization.boxed_split import BoxedSplit
from verydeep.engine.localization.evaluation_pictures import draw_box_examples, draw_success
from verydeep.engine.localization.merged_boxes import merge_boxes
from verydeep.engine.nets.digests import digest_of_net
from verydeep.engine.plotting import save_figure
from verydeep.engine.reporting.remarks import (
    copies_remark,
    count_images,
    gone_images_remarks,
    seen_images_remarks,
)
from verydeep.engine.reporting.summary import GLOSSARY, summarize_right
from verydeep.engine.runtime import Runtime
from verydeep.files import CsvLines, atomic_folder, atomic_write_text
from verydeep.json_files import write_json
from verydeep.ops.bootstrap import paired_difference
from verydeep.ops.localization_errors import RIGHT_AT
from verydeep.paths import real_path
from verydeep.results.measured_table import MeasuredTable
from verydeep.wording import count_of


def build_localization_evaluation_table(
    evaluation: LocalizationEvaluation,
    boxed_split: BoxedSplit,
    conditions: Mapping[str, Any],
    copies: Mapping[str, str] | None = None,
) -> MeasuredTable:
    """Put the errors of an evaluation into a table, narrow enough for a terminal of 80 columns.

    Args:
        evaluation: of the ensemble.
        boxed_split: the split that it was evaluated on.
        conditions: JSON values: ``data``, ``weights``, ``precision`` and ``fast_decode``.
        copies: file -> training file with the same bytes.
    """
    several_nets = len(evaluation.ensemble.members) > 1
    with_guesses = evaluation.errors.guesses is not None
    crops = {row.crop for row in evaluation.rows}
    nets = ", ".join(str(member.net) for member in evaluation.ensemble.members)
    split, num_images = boxed_split.split, evaluation.errors.truth.num_images
    headings = ("net" if several_nets else "view", "Q" if crops == {PAPER_CROP} else "Q (px)")
    rows = []
    for row in evaluation.rows:
        truth, guesses = row.errors.truth, row.errors.guesses
        label = row.net if several_nets and row.net else row.view
        cells = [str(truth.error), str(truth.mean_iou), *([] if guesses is None else [str(guesses.error)])]
        rows.append((label, "\n".join(format_scales(row.scales, row.crop)), *cells))
    return MeasuredTable(
        name="errors",
        title=f"{nets} on {count_images(num_images, split.name)}, {conditions['precision']}",
        num_labels=2,
        headings=(
            *headings,
            "error of the true class's box",
            "mean IoU",
            *(["localization error"] if with_guesses else []),
        ),
        rows=tuple(rows),
        remarks=tuple(evaluation_remarks(evaluation, boxed_split.full_split, copies)),
        summary=summarize_boxes(evaluation, split),
        values={**conditions, **evaluation_values(evaluation, split), "copies": copies or {}},
    )


def summarize_boxes(evaluation: LocalizationEvaluation, split: Split) -> str:
    """Return one plain sentence about the share of right boxes, and the best and the weakest class."""
    errors, labels = evaluation.errors, evaluation.candidate_classes.labels
    assert labels is not None
    labels, right = labels[errors.counted], errors.truth_overlaps[errors.counted] >= RIGHT_AT
    shares = [
        (split.class_words[label], 100 * float(right[labels == label].mean())) for label in np.unique(labels).tolist()
    ]
    return summarize_right(int(right.sum()), len(right), shares, "Box of the true class right", split.name)


def write_localization_evaluation(
    folder: Path, evaluation: LocalizationEvaluation, table: MeasuredTable, split: Split
) -> None:
    """Write errors.json, boxes.csv, success.png and examples.png into a folder."""
    with atomic_folder(folder, "errors.json") as temporary:
        write_boxes(temporary / "boxes.csv", evaluation, split)
        save_figure(draw_success(evaluation), temporary / "success.png")
        save_figure(draw_box_examples(split, evaluation), temporary / "examples.png")
        # Last, as the sign that the report is complete.
        write_json(temporary / "errors.json", {"summary": table.summary, **table.values, "remarks": table.remarks})


def evaluation_remarks(
    evaluation: LocalizationEvaluation, full_split: Split, copies: Mapping[str, str] | None
) -> Iterator[str]:
    """Yield the remarks on an evaluation; ``full_split`` has all images, with and without boxes."""
    ensemble, classes = evaluation.ensemble, evaluation.candidate_classes
    guessed = (
        ""
        if evaluation.errors.guesses is None
        else " Localization error: images without a box of the right class, with such an IoU, among up to five guesses."
    )
    yield GLOSSARY
    yield (
        f"Errors in %, with 95% intervals. Error of the true class's box: images on which its IoU is below {RIGHT_AT}."
        f"{guessed}"
    )
    if ensemble.classes is not None:
        yield (
            f'Guesses: the {classes.guesses.shape[1]} most probable classes by "{ensemble.classes.text}"; the true '
            f"class is not among them on {classes.class_error}% of the images."
        )
    thresholds = " and ".join(f"{threshold:g}" for threshold in evaluation.thresholds)
    if len(evaluation.tuned_thresholds) == 2:
        yield f"Merge thresholds: {thresholds}, one for each half of the images, chosen on the other half."
    elif evaluation.tuned_thresholds:
        yield f"Merge threshold: {thresholds}, chosen on the validation split."
    else:
        yield f"Merge threshold: {thresholds}."
    if evaluation.geometry:
        yield describe_map_sizes(evaluation.geometry)
    yield from constant_box_remarks(evaluation)
    yield from seen_images_remarks(ensemble.nets, full_split)
    if copies:
        yield copies_remark(copies, figure="error")
    yield from gone_images_remarks(ensemble.nets, full_split, {})
    for member in ensemble.members:
        if member.net.config.provenance.converged is False:
            yield f"Not converged: the learning rate of {member.net.path} did not drop as often as planned."
    if evaluation.skipped:
        yield f"Skipped: {count_of(len(evaluation.skipped), 'file')} that cannot be decoded, listed in errors.json."


def constant_box_remarks(evaluation: LocalizationEvaluation) -> Iterator[str]:
    """Explain the constant box, and warn where the last row is not better."""
    constant, last = evaluation.rows[0], evaluation.rows[-1]
    if constant.view != "constant":
        return
    yield "Constant: the mean box of the training photographs, placed on every image."
    wrong = [row.errors.truth_overlaps[None, row.errors.counted] < RIGHT_AT for row in (last, constant)]
    difference = paired_difference(*wrong)
    if difference.high >= 0:
        yield (
            f"The net is {'worse' if difference.low > 0 else 'not measurably better'} than the constant box (its error "
            f"minus that of the constant box: {difference} points): train for more epochs or with a "
            "larger learning rate, and look at examples.png. The constant box is hard to beat where objects fill the "
            "photographs."
        )


def evaluation_values(evaluation: LocalizationEvaluation, split: Split) -> dict[str, Any]:
    """Return an evaluation as JSON values, without the remarks."""
    ensemble, classes = evaluation.ensemble, evaluation.candidate_classes
    return {
        "nets": [str(member.net.path) for member in ensemble.members],
        "digests": [digest_of_net(member.net) for member in ensemble.members],
        "view": ensemble.view,
        "classes": "truth" if ensemble.classes is None else ensemble.classes.text,
        "split": split.name,
        "layout": split.layout,
        "root": str(real_path(split.root)),
        "camera_rotation": split.camera_rotation,
        "num_images": evaluation.errors.truth.num_images,
        "class_error": None if ensemble.classes is None else asdict(classes.class_error),
        "merge_thresholds": list(evaluation.thresholds),
        "tuned_thresholds": [asdict(tuned) for tuned in evaluation.tuned_thresholds],
        "rows": [row_values(row) for row in evaluation.rows],
        "geometry": {str(scale): asdict(geometry) for scale, geometry in evaluation.geometry.items()},
        "skipped": list(evaluation.skipped),
    }


def row_values(row: BoxRow) -> dict[str, Any]:
    """Return a row as JSON values."""
    guesses = row.errors.guesses
    return {
        "net": row.net,
        "crop": row.crop,
        "view": row.view,
        "scales": list(row.scales),
        "pixels": [in_pixels(scale, row.crop) for scale in row.scales],
        "truth": asdict(row.errors.truth),
        "guesses": None if guesses is None else asdict(guesses),
    }


def write_boxes(path: Path, evaluation: LocalizationEvaluation, split: Split) -> None:
    """Write the boxes of the last row, one line for each image, in pixels of the file and inclusive.

    A line has the true class, the IoU of its box and the box, then the class, rating and box of each guess, and last
    the annotated boxes as a JSON list.
    """
    classes, errors = evaluation.candidate_classes, evaluation.errors
    assert classes.labels is not None and split.boxes is not None
    numbers = range(1, classes.guesses.shape[1] + 1)
    guess_columns = [f"{column}{number}" for number in numbers for column in ("class", "rating", *SIDES)]
    boxes_and_ratings = errors.boxes.xyxy, errors.boxes.ratings
    columns = (classes.indices, classes.labels, classes.guesses, errors.truth_overlaps, *boxes_and_ratings)
    with atomic_write_text(path) as file:
        writer = csv.writer(CsvLines(file))
        writer.writerow(["path", "label", "iou", *SIDES, *guess_columns, "annotations"])
        for index, label, guesses, overlap, boxes, ratings in zip(*columns, strict=True):
            cells = [split.files[index], split.class_names[label], f"{overlap:.4f}", *(f"{x:.1f}" for x in boxes[0])]
            for guess, rating, box in zip(guesses, ratings[1:], boxes[1:], strict=True):
                cells += [split.class_names[guess], f"{rating:.4f}", *(f"{x:.1f}" for x in box)]
            writer.writerow([*cells, json.dumps(split.boxes[index].round(1).tolist())])


def write_box_submission(
    path: Path, ensemble: BoxEnsemble, split: Split, threshold: float, runtime: Runtime, decoding: Decoding
) -> None:
    """Write the file of the ILSVRC localization server: five classes and their boxes for each image.

    Images need neither labels nor boxes.

    Raises:
        DataError: an image cannot be decoded, or the classes are not ILSVRC's.
        WeightsError: a net has no weights.
    """
    predictions = predict_boxes([ensemble], replace(split, labels=None), runtime, decoding)[ensemble]
    if not runtime.is_main:
        return
    classes = predictions.candidate_classes
    check_complete(path, split, len(classes.indices))
    boxes = merge_boxes(predictions.pool(), np.full(len(split), threshold))
    write_localization_submission(path, split.files, split.class_names, classes.guesses, boxes.xyxy)
