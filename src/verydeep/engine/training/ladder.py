"""The ladder: which of the paper's nets are missing in a folder of runs, and their training, one after another."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from rich.table import Table

from verydeep.configs.ladder import add_sources, find_source
from verydeep.configs.protocols import PaperNet
from verydeep.data.layout import split_names
from verydeep.data.split import Split
from verydeep.disk import check_room
from verydeep.engine.datasets import Division, check_outside_data, data_folder, open_data_split
from verydeep.engine.localization.boxed_split import read_split_boxes
from verydeep.engine.log import Log
from verydeep.engine.nets.checks import check_same_split
from verydeep.engine.nets.collection import Collection, find_matching_nets
from verydeep.engine.nets.folders import RunFolder
from verydeep.engine.nets.net import NetShape
from verydeep.engine.progress import duration_text
from verydeep.engine.runtime import Runtime
from verydeep.engine.training.cost import StepCost, estimate_seconds, measure_costs
from verydeep.engine.training.plan import TrainingPlan, plan_resumed, plan_training, run_name
from verydeep.engine.training.request import TrainRequest, choose_recipe, choose_sizes
from verydeep.engine.training.run import train_run
from verydeep.engine.training.settings import RunSettings
from verydeep.engine.training.setup import open_test_split, open_training_splits
from verydeep.errors import OptionError, WeightsError
from verydeep.wording import count_of


@dataclass(frozen=True)
class Rung:
    """A net of the paper to train with one seed."""

    net: PaperNet
    seed: int
    begun: Path | None = None
    """The run that was begun and has not ended."""

    def __str__(self) -> str:
        return f"{self.net}, seed {self.seed}"


def train_missing(
    nets: Sequence[PaperNet], seeds: Sequence[int], request: TrainRequest, runtime: Runtime, log: Log
) -> None:
    """Log which nets are missing and their cost, and train them one after another; after a stop, call it again.

    Args:
        nets: nets that have to exist; their source nets are trained, too.
        seeds: each net is trained once for each seed.
        request: values that all trainings share, among them the folder of runs, crop, width and FC width.
        runtime: runtime of this process.
        log: log of the messages.

    Raises:
        WeightsError: two runs match one net, a run's name is taken, or a net divided the folder in another way.
        OptionError: a run was begun in another precision.
        DataError: the data, or their boxes, cannot be used.
        SystemExit: a signal asked to stop.
    """
    train, _ = open_training_splits(request.data, Division(request.split_seed or 0, request.val_fraction))
    shape = NetShape(train.class_names, *choose_sizes(request))
    existing = request.runs.nets()
    for net in add_sources(nets):
        for seed, run in find_matching_nets(net, existing, shape).items():
            if seed in seeds:  # before hours of training from it
                check_same_split(run, request.data, train)
    rungs = find_missing(nets, seeds, request.runs, shape)
    if not rungs:
        return
    check_outside_data(request.runs.folder, train)
    for rung in rungs:
        check_rung(rung, request, runtime)
    if any(rung.net.regression is not None for rung in rungs):
        check_boxes(request, runtime)
    costs = measure_costs({rung.net.network for rung in rungs}, shape, runtime)
    test_split = open_test_split(request.data, Division(request.split_seed or 0, request.val_fraction))
    log_cost(rungs, costs, train, test_split, request, runtime.world_size, log)
    for number, rung in enumerate(rungs, start=1):
        log.info("")
        log.info(f"Training {number} of {len(rungs)}: {rung}")
        train_run(plan_rung(rung, request, shape), runtime)


def find_missing(nets: Sequence[PaperNet], seeds: Sequence[int], runs: Collection, shape: NetShape) -> list[Rung]:
    """Return what has to be trained so that every net exists with every seed, each after its source net.

    Raises:
        WeightsError: two runs of one seed match one net.
    """
    existing, rungs = runs.nets(), []
    for seed in seeds:
        runs_by_net = {net: find_matching_nets(net, existing, shape).get(seed) for net in add_sources(nets)}
        trained = {net for net, run in runs_by_net.items() if run is not None and run.ended}
        for net in add_sources(nets, trained=trained):
            run = runs_by_net[net]
            rungs.append(Rung(net, seed, None if run is None else run.path))
    return rungs


def plan_rung(rung: Rung, request: TrainRequest, shape: NetShape) -> TrainingPlan:
    """Return the plan of a training whose source net exists by now.

    Raises:
        OptionError: a requested value makes no sense for this net.
        DataError: the data, or the settings of a run that was begun, cannot be read.
        WeightsError: the source net cannot be read.
    """
    if rung.begun is not None:
        return plan_resumed(rung.begun)
    source, init_from = find_source(rung.net), None
    if source is not None:
        init_from = find_matching_nets(source, request.runs.nets(), shape)[rung.seed].path
    has_new_convolutions = source is None or source.network != rung.net.network
    return plan_training(
        replace(
            adapt_request(request, rung.net),
            init_from=init_from,
            dropout_after=request.dropout_after if has_new_convolutions else None,
            seed=rung.seed,
        )
    )


def adapt_request(request: TrainRequest, net: PaperNet) -> TrainRequest:
    """Return the request for one net, without its source net."""
    return replace(request, network=net.network, scale=net.scale, fine_tuned=net.fine_tuned, regression=net.regression)


def check_rung(rung: Rung, request: TrainRequest, runtime: Runtime) -> None:
    """Refuse, before anything is trained, what would stop the ladder later.

    Raises:
        WeightsError: a run of the same name exists and does not match the net.
        OptionError: a run was begun in another precision, or deterministic.
    """
    if rung.begun is None:
        path = request.runs.folder / run_name(request.data, rung.net, choose_sizes(request), rung.seed)
        if RunFolder(path).settings.exists():
            raise WeightsError(
                f"{path} is not a finished {rung.net} with these widths and classes: move it elsewhere, or give "
                "another folder as `runs`."
            )
        return
    settings = RunSettings.load(RunFolder(rung.begun))
    if settings.bf16 != runtime.bf16 or settings.deterministic:
        precision = f"`precision={'bf16' if settings.bf16 else 'fp32'}`"
        deterministic = " and `deterministic=True`" if settings.deterministic else ""
        raise OptionError(
            f"{rung.begun} was begun with {precision}{deterministic}: finish it with `verydeep train` and "
            f"`resume={rung.begun}`, then run this command again."
        )


def check_boxes(request: TrainRequest, runtime: Runtime) -> None:
    """Read the boxes of all splits that localization nets need, before any classification net is trained.

    Raises:
        DataError: a split has none, or one is bad and that is an error.
    """
    division = Division(request.split_seed or 0, request.val_fraction)
    for name in split_names(data_folder(request.data)):
        split = open_data_split(request.data, name, division)
        if name != "all" and split.labels is not None and len(split):
            read_split_boxes(split, request.data, request.bad_boxes, runtime, Log(silent=True))


def log_cost(
    rungs: Sequence[Rung],
    costs: dict[str, StepCost],
    train: Split,
    test_split: Split | None,
    request: TrainRequest,
    num_processes: int,
    log: Log,
) -> None:
    """Log the cost of each training, and of all together.

    Raises:
        ResourceError: the disk has no room for them.
    """
    num_test_images = 0 if test_split is None else len(test_split)
    table = Table(title=f"To train: {count_of(len(rungs), 'net')}", title_justify="left", box=None, pad_edge=False)
    for heading in ("net", "seed", "starts from", "epochs", "at most", "disk"):
        table.add_column(heading, no_wrap=True)
    total_seconds, total_bytes = 0.0, 0
    for rung in rungs:
        cost, source = costs[rung.net.network], find_source(rung.net)
        recipe = choose_recipe(adapt_request(request, rung.net), rung.net.network, None, len(train))
        origin = "its checkpoint" if rung.begun else "random weights" if source is None else str(source)
        seconds = estimate_seconds(cost, recipe, rung.net, len(train), num_test_images, num_processes)
        total_seconds, total_bytes = total_seconds + seconds, total_bytes + cost.disk_bytes
        disk = f"{cost.disk_bytes / 1e9:.1f} GB"
        table.add_row(str(rung.net), str(rung.seed), origin, str(recipe.epochs), duration_text(seconds), disk)
    log.show(table)
    log.info(f"In all {duration_text(total_seconds)} (timed on this machine), {total_bytes / 1e9:.1f} GB.")
    check_room(request.runs.folder, total_bytes)
