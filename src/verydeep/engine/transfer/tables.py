"""The rows of Tables 11 and 12 measured: whose descriptors, on which data sets; none of the nets is trained for it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from verydeep.configs.networks import PAPER_CROP, PAPER_FC_WIDTH
from verydeep.configs.protocols import PaperNet
from verydeep.configs.published import PUBLISHED
from verydeep.configs.transfer import SCALES, TransferRow, TransferTable
from verydeep.data.decoding import STRICT, Decoding
from verydeep.data.transfer_sets import TransferSet, open_transfer_set
from verydeep.engine.datasets import data_folder
from verydeep.engine.descriptors.representation import Representation, compute_descriptors
from verydeep.engine.log import Log
from verydeep.engine.nets.collection import Collection
from verydeep.engine.nets.net import Net
from verydeep.engine.runtime import Runtime
from verydeep.engine.transfer.protocol import describe_data, mean_and_deviation, targets_of
from verydeep.engine.transfer.svm import CANDIDATES
from verydeep.engine.transfer.task import TransferResult, TransferTask, run_transfer
from verydeep.errors import VerydeepError
from verydeep.models.weights.native import WEIGHTS
from verydeep.ops.metrics import Share

LAYER = "relu7"
"""The paper's."""


@dataclass(frozen=True)
class TransferConditions:
    """What all rows of a table share."""

    sets: Mapping[str, TransferSet]
    """By column, those that are there."""
    answering_nets: Mapping[PaperNet, Net]
    """Those that are there."""
    unconverged: tuple[str, ...]
    """Runs that would answer, had their training come to its end."""
    crop: int
    runtime: Runtime
    decoding: Decoding = STRICT

    def task(self, row: TransferRow, column: str) -> TransferTask | None:
        """What a cell asks for; None where the data set or a net is missing, or nothing is run."""
        if column not in self.sets or not row.nets or not all(net in self.answering_nets for net in row.nets):
            return None
        task, nets = self.sets[column], tuple(self.answering_nets[net] for net in row.nets)
        multi_scale = SCALES[task.kind]
        representation = Representation(
            nets, (LAYER,) * len(nets), multi_scale.scales, multi_scale.aggregation, coverage=row.coverage
        )
        return TransferTask(task, representation, CANDIDATES, decoding=self.decoding)


@dataclass(frozen=True, eq=False)
class MeasuredCell:
    """What one row gave on one data set."""

    result: TransferResult
    mean: float
    """In percent, over draws."""
    deviation: float | None
    """Over draws, where there are several."""
    interval: Share | None
    """Of a mean average precision, over test sets of this size."""

    @classmethod
    def of(cls, result: TransferResult) -> "MeasuredCell":
        """Sum up; the labels of what was tested are known."""
        task, first = result.task.task, result.found[0]
        assert first.test is not None
        assert first.margins is not None
        interval = None if task.metric == "mean class recall" else first.interval
        scores = [each.score for each in result.found if each.score is not None]
        return cls(result, *mean_and_deviation(scores), interval)

    def __str__(self) -> str:
        if self.interval is not None:
            return str(self.interval)
        return f"{self.mean:.1f}" + ("" if self.deviation is None else f" ± {self.deviation:.1f}")


Measured = Mapping[tuple[str, str], MeasuredCell]
"""By the row's label and the column."""


def open_columns(table: TransferTable, folders: Sequence[str]) -> dict[str, TransferSet]:
    """Recognize the data sets of a table, in the order of its columns; of VOC, a part with labels is tested on.

    Raises:
        VerydeepError: a folder holds no data set of this table, or two hold the same; as ``open_transfer_set``.
    """
    found: dict[str, tuple[str, TransferSet]] = {}
    actions = any(column.endswith("actions") for column in table.columns)
    for folder in folders:
        task = open_transfer_set(data_folder(folder), actions=actions)
        tested = task.partitions[0].test
        if tested is not None and targets_of(tested) is None:
            task = open_transfer_set(data_folder(folder), actions=actions, part="val")
        if task.kind == "own" or task.name not in table.columns:
            raise VerydeepError(
                f"{folder} is {'a set of your own' if task.kind == 'own' else task.name}, and {table.name} is of "
                f"{', '.join(table.columns)}: leave it out of --data; verydeep transfer takes it."
            )
        if task.name in found:
            raise VerydeepError(f"{found[task.name][0]} and {folder} are both {task.name}: give one of them in --data.")
        found[task.name] = folder, task
    return {column: found[column][1] for column in table.columns if column in found}


