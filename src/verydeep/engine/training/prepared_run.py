"""A run before its training: its data opened and measured, its net described."""

from dataclasses import dataclass, replace

import numpy as np

from verydeep.data.split import Split, describe_classes
from verydeep.engine.datasets import choose_value_ranges
from verydeep.engine.localization.boxed_split import read_split_boxes
from verydeep.engine.log import Log
from verydeep.engine.nets.folders import RunFolder
from verydeep.engine.runtime import Runtime
from verydeep.engine.training.plan import TrainingPlan
from verydeep.engine.training.settings import RunSettings
from verydeep.engine.training.setup import (
    check_memory,
    choose_micro_batch,
    log_copies,
    log_source_copies,
    make_config,
    measure_colors,
    measure_constant_box,
    open_test_split,
)
from verydeep.engine.training.task import TrainingTask
from verydeep.errors import DataError, OptionError
from verydeep.models.weights.model_folder import ModelConfig
from verydeep.ops.value_ranges import RecordedRanges
from verydeep.wording import count_of


@dataclass(frozen=True)
class PreparedRun:
    """A run with its data opened and measured."""

    plan: TrainingPlan
    """The plan with all settings, those that were measured included."""
    config: ModelConfig
    """Config of the net."""
    task: TrainingTask
    test_split: Split | None


def prepare(plan: TrainingPlan, runtime: Runtime, log: Log) -> PreparedRun:
    """Open and measure the data, and choose the micro-batch.

    Raises:
        DataError: there are no boxes to learn, one is bad and that is an error, or an image cannot be decoded.
        OptionError: a batch has fewer images than there are processes.
        ResourceError: the training cannot fit into the memory of a CPU.
    """
    all_train, all_val, settings = plan.train, plan.val, plan.settings
    classes = describe_classes([all_train])
    log.info(f"Data: {all_train.root}: {all_train.layout}; {count_of(len(all_train), 'training image')} of {classes}.")
    test_split = open_test_split(settings.data, settings.division)
    splits = [split for split in (all_train, all_val, test_split) if split is not None]
    log.send_notes(*(split.notes for split in splits))
    log_copies(all_train, splits[1:], runtime, log)
    log_source_copies(splits[1:], plan.source, settings.init_from, runtime, log)
    splits = choose_value_ranges(splits, [RecordedRanges(settings.value_ranges or {}, "run")], runtime, log)
    plan = plan.with_value_ranges(splits[0].value_ranges or {})
    if test_split is not None:
        test_split = splits[-1]
    if settings.regression is not None:  # first, as there may be no boxes
        plan = with_boxes(plan, test_split, runtime, log)
    train, settings, batch_size = plan.train, plan.settings, plan.settings.recipe.batch_size
    if batch_size < runtime.world_size:
        message = f"A batch of {batch_size} cannot be shared by {runtime.world_size} processes: lower `devices`."
        raise OptionError(message, "devices")
    if settings.covariance is None:
        settings = measure_colors(settings, train, runtime)
    elif plan.resume and RunSettings.load(plan.run).data != settings.data:
        check_moved(settings, train, runtime, plan.run)
    config = make_config(settings, all_train, all_val, len(train))
    if settings.regression is not None:
        config = replace(config, constant_box=measure_constant_box(train, settings, runtime))
    check_memory(config, settings, runtime)
    if settings.micro_batch is None:
        num_rows = -(-batch_size // runtime.world_size)
        settings = replace(settings, micro_batch=choose_micro_batch(config, num_rows, runtime))
    task = make_task(settings, train, plan.val)
    return PreparedRun(replace(plan, settings=settings), config, task, test_split)


def check_moved(settings: RunSettings, train: Split, runtime: Runtime, run: RunFolder) -> None:
    """Refuse photographs that are not those of the run, under the same names in another folder, by their colors.

    Raises:
        DataError: they are others.
    """
    covariance = measure_colors(settings, train, runtime).covariance
    assert covariance is not None and settings.covariance is not None
    if not np.allclose(covariance, settings.covariance, rtol=1e-6):
        raise DataError(
            f"{settings.data} holds other photographs than {run.path} learns from, under the same names: give their "
            "new place, or train a new run."
        )


def with_boxes(plan: TrainingPlan, test_split: Split | None, runtime: Runtime, log: Log) -> TrainingPlan:
    """Return the plan for those of its images that have a box, with their boxes.

    Raises:
        DataError: there are no boxes, or one is bad and that is an error.
    """

    def read(split: Split) -> Split:
        problems = plan.run.bad_boxes(split.name)
        return read_split_boxes(split, plan.settings.data, plan.settings.bad_boxes, runtime, log, problems)

    train, val = read(plan.train), None if plan.val is None else read(plan.val)
    if test_split is not None and test_split.name == "test":
        read(test_split)  # boxes that cannot be used fail now, not after the training
    return plan.restrict(train, val)


def make_task(settings: RunSettings, train: Split, val: Split | None) -> TrainingTask:
    """Return the input of the training loop."""
    assert settings.micro_batch is not None
    return TrainingTask(
        train=train,
        val=val,
        recipe=settings.recipe,
        covariance=np.array(settings.covariance),
        seed=settings.seed,
        micro_batch=settings.micro_batch,
        decoding=settings.decoding,
        regression=settings.regression,
        input_scale=settings.input_scale,
    )
