"""What a net's predictions on a split are worth: rows of errors, with the geometry behind each."""

import csv
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TextIO

import numpy as np
import numpy.typing as npt

from verydeep.configs.networks import STRIDE
from verydeep.configs.scales import in_pixels
from verydeep.data.loading import BadImages
from verydeep.data.split import Split
from verydeep.engine.inference import Posteriors, Predictions, View, ViewAtScale, predict_split
from verydeep.engine.progress import progress_bar
from verydeep.engine.runtime import Runtime
from verydeep.errors import VerydeepError
from verydeep.files import write_json, writing
from verydeep.models.vgg import VGG
from verydeep.models.weights.native import ModelConfig
from verydeep.ops.metrics import Errors, classification_errors, ranks


@dataclass(frozen=True)
class Geometry:
    """The class score map of a typical image, and the share of its windows' area that lies inside the images.

    The stride is 32 pixels at any crop, so a small net's windows reach beyond a small image; findings about views
    are then limited by geometry (docs/choices.md).
    """

    map_height: int
    map_width: int
    inside: float


@dataclass(frozen=True)
class Row:
    """One protocol and what it gave."""

    view: View
    scales: tuple[int, ...]
    errors: Errors
    geometry: Geometry | None
    """Of dense rows at one scale."""


@dataclass(frozen=True)
class Evaluation:
    """All rows of one net on one split; the last row is the protocol that was asked for."""

    rows: tuple[Row, ...]
    crop: int
    posteriors: Posteriors
    """(n, K) of the last row"""
    indices: npt.NDArray[np.int64]
    """(n,) which image of the split each is"""
    skipped: dict[str, str]


def views_to_compute(view: View, scales: Sequence[int]) -> list[ViewAtScale]:
    """What the report of one protocol needs: beside every dense scale stands the central crop."""
    views: tuple[View, ...] = ("center", "dense") if view == "dense" else ("center",)
    return [ViewAtScale(each, scale) for each in views for scale in scales]


def evaluate(model: VGG, split: Split, predictions: Predictions, view: View, scales: Sequence[int]) -> Evaluation:
    """The errors of each view and scale, and of the scales together; the split has labels."""
    assert split.labels is not None
    labels = split.labels[predictions.indices]
    rows = []
    for each in views_to_compute(view, scales):
        errors = classification_errors(predictions.posteriors[each], labels)
        dense = each.view == "dense"
        geometry = dense_geometry(predictions.sizes[each.scale], model.crop, model.ceil_mode) if dense else None
        rows.append(Row(each.view, (each.scale,), errors, geometry))
    posteriors = predictions.mean(view, scales)
    if len(scales) > 1:
        rows.append(Row(view, tuple(scales), classification_errors(posteriors, labels), None))
    return Evaluation(tuple(rows), model.crop, posteriors, predictions.indices, predictions.skipped)


def evaluate_split(
    model: VGG,
    split: Split,
    view: View,
    scales: Sequence[int],
    runtime: Runtime,
    *,
    bad_images: BadImages = "error",
    fast_decode: bool = False,
) -> Evaluation:
    """Predict a split, with a progress bar, and compute the errors.

    Raises:
        VerydeepError: as ``infer``, or the split has no labels.
    """
    if split.labels is None:
        raise VerydeepError(f"The {split.name} part of {split.root} has no labels, so there is no error to compute.")
    views = views_to_compute(view, scales)
    with progress_bar(visible=runtime.is_main) as progress:
        task = progress.add_task("Testing", total=len(split), note="")
        for done in predict_split(model, split, views, runtime, bad_images=bad_images, fast_decode=fast_decode):
            if isinstance(done, Predictions):
                return evaluate(model, split, done, view, scales)
            progress.advance(task, done * runtime.world_size)
    raise AssertionError("predict_split yields its predictions last")


def dense_geometry(sizes: npt.NDArray[np.int64], crop: int, ceil_mode: bool = True) -> Geometry:
    """Median map and mean share inside of rescaled images (n, 2), height and width in pixels."""
    rounding = STRIDE - 1 if ceil_mode else 0
    counts = (sizes + rounding) // STRIDE - crop // STRIDE + 1  # windows along each side
    # Only the last window can stick out: the one before it ends at least a stride earlier.
    beyond = np.maximum(0, STRIDE * (counts - 1) + crop - sizes)
    inside = (1 - beyond / (counts * crop)).prod(axis=1)
    height, width = np.median(counts, axis=0)
    return Geometry(int(height), int(width), float(inside.mean()))


def check_classes(split: Split, config: ModelConfig, net: Path) -> None:
    """Refuse a data set whose classes are not the net's.

    Raises:
        VerydeepError: their number, names or order differ.
    """
    if split.class_names == config.class_names:
        return
    if len(split.class_names) != len(config.class_names):
        raise VerydeepError(
            f"{split.root} has {len(split.class_names)} classes, {net} was trained on {len(config.class_names)}: "
            "evaluate it on the classes it knows."
        )
    pairs = zip(split.class_names, config.class_names, strict=True)
    here, there = next((a, b) for a, b in pairs if a != b)
    raise VerydeepError(f"{split.root} has a class {here!r} where {net} has {there!r}: these are other classes.")


def write_evaluation(folder: Path, evaluation: Evaluation, split: Split, about: dict[str, Any]) -> None:
    """Write ``errors.json`` (all rows and ``about``) and ``predictions.csv`` (one line an image) into a folder."""
    rows = [asdict(row) for row in evaluation.rows]
    for values, row in zip(rows, evaluation.rows, strict=True):
        values["pixels"] = [in_pixels(scale, evaluation.crop) for scale in row.scales]
    report = {**about, "num_images": len(evaluation.indices), "rows": rows, "skipped": evaluation.skipped}
    write_json(folder / "errors.json", report)
    with (
        writing(folder / "predictions.csv") as beside,
        beside.open("w", newline="", encoding="utf-8") as file,
    ):
        write_predictions(file, evaluation, split)


def write_predictions(file: TextIO, evaluation: Evaluation, split: Split) -> None:
    """path, label, rank of the label (0 is right), and the five most probable classes with their posteriors."""
    assert split.labels is not None
    top = min(5, len(split.class_names))
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(["path", "label", "rank", *(f"{what}{i}" for i in range(1, top + 1) for what in ("class", "p"))])
    places = ranks(evaluation.posteriors, split.labels[evaluation.indices])
    best = np.argsort(-evaluation.posteriors, axis=1, kind="stable")[:, :top]
    for index, place, classes, posterior in zip(evaluation.indices, places, best, evaluation.posteriors, strict=True):
        guesses = [cell for k in classes for cell in (split.class_names[k], f"{posterior[k]:.6f}")]
        writer.writerow([split.files[index], split.class_names[split.labels[index]], int(place), *guesses])
