"""The plan of a training: its settings and its data, from a request or from a run that was begun."""

import os
import shlex
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from verydeep.configs.networks import NETWORKS, NetSizes, scaled_channels
from verydeep.configs.protocols import PaperNet
from verydeep.configs.recipes import Recipe, replace_plateaus
from verydeep.data.layout import check_folder
from verydeep.data.split import Split
from verydeep.engine.datasets import GENERATED, Division, check_outside_data, data_name, follow_folder
from verydeep.engine.joining import is_restart
from verydeep.engine.launching import is_main
from verydeep.engine.nets.checks import open_net
from verydeep.engine.nets.folders import RunFolder, find_model_folder
from verydeep.engine.runtime import choose_device, wants_bf16
from verydeep.engine.training.checkpoint import find_checkpoint
from verydeep.engine.training.request import (
    TrainRequest,
    choose_division,
    choose_network,
    choose_recipe,
    choose_sizes,
    complete_localization,
    default_sizes,
)
from verydeep.engine.training.settings import RunSettings
from verydeep.engine.training.setup import open_training_splits
from verydeep.errors import DataError, OptionError
from verydeep.files import check_output_folder
from verydeep.models.weights.model_folder import ModelConfig, load_config
from verydeep.ops.value_ranges import ValueRanges
from verydeep.paths import real_path
from verydeep.wording import count_of, shorten_list


@dataclass(frozen=True)
class TrainingPlan:
    """A training with all settings chosen and its data opened."""

    settings: RunSettings
    train: Split
    val: Split | None
    run: RunFolder
    source: ModelConfig | None
    """Config of the source net, if weights are still to be copied from it."""
    request: TrainRequest | None = None
    """The request; None for a run that is resumed, whose own settings hold."""
    tensorboard: bool = False
    """Whether event files of TensorBoard are written, too."""

    @property
    def resume(self) -> bool:
        """Whether the run was begun before."""
        return self.request is None

    def with_value_ranges(self, ranges: ValueRanges) -> "TrainingPlan":
        """Return the plan with the ranges of values that are not bytes."""
        val = None if self.val is None else replace(self.val, value_ranges=ranges)
        settings = replace(self.settings, value_ranges=ranges)
        return replace(self, settings=settings, train=replace(self.train, value_ranges=ranges), val=val)

    def restrict(self, train: Split, val: Split | None) -> "TrainingPlan":
        """Return the plan for those images that have boxes; open batch size and rate follow their number."""
        settings = self.settings
        if self.request is not None:
            recipe = choose_recipe(self.request, settings.network, self.source, len(train))
            settings = replace(settings, recipe=recipe if val is not None else replace_plateaus(recipe))
        return replace(self, settings=settings, train=train, val=val)


def plan_training(request: TrainRequest) -> TrainingPlan:
    """Choose what the request leaves open, and open the data; a run that torchrun starts again is resumed.

    Raises:
        OptionError: a value or a combination of values makes no sense, or the run exists.
        DataError: the data cannot be used.
        WeightsError: the source net cannot be read.
        ResourceError: there is no such device.
    """
    choose_device(request.device)  # the data may take minutes
    if request.fine_tuned == "fc" and request.init_from is None:
        raise OptionError(
            "`fine_tune=fc` keeps the convolutions of a trained net: give the net as `init_from`.", "init_from"
        )
    source = None if request.init_from is None else open_net(request.init_from).config
    if request.regression is not None:
        request = complete_localization(request, source)
    network, sizes = choose_network(request, source), choose_sizes(request, source)
    # Absolute, as a resumed run may start elsewhere; boxes are found by their files' places below this folder.
    data = request.data if request.data == GENERATED else os.path.abspath(request.data)  # noqa: PTH100 - a link has a name of its own
    division = choose_division(request, source)
    train, val = open_training_splits(data, division)
    if request.regression is not None and source is not None and source.class_names != train.class_names:
        raise OptionError(
            f"{request.init_from} has other classes than {train.root} ({len(source.class_names)} classes and "
            f"{len(train.class_names)}): give a net of the same classes as `init_from`.",
            "init_from",
        )
    recipe = choose_recipe(request, network, source, len(train))
    planned = recipe if val is not None else replace_plateaus(recipe)
    settings = make_settings(request, network, sizes, planned, data, division)
    if source is not None:
        settings = inherit_conventions(settings, source)
    name = run_name(request.data, settings.net, sizes, request.seed)
    run = RunFolder(request.out or request.runs.folder / name)
    if run.settings.exists() and is_restart() and is_begun(RunSettings.load(run), settings):
        return plan_resumed(run.path)
    if run.settings.exists() and (is_main() or is_restart()):  # for another process, the main one may have been faster
        raise OptionError(describe_existing(run, request, recipe.epochs))
    if is_main():
        check_output_folder(run.path, run.may_hold_before_training, "a run")
    check_outside_data(run.path, train)
    return TrainingPlan(settings, train, val, run, source, request)


def is_begun(begun: RunSettings, settings: RunSettings) -> bool:
    """Whether a run has the settings of this job, and is not another one that has the folder; measured ones aside."""
    names = ["data", "network", "crop", "width", "fc_width", "seed", "init_from", "fine_tuned", "regression"]
    names += ["recipe"] if settings.regression is None else []  # with boxes, it depends on how many images have one
    return all(getattr(begun, name) == getattr(settings, name) for name in names)


