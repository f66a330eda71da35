"""The two test protocols of appendix A on a part of a data set: classes, then boxes, then errors.

Classes come first: the true one, and the best five of a classification protocol. Each box net then sees each image
once for all of them; what it gives is pooled, merged and compared with the annotations.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Literal

import numpy as np

from verydeep.configs.protocols import LocalizationView
from verydeep.configs.scales import in_pixels
from verydeep.data.decoding import Decoding
from verydeep.data.split import Split, nothing_decoded
from verydeep.engine.classification.evaluation import MapGeometry, dense_geometry
from verydeep.engine.inference import ViewAtScale
from verydeep.engine.localization.box_ensemble import BoxEnsemble
from verydeep.engine.localization.box_errors import BoxErrors, GroundTruth
from verydeep.engine.localization.boxed_split import BoxedSplit
from verydeep.engine.localization.candidate_classes import CandidateClasses, choose_classes
from verydeep.engine.localization.candidates import Candidates, Merged, file_sizes
from verydeep.engine.localization.predictions import BoxPredictions, pool, predict_boxes
from verydeep.engine.localization.threshold import (
    DEFAULT_THRESHOLD,
    Merging,
    TunedThreshold,
    choose_best_threshold,
    merge_by_image,
    threshold_of_each,
)
from verydeep.engine.nets.net import Net
from verydeep.engine.runtime import Runtime
from verydeep.ops.arrays import Float64Array
from verydeep.ops.images import rescaled_size
from verydeep.ops.localization_errors import LocalizationErrors

BoxView = Literal["constant", "center", "dense"]


@dataclass(frozen=True)
class BoxRow:
    """One way of looking and what it gave."""

    net: str
    crop: int
    view: BoxView
    scales: tuple[int, ...]
    """Empty of nets together, which have their own."""
    truth: LocalizationErrors
    """Of one box an image, of the true class: the first protocol's measure."""
    guesses: LocalizationErrors | None
    """Of up to five boxes an image: the second's; None where the truth alone was asked for."""


@dataclass(frozen=True, eq=False)
class LocalizationEvaluation:
    """What localization nets gave on one part; the last row is the protocol that was asked for."""

    rows: tuple[BoxRow, ...]
    box_errors_of_rows: tuple[BoxErrors, ...]
    """Of the rows."""
    candidate_classes: CandidateClasses
    truth: GroundTruth
    ensemble: BoxEnsemble
    tuned_thresholds: tuple[TunedThreshold, ...]
    """One, or two where each half of the images is merged with what was chosen on the other; none: not tuned."""
    thresholds: tuple[float, ...]
    """Of merging: all that were used."""
    geometry: Mapping[int, MapGeometry]
    """Of the dense maps, by test scale."""
    skipped: tuple[str, ...]
    """Files that could not be decoded."""


@dataclass(frozen=True, eq=False)
class EnsembleBoxes:
    """What localizers say of a part, nothing merged."""

    candidate_classes: CandidateClasses
    predictions: list[BoxPredictions]
    """Of each member, at its scales; empty on all processes but the main one."""
    view: LocalizationView

    @property
    def pooled(self) -> list[Candidates]:
        """The boxes of all members, image by image."""
        return pool(self.predictions, self.view, self.candidate_classes)


def predict_ensembles(
    wanted: Sequence[BoxEnsemble],
    split: Split,
    runtime: Runtime,
    decoding: Decoding,
    extra_views: Sequence[LocalizationView] = (),
) -> list[EnsembleBoxes]:
    """Name the classes, then predict their boxes, for each of those who are asked.

    Args:
        wanted: who is asked.
        split: the images.
        runtime: of this process.
        decoding: of files.
        extra_views: views that a report needs beside the protocol's.

    Raises:
        VerydeepError: as ``choose_classes`` and ``predict_boxes``.
    """
    found: dict[int, EnsembleBoxes] = {}
    for source in dict.fromkeys(each.classes for each in wanted):
        places = [place for place, each in enumerate(wanted) if each.classes == source]
        candidate_classes = choose_classes(source, split, runtime, decoding)
        said = predict_boxes_of_classes(
            candidate_classes, [wanted[place] for place in places], split, runtime, decoding, extra_views
        )
        found |= dict(zip(places, said, strict=True))
    return [found[place] for place in range(len(wanted))]


