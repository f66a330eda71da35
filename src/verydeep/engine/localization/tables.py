"""Tables 8-10 measured on the nets of a folder of runs."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from verydeep.configs.paper import TABLES, LocalizationRow, PaperTable
from verydeep.configs.protocols import EvaluationProtocol, default_classes
from verydeep.engine.classification.tables import TableConditions
from verydeep.engine.localization.box_ensemble import BoxEnsemble, box_ensembles_by_seed
from verydeep.engine.localization.box_errors import BoxErrors, GroundTruth
from verydeep.engine.localization.boxed_split import BoxedSplit
from verydeep.engine.localization.evaluation import EnsembleBoxes, predict_ensembles
from verydeep.engine.localization.threshold import (
    DEFAULT_THRESHOLD,
    Merging,
    choose_best_threshold,
    merge_by_image,
    threshold_of_each,
)
from verydeep.engine.nets.checks import check_same_split
from verydeep.engine.nets.net import Net
from verydeep.engine.reporting.comparison import Comparison, difference_of_runs
from verydeep.ops.arrays import BoolArray, Float64Array
from verydeep.ops.bootstrap import Mean, error_over_runs, mean_over_runs
from verydeep.ops.localization_errors import RIGHT_AT
from verydeep.ops.metrics import Share


@dataclass(frozen=True)
class LocalizationTableConditions:
    """What all rows of a table share."""

    nets: TableConditions
    """As for the tables of errors of classes."""
    part: BoxedSplit
    """The part to test on."""
    tune_on: BoxedSplit | None = None
    """The validation part, where each row's threshold of merging is to be chosen on it; may be ``part`` itself."""


@dataclass(frozen=True, eq=False)
class MeasuredBoxes:
    """What one protocol gave, over the seeds that have all of its nets."""

    protocol: EvaluationProtocol
    """As it was run: the classes may be others than the row's."""
    seeds: tuple[int, ...]
    wrong: BoolArray
    """(seeds, n) by the row's own measure, without the images on the blacklist."""
    mean_iou: Mean
    """Of the true class's box, over images and seeds."""
    thresholds: tuple[float, ...]
    """Of merging: all that were used."""
    skipped: int
    """Images that could not be decoded."""
    is_answer: bool
    """Whether all nets made all drops of their learning rate."""
    unconverged: tuple[str, ...]
    """Runs that did not; of seeds that are left out too."""
    tested: tuple[Net, ...]

    @property
    def error(self) -> Share:
        """In percent, with its interval over images, and over seeds where there are several."""
        return error_over_runs(self.wrong)


def best_classes_there(protocol: EvaluationProtocol, conditions: TableConditions) -> EvaluationProtocol:
    """The protocol with the best classes that converged runs can name, where those that it asks for are not there.

    The best are those of the row of Tables 3-7 with the smallest published top-5 error; where no run answers for any of
    them, those of the nets that the box nets started from.

    Raises:
        VerydeepError: as ``box_ensembles_for``.
    """
    if protocol.classes == "truth":
        return protocol
    rows = [row for table in TABLES.values() for row in table.rows if row.top5_val is not None]
    known = [row.protocol for row in sorted(rows, key=lambda row: row.top5_val or 0.0) if row.protocol is not None]
    for classes in dict.fromkeys((protocol.classes, *known)):
        found = box_ensembles_for(replace(protocol, classes=classes), conditions)
        nets = [seed.classes.nets for seed in found.values() if seed.classes is not None]
        if any(all(each.net.converged for each in together) for together in nets):
            return replace(protocol, classes=classes)
    return replace(protocol, classes=default_classes(protocol.members, protocol.view))


def box_ensembles_for(protocol: EvaluationProtocol, conditions: TableConditions) -> dict[int, BoxEnsemble]:
    """Seed -> who answers.

    Raises:
        VerydeepError: two runs of one seed answer for the same member, or a net that rates boxes is not there.
    """
    return box_ensembles_by_seed(protocol, conditions.nets, conditions.shape)


