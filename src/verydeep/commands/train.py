"""`verydeep train`: train a net and test it."""

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Unpack

from verydeep.configs.networks import LARGEST_FC_WIDTH, LARGEST_WIDTH, check_crop, network_name
from verydeep.configs.protocols import Regression
from verydeep.configs.recipes import Balance, ColorShift, FineTuned, Initialization
from verydeep.configs.scales import TrainScale
from verydeep.errors import OptionError
from verydeep.options import (
    BadBoxesOption,
    DataOption,
    DropoutAfterOption,
    GroupByOption,
    JobOptions,
    NetSource,
    PathSource,
    SeedOption,
    TaskOption,
    decoding_of,
    refuse_unused,
    start_runtime,
)
from verydeep.parameters import Option, command, list_given

if TYPE_CHECKING:
    from verydeep.engine.training.plan import TrainingPlan
    from verydeep.results.training import TrainedRun

RESUME_OPTIONS = ("data", "resume", "epochs", "micro_batch", "tensorboard", "device", "workers", "kernels", "progress")
"""Parameters that matter to a resumed run; all others are those it began with."""


@command
def train(
    data: DataOption = "generated",
    *,
    network: Annotated[str | None, Option("Net: A, A-LRN, B, C, D (VGG16), E, B-5x5.", "A", "NAME")] = None,
    crop: Annotated[int | None, Option("Input side in pixels.", "224; generated: 64", "PIXELS")] = None,
    scale: Annotated[
        str | None,
        Option("Short side, or a range; 256 means 73 pixels at crop 64.", "256; generated: 256, then 256-512", "S"),
    ] = None,
    width: Annotated[
        float | None,
        Option("Multiply channels by X.", "1; generated: 0.25", "X", smallest=1e-3, largest=LARGEST_WIDTH),
    ] = None,
    epochs: Annotated[int | None, Option("Epochs to train.", "74; generated: 8; boxes: 10", "N", smallest=1)] = None,
    init_from: Annotated[
        NetSource | None, Option("Net to start from; matching layers are copied.", metavar="RUN")
    ] = None,
    task: TaskOption = "classify",
    seed: SeedOption = 0,
    out: Annotated[PathSource | None, Option("Folder of the run.", "a new one in runs/", "DIR")] = None,
    resume: Annotated[PathSource | None, Option("Run to continue.", metavar="RUN")] = None,
    fc_width: Annotated[
        int | None,
        Option("Channels of fc6, fc7.", "4096; generated: 512", "N", "training", smallest=1, largest=LARGEST_FC_WIDTH),
    ] = None,
    init: Annotated[Initialization, Option("First weights: glorot or normal.", "", "NAME", "training")] = "glorot",
    fine_tune: Annotated[
        FineTuned, Option("Layers that learn: all, or fc (fc6-fc8).", "", "LAYERS", "training")
    ] = "all",
    batch_size: Annotated[
        int | None, Option("Images per step.", "a 20th of all, 8 to 256", "N", "training", smallest=1)
    ] = None,
    micro_batch: Annotated[
        int | None, Option("Images at a time; fewer need less memory.", "", "N", "training", smallest=1)
    ] = None,
    learning_rate: Annotated[
        float | None, Option("Initial learning rate.", "by batch size", "X", "training", smallest=0)
    ] = None,
    dropout: Annotated[
        float | None, Option("Share of dropped units.", "0.5", "X", "training", smallest=0, largest=0.99)
    ] = None,
    dropout_after: DropoutAfterOption = None,
    color_shift: Annotated[
        ColorShift, Option("PCA color shift: std, eigenvalue, none.", "", "KIND", "training")
    ] = "std",
    balance: Annotated[Balance, Option("Unequal classes: sampling or weights.", "", "HOW", "training")] = "none",
    val_fraction: Annotated[
        float, Option("Share held out if there is no val/.", "", "X", "training", smallest=0.01, largest=0.99)
    ] = 0.2,
    group_by: GroupByOption = None,
    regression: Annotated[
        Regression | None, Option("Boxes: per-class or single-class.", "per-class", "KIND", "box")
    ] = None,
    bad_boxes: BadBoxesOption = "error",
    deterministic: Annotated[bool, Option("Make GPU runs repeat bit for bit; slower.", heading="compute")] = False,
    tensorboard: Annotated[bool, Option("Also write event files for TensorBoard.", heading="output")] = False,
    **options: Unpack[JobOptions],
) -> "TrainedRun":
    """Train a net on photographs and test it. Without DATA, use a generated set.

    DATA contains one folder of photographs per class, either directly or in train/, val/ and test/. ILSVRC-2012 and
    Tiny-ImageNet are recognized as they are. With `init_from`, the new net takes network, crop and widths from RUN,
    unless you give them. `resume` continues a stopped run; give DATA only if the photographs have moved.
    `task=localize` trains on the boxes in DATA/boxes.csv, or in the XML files of DATA/Annotations.

    Try:
        verydeep train
        verydeep train photos --network A --crop 64 --epochs 15
        verydeep train photos --task localize --init-from runs/photos-D-256-c64-s0
        verydeep train --resume runs/photos-A-256-c64-s0

    Raises:
        DataError: The data cannot be used.
        WeightsError: The source net cannot be read.
        OptionError: A value or a combination of values makes no sense, or the folder of the run exists.
        ResourceError: Another job trains the run, or there is no such device.
    """
    values = {**locals(), **options}

    from verydeep.data.folders.groups import resolve_group_by
    from verydeep.engine.nets.net import net_path
    from verydeep.engine.process import require_determinism
    from verydeep.engine.training.event_log import check_tensorboard
    from verydeep.engine.training.extension import change_epochs
    from verydeep.engine.training.plan import plan_resumed, plan_training
    from verydeep.engine.training.request import TrainRequest

    if tensorboard:
        check_tensorboard()
    if deterministic:
        require_determinism()
    if resume is not None:
        check_resumed(Path(resume), values)
        plan = plan_resumed(Path(resume), None if data == "generated" else os.fspath(data))
        if epochs is not None:
            plan = change_epochs(plan, epochs)
        if micro_batch is not None:
            plan = replace(plan, settings=replace(plan.settings, micro_batch=micro_batch))
        return run_plan(replace(plan, tensorboard=tensorboard), options)
    if network is not None:
        network = network_name(network)
    if crop is not None:
        check_crop(crop)
    if task != "localize":
        boxes = {"regression": regression is not None, "bad_boxes": bad_boxes != "error"}
        refuse_unused("Without `task=localize`", boxes)
    if dropout == 0:
        refuse_unused("With `dropout=0`", {"dropout_after": dropout_after is not None})
    request = TrainRequest(
        data=os.fspath(data),
        network=network,
        crop=crop,
        scale=None if scale is None else TrainScale.parse(scale),
        width=width,
        fc_width=fc_width,
        initialization=init,
        init_from=None if init_from is None else net_path(init_from),
        fine_tuned=fine_tune,
        regression=(regression or "per-class") if task == "localize" else None,
        bad_boxes=bad_boxes,
        epochs=epochs,
        batch_size=batch_size,
        micro_batch=micro_batch,
        learning_rate=learning_rate,
        dropout=dropout,
        dropout_after=dropout_after,
        color_shift=color_shift,
        balance=balance,
        seed=seed,
        val_fraction=val_fraction,
        group_by=None if group_by is None else resolve_group_by(group_by),
        precision=options["precision"],
        device=options["device"],
        decoding=decoding_of(options),
        deterministic=deterministic,
        out=None if out is None else Path(out),
    )
    return run_plan(replace(plan_training(request), tensorboard=tensorboard), options)


