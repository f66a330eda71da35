"""The rows of Tables 8-10, measured on the nets of a folder of runs."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from verydeep.configs.paper import TABLES, LocalizationRow
from verydeep.configs.protocols import EvaluationProtocol, default_classes
from verydeep.engine.classification.table_rows import TableConditions
from verydeep.engine.localization.box_ensemble import BoxEnsemble, find_box_ensembles
from verydeep.engine.localization.box_errors import BoxErrors, measure_box_errors
from verydeep.engine.localization.box_predictions import BoxPredictions, predict_boxes
from verydeep.engine.localization.boxed_split import BoxedSplit
from verydeep.engine.localization.merge_threshold import DEFAULT_THRESHOLD, Merging, assign_thresholds, choose_threshold
from verydeep.engine.localization.merged_boxes import merge_boxes
from verydeep.engine.nets.checks import check_same_split
from verydeep.engine.nets.net import Net
from verydeep.engine.reporting.comparison import Comparison, difference_of_runs
from verydeep.ops.arrays import BoolArray
from verydeep.ops.bootstrap import Mean, error_over_runs, mean_over_runs
from verydeep.ops.metrics import Share


@dataclass(frozen=True)
class LocalizationTableConditions:
    """Conditions that all rows of a table share."""

    shared: TableConditions
    """Conditions that tables of classification errors have too."""
    test_split: BoxedSplit
    tuning_split: BoxedSplit | None = None
    """The split to choose the merge threshold of each row on, which may be ``test_split``; None: the default."""

    @property
    def tunes_by_halves(self) -> bool:
        """Whether each half of the test images is merged with the threshold chosen on the other half."""
        return self.tuning_split is self.test_split


@dataclass(frozen=True, eq=False)
class MeasuredBoxes:
    """The errors of one protocol, over the seeds that have all of its nets."""

    protocol: EvaluationProtocol
    """The measured protocol; its classes may differ from the row's."""
    seeds: tuple[int, ...]
    wrong: BoolArray
    """(seeds, n) whether each image is wrong by the row's own measure, without the blacklist."""
    mean_iou: Mean
    """Mean IoU of the true class's box, over images and seeds."""
    thresholds: tuple[float, ...]
    """All merge thresholds."""
    skipped: int
    """Number of images that could not be decoded."""
    converged: bool
    """Whether all nets of these seeds converged."""
    unconverged: tuple[str, ...]
    """Paths of runs that did not converge, including those of seeds that are left out."""
    nets: tuple[Net, ...]

    @property
    def error(self) -> Share:
        """Error in percent, with its interval over images, and over seeds where there are several."""
        return error_over_runs(self.wrong)


def choose_available_classes(protocol: EvaluationProtocol, conditions: TableConditions) -> EvaluationProtocol:
    """Replace the classes of a protocol by the best ones of converged runs, where its own are not available.

    The best are those of the row of Tables 3-7 with the smallest published top-5 error. If no run has the nets of any
    row, they are those of the source nets of the localization nets.

    Raises:
        WeightsError: two runs of one seed fit the same member, or a source net is missing.
    """
    if protocol.classes == "truth":
        return protocol
    rows = [row for table in TABLES.values() for row in table.rows if row.top5_val is not None]
    published = [row.protocol for row in sorted(rows, key=lambda row: row.top5_val or 0.0) if row.protocol is not None]
    for classes in dict.fromkeys((protocol.classes, *published)):
        sources = [seed.classes for seed in find_ensembles(replace(protocol, classes=classes), conditions).values()]
        if any(source and all(member.net.converged for member in source.members) for source in sources):
            return replace(protocol, classes=classes)
    return replace(protocol, classes=default_classes(protocol.members, protocol.view))


def find_ensembles(protocol: EvaluationProtocol, conditions: TableConditions) -> dict[int, BoxEnsemble]:
    """Find the ensemble of each seed among the nets of a table.

    Raises:
        WeightsError: two runs of one seed fit the same member, or a source net is missing.
    """
    return find_box_ensembles(protocol, conditions.nets, conditions.shape)


