"""The report of an evaluation: a table of errors with its remarks, and files."""

import csv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TextIO

from verydeep.configs.networks import PAPER_CROP
from verydeep.configs.scales import format_scales, in_pixels
from verydeep.data.sets.submission import check_complete, write_submission
from verydeep.data.split import Split
from verydeep.engine.classification.ensemble_errors import ClassificationEvaluation, EnsemblePredictions, MapGeometry
from verydeep.engine.classification.pictures import draw_examples
from verydeep.engine.nets.digests import digest_of_net
from verydeep.engine.nets.net import Net
from verydeep.engine.reporting.confusion import draw_confusion, write_confusion
from verydeep.engine.reporting.remarks import copies_remark, count_images, gone_images_remarks, seen_images_remarks
from verydeep.engine.reporting.summary import GLOSSARY, summarize_right
from verydeep.files import CsvLines, atomic_folder, atomic_write_text
from verydeep.json_files import write_json
from verydeep.models.weights.model_folder import SplitRecord
from verydeep.ops.bootstrap import Difference, paired_difference
from verydeep.ops.metrics import class_errors, order_classes, predicted_classes, ranks
from verydeep.paths import real_path
from verydeep.results.measured_table import MeasuredTable
from verydeep.wording import count_of, shorten_list


def build_evaluation_table(
    evaluation: ClassificationEvaluation,
    split: Split,
    nets: Sequence[Net],
    conditions: Mapping[str, Any],
    *,
    classifiers: Mapping[str, SplitRecord] | None = None,
    copies: Mapping[str, str] | None = None,
) -> MeasuredTable:
    """Put the errors of an evaluation into a table, narrow enough for a terminal of 80 columns.

    Args:
        evaluation: of the nets, or of a classifier.
        split: of the images.
        nets: that were evaluated, or that describe the images for the classifier.
        conditions: JSON values: ``data``, ``view``, ``weights``, ``precision`` and ``fast_decode``.
        classifiers: name of the classifier -> its training images; None: nets were evaluated.
        copies: file -> training file with the same bytes.
    """
    rows, k = evaluation.rows, evaluation.rows[0].errors.k
    num_images = len(evaluation.predictions.indices)
    is_ensemble = len(nets) > 1 and not classifiers
    name = evaluation.rows[-1].net if classifiers else str(nets[0]) if len(nets) == 1 else f"{len(nets)} nets"
    has_maps = any(row.geometry for row in rows)
    decoding = ", fast decoding" if conditions["fast_decode"] else ""
    scales_heading = "Q" if {row.crop for row in rows} == {PAPER_CROP} else "Q (px)"
    difference = subtract_center(split, evaluation)
    row_values = [{**asdict(row), "pixels": [in_pixels(scale, row.crop) for scale in row.scales]} for row in rows]
    return MeasuredTable(
        name="errors",
        title=f"{name} on {count_images(num_images, split.name)}, {conditions['precision']}, "
        f"{conditions['weights']} weights{decoding}",
        num_labels=3,
        headings=(
            "net, view" if is_ensemble else "view",
            scales_heading,
            *(["map"] if has_maps else []),
            "top-1 error",
            *([f"top-{k} error"] if k > 1 else []),
            "class recall",
        ),
        rows=tuple(_cells(evaluation, is_ensemble, has_maps)),
        remarks=(
            *_remarks(evaluation, split, nets, classifiers),
            *([copies_remark(copies, figure="error")] if copies else []),
        ),
        summary=summarize_evaluation(evaluation, split),
        values={
            **conditions,
            "nets": [str(net.path) for net in nets],
            "digests": [digest_of_net(net) for net in nets],
            "split": split.name,
            "layout": split.layout,
            "root": str(real_path(split.root)),
            "camera_rotation": split.camera_rotation,
            "num_images": num_images,
            "rows": row_values,
            "skipped": evaluation.predictions.skipped,
            "copies": copies or {},
            "expected_calibration_error": evaluation.calibration_error,
            "dense_minus_center": difference and asdict(difference),
        },
    )


