"""Evaluation of localization nets on a split, by both test protocols of appendix A.1.

First the candidate classes: the true one, and the best five of a classification protocol. Then their boxes, which are
pooled, merged and compared with the annotations.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from verydeep.configs.protocols import LocalizationView
from verydeep.configs.scales import in_pixels
from verydeep.data.pixels.decoding import Decoding
from verydeep.data.split import Split
from verydeep.engine.classification.ensemble_errors import MapGeometry, measure_maps
from verydeep.engine.localization.box_ensemble import BoxEnsemble
from verydeep.engine.localization.box_errors import BoxErrors, measure_box_errors
from verydeep.engine.localization.box_predictions import BoxPredictions, predict_boxes
from verydeep.engine.localization.boxed_split import BoxedSplit
from verydeep.engine.localization.candidate_classes import CandidateClasses
from verydeep.engine.localization.merge_threshold import (
    DEFAULT_THRESHOLD,
    Merging,
    TunedThreshold,
    assign_thresholds,
    choose_threshold,
)
from verydeep.engine.localization.merged_boxes import MergedBoxes, merge_boxes
from verydeep.engine.nets.net import EnsembleMember
from verydeep.engine.runtime import Runtime
from verydeep.ops.arrays import Float64Array
from verydeep.ops.images import rescaled_size

BoxRowView = LocalizationView | Literal["constant"]
"""The view of a row; constant is the mean box of the training photographs."""


@dataclass(frozen=True, eq=False)
class BoxRow:
    """The errors of one net or ensemble in one view."""

    net: str
    """Name of the net, or the number of nets; empty for the constant box."""
    crop: int
    """Crop of the net in pixels."""
    view: BoxRowView
    scales: tuple[int, ...]
    """Test scales; empty for several nets, each with its own."""
    errors: BoxErrors


@dataclass(frozen=True, eq=False)
class LocalizationEvaluation:
    """The evaluation of localization nets on a split."""

    ensemble: BoxEnsemble
    candidate_classes: CandidateClasses
    rows: tuple[BoxRow, ...]
    """Rows of the report; the last one is the ensemble with all of its test scales."""
    tuned_thresholds: tuple[TunedThreshold, ...]
    """The tuned merge threshold, or one for each half of the images; empty if none was tuned."""
    geometry: Mapping[int, MapGeometry]
    """Geometry of the dense maps, by test scale."""
    skipped: tuple[str, ...]
    """Files that could not be decoded."""

    @property
    def errors(self) -> BoxErrors:
        """The errors of the last row."""
        return self.rows[-1].errors

    @property
    def thresholds(self) -> tuple[float, ...]:
        """All merge thresholds of the last row."""
        return tuple(np.unique(self.errors.boxes.thresholds).tolist())


def tune_threshold(
    ensemble: BoxEnsemble, boxed_split: BoxedSplit, runtime: Runtime, decoding: Decoding
) -> TunedThreshold | None:
    """Choose the merge threshold of an ensemble on a split; None on all processes but the main one.

    Raises:
        DataError: an image cannot be decoded, or none of them.
        WeightsError: a net has no weights.
    """
    predictions = predict_boxes([ensemble], boxed_split.split, runtime, decoding)[ensemble]
    if not runtime.is_main:
        return None
    return choose_threshold(predictions.pool(), predictions.candidate_classes, boxed_split)


def evaluate_boxes(
    ensemble: BoxEnsemble,
    boxed_split: BoxedSplit,
    runtime: Runtime,
    decoding: Decoding,
    merging: Merging = DEFAULT_THRESHOLD,
) -> LocalizationEvaluation | None:
    """Evaluate an ensemble on a split; None on all processes but the main one.

    Raises:
        DataError: an image cannot be decoded, or none of them.
        OptionError: a test scale is smaller than the crop.
        WeightsError: a net has no weights.
    """
    split = boxed_split.split
    predictions = predict_boxes([ensemble], split, runtime, decoding, extra_views(ensemble))[ensemble]
    if not runtime.is_main:
        return None
    classes = predictions.candidate_classes
    thresholds, tuned_thresholds = assign_thresholds(merging, predictions.pool(), classes, boxed_split)
    return LocalizationEvaluation(
        ensemble=ensemble,
        candidate_classes=classes,
        rows=tuple(measure_rows(predictions, boxed_split, thresholds)),
        tuned_thresholds=tuple(tuned_thresholds),
        geometry=measure_geometry(ensemble, classes, split),
        skipped=tuple(np.delete(split.files, classes.indices).tolist()),
    )


def extra_views(ensemble: BoxEnsemble) -> tuple[LocalizationView, ...]:
    """Return the view that a report adds for comparison: the central crop for a single net."""
    return ("center",) if len(ensemble.members) == 1 else ()


def measure_rows(predictions: BoxPredictions, boxed_split: BoxedSplit, thresholds: Float64Array) -> Iterator[BoxRow]:
    """Measure the rows of a report; the last one is the ensemble.

    For one net: the central crop at each test scale, each scale densely, and all scales together. For several nets:
    each net, and all together. The first row is the constant box, if the net knows it.
    """
    ensemble, classes = predictions.ensemble, predictions.candidate_classes
    crop = ensemble.members[0].net.config.crop

    def row(name: str, members: Sequence[EnsembleMember], view: LocalizationView, scales: tuple[int, ...]) -> BoxRow:
        boxes = merge_boxes(predictions.pool(members, view), thresholds)
        row_crop = members[0].net.config.crop
        return BoxRow(name, row_crop, view, scales, measure_box_errors(boxes, classes, boxed_split))

    constant = constant_boxes(ensemble, classes, boxed_split.split)
    if constant is not None:
        yield BoxRow("", crop, "constant", (), measure_box_errors(constant, classes, boxed_split))
    if len(ensemble.members) > 1:
        for member in ensemble.members:
            yield row(str(member.net), [member], ensemble.view, member.scales)
        yield row(f"{len(ensemble.members)} nets", ensemble.members, ensemble.view, ())
        return
    (member,) = ensemble.members
    for view in sorted({ensemble.view, *extra_views(ensemble)}):
        for scale in member.scales:
            yield row(str(member.net), [replace(member, scales=(scale,))], view, (scale,))
    if len(member.scales) > 1:
        yield row(str(member.net), [member], ensemble.view, member.scales)


def constant_boxes(ensemble: BoxEnsemble, candidate_classes: CandidateClasses, split: Split) -> MergedBoxes | None:
    """Place the mean box of the training photographs on each image; None where the net does not know it."""
    mean = ensemble.members[0].net.config.constant_box
    if mean is None:
        return None
    x, y, width, height = mean
    sizes = [split.image_size(index) for index in candidate_classes.indices.tolist()]
    sides = np.tile(np.array(sizes, np.float64), 2)  # (n, 4) width, height, width, height
    edges = np.array([x - width / 2, y - height / 2, x + width / 2, y + height / 2]) * sides
    xyxy = np.repeat((edges - np.array([0, 0, 1, 1]))[:, None], candidate_classes.classes.shape[1], axis=1)
    return MergedBoxes(xyxy, np.ones(xyxy.shape[:2]), np.zeros(len(xyxy)))


def measure_geometry(
    ensemble: BoxEnsemble, candidate_classes: CandidateClasses, split: Split
) -> dict[int, MapGeometry]:
    """Measure the map of nets that are applied densely, by test scale."""
    if ensemble.view != "dense":
        return {}
    sizes = [split.image_size(index) for index in candidate_classes.indices.tolist()]
    geometry: dict[int, MapGeometry] = {}
    for member in ensemble.members:
        config = member.net.config
        for scale in member.scales:
            rescaled = [rescaled_size(*size, in_pixels(scale, config.crop)) for size in sizes]
            heights_and_widths = np.array(rescaled, np.int64)[:, ::-1]
            geometry[scale] = measure_maps(heights_and_widths, config.crop, config.pooling == "ceil")
    return geometry