def measure_table(
    table: PaperTable[LocalizationRow], conditions: LocalizationTableConditions
) -> list[tuple[LocalizationRow, MeasuredBoxes | None]]:
    """Each row with what it gave, on the main process; None where no run answers, or it is of other authors.

    Raises:
        VerydeepError: two runs answer for one member, or a net may have been trained on these images.
    """
    shared, part = conditions.nets, conditions.part
    protocols = {
        row.protocol: best_classes_there(row.protocol, shared) for row in table.rows if row.protocol is not None
    }
    each_seed = {candidate_classes: box_ensembles_for(run, shared) for candidate_classes, run in protocols.items()}
    wanted = [ensemble for seeds in each_seed.values() for ensemble in seeds.values()]
    for net in {net.folder: net for ensemble in wanted for net in ensemble.nets}.values():
        check_same_split(net, shared.data, part.whole)
        if conditions.tune_on is not None:
            check_same_split(net, shared.data, conditions.tune_on.whole)
    said = iter(predict_ensembles(wanted, part.split, shared.runtime, shared.decoding))
    tune_on = conditions.tune_on
    if tune_on is None or tune_on is part:
        tuned = None
    else:
        tuned = iter(predict_ensembles(wanted, tune_on.split, shared.runtime, shared.decoding))
    if not shared.runtime.is_main:
        return []
    found: dict[EvaluationProtocol, MeasuredBoxes] = {}
    for candidate_classes, seeds in each_seed.items():
        judged = {
            seed: compare_with_truth(next(said), conditions, None if tuned is None else next(tuned)) for seed in seeds
        }
        if judged:
            found[candidate_classes] = summarize(protocols[candidate_classes], seeds, judged, part)
    return [(row, None if row.protocol is None else found.get(row.protocol)) for row in table.rows]


@dataclass(frozen=True, eq=False)
class SeedBoxErrors:
    """How good the boxes of one row and seed are."""

    box_errors: BoxErrors
    truth: GroundTruth
    thresholds: Float64Array
    """(n,) up to which distance those of each image were merged."""

    @property
    def wrong(self) -> BoolArray:
        """(m,) by the row's own measure, of the images that count."""
        guesses, of_truth = self.box_errors.guess_overlaps, self.box_errors.truth_overlaps
        return (of_truth if guesses is None else guesses)[self.truth.counted] < RIGHT_AT


def compare_with_truth(
    said: EnsembleBoxes, conditions: LocalizationTableConditions, on_validation: EnsembleBoxes | None
) -> SeedBoxErrors:
    """Merge and compare the boxes of one row and seed."""
    part = conditions.part
    truth = GroundTruth.of(part.split, said.candidate_classes, part.blacklisted)
    merging: Merging = "by halves" if conditions.tune_on is part else DEFAULT_THRESHOLD
    if on_validation is not None:
        assert conditions.tune_on is not None
        known = GroundTruth.of(
            conditions.tune_on.split, on_validation.candidate_classes, conditions.tune_on.blacklisted
        )
        merging = choose_best_threshold(on_validation.pooled, on_validation.candidate_classes, known)
    thresholds, _ = threshold_of_each(merging, said.pooled, said.candidate_classes, truth)
    return SeedBoxErrors(
        BoxErrors.of(merge_by_image(said.pooled, thresholds), said.candidate_classes, truth), truth, thresholds
    )


def summarize(
    protocol: EvaluationProtocol,
    ensemble: Mapping[int, BoxEnsemble],
    judged: Mapping[int, SeedBoxErrors],
    part: BoxedSplit,
) -> MeasuredBoxes:
    """One row over its seeds; those of which a net did not converge are left out where others did."""
    whole = [seed for seed in judged if all(net.converged for net in ensemble[seed].nets)]
    seeds = whole or list(judged)
    left_out = [net for seed in judged if seed not in whole for net in ensemble[seed].nets]
    box_ensembles_for = [judged[seed] for seed in seeds]
    return MeasuredBoxes(
        protocol=protocol,
        seeds=tuple(seeds),
        wrong=np.stack([each.wrong for each in box_ensembles_for]),
        mean_iou=mean_over_runs(
            np.stack([each.box_errors.truth_overlaps[each.truth.counted] for each in box_ensembles_for])
        ),
        thresholds=tuple(np.unique(np.concatenate([each.thresholds for each in box_ensembles_for])).tolist()),
        skipped=len(part.split) - len(box_ensembles_for[0].thresholds),
        is_answer=bool(whole),
        unconverged=tuple(dict.fromkeys(str(net.path) for net in left_out if not net.converged)),
        tested=tuple(net for seed in seeds for net in ensemble[seed].nets),
    )


def compare_rows(rows: Sequence[tuple[LocalizationRow, MeasuredBoxes | None]]) -> list[Comparison]:
    """Every pair of rows that are both answers, on the seeds that both have."""
    known = [(row, each) for row, each in rows if each is not None and each.is_answer]
    comparisons = []
    for (row_a, a), (row_b, b) in itertools.combinations(known, 2):
        difference = difference_of_runs(a.seeds, a.wrong, b.seeds, b.wrong)
        paper = None if row_a.val is None or row_b.val is None else round(row_a.val - row_b.val, 1)
        comparisons.append(Comparison(a.protocol, b.protocol, paper, difference))
    return comparisons