def summarize_evaluation(evaluation: ClassificationEvaluation, split: Split) -> str:
    """Return one plain sentence about the share of right predictions, and the best and the weakest class."""
    shares = [(split.class_words[each.label], 100 - each.error.percent) for each in class_errors(evaluation.confusion)]
    num_right, num_images = int(evaluation.confusion.diagonal().sum()), int(evaluation.confusion.sum())
    return summarize_right(num_right, num_images, shares, part=split.name)


def _cells(evaluation: ClassificationEvaluation, several: bool, has_maps: bool) -> Iterator[tuple[str, ...]]:
    for row in evaluation.rows:
        topk = [str(row.errors.topk)] if row.errors.k > 1 else []
        yield (
            f"{row.net} {row.view}" if several else row.view,
            "\n".join(format_scales(row.scales, row.crop)),
            *(["\n".join(map(_describe_map, row.geometry))] if has_maps else []),
            *(str(row.errors.top1), *topk, str(row.errors.class_recall)),
        )


def _describe_map(geometry: MapGeometry) -> str:
    return f"{geometry.map_height}x{geometry.map_width} {geometry.inside:.0%}"


def _remarks(
    evaluation: ClassificationEvaluation,
    split: Split,
    nets: Sequence[Net],
    classifiers: Mapping[str, SplitRecord] | None,
) -> Iterator[str]:
    yield GLOSSARY
    has_maps = any(row.geometry for row in evaluation.rows)
    crops = {row.crop for row in evaluation.rows}
    pixels = (
        ""
        if crops == {PAPER_CROP}
        else " Q (px): test scale as stated for crop 224, and the short side in pixels that was used."
    )
    maps = " Map: positions, and the share of their windows inside the image; the rest is padding." if has_maps else ""
    yield (
        "Errors and class recall in %, with 95% intervals. Class recall: the share of a class that is predicted right, "
        f"averaged over classes.{pixels}{maps}"
    )
    if evaluation.calibration_error is not None:
        yield f"Expected calibration error: {evaluation.calibration_error:.1f} points."
    yield from better_view_remark(subtract_center(split, evaluation))
    yield from missing_classes_remark(split, evaluation, "classifier" if classifiers else "net")
    yield from seen_images_remarks(nets, split, classifiers)
    yield from gone_images_remarks(nets, split, classifiers or {})
    for net in nets:
        if net.config.provenance.converged is False:
            yield f"Not converged: the learning rate of {net.path} did not drop as often as planned."
    if any(each.inside < 1 for row in evaluation.rows for each in row.geometry):
        yield from small_crop_remark(evaluation.rows[0].crop)
    if skipped := evaluation.predictions.skipped:
        yield f"Skipped: {count_of(len(skipped), 'file')} that cannot be decoded (listed in errors.json)."
    if evaluation.predictions.write_error:
        yield f"The posteriors could not be cached: {evaluation.predictions.write_error}"


def subtract_center(split: Split, evaluation: ClassificationEvaluation) -> Difference | None:
    """Return the top-1 error of the whole images minus that of their central crops; None if the view is not dense."""
    predictions = evaluation.predictions
    if split.labels is None or predictions.center is None or evaluation.rows[-1].view != "dense":
        return None
    labels = split.labels[predictions.indices]
    dense, center = (predicted_classes(scores) != labels for scores in (predictions.posteriors, predictions.center))
    return paired_difference(dense[None], center[None])


def better_view_remark(difference: Difference | None) -> Iterator[str]:
    """Name the central crop where it errs less than the whole image, and more than chance explains."""
    if difference is not None and difference.low > 0:
        yield (
            f"The top-1 error of whole images is {difference} points higher than that of central crops, which is more "
            "than chance: try `views=center`."
        )


