"""What a net's predictions on a split are worth: rows of errors, with the geometry behind each."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from verydeep.configs.networks import STRIDE
from verydeep.configs.protocols import View
from verydeep.data.decoding import STRICT, Decoding
from verydeep.data.split import Split
from verydeep.engine.classification.posteriors import predict_cached
from verydeep.engine.inference import SINGLE_VIEWS, Predictions, SingleView, ViewAtScale, mean_posterior, predict_split
from verydeep.engine.nets.net import EnsembleMember, Net
from verydeep.engine.progress import run_with_progress
from verydeep.engine.runtime import Runtime
from verydeep.ops.arrays import Float32Array, Int64Array
from verydeep.ops.metrics import (
    Errors,
    classification_errors,
    confusion_matrix,
    expected_calibration_error,
)


@dataclass(frozen=True)
class MapGeometry:
    """The class score map of a typical image, and the share of its windows' area that lies inside the images.

    The stride is 32 pixels at any crop, so a small net's windows reach beyond a small image; findings about views
    are then limited by geometry (docs/choices.md).
    """

    map_height: int
    map_width: int
    inside: float


@dataclass(frozen=True)
class EvaluationRow:
    """One protocol and what it gave."""

    net: str
    """Which net; of a fusion how many."""
    crop: int
    """Of the net, in pixels; test scales count beside it."""
    view: View
    scales: tuple[int, ...]
    """Empty of a fusion, whose nets have their own."""
    errors: Errors
    geometry: tuple[MapGeometry, ...] = ()
    """At each scale; of rows with a dense part."""


@dataclass(frozen=True, eq=False)
class FusedPosteriors:
    """What one net, or several together, say of the images of a split by one protocol."""

    indices: Int64Array
    """(n,) which images, ascending"""
    posteriors: Float32Array
    """(n, K)"""


@dataclass(frozen=True)
class NetPredictions:
    """One net, what it was asked, and what it predicts."""

    net: Net
    scales: tuple[int, ...]
    predictions: Predictions

    __test__ = False  # not a test, whatever its name makes pytest think

    def mean_posteriors(self, view: View) -> "FusedPosteriors":
        """The mean over the scales and what the view is made of."""
        return FusedPosteriors(self.predictions.indices, self.predictions.mean(view, self.scales))

    def geometry(self, view: View, scales: Sequence[int]) -> tuple[MapGeometry, ...]:
        """Of the dense part of a view at each scale."""
        if "dense" not in SINGLE_VIEWS[view]:
            return ()
        ceil_mode = self.net.config.pooling == "ceil"
        return tuple(dense_geometry(self.predictions.sizes[q], self.net.config.crop, ceil_mode) for q in scales)


@dataclass(frozen=True)
class ClassificationEvaluation:
    """What one or several nets gave on one split; the last row is the protocol that was asked for."""

    rows: tuple[EvaluationRow, ...]
    posteriors: Float32Array
    """(n, K) of the last row"""
    indices: Int64Array
    """(n,) which image of the split each is"""
    calibration: float
    """Expected calibration error of these posteriors, in percentage points."""
    confusion: Int64Array
    """(K, K) images of the row's class that they put into the column's."""
    skipped: dict[str, str]
    write_error: str = ""
    """Why the posteriors are not kept for the next time, where they should have been."""


def views_to_compute(view: View, scales: Sequence[int]) -> list[ViewAtScale]:
    """What the report of one protocol needs: beside every dense scale stands the central crop."""
    views = SINGLE_VIEWS[view]
    beside: tuple[SingleView, ...] = ("center",) if "dense" in views else ()
    return [ViewAtScale(each, scale) for each in (*beside, *views) for scale in scales]


def predict_nets(
    nets: Sequence[EnsembleMember],
    split: Split,
    view: View,
    runtime: Runtime,
    decoding: Decoding = STRICT,
) -> list[NetPredictions]:
    """Let nets, each at its own scales, predict a split, one after another; returned on the main process alone.

    Raises:
        VerydeepError: as ``predict_cached``.
    """
    tested = []
    for each in nets:
        views, what = views_to_compute(view, each.scales), "Testing" if len(nets) == 1 else f"Testing {each.net}"
        seen = predict_views(each.net, views, split, runtime, what, decoding)
        if seen is not None:
            tested.append(NetPredictions(each.net, each.scales, seen))
    return tested


def predict_views(
    net: Net,
    views: Sequence[ViewAtScale],
    split: Split,
    runtime: Runtime,
    what: str,
    decoding: Decoding = STRICT,
    *,
    keep: bool = True,
) -> Predictions | None:
    """What one net predicts, with a progress bar that says ``what`` is done; None on all processes but the main one.

    With ``keep`` what is already kept is not computed again, and the rest is kept.

    Raises:
        VerydeepError: as ``predict_cached``.
    """
    steps = (
        predict_cached(net, split, views, runtime, decoding)
        if keep
        else predict_split(net.load(), split, views, runtime, decoding)
    )
    return run_with_progress(steps, what, len(split), is_main=runtime.is_main)


def evaluate_predictions(tested: Sequence[NetPredictions], split: Split, view: View) -> ClassificationEvaluation:
    """The errors of each net, and of the nets together; of a single net also of each view and scale."""
    assert split.labels is not None
    said = fuse_posteriors([each.mean_posteriors(view) for each in tested])
    labels = split.labels[said.indices]
    rows: list[EvaluationRow] = []
    for each in tested:
        rows += net_rows(each, view, split.labels) if len(tested) == 1 else [total_row(each, view, split.labels)]
    if len(tested) > 1:
        together, crop = f"{len(tested)} nets", tested[0].net.config.crop
        if "dense" in SINGLE_VIEWS[view]:
            centers = fuse_posteriors([each.mean_posteriors("center") for each in tested])
            errors = classification_errors(centers.posteriors, split.labels[centers.indices])
            rows.append(EvaluationRow(together, crop, "center", (), errors))
        rows.append(EvaluationRow(together, crop, view, (), classification_errors(said.posteriors, labels)))
    return ClassificationEvaluation(
        rows=tuple(rows),
        posteriors=said.posteriors,
        indices=said.indices,
        calibration=expected_calibration_error(said.posteriors, labels),
        confusion=confusion_matrix(said.posteriors, labels),
        skipped={file: why for each in tested for file, why in each.predictions.skipped.items()},
        write_error=next((each.predictions.write_error for each in tested if each.predictions.write_error), ""),
    )


def fuse_posteriors(said: Sequence[FusedPosteriors]) -> FusedPosteriors:
    """The mean of what nets say of the images that each of them decoded (section 4.4)."""
    indices = said[0].indices
    for each in said[1:]:
        indices = np.intersect1d(indices, each.indices, assume_unique=True)
    return FusedPosteriors(
        indices, mean_posterior([each.posteriors[np.searchsorted(each.indices, indices)] for each in said])
    )


def net_rows(tested: NetPredictions, view: View, labels: Int64Array) -> list[EvaluationRow]:
    """Every view at every scale, then over the scales, then the protocol itself."""
    predictions, rows = tested.predictions, []

    def row(view: View, scales: tuple[int, ...]) -> EvaluationRow:
        errors = classification_errors(predictions.mean(view, scales), labels[predictions.indices])
        return EvaluationRow(
            str(tested.net), tested.net.config.crop, view, scales, errors, tested.geometry(view, scales)
        )

    rows += [row(each.view, (each.scale,)) for each in views_to_compute(view, tested.scales)]
    views: list[View] = [*SINGLE_VIEWS[view], view] if len(SINGLE_VIEWS[view]) > 1 else [view]
    if len(tested.scales) > 1:
        rows += [row(each, tested.scales) for each in views]
    elif len(views) > 1:
        rows.append(row(view, tested.scales))
    return rows


def total_row(tested: NetPredictions, view: View, labels: Int64Array) -> EvaluationRow:
    """The protocol of one net of a fusion."""
    said = tested.mean_posteriors(view)
    errors = classification_errors(said.posteriors, labels[said.indices])
    geometry = tested.geometry(view, tested.scales)
    return EvaluationRow(str(tested.net), tested.net.config.crop, view, tested.scales, errors, geometry)


def dense_geometry(sizes: Int64Array, crop: int, ceil_mode: bool = True) -> MapGeometry:
    """Median map and mean share inside of rescaled images (n, 2), height and width in pixels."""
    rounding = STRIDE - 1 if ceil_mode else 0
    counts = (sizes + rounding) // STRIDE - crop // STRIDE + 1  # windows along each side
    # Only the last window can stick out: the one before it ends at least a stride earlier.
    beyond = np.maximum(0, STRIDE * (counts - 1) + crop - sizes)
    inside = (1 - beyond / (counts * crop)).prod(axis=1)
    height, width = np.median(counts, axis=0)
    return MapGeometry(int(height), int(width), float(inside.mean()))