def measure_protocols(
    protocols: Iterable[EvaluationProtocol], conditions: LocalizationTableConditions
) -> dict[EvaluationProtocol, MeasuredBoxes]:
    """Measure protocols on the test split; those without nets are missing.

    Returns:
        The measured protocols on the main process, nothing on the others.

    Raises:
        DataError: an image cannot be decoded, or none of them, or a net may have been trained on test images.
        WeightsError: two runs of one seed fit the same member.
    """
    shared, test_split, tuning_split = conditions.shared, conditions.test_split, conditions.tuning_split
    available = {protocol: choose_available_classes(protocol, shared) for protocol in protocols}
    ensembles = {protocol: find_ensembles(measured, shared) for protocol, measured in available.items()}
    distinct = list(dict.fromkeys(ensemble for seeds in ensembles.values() for ensemble in seeds.values()))
    for net in {net.folder: net for ensemble in distinct for net in ensemble.nets}.values():
        for boxed_split in (test_split, tuning_split):
            if boxed_split is not None:
                check_same_split(net, shared.data, boxed_split.full_split)
    predictions = predict_boxes(distinct, test_split.split, shared.runtime, shared.decoding)
    tuning_predictions: dict[BoxEnsemble, BoxPredictions] = {}
    if tuning_split is not None and not conditions.tunes_by_halves:
        tuning_predictions = predict_boxes(distinct, tuning_split.split, shared.runtime, shared.decoding)
    if not shared.runtime.is_main:
        return {}
    measured_protocols = {}
    for protocol, seeds in ensembles.items():
        errors = {
            seed: measure_ensemble(predictions[ensemble], tuning_predictions.get(ensemble), conditions)
            for seed, ensemble in seeds.items()
        }
        if errors:
            measured_protocols[protocol] = summarize_seeds(available[protocol], seeds, errors, conditions)
    return measured_protocols


def measure_ensemble(
    predictions: BoxPredictions, tuning_predictions: BoxPredictions | None, conditions: LocalizationTableConditions
) -> BoxErrors:
    """Merge the boxes of one row and seed, and compare them with the annotations."""
    merging: Merging = "by halves" if conditions.tunes_by_halves else DEFAULT_THRESHOLD
    if tuning_predictions is not None:
        assert conditions.tuning_split is not None
        merging = choose_threshold(
            tuning_predictions.pool(), tuning_predictions.candidate_classes, conditions.tuning_split
        )
    images, classes = predictions.pool(), predictions.candidate_classes
    thresholds, _ = assign_thresholds(merging, images, classes, conditions.test_split)
    return measure_box_errors(merge_boxes(images, thresholds), classes, conditions.test_split)


def summarize_seeds(
    protocol: EvaluationProtocol,
    ensembles: Mapping[int, BoxEnsemble],
    errors: Mapping[int, BoxErrors],
    conditions: LocalizationTableConditions,
) -> MeasuredBoxes:
    """Summarize one row over its seeds; where a net of some seeds converged, the other seeds are left out."""
    converged = [seed for seed in errors if all(net.converged for net in ensembles[seed].nets)]
    seeds = converged or list(errors)
    unconverged = [net for seed in errors if seed not in converged for net in ensembles[seed].nets if not net.converged]
    seed_errors = [errors[seed] for seed in seeds]
    thresholds = np.concatenate([each.boxes.thresholds for each in seed_errors])
    return MeasuredBoxes(
        protocol=protocol,
        seeds=tuple(seeds),
        wrong=np.stack([each.wrong for each in seed_errors]),
        mean_iou=mean_over_runs(np.stack([each.truth_overlaps[each.counted] for each in seed_errors])),
        thresholds=tuple(np.unique(thresholds).tolist()),
        skipped=len(conditions.test_split.split) - len(seed_errors[0].counted),
        converged=bool(converged),
        unconverged=tuple(dict.fromkeys(str(net.path) for net in unconverged)),
        nets=tuple(net for seed in seeds for net in ensembles[seed].nets),
    )


def compare_box_rows(rows: Sequence[tuple[LocalizationRow, MeasuredBoxes | None]]) -> list[Comparison]:
    """Compare every two rows whose nets converged, on the seeds that both have."""
    converged = [(row, measured) for row, measured in rows if measured is not None and measured.converged]
    comparisons = []
    for (row_a, a), (row_b, b) in itertools.combinations(converged, 2):
        difference = difference_of_runs(a.seeds, a.wrong, b.seeds, b.wrong)
        paper = None if row_a.val is None or row_b.val is None else round(row_a.val - row_b.val, 1)
        comparisons.append(Comparison(a.protocol, b.protocol, paper, difference))
    return comparisons