def missing_classes_remark(split: Split, evaluation: ClassificationEvaluation, owner: str) -> Iterator[str]:
    """Name the classes of a net, or of a classifier, that no test image shows."""
    shown = evaluation.confusion.sum(axis=1) > 0
    if not shown.all():
        place = f"{split.root} has" if split.name == "all" else f"The {split.name} images of {split.root} show"
        missing = [name for name, is_shown in zip(split.class_names, shown, strict=True) if not is_shown]
        yield f"{place} {shown.sum()} of the {owner}'s {len(shown)} classes; missing: {shorten_list(missing)}."


def describe_map_sizes(geometry: Mapping[int, MapGeometry]) -> str:
    """Return a sentence about the map size, and the windows, at each test scale."""
    maps = "; ".join(
        f"Q={q} {each.map_height}x{each.map_width}, {each.inside:.0%}" for q, each in sorted(geometry.items())
    )
    return f"Positions of the map, and the share of their windows inside the image (the rest is padding): {maps}."


def small_crop_remark(crop: int) -> Iterator[str]:
    """Warn that small windows reach beyond the images."""
    if crop < 64:
        yield (
            f"Crop {crop} is below 64, so windows reach beyond the images: the errors say little about which view is "
            "better."
        )


def write_evaluation(folder: Path, evaluation: ClassificationEvaluation, table: MeasuredTable, split: Split) -> None:
    """Write an evaluation into a folder.

    predictions.csv has a line for each image, classes.csv for each class, confusion.csv for each true class;
    confusion.png and examples.png are pictures. errors.json has all figures and the remarks; it is written last, so
    that it marks a complete folder.

    Raises:
        ResourceError: a file cannot be written.
    """
    with atomic_folder(folder, "errors.json") as temporary:
        with atomic_write_text(temporary / "predictions.csv") as file:
            write_predictions(file, evaluation.predictions, split)
        with atomic_write_text(temporary / "classes.csv") as file:
            write_class_errors(file, evaluation, split)
        write_confusion(temporary / "confusion.csv", evaluation.confusion, split.class_names)
        draw_examples(split, evaluation.predictions, temporary / "examples.png")
        draw_confusion(temporary / "confusion.png", evaluation.confusion, split.class_words)
        write_json(temporary / "errors.json", {"summary": table.summary, **table.values, "remarks": table.remarks})


def write_class_errors(file: TextIO, evaluation: ClassificationEvaluation, split: Split) -> None:
    """Write the number of images and the error of each class, in percent with its 95% interval."""
    writer = csv.writer(CsvLines(file))
    writer.writerow(["class", "words", "images", "error", "low", "high"])
    for each in class_errors(evaluation.confusion):
        shares = (f"{share:.2f}" for share in (each.error.percent, each.error.low, each.error.high))
        writer.writerow([split.class_names[each.label], split.class_words[each.label], each.num_images, *shares])


def write_predictions(file: TextIO, predictions: EnsemblePredictions, split: Split) -> None:
    """Write path, label, rank of the label (1 is right) and the five best classes of each image with their scores."""
    assert split.labels is not None
    top = min(5, len(split.class_names))
    writer = csv.writer(CsvLines(file))
    names = ("class", "p" if predictions.kind == "probability" else predictions.kind)
    writer.writerow(["path", "label", "rank", *(f"{name}{i}" for i in range(1, top + 1) for name in names)])
    places = ranks(predictions.posteriors, split.labels[predictions.indices])
    best = order_classes(predictions.posteriors)[:, :top]
    for index, place, classes, posterior in zip(predictions.indices, places, best, predictions.posteriors, strict=True):
        guesses = [cell for k in classes for cell in (split.class_names[k], f"{posterior[k]:.6f}")]
        writer.writerow([split.files[index], split.class_names[split.labels[index]], int(place) + 1, *guesses])


def write_classification_submission(path: Path, predictions: EnsemblePredictions, split: Split) -> None:
    """Write the ILSVRC test server's file: the five most probable classes of every image (section 4.4).

    Raises:
        DataError: an image could not be decoded, or the classes are not ILSVRC's.
        ResourceError: the file cannot be written.
    """
    check_complete(path, split, len(predictions.indices))
    write_submission(path, split.files, split.class_names, predictions.posteriors)