def check_resumed(run: Path, values: dict[str, Any]) -> None:
    """Refuse options that a resumed run would ignore.

    Args:
        run: Folder of the run.
        values: Arguments of ``train``, by parameter.

    Raises:
        OptionError: One of them is not its default, and not an option of a resumed run.
    """
    ignored = [name for name in list_given(train, values) if name not in RESUME_OPTIONS]
    if ignored:
        names = ", ".join(f"`{name}`" for name in ignored)
        raise OptionError(f"{run} continues with the settings it began with: omit {names}.", ignored[0])


def run_plan(plan: "TrainingPlan", options: JobOptions) -> "TrainedRun":
    """Train and test a net as planned."""
    from verydeep.engine.log import Log
    from verydeep.engine.report_page.page import write_page_of_job
    from verydeep.engine.training.run import train_run
    from verydeep.models.weights.model_folder import load_config
    from verydeep.results.training import TrainedRun

    settings = plan.settings
    with start_runtime(options, bf16=settings.bf16, deterministic=settings.deterministic) as runtime:
        evaluation = train_run(plan, runtime)
        page = write_page_of_job(plan.run.path, runtime, Log(plan.run.log)) if runtime.is_main else None
    provenance = load_config(plan.run.model).provenance
    return TrainedRun(
        path=plan.run.path,
        network=settings.network,
        crop=settings.crop,
        seed=settings.seed,
        num_steps=provenance.steps or 0,
        converged=bool(provenance.converged),
        evaluation=evaluation,
        report=page,
    )
