"""The paper's ladder of nets: which are missing in a folder of runs, what they will cost, and their training."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from rich.table import Table
from torch.nn import functional as F

from verydeep.configs.ladder import add_sources, find_source
from verydeep.configs.networks import NETWORKS
from verydeep.configs.protocols import PaperNet
from verydeep.configs.recipes import RECIPES
from verydeep.data.layout import split_names
from verydeep.data.sampling import steps_after
from verydeep.engine.datasets import check_outside_data, data_folder, open_data_split
from verydeep.engine.localization.boxed_split import read_split_boxes
from verydeep.engine.log import Log
from verydeep.engine.nets.checks import check_same_split
from verydeep.engine.nets.collection import Collection, find_answering_nets
from verydeep.engine.nets.folders import RunFolder
from verydeep.engine.nets.net import NetShape
from verydeep.engine.progress import track
from verydeep.engine.runtime import Runtime
from verydeep.engine.training.advice import duration_text, estimate_test_cost
from verydeep.engine.training.checkpoint import checkpoint_bytes
from verydeep.engine.training.plan import TrainingPlan, plan_resumed, plan_training, run_name
from verydeep.engine.training.request import TrainRequest, choose_architecture, choose_recipe
from verydeep.engine.training.run import train_run
from verydeep.engine.training.settings import RunSettings
from verydeep.engine.training.setup import open_test_split, open_training_splits
from verydeep.engine.training.state import make_optimizer
from verydeep.errors import VerydeepError
from verydeep.models.initialization import initialize
from verydeep.models.vgg import VGG

TIMED_IMAGES = 8
"""Images of the step that is timed for the plan."""


@dataclass(frozen=True)
class Rung:
    """A net of the ladder, or one that predicts boxes, that has to be trained with one seed."""

    net: PaperNet
    seed: int
    begun: Path | None = None
    """The run that was begun and not ended."""


@dataclass(frozen=True)
class Cost:
    """What one step of a network takes on this machine, apart from decoding."""

    seconds_per_image: float
    seconds_per_update: float
    disk_bytes: int
    """Of a run: the checkpoint, the last and the best net."""


def missing_rungs(
    wanted: Sequence[PaperNet],
    seeds: Sequence[int],
    runs: Collection,
    shape: NetShape,
) -> list[Rung]:
    """What has to be trained so that every wanted net exists with every seed, each after the net it starts from.

    Raises:
        VerydeepError: two runs of one seed answer for the same net.
    """
    nets, rungs = runs.nets(), []
    for seed in seeds:
        found = {net: find_answering_nets(net, nets, shape).get(seed) for net in add_sources(wanted)}
        trained = {net for net, run in found.items() if run is not None and run.ended}
        for net in add_sources(wanted, trained=trained):
            run = found[net]
            rungs.append(Rung(net, seed, None if run is None else run.path))
    return rungs


def shape_of(request: TrainRequest, class_names: Sequence[str]) -> NetShape:
    """Return the sizes that all nets of the ladder share."""
    assert request.crop is not None
    assert request.width is not None
    assert request.fc_width is not None
    return NetShape(tuple(class_names), request.crop, request.width, request.fc_width)


def training_of(rung: Rung, request: TrainRequest, class_names: Sequence[str]) -> TrainingPlan:
    """The training of a rung; what it starts from is there by now.

    Raises:
        VerydeepError: as ``plan_training``.
    """
    if rung.begun is not None:
        return plan_resumed(rung.begun)
    start, source = find_source(rung.net), None
    if start is not None:
        assert request.crop is not None
        source = find_answering_nets(start, request.runs.nets(), shape_of(request, class_names))[rung.seed].path
    return plan_training(
        replace(
            request_for(rung.net, request),
            init_from=source,
            dropout_after=None if start is not None and start.network == rung.net.network else request.dropout_after,
            seed=rung.seed,
        )
    )


def request_for(net: PaperNet, request: TrainRequest) -> TrainRequest:
    """What is asked of the training of one net, apart from where it starts."""
    return replace(
        request,
        network=net.network,
        scale=net.scale,
        fine_tuned=net.fine_tuned,
        regression=net.regression,
    )


def train_missing(
    wanted: Sequence[PaperNet],
    seeds: Sequence[int],
    request: TrainRequest,
    runtime: Runtime,
    log: Log,
) -> None:
    """Tell what is missing and what it costs, and train one after another; stopped, the next call goes on there.

    Args:
        wanted: nets; what they start from is trained, too.
        seeds: each net is trained once for each.
        request: what all trainings share, the folder of runs and the crop among it.
        runtime: of this process.
        log: to tell it.

    Raises:
        VerydeepError: two runs answer for the same net, or one that is there divided the folder otherwise.
        SystemExit: a signal asked to stop.
    """
    assert request.crop is not None
    train, _ = open_training_splits(request.data, request.split_seed or 0, request.val_fraction)
    names, nets = train.class_names, request.runs.nets()
    shape = shape_of(request, names)
    for each in add_sources(wanted):
        for seed, net in find_answering_nets(each, nets, shape).items():
            if seed in seeds:  # told before hours of training from it
                check_same_split(net, request.data, train)
    rungs = missing_rungs(wanted, seeds, request.runs, shape)
    if not rungs:
        return
    check_outside_data(request.runs.folder, train)
    for rung in rungs:
        check_place(rung, request, runtime)
    if any(rung.net.regression is not None for rung in rungs):
        check_boxes(request, runtime)
    costs = measure_costs(rungs, len(names), request.crop, runtime)
    tested = open_test_split(request.data, request.split_seed or 0, request.val_fraction)
    num_tested = 0 if tested is None else len(tested)
    log_ladder(rungs, costs, (len(train), num_tested), request, runtime.world_size, log)
    for number, rung in enumerate(rungs, start=1):
        log.info(f"\nTraining {number} of {len(rungs)}: {rung.net}, seed {rung.seed}")
        train_run(training_of(rung, request, names), runtime)


def check_place(rung: Rung, request: TrainRequest, runtime: Runtime) -> None:
    """Refuse, before anything is trained, what would stop the ladder on its way.

    Raises:
        VerydeepError: a run of the same name is no answer, or one that was begun cannot go on as it began.
    """
    assert request.crop is not None
    if rung.begun is None:
        name = run_name(request.data, rung.net, choose_architecture(request_for(rung.net, request), None), rung.seed)
        if RunFolder(request.runs.folder / name).settings.exists():
            raise VerydeepError(
                f"{request.runs.folder / name} does not answer for {rung.net} (another width, other classes, or no net "
                "yet): move it elsewhere, or give another --runs."
            )
        return
    settings = RunSettings.load(RunFolder(rung.begun))
    if settings.bf16 != runtime.bf16 or settings.deterministic:
        how = f"--precision {'bf16' if settings.bf16 else 'fp32'}{' --deterministic' * settings.deterministic}"
        raise VerydeepError(
            f"{rung.begun} was begun with {how}: end it with verydeep train --resume {rung.begun}, then come back."
        )


def check_boxes(request: TrainRequest, runtime: Runtime) -> None:
    """Read the boxes of all parts that localization nets will be trained and tested on; classification nets come first.

    Raises:
        VerydeepError: a part has none, or one is bad and that is an error.
    """
    how = {"seed": request.split_seed or 0, "val_fraction": request.val_fraction}
    for name in split_names(data_folder(request.data)):
        part = open_data_split(request.data, name, how)
        if name != "all" and part.labels is not None and len(part):
            read_split_boxes(part, request.data, request.bad_boxes, runtime, Log(silent=True))


def measure_costs(rungs: Sequence[Rung], num_classes: int, crop: int, runtime: Runtime) -> dict[str, Cost]:
    """Network -> what a step takes, each timed on noise; FC-only trainings count as whole ones."""
    networks = sorted({rung.net.network for rung in rungs})
    each = ((network, measure_cost(network, num_classes, crop, runtime)) for network in networks)
    return dict(track(each, "Timing the nets", len(networks)) if runtime.is_main else each)


def measure_cost(network: str, num_classes: int, crop: int, runtime: Runtime) -> Cost:
    """Time one small step, after one that warms up."""
    model = VGG(NETWORKS[network], num_classes, crop=crop)
    initialize(model, "glorot", 0)
    model = runtime.place(model).train()
    optimizer = make_optimizer(model, RECIPES["256"])
    images = runtime.move(torch.full((TIMED_IMAGES, 3, crop, crop), 128.0))
    targets = runtime.move(torch.arange(TIMED_IMAGES) % num_classes)

    def backward() -> None:
        with runtime.autocast():
            scores = model(images).float().flatten(1)
        F.cross_entropy(scores, targets).backward()  # type: ignore[no-untyped-call]

    def update() -> None:
        optimizer.step()
        optimizer.zero_grad(set_to_none=False)

    def seconds(action: Callable[[], None]) -> float:
        runtime.wait()
        begin = time.perf_counter()
        action()
        runtime.wait()
        return time.perf_counter() - begin

    disk = checkpoint_bytes(model) + 2 * 4 * sum(parameter.numel() for parameter in model.parameters())
    with runtime.tuned():
        backward()
        update()
        return Cost(seconds(backward) / TIMED_IMAGES, seconds(update), disk)


def estimate(cost: Cost, num_images: int, epochs: int, batch_size: int, processes: int) -> float:
    """Seconds of a training, without the test at its end."""
    steps = steps_after(epochs, num_images, batch_size)
    return epochs * num_images * cost.seconds_per_image / processes + steps * cost.seconds_per_update


def log_ladder(
    rungs: Sequence[Rung],
    costs: dict[str, Cost],
    num_images: tuple[int, int],
    request: TrainRequest,
    processes: int,
    log: Log,
) -> None:
    """Which runs, from what, how long and how large, and all of them together.

    ``num_images``: to train on, and to test on.
    """
    train, tested = num_images
    table = Table(title=f"To be trained: {len(rungs)} nets", title_justify="left", box=None, pad_edge=False)
    for heading in ("net", "seed", "starts from", "epochs", "at most", "disk"):
        table.add_column(heading, no_wrap=True)
    total_seconds, total_bytes = 0.0, 0.0
    for rung in rungs:
        cost = costs[rung.net.network]
        recipe = choose_recipe(request_for(rung.net, request), rung.net.network, None, train)
        boxes = rung.net.regression is not None
        worth = estimate_test_cost(tested, rung.net.scale.test_scales, fc_alone=False, boxes=boxes)
        seconds = estimate(cost, train, recipe.epochs, recipe.batch_size, processes)
        seconds += worth * cost.seconds_per_image / processes
        total_seconds, total_bytes = total_seconds + seconds, total_bytes + cost.disk_bytes
        start = find_source(rung.net)
        origin = "its checkpoint" if rung.begun else "random weights" if start is None else str(start)
        table.add_row(
            str(rung.net),
            str(rung.seed),
            origin,
            str(recipe.epochs),
            duration_text(seconds),
            f"{cost.disk_bytes / 1e9:.1f} GB",
        )
    log.show(table)
    log.info(f"In all {duration_text(total_seconds)} (timed on this machine), {total_bytes / 1e9:.1f} GB.")
