"""The protocols of Tables 3-7 measured on the nets of a folder of runs."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from verydeep.configs.networks import PAPER_FC_WIDTH
from verydeep.configs.paper import PaperRow, PaperTable
from verydeep.configs.protocols import EvaluationProtocol, PaperNet, View
from verydeep.configs.scales import in_pixels
from verydeep.data.decoding import STRICT, Decoding
from verydeep.data.split import Split
from verydeep.engine.classification.evaluation import (
    FusedPosteriors,
    MapGeometry,
    fuse_posteriors,
    predict_nets,
    predict_views,
    views_to_compute,
)
from verydeep.engine.inference import SINGLE_VIEWS, ViewAtScale
from verydeep.engine.nets.checks import check_same_split
from verydeep.engine.nets.collection import ensembles_by_seed
from verydeep.engine.nets.net import EnsembleMember, Net, NetShape
from verydeep.engine.reporting.comparison import Comparison, difference_of_runs
from verydeep.engine.runtime import Runtime
from verydeep.errors import VerydeepError
from verydeep.ops.arrays import BoolArray
from verydeep.ops.bootstrap import error_over_runs
from verydeep.ops.metrics import Share, ranks, topk_for

MOST_TOLD = 12
"""Runs that are named where none of them answers."""


@dataclass(frozen=True)
class TableConditions:
    """What all rows of a table share."""

    nets: Sequence[Net]
    """Everything that was trained."""
    data: str
    """As the command line names it."""
    split: Split
    """The part to test on; it has labels."""
    crop: int
    runtime: Runtime
    decoding: Decoding = STRICT
    width: float = 1.0
    fc_width: int = PAPER_FC_WIDTH

    def members(self, protocol: EvaluationProtocol) -> dict[int, list[EnsembleMember]]:
        """Seed -> the nets that answer for a protocol; empty where one is missing, or has saved no weights yet.

        Raises:
            VerydeepError: two runs of one seed answer for the same member.
        """
        return ensembles_by_seed(protocol, self.nets, self.shape)

    @property
    def shape(self) -> NetShape:
        """The sizes that all nets of the table share."""
        return NetShape(self.split.class_names, self.crop, self.width, self.fc_width)

    @property
    def other_nets(self) -> list[EnsembleMember]:
        """Nets of others, or that began with theirs, which answer for no row; each at its own scale."""
        return [EnsembleMember(net, net.config.test_scales) for net in self._other_nets if net.config.crop == self.crop]

    @property
    def other_nets_of_other_crops(self) -> list[Net]:
        """Such nets that would stand in the table at another crop."""
        return [net for net in self._other_nets if net.config.crop != self.crop]

    @property
    def _other_nets(self) -> list[Net]:
        other_nets = [
            net.with_outputs_for(self.split.class_names)
            for net in self.nets
            if net.foreign and net.paper_net() is None and not net.config.is_trunk and net.config.regression is None
        ]
        return [net for net in other_nets if net is not None]

    def describe(self, scales: Iterable[int]) -> str:
        """Return a sentence about the conditions and the test scales of the rows."""
        decoding = ", fast decoding" if self.decoding.fast else ""
        pixels = ", ".join(f"{q} ({in_pixels(q, self.crop)} px)" for q in sorted(set(scales)))
        return f"Crop {self.crop}, precision {self.runtime.precision}{decoding}; test scales Q: {pixels}."

    def values(self) -> dict[str, Any]:
        """Return the conditions as JSON values."""
        return {
            "data": self.data,
            "split": self.split.name,
            "num_images": len(self.split),
            "crop": self.crop,
            "precision": self.runtime.precision,
            "fast_decode": self.decoding.fast,
        }


def refuse_unanswered(names: str, wanted: Sequence[PaperNet], conditions: TableConditions) -> NoReturn:
    """Say which nets a table asks for, and which are there.

    Raises:
        VerydeepError: always.
    """
    classes = conditions.split.class_names
    asked = ", ".join(dict.fromkeys(map(str, wanted)))
    there = [
        f"{net.paper_net() or net.config.network} ({net.path.name}"
        + ("" if net.config.crop == conditions.crop else f", crop {net.config.crop}")
        + ("" if net.config.class_names == classes else ", other classes")
        + ")"
        for net in conditions.nets
    ]
    more = f" and {len(there) - MOST_TOLD} more" if len(there) > MOST_TOLD else ""
    raise VerydeepError(
        f"No run answers for any row of {names} at crop {conditions.crop} with these {len(classes)} classes: it asks "
        f"for {asked}, and there {'are ' + ', '.join(there[:MOST_TOLD]) + more if there else 'is no run'}; leave "
        "--no-train out, or give another --runs or --crop."
    )


@dataclass(frozen=True, eq=False)
class MeasuredRow:
    """What one protocol gave, over the seeds that have all of its nets."""

    seeds: tuple[int, ...]
    wrong_top1: BoolArray
    """(seeds, n)"""
    wrong_topk: BoolArray
    """(seeds, n)"""
    center: Share | None
    """Top-1 error of the central crop at the same scales, where the protocol has a dense part."""
    geometry: dict[int, MapGeometry]
    """Of the dense part, by test scale."""
    is_answer: bool
    """Whether all nets made all drops of their learning rate."""
    unconverged: tuple[str, ...]
    """Runs that did not; of seeds that are left out too."""
    nets: tuple[Net, ...]
    """All that were tested."""
    skipped: frozenset[str]
    """Files that could not be decoded."""
    write_error: str
    """Why posteriors are not kept for the next time, where they should have been."""

    @property
    def top1(self) -> Share:
        """The error in percent with its interval over images, and over seeds where there are several."""
        return error_over_runs(self.wrong_top1)

    @property
    def topk(self) -> Share:
        """The same of the first k guesses."""
        return error_over_runs(self.wrong_topk)


def compute_views(protocols: Sequence[EvaluationProtocol], conditions: TableConditions) -> None:
    """Let each net see each image once for all that the protocols ask of it; the posteriors are kept on the disk.

    Raises:
        VerydeepError: a net may have been trained on these images, or as ``predict_cached``.
    """
    wanted: dict[Path, tuple[Net, dict[ViewAtScale, None]]] = {}
    for protocol in protocols:
        for each in (*itertools.chain(*conditions.members(protocol).values()), *conditions.other_nets):
            _, views = wanted.setdefault(each.net.path, (each.net, {}))
            views.update(dict.fromkeys(views_to_compute(protocol.view, each.scales)))
    for net, _ in wanted.values():
        check_same_split(net, conditions.data, conditions.split)
    for number, (net, views) in enumerate(wanted.values(), start=1):
        predict_views(
            net,
            list(views),
            conditions.split,
            conditions.runtime,
            f"Testing {net.path.name} ({number} of {len(wanted)})",
            conditions.decoding,
        )


def measure_protocol(protocol: EvaluationProtocol, conditions: TableConditions) -> MeasuredRow | None:
    """Run a protocol on the nets of every seed that has them all, on the main process; None where no seed does.

    Seeds of which a net did not converge are left out where others did.

    Raises:
        VerydeepError: as ``predict_cached``.
    """
    each_seed = conditions.members(protocol)
    return measure_nets(protocol.view, each_seed, conditions) if each_seed else None


def measure_nets(
    view: View, each_seed: Mapping[int, Sequence[EnsembleMember]], conditions: TableConditions
) -> MeasuredRow:
    """The same of nets that are named, for each seed."""
    split = conditions.split
    assert split.labels is not None
    whole = {seed: nets for seed, nets in each_seed.items() if all(each.net.converged for each in nets)}
    left_out = [each.net for seed, nets in each_seed.items() if seed not in whole for each in nets]
    each_seed = whole or each_seed
    answers = [predict_seed(view, members, conditions) for members in each_seed.values()]
    said = [ranks(answer.said.posteriors, split.labels[answer.said.indices]) for answer in answers]
    centers = [
        ranks(answer.centers.posteriors, split.labels[answer.centers.indices]) >= 1
        for answer in answers
        if answer.centers is not None
    ]
    return MeasuredRow(
        seeds=tuple(each_seed),
        wrong_top1=np.stack(said) >= 1,
        wrong_topk=np.stack(said) >= topk_for(len(split.class_names)),
        center=error_over_runs(np.stack(centers)) if centers else None,
        geometry={scale: each for answer in answers for scale, each in answer.geometry.items()},
        is_answer=bool(whole),
        unconverged=tuple(str(net.path) for net in left_out if not net.converged),
        nets=tuple(each.net for members in each_seed.values() for each in members),
        skipped=frozenset(file for answer in answers for file in answer.skipped),
        write_error=next((answer.write_error for answer in answers if answer.write_error), ""),
    )


@dataclass(frozen=True, eq=False)
class SeedPredictions:
    """What the nets of one seed say together."""

    said: FusedPosteriors
    centers: FusedPosteriors | None
    """Of the central crops alone, where the view has a dense part."""
    geometry: dict[int, MapGeometry]
    skipped: frozenset[str]
    write_error: str


def predict_seed(view: View, members: Sequence[EnsembleMember], conditions: TableConditions) -> SeedPredictions:
    """Ask one net after another; of each no more is held than the mean over its scales."""
    views: tuple[View, ...] = (view, "center") if "dense" in SINGLE_VIEWS[view] else (view,)
    said: dict[View, list[FusedPosteriors]] = {each: [] for each in views}
    geometry: dict[int, MapGeometry] = {}
    skipped: set[str] = set()
    write_error = ""
    for member in members:
        (tested,) = predict_nets([member], conditions.split, view, conditions.runtime, conditions.decoding)
        for each in views:
            said[each].append(tested.mean_posteriors(each))
        geometry |= dict(zip(tested.scales, tested.geometry(view, tested.scales), strict=False))
        skipped |= tested.predictions.skipped.keys()
        write_error = write_error or tested.predictions.write_error
    centers = fuse_posteriors(said["center"]) if len(views) > 1 else None
    return SeedPredictions(fuse_posteriors(said[view]), centers, geometry, frozenset(skipped), write_error)


def compare_rows(table: PaperTable[PaperRow], rows: Sequence[tuple[PaperRow, MeasuredRow | None]]) -> list[Comparison]:
    """Every pair of rows that are both answers, on the seeds that both have."""
    answers = [(row, each) for row, each in rows if each is not None and each.is_answer]
    comparisons = []
    for (row_a, a), (row_b, b) in itertools.combinations(answers, 2):
        difference = difference_of_runs(a.seeds, a.wrong_top1, b.seeds, b.wrong_top1)
        assert row_a.protocol is not None
        assert row_b.protocol is not None
        paper = table.differences.get((row_a.protocol, row_b.protocol))
        if row_a.top1_val is not None and row_b.top1_val is not None:
            paper = round(row_a.top1_val - row_b.top1_val, 1)
        comparisons.append(Comparison(row_a.protocol, row_b.protocol, paper, difference))
    return comparisons