def find_transfer_nets(
    table: TransferTable, runs: Collection, crop: int, width: float = 1.0, fc_width: int = PAPER_FC_WIDTH
) -> tuple[dict[PaperNet, Net], tuple[str, ...]]:
    """The nets that describe for a table, whatever classes they name, and the runs that are not trained to their end.

    Raises:
        VerydeepError: two nets answer for the same, or no row has all of its nets.
    """
    there = runs.nets()
    nets = [net for net in there if net.config.crop == crop and not net.config.is_trunk]
    answers = [(net, net.paper_net(width, fc_width)) for net in nets if (net.folder / WEIGHTS).exists()]
    answers = [(net, paper_net) for net, paper_net in answers if paper_net in table.nets]
    answering_nets: dict[PaperNet, Net] = {}
    for net, paper_net in answers:
        if not net.converged or paper_net is None:
            continue
        if paper_net in answering_nets:
            raise VerydeepError(
                f"{answering_nets[paper_net].path} and {net.path} both answer for {paper_net} at crop {crop}: "
                "name one of them in --runs, and not the other."
            )
        answering_nets[paper_net] = net
    if not any(row.nets and set(row.nets) <= answering_nets.keys() for row in table.rows):
        lacking = [net for net in table.nets if net not in answering_nets]
        trunks = ", ".join(str(net.path) for net in there if net.config.is_trunk)
        without = f" {trunks} will not do, being convolutions alone, without {LAYER}." if trunks else ""
        told = missing_nets_message(lacking, crop)
        raise VerydeepError(f"No row of {table.name} can be measured without {told}{without}")
    return answering_nets, tuple(str(net.path) for net, _ in answers if not net.converged)


def missing_nets_message(lacking: Sequence[PaperNet], crop: int) -> str:
    """Which nets are missing, and what to do about it."""
    published = [
        net.name
        for wanted in lacking
        for net in PUBLISHED.values()
        if (net.network, net.scale) == (wanted.network, str(wanted.scale))
    ]
    example = f", as {published[0]}," if published and crop == PAPER_CROP else ""
    return (
        f"{' or '.join(map(str, lacking))} at crop {crop} and full width, trained to the end on whatever classes: name "
        f"one{example} in --runs; none is trained here."
    )


def measure_cells(table: TransferTable, conditions: TransferConditions, log: Log) -> Measured:
    """Let each net see each image once for all rows, then train and test; nothing but on the main process.

    Raises:
        VerydeepError: as ``compute_descriptors`` and ``run_transfer``.
    """
    jobs = {
        column: {row.label: task for row in table.rows if (task := conditions.task(row, column)) is not None}
        for column in conditions.sets
    }
    skipped = {}
    for column, of_rows in jobs.items():  # all before the first SVM, for which the other processes would wait
        some = next(iter(of_rows.values()))
        log.info(describe_data(some.task, some.everything))
        skipped[column] = describe_for_all(list(of_rows.values()), conditions.runtime)
    measured = {}
    for column, of_rows in jobs.items() if conditions.runtime.is_main else ():
        for label, task in of_rows.items():
            log.info(f"{label}, {column}:")
            measured[label, column] = MeasuredCell.of(run_transfer(task, skipped[column], conditions.runtime))
    return measured


def describe_for_all(jobs: Sequence[TransferTask], runtime: Runtime) -> dict[str, str]:
    """Describe one data set as all rows together need it; returns what could not be decoded."""
    nets = tuple(dict.fromkeys(net for task in jobs for net in task.representation.nets))
    boxes = any(task.representation.coverage == "image+box" for task in jobs)
    widest = replace(
        jobs[0].representation, nets=nets, layers=(LAYER,) * len(nets), coverage="image+box" if boxes else "image"
    )
    return compute_descriptors(widest, jobs[0].everything, runtime, jobs[0].decoding)
