"""The protocols of Tables 3-7, measured on the nets of a folder of runs."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from verydeep.configs.networks import NetSizes
from verydeep.configs.paper import PaperRow, PaperTable
from verydeep.configs.protocols import EvaluationProtocol, PaperNet, View
from verydeep.configs.scales import in_pixels
from verydeep.data.pixels.decoding import STRICT, Decoding
from verydeep.data.split import Split
from verydeep.engine.classification.ensemble_errors import (
    EnsemblePredictions,
    MapGeometry,
    average_scales,
    fuse,
    list_views,
    predict_members,
    predict_views,
)
from verydeep.engine.inference import ViewAtScale
from verydeep.engine.nets.checks import check_same_split
from verydeep.engine.nets.collection import ensembles_by_seed
from verydeep.engine.nets.net import EnsembleMember, Net, NetShape
from verydeep.engine.reporting.comparison import Comparison, difference_of_runs
from verydeep.engine.runtime import Runtime
from verydeep.errors import WeightsError
from verydeep.ops.arrays import BoolArray
from verydeep.ops.bootstrap import error_over_runs
from verydeep.ops.metrics import Share, ranks, topk_for
from verydeep.wording import shorten_list

MAX_NAMES = 12
"""Nets that an error names."""


@dataclass(frozen=True)
class TableConditions:
    """Nets, images and settings that all rows of a table share."""

    nets: Sequence[Net]
    """All nets that may belong to a row."""
    data: str
    """The data set, as the user names it."""
    split: Split
    """The test images; they have labels."""
    sizes: NetSizes
    """Sizes of the nets of the rows."""
    runtime: Runtime
    decoding: Decoding = STRICT

    def ensembles(self, protocol: EvaluationProtocol) -> dict[int, list[EnsembleMember]]:
        """Return seed -> the nets of a protocol's members; seeds without all of them are left out.

        Raises:
            WeightsError: two runs of one seed match the same member.
        """
        return ensembles_by_seed(protocol, self.nets, self.shape)

    @property
    def shape(self) -> NetShape:
        """The sizes that all nets of the table share."""
        return NetShape(self.split.class_names, *self.sizes)

    @property
    def other_nets(self) -> list[EnsembleMember]:
        """Nets of other systems, and nets fine-tuned from them, which match no row; each is tested at its own scale."""
        return [net.member() for net in self._other_nets if net.config.crop == self.sizes.crop]

    @property
    def other_nets_of_other_crops(self) -> list[Net]:
        """Such nets that belong to the table at another crop."""
        return [net for net in self._other_nets if net.config.crop != self.sizes.crop]

    @property
    def _other_nets(self) -> list[Net]:
        other_nets = [
            net.with_outputs_for(self.split.class_names)
            for net in self.nets
            if net.has_imported_weights
            and net.paper_net(*self.sizes[1:]) is None
            and not net.config.is_trunk
            and net.config.regression is None
        ]
        return [net for net in other_nets if net is not None]

    def describe(self, scales: Iterable[int]) -> str:
        """Return a sentence about the conditions and the test scales of the rows."""
        decoding = ", fast decoding" if self.decoding.fast else ""
        pixels = ", ".join(f"{q} ({in_pixels(q, self.sizes.crop)} px)" for q in sorted(set(scales)))
        return f"Crop {self.sizes.crop}, precision {self.runtime.precision}{decoding}; test scales Q: {pixels}."

    def values(self) -> dict[str, Any]:
        """Return the conditions as JSON values."""
        return {
            "data": self.data,
            "split": self.split.name,
            "num_images": len(self.split),
            **self.sizes._asdict(),
            "precision": self.runtime.precision,
            "kernels": self.runtime.kernels,
            "fast_decode": self.decoding.fast,
        }


def raise_missing_nets(tables: str, paper_nets: Sequence[PaperNet], conditions: TableConditions) -> NoReturn:
    """Report that no net belongs to a row of a table.

    Raises:
        WeightsError: always; it names the nets that the table needs, and those that `runs` has.
    """
    classes, sizes = conditions.split.class_names, conditions.sizes
    names = [
        f"{net.paper_net(*sizes[1:]) or net.config.network} ({net.path.name}"
        + ("" if net.config.crop == sizes.crop else f", crop {net.config.crop}")
        + ("" if net.config.width == sizes.width else f", width {net.config.width:g}")
        + ("" if net.config.class_names == classes else ", other classes")
        + ")"
        for net in conditions.nets
    ]
    raise WeightsError(
        f"No net in `runs` belongs to a row of {tables} with crop {sizes.crop} and the {len(classes)} classes of "
        f"the data: the rows need {', '.join(dict.fromkeys(map(str, paper_nets)))}; `runs` has "
        f"{shorten_list(names, MAX_NAMES) or 'no net'}. Leave out `train=False`, or give other `runs` or "
        "another `crop`."
    )


@dataclass(frozen=True, eq=False)
class MeasuredRow:
    """Errors of one protocol, over the seeds that have all of its nets."""

    seeds: tuple[int, ...]
    wrong_top1: BoolArray
    """(seeds, n) whether the true class is not the first prediction."""
    wrong_topk: BoolArray
    """(seeds, n) whether the true class is not among the first k predictions."""
    center: Share | None
    """Top-1 error of the central crop at the same scales, where the protocol has a dense part."""
    geometry: dict[int, MapGeometry]
    """Test scale -> geometry of the dense part."""
    converged: bool
    """Whether all nets converged; otherwise the row has no figures."""
    unconverged: tuple[str, ...]
    """Paths of the runs that did not converge, also of seeds that are left out."""
    nets: tuple[Net, ...]
    """All nets that were tested."""
    skipped: frozenset[str]
    """Files that could not be decoded."""
    write_error: str
    """Why posteriors could not be written to the cache; empty where nothing failed."""

    @property
    def top1(self) -> Share:
        """Top-1 error in percent, with an interval over images and, where there are several, seeds."""
        return error_over_runs(self.wrong_top1)

    @property
    def topk(self) -> Share:
        """Top-k error in percent, with an interval over images and, where there are several, seeds."""
        return error_over_runs(self.wrong_topk)


def compute_views(protocols: Sequence[EvaluationProtocol], conditions: TableConditions) -> None:
    """Compute the posteriors that protocols need and that are not cached; each net sees each image once.

    Raises:
        DataError: a file cannot be decoded, or a net may have been trained on the test images.
        WeightsError: a net cannot be read, or two runs of one seed match the same member.
        ResourceError: the cache was emptied meanwhile.
    """
    views_by_net: dict[Path, tuple[Net, dict[ViewAtScale, None]]] = {}
    for protocol in protocols:
        ensembles = conditions.ensembles(protocol).values()
        for member in (*itertools.chain(*ensembles), *conditions.other_nets):
            _, views = views_by_net.setdefault(member.net.path, (member.net, {}))
            views.update(dict.fromkeys(list_views(protocol.view, member.scales)))
    for net, _ in views_by_net.values():
        check_same_split(net, conditions.data, conditions.split)
    for number, (net, views) in enumerate(views_by_net.values(), start=1):
        title = f"Testing {net.path.name} ({number} of {len(views_by_net)})"
        predict_views(net, list(views), conditions.split, conditions.runtime, title, conditions.decoding)


def measure_protocol(protocol: EvaluationProtocol, conditions: TableConditions) -> MeasuredRow | None:
    """Measure a protocol on every seed that has all of its nets; None where no seed has.

    Only the main process calls this, as all posteriors are cached.
    """
    ensembles = conditions.ensembles(protocol)
    return measure_ensembles(protocol.view, ensembles, conditions) if ensembles else None


def measure_ensembles(
    view: View, ensembles: Mapping[int, Sequence[EnsembleMember]], conditions: TableConditions
) -> MeasuredRow:
    """Measure the ensembles of several seeds; seeds with a net that did not converge are left out where others did."""
    split = conditions.split
    assert split.labels is not None
    converged = {seed: members for seed, members in ensembles.items() if all(each.net.converged for each in members)}
    left_out = [each.net for seed, members in ensembles.items() if seed not in converged for each in members]
    tested = converged or ensembles
    predictions = [predict_ensemble(view, members, conditions) for members in tested.values()]
    places = np.stack([ranks(each.posteriors, split.labels[each.indices]) for each in predictions])
    centers = [ranks(each.center, split.labels[each.indices]) >= 1 for each in predictions if each.center is not None]
    return MeasuredRow(
        seeds=tuple(tested),
        wrong_top1=places >= 1,
        wrong_topk=places >= topk_for(len(split.class_names)),
        center=error_over_runs(np.stack(centers)) if centers else None,
        geometry={scale: geometry for each in predictions for scale, geometry in each.geometry.items()},
        converged=bool(converged),
        unconverged=tuple(str(net.path) for net in left_out if not net.converged),
        nets=tuple(each.net for members in tested.values() for each in members),
        skipped=frozenset(file for each in predictions for file in each.skipped),
        write_error=next((each.write_error for each in predictions if each.write_error), ""),
    )


def predict_ensemble(view: View, members: Sequence[EnsembleMember], conditions: TableConditions) -> EnsemblePredictions:
    """Predict the test images by the nets of one seed; of each net only the mean over its scales stays in memory."""
    parts = []
    for member in members:
        (predictions,) = predict_members([member], conditions.split, view, conditions.runtime, conditions.decoding)
        parts.append(average_scales(member, predictions, view))
    return fuse(parts)


def compare_rows(table: PaperTable[PaperRow], rows: Sequence[tuple[PaperRow, MeasuredRow | None]]) -> list[Comparison]:
    """Compare every pair of measured rows, on the seeds that both have."""
    measured = [(row, each) for row, each in rows if each is not None and each.converged]
    comparisons = []
    for (row_a, a), (row_b, b) in itertools.combinations(measured, 2):
        difference = difference_of_runs(a.seeds, a.wrong_top1, b.seeds, b.wrong_top1)
        assert row_a.protocol is not None
        assert row_b.protocol is not None
        paper = table.differences.get((row_a.protocol, row_b.protocol))
        if row_a.top1_val is not None and row_b.top1_val is not None:
            paper = round(row_a.top1_val - row_b.top1_val, 1)
        comparisons.append(Comparison(row_a.protocol, row_b.protocol, paper, difference))
    return comparisons
