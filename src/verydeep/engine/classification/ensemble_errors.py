"""Predict a split by one or several classification nets, and count their errors."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from verydeep.configs.networks import STRIDE
from verydeep.configs.protocols import View
from verydeep.data.pixels.decoding import STRICT, Decoding
from verydeep.data.split import Split
from verydeep.engine.classification.posterior_cache import predict_cached
from verydeep.engine.inference import SINGLE_VIEWS, SingleView, ViewAtScale
from verydeep.engine.nets.checks import refuse_overflow
from verydeep.engine.nets.net import EnsembleMember, Net
from verydeep.engine.posteriors import NetPredictions, fuse_posteriors, predict_split
from verydeep.engine.progress import run_with_progress
from verydeep.engine.runtime import Runtime
from verydeep.ops.arrays import Float32Array, Int64Array
from verydeep.ops.metrics import (
    ClassificationErrors,
    classification_errors,
    confusion_matrix,
    expected_calibration_error,
)
from verydeep.results.predictions import ScoreKind


@dataclass(frozen=True)
class MapGeometry:
    """The map size of a typical image, and the share of its windows' area that lies inside the images.

    The stride is 32 pixels at any crop, so the windows of a net with a small crop reach beyond a small image; results
    about views are then limited by geometry (docs/choices.md).
    """

    map_height: int
    map_width: int
    inside: float
    """Share of the windows' area that lies inside the images, from 0 to 1."""


@dataclass(frozen=True, eq=False)
class EnsemblePredictions:
    """Posteriors of one net, or the mean of several, by one protocol."""

    indices: Int64Array
    """(n,) positions in the split of the images that all nets decoded, ascending."""
    posteriors: Float32Array
    """(n, K) mean over the nets, the test scales and the parts of the view."""
    center: Float32Array | None
    """(n, K) mean over the nets and the test scales of the central crop, where the view has a dense part."""
    geometry: dict[int, MapGeometry]
    """Test scale -> geometry of the dense part."""
    skipped: dict[str, str]
    """Files that could not be decoded -> the reason."""
    write_error: str = ""
    """Why posteriors could not be written to the cache; empty where nothing failed."""
    kind: ScoreKind = "probability"
    """The meaning of ``posteriors``: margins, where linear SVMs predict."""


@dataclass(frozen=True)
class EvaluationRow:
    """A protocol and its errors."""

    net: str
    """Name of the net, or the number of nets."""
    crop: int
    """Crop of the net in pixels, to which the test scales are relative."""
    view: View
    scales: tuple[int, ...]
    """Test scales; empty for an ensemble, whose nets have their own."""
    errors: ClassificationErrors
    geometry: tuple[MapGeometry, ...] = ()
    """Geometry at each scale, where the view has a dense part."""


@dataclass(frozen=True, eq=False)
class ClassificationEvaluation:
    """Errors of one or several nets on a split; the last row is the protocol itself."""

    rows: tuple[EvaluationRow, ...]
    predictions: EnsemblePredictions
    """Predictions of the last row."""
    calibration_error: float | None
    """Expected calibration error of these predictions, in percentage points; None of margins."""
    confusion: Int64Array
    """(K, K) images of the row's class that are predicted as the column's."""


def list_views(view: View, scales: Sequence[int]) -> list[ViewAtScale]:
    """Return the views that the report of a protocol needs: for every dense scale also the central crop."""
    views = SINGLE_VIEWS[view]
    extra: tuple[SingleView, ...] = ("center",) if "dense" in views else ()
    return [ViewAtScale(each, scale) for each in (*extra, *views) for scale in scales]


def predict_members(
    members: Sequence[EnsembleMember], split: Split, view: View, runtime: Runtime, decoding: Decoding = STRICT
) -> list[NetPredictions]:
    """Predict a split by one net after another, each at its own test scales.

    Returns:
        The predictions of each member; nothing on all processes but the main one.

    Raises:
        OptionError: a test scale is smaller than a net's crop.
        DataError: a file cannot be decoded, or none can.
        WeightsError: a net cannot be read.
    """
    each_prediction = []
    for member in members:
        title = "Testing" if len(members) == 1 else f"Testing {member.net}"
        views = list_views(view, member.scales)
        predictions = predict_views(member.net, views, split, runtime, title, decoding)
        if predictions is not None:
            each_prediction.append(predictions)
    return each_prediction


def predict_views(
    net: Net,
    views: Sequence[ViewAtScale],
    split: Split,
    runtime: Runtime,
    title: str,
    decoding: Decoding = STRICT,
    *,
    use_cache: bool = True,
) -> NetPredictions | None:
    """Predict a split by one net with a progress bar.

    Returns:
        The predictions; None on all processes but the main one.

    Raises:
        OptionError: a test scale is smaller than the net's crop.
        DataError: a file cannot be decoded, or none can.
        WeightsError: the net cannot be read, or computes values that are not finite.
    """
    steps = (
        predict_cached(net, split, views, runtime, decoding)
        if use_cache
        else predict_split(net.prepare(runtime), split, views, runtime, decoding)
    )
    with refuse_overflow(net):
        return run_with_progress(steps, title, len(split), is_main=runtime.is_main)