def predict_boxes_of_classes(
    candidate_classes: CandidateClasses,
    wanted: Sequence[BoxEnsemble],
    split: Split,
    runtime: Runtime,
    decoding: Decoding,
    extra_views: Sequence[LocalizationView] = (),
) -> list[EnsembleBoxes]:
    """Predict the boxes of classes that are named; each net sees each image once for all who ask it.

    Raises:
        VerydeepError: as ``predict_boxes``, or not one image could be decoded.
    """
    report_rows: dict[Net, set[ViewAtScale]] = {}
    rated: set[Net] = set()
    for each in wanted:
        for member in each.members:
            views = {ViewAtScale(view, scale) for view, scale in product({each.view, *extra_views}, member.scales)}
            report_rows.setdefault(member.net, set()).update(views)
            alone = candidate_classes.classes.shape[1] == len(each.members) == len(views) == 1 and each.view == "center"
            rated |= set() if alone else {member.net}
    every = {
        net: predict_boxes(net, views, candidate_classes, split, runtime, decoding, rated=net in rated)
        for net, views in report_rows.items()
    }
    seen = {net: predictions for net, predictions in every.items() if predictions is not None}
    decoded = [set(boxes) for predictions in seen.values() for boxes in predictions.values()]
    if decoded:  # on the main process
        kept = set.intersection(*decoded)
        if not kept:
            raise nothing_decoded(split)
        candidate_classes = candidate_classes.subset(
            np.flatnonzero([index in kept for index in candidate_classes.indices.tolist()])
        )
    return [
        EnsembleBoxes(
            candidate_classes,
            [BoxPredictions(m.net, m.scales, seen[m.net]) for m in each.members if m.net in seen],
            each.view,
        )
        for each in wanted
    ]


def choose_threshold(
    ensemble: BoxEnsemble, part: BoxedSplit, runtime: Runtime, decoding: Decoding
) -> TunedThreshold | None:
    """The best threshold of merging on images that are not reported on; None on all processes but the main one.

    Raises:
        VerydeepError: as ``predict_ensembles``.
    """
    (found,) = predict_ensembles([ensemble], part.split, runtime, decoding)
    if not runtime.is_main:
        return None
    return choose_best_threshold(
        found.pooled, found.candidate_classes, GroundTruth.of(part.split, found.candidate_classes, part.blacklisted)
    )


def guess_boxes(
    ensemble: BoxEnsemble,
    split: Split,
    threshold: float,
    runtime: Runtime,
    decoding: Decoding,
    *,
    top: int | None = None,
    keep: bool = True,
) -> tuple[CandidateClasses, Merged] | None:
    """The guessed classes of images and a box of each, whatever is known of them; None but on the main process.

    ``top`` and ``keep`` are those of ``choose_classes``.

    Raises:
        VerydeepError: as ``choose_classes`` and ``predict_boxes_of_classes``.
    """
    split = replace(split, labels=None)
    candidate_classes = choose_classes(ensemble.classes, split, runtime, decoding, top=top, keep=keep)
    (found,) = predict_boxes_of_classes(candidate_classes, [ensemble], split, runtime, decoding)
    if not runtime.is_main:
        return None
    return found.candidate_classes, merge_by_image(
        found.pooled, np.full(len(found.candidate_classes.indices), threshold)
    )


def evaluate_boxes(
    ensemble: BoxEnsemble,
    part: BoxedSplit,
    runtime: Runtime,
    decoding: Decoding,
    merging: Merging = DEFAULT_THRESHOLD,
) -> LocalizationEvaluation | None:
    """The errors of both protocols; None on all processes but the main one.

    Args:
        ensemble: what is tested.
        part: on which images.
        runtime: of this process.
        decoding: of files.
        merging: up to which distance boxes are merged.

    Raises:
        VerydeepError: as ``predict_ensembles``.
    """
    (found,) = predict_ensembles([ensemble], part.split, runtime, decoding, extra_views(ensemble))
    if not runtime.is_main:
        return None
    truth = GroundTruth.of(part.split, found.candidate_classes, part.blacklisted)
    thresholds, tuned_thresholds = threshold_of_each(merging, found.pooled, found.candidate_classes, truth)
    rows, box_errors_of_rows = [], []
    for net, crop, view, scales, merged in report_rows(ensemble, found, part.split, thresholds):
        box_errors = BoxErrors.of(merged, found.candidate_classes, truth)
        box_errors_of_rows.append(box_errors)
        rows.append(BoxRow(net, crop, view, scales, *box_errors.errors(truth)))
    return LocalizationEvaluation(
        rows=tuple(rows),
        box_errors_of_rows=tuple(box_errors_of_rows),
        candidate_classes=found.candidate_classes,
        truth=truth,
        ensemble=ensemble,
        tuned_thresholds=tuple(tuned_thresholds),
        thresholds=tuple(np.unique(thresholds).tolist()),
        geometry=dense_geometries(ensemble, found.candidate_classes, part.split),
        skipped=tuple(np.delete(part.split.files, found.candidate_classes.indices).tolist()),
    )


