"""Measure the cells of Tables 11 and 12, each a representation on a data set. No net is trained for them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from verydeep.configs.networks import NetSizes
from verydeep.configs.protocols import PaperNet
from verydeep.configs.published_nets import PUBLISHED
from verydeep.configs.transfer import SCALES, TransferRow, TransferTable
from verydeep.data.pixels.decoding import STRICT, Decoding
from verydeep.data.transfer_sets import TransferSet, open_transfer_set
from verydeep.engine.datasets import data_folder
from verydeep.engine.descriptors.cache import compute_descriptors
from verydeep.engine.descriptors.representation import Representation
from verydeep.engine.log import Log
from verydeep.engine.nets.collection import Collection
from verydeep.engine.nets.net import Net
from verydeep.engine.runtime import Runtime
from verydeep.engine.transfer.scoring import get_targets
from verydeep.engine.transfer.svm_training import COSTS
from verydeep.engine.transfer.task import TransferResult, TransferTask, run_transfer
from verydeep.engine.transfer.transfer_report import describe_data
from verydeep.errors import OptionError, WeightsError
from verydeep.models.weights.model_folder import WEIGHTS

LAYER = "relu7"
"""The paper's layer."""

Cells = Mapping[tuple[str, str], TransferResult]
"""Label of a row and column -> the result."""


@dataclass(frozen=True)
class TransferConditions:
    """Everything that the rows of a table share."""

    transfer_sets: Mapping[str, TransferSet]
    """Column -> data set, of the columns that are measured."""
    nets: Mapping[PaperNet, Net]
    """Net of the paper -> the net that stands for it, of those that were found."""
    unconverged: tuple[str, ...]
    """Runs that could stand for a net, but whose training has not converged."""
    crop: int
    runtime: Runtime
    decoding: Decoding = STRICT
    costs: Sequence[float] = COSTS
    """Values of C to choose from."""

    def make_task(self, row: TransferRow, column: str) -> TransferTask | None:
        """Return the task of a cell; None where the data set or a net is missing, or the row is by other authors."""
        if column not in self.transfer_sets or not row.nets or not set(row.nets) <= self.nets.keys():
            return None
        transfer_set, nets = self.transfer_sets[column], tuple(self.nets[net] for net in row.nets)
        multi_scale = SCALES[transfer_set.kind]
        representation = Representation(
            nets, (LAYER,) * len(nets), multi_scale.scales, multi_scale.aggregation, row.coverage
        )
        return TransferTask(transfer_set, representation, self.costs, decoding=self.decoding)


def open_columns(table: TransferTable, folders: Sequence[str]) -> dict[str, TransferSet]:
    """Recognize the data sets of a table, in the order of its columns; of VOC, a split with labels is tested on.

    Raises:
        OptionError: two folders hold the same data set, or one holds no data set of this table.
        DataError: a data set is incomplete.
    """
    opened: dict[str, tuple[str, TransferSet]] = {}
    actions = any(column.endswith("actions") for column in table.columns)
    for folder in folders:
        transfer_set = open_transfer_set(data_folder(folder), actions=actions)
        test = transfer_set.partitions[0].test
        if test is not None and get_targets(test) is None:
            transfer_set = open_transfer_set(data_folder(folder), actions=actions, split="val")
        if transfer_set.kind == "own" or transfer_set.name not in table.columns:
            name = "a data set of your own" if transfer_set.kind == "own" else transfer_set.name
            raise OptionError(
                f"{folder} is {name}, and {table.name} is about {', '.join(table.columns)}: leave {folder} out of "
                "`data`; `verydeep transfer` takes it.",
                "data",
            )
        if transfer_set.name in opened:
            raise OptionError(
                f"{opened[transfer_set.name][0]} and {folder} are both {transfer_set.name}: name only one of them in "
                "`data`.",
                "data",
            )
        opened[transfer_set.name] = folder, transfer_set
    return {column: opened[column][1] for column in table.columns if column in opened}