def average_scales(member: EnsembleMember, predictions: NetPredictions, view: View) -> EnsemblePredictions:
    """Average the predictions of one net over its test scales and the parts of the view."""
    has_dense = "dense" in SINGLE_VIEWS[view]
    return EnsemblePredictions(
        indices=predictions.indices,
        posteriors=predictions.mean(view, member.scales),
        center=predictions.mean("center", member.scales) if has_dense else None,
        geometry=measure_geometry(member.net, predictions, view, member.scales),
        skipped=predictions.skipped,
        write_error=predictions.write_error,
    )


def fuse(parts: Sequence[EnsemblePredictions]) -> EnsemblePredictions:
    """Average the predictions of several nets by protocols of one view (section 4.4)."""
    indices, posteriors = fuse_posteriors([(part.indices, part.posteriors) for part in parts])
    centers = [(part.indices, part.center) for part in parts if part.center is not None]
    return EnsemblePredictions(
        indices=indices,
        posteriors=posteriors,
        center=fuse_posteriors(centers)[1] if centers else None,
        geometry={scale: geometry for part in parts for scale, geometry in part.geometry.items()},
        skipped={file: reason for part in parts for file, reason in part.skipped.items()},
        write_error=next((part.write_error for part in parts if part.write_error), ""),
    )


def evaluate_predictions(
    members: Sequence[EnsembleMember], predictions: Sequence[NetPredictions], split: Split, view: View
) -> ClassificationEvaluation:
    """Count the errors of an ensemble, and of its parts: of a single net each view and scale, of several each net."""
    assert split.labels is not None
    parts = [average_scales(*each, view) for each in zip(members, predictions, strict=True)]
    fused = fuse(parts)
    if len(members) == 1:
        rows = _view_rows(members[0], predictions[0], view, split.labels)
    else:
        rows = _member_rows(members, parts, fused, view, split.labels)
    labels = split.labels[fused.indices]
    return ClassificationEvaluation(
        rows=tuple(rows),
        predictions=fused,
        calibration_error=expected_calibration_error(fused.posteriors, labels),
        confusion=confusion_matrix(fused.posteriors, labels),
    )


def _view_rows(
    member: EnsembleMember, predictions: NetPredictions, view: View, labels: Int64Array
) -> list[EvaluationRow]:
    """Return rows of every view at every scale, then over the scales, then of the protocol itself."""

    def row(view: View, scales: tuple[int, ...]) -> EvaluationRow:
        errors = classification_errors(predictions.mean(view, scales), labels[predictions.indices])
        geometry = tuple(measure_geometry(member.net, predictions, view, scales).values())
        return EvaluationRow(str(member.net), member.net.config.crop, view, scales, errors, geometry)

    rows = [row(each.view, (each.scale,)) for each in list_views(view, member.scales)]
    views: list[View] = [*SINGLE_VIEWS[view], view] if len(SINGLE_VIEWS[view]) > 1 else [view]
    if len(member.scales) > 1:
        rows += [row(each, member.scales) for each in views]
    elif len(views) > 1:
        rows.append(row(view, member.scales))
    return rows


def _member_rows(
    members: Sequence[EnsembleMember],
    parts: Sequence[EnsemblePredictions],
    fused: EnsemblePredictions,
    view: View,
    labels: Int64Array,
) -> list[EvaluationRow]:
    """Return a row for each net, then for all together: the central crop, and the protocol itself."""
    rows = []
    for member, part in zip(members, parts, strict=True):
        errors = classification_errors(part.posteriors, labels[part.indices])
        geometry = tuple(part.geometry.values())
        rows.append(EvaluationRow(str(member.net), member.net.config.crop, view, member.scales, errors, geometry))
    name, crop = f"{len(members)} nets", members[0].net.config.crop
    if fused.center is not None:
        errors = classification_errors(fused.center, labels[fused.indices])
        rows.append(EvaluationRow(name, crop, "center", (), errors))
    rows.append(EvaluationRow(name, crop, view, (), classification_errors(fused.posteriors, labels[fused.indices])))
    return rows


def measure_geometry(
    net: Net, predictions: NetPredictions, view: View, scales: Sequence[int]
) -> dict[int, MapGeometry]:
    """Return the geometry of the dense part of a view at each test scale."""
    if "dense" not in SINGLE_VIEWS[view]:
        return {}
    config = net.config
    return {q: measure_maps(predictions.sizes[q], config.crop, config.pooling == "ceil") for q in scales}


def measure_maps(sizes: Int64Array, crop: int, ceil_mode: bool = True) -> MapGeometry:
    """Return the median map size, and the mean share of the windows' area inside the images.

    Args:
        sizes: (n, 2) height and width in pixels of the rescaled images.
        crop: of the net, in pixels.
        ceil_mode: whether the net's pooling rounds sizes up.
    """
    rounding = STRIDE - 1 if ceil_mode else 0
    counts = (sizes + rounding) // STRIDE - crop // STRIDE + 1  # windows along each side
    # Only the last window can stick out: the one before it ends at least a stride earlier.
    beyond = np.maximum(0, STRIDE * (counts - 1) + crop - sizes)
    inside = (1 - beyond / (counts * crop)).prod(axis=1)
    height, width = np.median(counts, axis=0)
    return MapGeometry(int(height), int(width), float(inside.mean()))