def dense_geometries(
    ensemble: BoxEnsemble, candidate_classes: CandidateClasses, split: Split
) -> dict[int, MapGeometry]:
    """Test scale -> typical map, and share of its windows inside the images, of nets applied densely."""
    files = file_sizes(split, candidate_classes.indices.tolist())
    found: dict[int, MapGeometry] = {}
    for member in ensemble.members if ensemble.view == "dense" else ():
        config = member.net.config
        for scale in member.scales:
            rescaled = [rescaled_size(*size, in_pixels(scale, config.crop)) for size in files]
            heights_and_widths = np.array(rescaled, np.int64)[:, ::-1]
            found[scale] = dense_geometry(heights_and_widths, config.crop, config.pooling == "ceil")
    return found


def extra_views(ensemble: BoxEnsemble) -> tuple[LocalizationView, ...]:
    """What a report shows beside the protocol: of a single net applied densely its central crop."""
    return ("center",) if len(ensemble.members) == 1 else ()


def report_rows(
    ensemble: BoxEnsemble, found: EnsembleBoxes, split: Split, thresholds: Float64Array
) -> list[tuple[str, int, BoxView, tuple[int, ...], Merged]]:
    """Net, crop, look, scales and merged boxes of each row of a report, the protocol itself last.

    Of one net: the central crop at each scale, each scale densely, all scales together. Of several: each net, and all
    together. Before them the constant box, where the net knows it: what boxes are worth that see nothing.
    """
    view, candidate_classes = ensemble.view, found.candidate_classes

    def merged(some: Sequence[BoxPredictions], kind: LocalizationView, scales: Sequence[int] | None = None) -> Merged:
        return merge_by_image(pool(some, kind, candidate_classes, scales), thresholds)

    rows: list[tuple[str, int, BoxView, tuple[int, ...], Merged]] = []
    crop = ensemble.members[0].net.config.crop
    constant = constant_boxes(ensemble, candidate_classes, split)
    if constant is not None:
        boxes = np.repeat(constant[:, None], candidate_classes.classes.shape[1], axis=1)
        rows.append(("", crop, "constant", (), Merged(boxes, np.ones(boxes.shape[:2]))))
    if len(found.predictions) > 1:
        rows += [
            (str(each.net), each.net.config.crop, view, each.scales, merged([each], view)) for each in found.predictions
        ]
        return [*rows, (f"{len(found.predictions)} nets", crop, view, (), merged(found.predictions, view))]
    (one,) = found.predictions
    for kind in sorted({view, *extra_views(ensemble)}):
        rows += [(str(one.net), crop, kind, (scale,), merged([one], kind, [scale])) for scale in one.scales]
    if len(one.scales) > 1:
        rows.append((str(one.net), crop, view, one.scales, merged([one], view)))
    return rows


def constant_boxes(ensemble: BoxEnsemble, candidate_classes: CandidateClasses, split: Split) -> Float64Array | None:
    """(n, 4): the mean box of the training part on each image, inclusive, in the file's pixels; None: not known."""
    mean = ensemble.members[0].net.config.constant_box
    if mean is None:
        return None
    x, y, width, height = mean
    sides = np.array(
        [[*size, *size] for size in file_sizes(split, candidate_classes.indices.tolist())], np.float64
    ).reshape(-1, 4)
    edges = np.array([x - width / 2, y - height / 2, x + width / 2, y + height / 2]) * sides
    return np.asarray(edges - np.array([0, 0, 1, 1]), np.float64)