def find_transfer_nets(
    table: TransferTable, runs: Collection, sizes: NetSizes
) -> tuple[dict[PaperNet, Net], tuple[str, ...]]:
    """Find the nets of a table, whatever classes they know, and the runs whose training has not converged.

    Raises:
        OptionError: two nets stand for the same net of the paper.
        WeightsError: no row has all of its nets.
    """
    present = runs.nets()
    candidates = [
        (net, paper_net)
        for net in present
        if net.config.crop == sizes.crop
        and not net.config.is_trunk
        and (paper_net := net.paper_net(*sizes[1:])) in table.nets
        and (net.folder / WEIGHTS).exists()
    ]
    nets: dict[PaperNet, Net] = {}
    for net, paper_net in candidates:
        if not net.converged or paper_net is None:
            continue
        if paper_net in nets:
            raise OptionError(
                f"{nets[paper_net].path} and {net.path} are both {paper_net} at crop {sizes.crop}: name only one of "
                "them in `runs`.",
                "runs",
            )
        nets[paper_net] = net
    if not any(row.nets and set(row.nets) <= nets.keys() for row in table.rows):
        trunks = ", ".join(str(net.path) for net in present if net.config.is_trunk)
        reason = f" {trunks}: a trunk has no {LAYER}." if trunks else ""
        missing = missing_nets_message([net for net in table.nets if net not in nets], sizes)
        raise WeightsError(f"No row of {table.name} can be measured without {missing}{reason}")
    return nets, tuple(str(net.path) for net, _ in candidates if not net.converged)


def missing_nets_message(missing: Sequence[PaperNet], sizes: NetSizes) -> str:
    """Return which nets are missing, and what to do."""
    published = [
        net.name
        for wanted in missing
        for net in PUBLISHED.values()
        if (net.network, net.scale) == (wanted.network, str(wanted.scale))
    ]
    is_full_size = sizes == NetSizes(sizes.crop)
    widths = " and full width" if is_full_size else f", width {sizes.width:g} and FC width {sizes.fc_width}"
    example = f", such as {published[0]}," if published and sizes == NetSizes() else ""
    return (
        f"a converged {' or '.join(map(str, missing))} of crop {sizes.crop}{widths}, whatever its classes: name a "
        f"net{example} in `runs`; this table trains none."
    )


def measure_cells(table: TransferTable, conditions: TransferConditions, log: Log) -> Cells:
    """Describe each image once for all rows, then train and test; the result is empty but on the main process.

    Raises:
        DataError: an image cannot be decoded, or a class cannot be learned.
        WeightsError: a net cannot be loaded.
        ResourceError: scikit-learn is not installed, or the processes have no cache in common.
    """
    tasks = {
        column: {row.label: task for row in table.rows if (task := conditions.make_task(row, column)) is not None}
        for column in conditions.transfer_sets
    }
    skipped = {}
    for column, tasks_of_rows in tasks.items():  # all before the first SVM, for which the other processes would wait
        first = next(iter(tasks_of_rows.values()))
        log.info(describe_data(first.transfer_set, first.split))
        log.send_notes(first.split.notes)
        skipped[column] = _describe_for_all_rows(list(tasks_of_rows.values()), conditions.runtime)
    results = {}
    for column, tasks_of_rows in tasks.items() if conditions.runtime.is_main else ():
        for label, task in tasks_of_rows.items():
            log.info(f"{label}, {column}:")
            results[label, column] = run_transfer(task, skipped[column], conditions.runtime)
    return results


def _describe_for_all_rows(tasks: Sequence[TransferTask], runtime: Runtime) -> dict[str, str]:
    """Compute the descriptors of one data set that any row needs; return the files that could not be decoded."""
    representations = [task.representation for task in tasks]
    nets = tuple(dict.fromkeys(net for representation in representations for net in representation.nets))
    has_boxes = any(representation.coverage == "image+box" for representation in representations)
    widest = replace(
        representations[0], nets=nets, layers=(LAYER,) * len(nets), coverage="image+box" if has_boxes else "image"
    )
    return compute_descriptors(widest, tasks[0].split, runtime, tasks[0].decoding)