def describe_existing(run: RunFolder, request: TrainRequest, epochs: int) -> str:
    """Return why a new run of so many epochs cannot have the folder of another one."""
    if request.init_from is not None and real_path(request.init_from) in (real_path(run.path), real_path(run.model)):
        return f"{run.path} holds the run whose net you start from: give the new run a folder, `out={run.path}-more`."
    begun = RunSettings.load(run).recipe.epochs
    if epochs != begun:
        return (
            f"{run.path} already holds a run of {count_of(begun, 'epoch')}: continue it with `resume={run.path}`, or "
            f"for {count_of(epochs, 'epoch')} choose another `out`, such as `out={run.path}-{epochs}-epochs`."
        )
    return f"{run.path} already holds a run: continue it with `resume={run.path}`, or choose another `out` or `seed`."


def make_settings(
    request: TrainRequest, network: str, sizes: NetSizes, recipe: Recipe, data: str, division: Division
) -> RunSettings:
    """Return the settings of a run, without those that come from a source net or are measured."""
    return RunSettings(
        data=data,
        network=network,
        **sizes._asdict(),
        recipe=recipe,
        seed=request.seed,
        bf16=wants_bf16(request.precision, request.device),
        init_from=None if request.init_from is None else str(request.init_from),
        fine_tuned=request.fine_tuned,
        regression=request.regression,
        bad_boxes=request.bad_boxes,
        decoding=request.decoding,
        deterministic=request.deterministic,
        split_seed=division.seed,
        val_fraction=division.val_fraction,
        group_by=division.group_by,
        micro_batch=request.micro_batch,
    )


def plan_resumed(path: Path, new_data: str | None = None) -> TrainingPlan:
    """Return the plan of a run that was begun; its own settings hold.

    Args:
        path: of the run.
        new_data: folder to which its photographs were moved; None: they are where they were.

    Raises:
        DataError: there is no run, its settings or its data cannot be read, or the new folder holds other photographs.
        OptionError: a new folder is given, and the old one still exists.
        WeightsError: the source net is needed and cannot be read.
    """
    run = RunFolder(path)
    if not run.settings.exists():
        raise DataError(f"There is no run in {path}: give {_name_runs_near(path)}.")
    settings = RunSettings.load(run)
    if new_data is not None and settings.data not in (new_data, os.path.abspath(new_data)):  # noqa: PTH100
        settings = move_data(settings, run, new_data)
    elif settings.data != GENERATED and not Path(settings.data).exists():
        raise DataError(
            f"{path} learns from {settings.data}, which does not exist: if you moved it, name its new place, as in "
            f"`verydeep train DATA --resume {shlex.quote(str(path))}`."
        )
    train, val = open_training_splits(settings.data, settings.division)
    source = None
    if settings.init_from is not None and find_checkpoint(run.checkpoints) is None:  # later, it may be gone
        source = load_config(find_model_folder(Path(settings.init_from)))
    return TrainingPlan(settings, train, val, run, source)


def _name_runs_near(path: Path) -> str:
    """Return the runs around a folder of a run or in a folder of runs, or what a run is."""
    runs: list[str] = []
    with suppress(OSError):
        folders = (path.parent, path.parent.parent, *sorted(path.iterdir()))
        runs = [str(folder) for folder in folders if RunFolder(folder).settings.exists()]
    return shorten_list(runs) or "a folder that `verydeep train` wrote"


def move_data(settings: RunSettings, run: RunFolder, new_data: str) -> RunSettings:
    """Return the settings of a run whose photographs were moved to another folder.

    Raises:
        OptionError: they still are where the run began.
        DataError: the folder holds other photographs, by their names.
    """
    if settings.data == GENERATED or Path(settings.data).exists():
        raise OptionError(f"{run.path} learns from {settings.data}, which still exists: omit `data`.", "data")
    check_folder(Path(new_data))
    record = load_config(run.model).split
    if record is None or follow_folder(record, new_data) == record:
        raise DataError(
            f"{new_data} does not hold the photographs that {run.path} learns from, which were in {settings.data}: "
            "give their new place, or train a new run."
        )
    return replace(settings, data=os.path.abspath(new_data))  # noqa: PTH100 - a link has a name of its own


def inherit_conventions(settings: RunSettings, source: ModelConfig) -> RunSettings:
    """Return the settings with the source net's mean, rounding, folded scale and origin.

    The folded scale belongs to the weights: a first layer of another architecture is drawn, and has none.
    """
    first, source_first = (NETWORKS[name].blocks[0][0] for name in (settings.network, source.network))
    channels = scaled_channels(first.channels, settings.width)
    is_copied = first.kernel == source_first.kernel and channels == scaled_channels(source_first.channels, source.width)
    origin = source.provenance
    return replace(
        settings,
        mean_rgb=source.mean_rgb,
        pooling=source.pooling,
        input_scale=source.input_scale if is_copied else None,
        license=origin.license,
        imported_source=origin.imported_source or origin.published_net or origin.imported_from,
    )


def run_name(data: str, net: PaperNet, sizes: NetSizes, seed: int) -> str:
    """Return the name of a run: <data>-<network>-<S>[fc|pcr|scr][-fc]-c<crop>[-w<width>][-f<fc_width>]-s<seed>.

    Widths are part of it where they differ from the default for the data.
    """
    return f"{data_name(data)}-{str(net).replace('/', '-')}-{sizes.label(default_sizes(data))}-s{seed}"
