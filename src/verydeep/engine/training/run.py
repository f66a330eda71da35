"""A training run: prepare its data, open its net, train, test."""

import shlex
import signal
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from verydeep.data.split import Split, describe_classes
from verydeep.engine.datasets import choose_value_ranges, follow_folder
from verydeep.engine.environment import read_environments, write_environment
from verydeep.engine.evaluation_folders import evaluation_folder
from verydeep.engine.evaluation_tasks import BoxEvaluationTask, ClassEvaluationTask, EvaluationOptions
from verydeep.engine.localization.box_ensemble import build_box_ensemble
from verydeep.engine.localization.boxed_split import read_split_boxes
from verydeep.engine.log import LOGGER, Log
from verydeep.engine.memory import BatchLimit
from verydeep.engine.nets.collection import Collection
from verydeep.engine.nets.folders import RunFolder, find_model_folder
from verydeep.engine.nets.net import EnsembleMember, Net
from verydeep.engine.progress import progress_bar
from verydeep.engine.runtime import Runtime, explain_failure
from verydeep.engine.training.advice import (
    TrainingMonitor,
    check_disk_space,
    describe_epoch,
    estimate_test_cost,
    final_step,
    log_plan,
    planned_bytes,
)
from verydeep.engine.training.checkpoint import find_checkpoint, load_checkpoint, save_checkpoint
from verydeep.engine.training.curves import draw_curves
from verydeep.engine.training.event_log import EventLog
from verydeep.engine.training.extension import describe_end
from verydeep.engine.training.fit import StepReport, fit
from verydeep.engine.training.metrics_log import MetricsLog, read_metrics
from verydeep.engine.training.plan import TrainingPlan
from verydeep.engine.training.settings import RunSettings
from verydeep.engine.training.setup import (
    check_memory,
    choose_micro_batch,
    initialize_weights,
    log_copies,
    log_source_copies,
    make_config,
    measure_colors,
    measure_constant_box,
    open_test_split,
    set_learning_layers,
)
from verydeep.engine.training.state import TrainState, follow_recipe, new_state
from verydeep.engine.training.stopping import StopRequest
from verydeep.engine.training.task import TrainingTask
from verydeep.errors import DataError, OptionError, ResourceError
from verydeep.files import check_present, shorten_name, try_lock, write_json
from verydeep.models.weights.model_folder import ModelConfig, keep_classifier, load_config, save_config, save_weights
from verydeep.ops.value_ranges import RecordedRanges
from verydeep.results.measured_table import MeasuredTable
from verydeep.wording import count_of, rate_text

CHECKPOINT_SECONDS = 600
DRAWING_SECONDS = 5
"""The curves are drawn after an epoch, but not more often than this."""


@dataclass(frozen=True)
class PreparedRun:
    """A run with its data opened and measured."""

    run: RunFolder
    settings: RunSettings
    config: ModelConfig
    """Config of the net."""
    source: ModelConfig | None
    """Config of the source net, if weights are still to be copied from it."""
    task: TrainingTask
    test_split: Split | None
    tensorboard: bool
    """Whether event files of TensorBoard are written, too."""


def train_run(plan: TrainingPlan, runtime: Runtime) -> MeasuredTable | None:
    """Train and test; a resumed run continues from its last checkpoint, if there is one.

    Returns:
        The errors of the net, on all processes; None if the data have no labeled images to test on.

    Raises:
        ResourceError: another job trains the run.
        DataError: the data cannot be used, or have changed.
        WeightsError: the source net or the checkpoint cannot be used.
        OptionError: the loss overflowed, or a batch has fewer images than there are processes.
        SystemExit: SIGINT (130) or SIGTERM (143) came, and the state is saved.
    """
    with lock_run(plan.run, runtime), remove_unbegun(plan.run, runtime):
        log = Log(plan.run.log, silent=not runtime.is_main)
        if sentence := describe_end(plan):
            log.info(sentence)
        prepared = prepare(plan, runtime, log)
        state = open_state(prepared, runtime, log, resume=plan.resume)
        check_disk_space(plan.run, planned_bytes(state, prepared.task))
        if runtime.is_main and find_checkpoint(plan.run.checkpoints) is None:
            begin_run(prepared)
        write_environment(plan.run.path, runtime, read_environments(plan.run.path))
        train(prepared, state, runtime, log)
        runtime.gather(None)  # the net is on disk before any process reads it
        return runtime.from_main(evaluate(prepared, runtime, log))


@contextmanager
def lock_run(run: RunFolder, runtime: Runtime) -> Iterator[None]:
    """Keep other jobs away from the run; the main process holds the lock for all of this one.

    Raises:
        ResourceError: another job trains it, or the processes do not see the same folder.
    """
    runtime.check_shared(run.path, "by `out`")
    with try_lock(run.lock) if runtime.is_main else nullcontext(True) as is_free:
        if not all(runtime.gather(is_free)):
            raise ResourceError(f"{run.path} is being trained by another process: wait until it ends, or stop it.")
        yield


@contextmanager
def remove_unbegun(run: RunFolder, runtime: Runtime) -> Iterator[None]:
    """Leave no folder of a new run that fails before its settings are saved: it could not be resumed."""
    try:
        yield
    except BaseException:
        if runtime.is_main and not run.settings.exists():
            with suppress(OSError):  # the error of the training counts
                for path in run.path.iterdir():
                    if run.may_hold_before_training(path.name):
                        path.unlink()
                run.path.rmdir()
        raise


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
    return PreparedRun(plan.run, settings, config, plan.source, task, test_split, plan.tensorboard)


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


def open_state(prepared: PreparedRun, runtime: Runtime, log: Log, *, resume: bool) -> TrainState:
    """Return the state to train from: that of the last checkpoint, or a new one.

    Raises:
        OptionError: the run is to be a new one and has a checkpoint.
        DataError: the data have changed since the run began.
        WeightsError: the source net or the checkpoint cannot be used.
    """
    run, settings, config = prepared.run, prepared.settings, prepared.config
    model = config.build()
    set_learning_layers(model, settings.fine_tuned)
    checkpoint = find_checkpoint(run.checkpoints)
    if checkpoint is None:
        initialize_weights(model, settings, prepared.source, config.class_names, log)
    elif not resume:
        raise OptionError(
            f"{run.path} already holds a run: continue it with `resume={run.path}`, or choose another `out`."
        )
    else:
        resume_settings(prepared, runtime)
    state = new_state(runtime.place(model), prepared.task)
    if checkpoint is not None:
        load_checkpoint(checkpoint, state)
        state.schedule = follow_recipe(state.progress, state.schedule, settings.recipe, len(prepared.task.train))
    return state


def begin_run(prepared: PreparedRun) -> None:
    """Save what a run needs to be resumed: its settings, and the config of its net."""
    run, settings = prepared.run, prepared.settings
    settings.save(run)
    save_config(run.model, prepared.config)
    if settings.regression is not None:
        keep_classifier(run.model, find_model_folder(Path(settings.init_from or "")))


def resume_settings(prepared: PreparedRun, runtime: Runtime) -> None:
    """Check that the data are those that a run began with, and save new settings: epochs, micro-batch, a moved folder.

    Raises:
        DataError: the data have changed.
    """
    run, settings, config = prepared.run, prepared.settings, prepared.config
    begun = load_config(run.model)
    split = begun.split
    if split is not None:
        split = replace(follow_folder(split, settings.data), plateau=settings.recipe.has_plateaus)
    if (split, begun.constant_box) != (config.split, config.constant_box):
        raise DataError(f"{settings.data} has changed since {run.path} began: restore it, or train a new run.")
    if not runtime.is_main:
        return
    if RunSettings.load(run) != settings:
        settings.save(run)
    if (begun.provenance.recipe, begun.split) != (settings.recipe, split):
        for folder in (run.model, run.best):
            if folder.exists():
                save_config(folder, config)


def train(prepared: PreparedRun, state: TrainState, runtime: Runtime, log: Log) -> None:
    """Train to the end, then draw the curves and complete the config of the net."""
    run, config, task = prepared.run, prepared.config, prepared.task
    if state.progress.stage < len(task.recipe.stages):
        log_plan(state, task, prepared.settings, run, log)
    try:
        run_steps(prepared, state, runtime, log)
    except FloatingPointError as error:
        checkpoint = find_checkpoint(run.checkpoints)
        last_good = f"; the last good checkpoint is {checkpoint}" if checkpoint else ""
        message = f"{error}{last_good}. Train again with a smaller `learning_rate`."
        raise OptionError(message, "learning_rate") from None
    except (RuntimeError, MemoryError) as error:
        if failure := explain_failure(error, runtime):
            raise ResourceError(f"{str(failure).removesuffix('.')}, and continue with `resume={run.path}`.") from error
        raise
    converged = state.schedule.is_complete(state.progress.step)
    if runtime.is_main:
        draw_run(prepared)
        provenance = replace(config.provenance, steps=state.progress.step, converged=converged)
        for folder in (run.model, run.best):
            if folder.exists():
                save_config(folder, replace(config, provenance=provenance))
    if not converged:
        log.info(f"Not converged: the learning rate dropped {state.schedule.drops} of {task.recipe.num_drops} times.")
    if state.progress.skipped:
        log.info(
            f"Skipped {count_of(len(state.progress.skipped), 'file')} that cannot be decoded; {run.skipped} lists them."
        )


def run_steps(prepared: PreparedRun, state: TrainState, runtime: Runtime, log: Log) -> None:
    """Run the training loop, with metrics, progress, advice and checkpoints.

    Raises:
        FloatingPointError: the loss or the weights overflowed.
        SystemExit: a signal asked to stop, and the state is saved.
    """
    run, task = prepared.run, prepared.task
    has_source = prepared.settings.init_from is not None
    monitor = TrainingMonitor(task, log, state.progress.step, estimate_final_test(prepared), has_source=has_source)
    metrics_log = closing(open_metrics(prepared, state)) if runtime.is_main else nullcontext()
    progress_display = progress_bar(images=task.recipe.batch_size, visible=runtime.is_main)
    begin = last_save = last_drawing = time.perf_counter()
    first_step = state.progress.step
    with metrics_log as metrics, StopRequest() as stop, progress_display as display, runtime.tuned():
        bar = display.add_task("Training", total=final_step(state, task), completed=state.progress.step, note="")
        limit = BatchLimit(str(runtime.device), log.info if runtime.is_main else LOGGER.info)
        for report in fit(state, task, runtime, stop, limit):
            now, last = time.perf_counter(), final_step(state, task)
            monitor.observe(report, last)
            note = f"loss {monitor.loss:.3f}, rate {rate_text(report.learning_rate)}"
            display.update(bar, completed=report.step, total=last, note=note)
            if metrics is not None:
                metrics.write(report, now - begin)
                if report.epoch is not None or report.stopped or now - last_save > CHECKPOINT_SECONDS:
                    save(state, report, run, metrics, prepared.config)
                    last_save = now
                if report.epoch is not None and now - last_drawing > DRAWING_SECONDS:
                    draw_run(prepared)
                    last_drawing = now
            if report.epoch is not None:
                seconds_left = (now - begin) / (report.step - first_step) * (last - report.step)
                log.info(describe_epoch(report, task.recipe.epochs, error_name(task), seconds_left))
            if report.stopped:
                display.stop()  # it writes its last line before this one
                resume = f"`verydeep train --resume {shlex.quote(str(run.path))}`"
                log.info(f"Stopped and saved at step {report.step:,}: continue with {resume}.")
                runtime.gather(None)  # no process leaves before the checkpoint is complete
                raise SystemExit(128 + (stop.signal or signal.SIGTERM))


def open_metrics(prepared: PreparedRun, state: TrainState) -> MetricsLog:
    """Open the file of metrics, and an event file of TensorBoard if that is wanted."""
    run, progress = prepared.run, state.progress
    events = EventLog(run.events, progress.step) if prepared.tensorboard else None
    return MetricsLog(run.metrics, progress.metrics_bytes, events)


def error_name(task: TrainingTask) -> str:
    """Return the name of the validation error."""
    return "top-1 error" if task.regression is None else "true class's error"


def draw_run(prepared: PreparedRun) -> None:
    """Draw the curves of the run so far."""
    run = prepared.run
    draw_curves(read_metrics(run.metrics), run.curves, run.path.name, error_name(prepared.task))


def estimate_final_test(prepared: PreparedRun) -> float:
    """Estimate the cost of the test at the end, in training images."""
    config, num_images = prepared.config, 0 if prepared.test_split is None else len(prepared.test_split)
    fc_alone, boxes = config.fine_tuned == "fc", config.regression is not None
    return estimate_test_cost(num_images, config.test_scales, fc_alone=fc_alone, boxes=boxes)


def save(state: TrainState, report: StepReport, run: RunFolder, metrics: MetricsLog, config: ModelConfig) -> None:
    """Save the nets before the checkpoint, because the checkpoint refers to them.

    Raises:
        FloatingPointError: the weights overflowed in this step, so the last checkpoint is the last good one.
        ResourceError: the disk is full, or the run was removed meanwhile.
    """
    check_present(run.settings)
    if not all(bool(parameter.isfinite().all()) for parameter in state.model.parameters()):
        raise FloatingPointError(f"The weights are not finite after step {state.progress.step}")
    if report.epoch is not None:
        tensors = state.model.state_dict()
        if report.epoch.is_best:
            save_config(run.best, config)
            save_weights(run.best, tensors)
        save_weights(run.model, tensors)
    if state.progress.skipped:
        write_json(run.skipped, state.progress.skipped)
    state.progress.metrics_bytes = metrics.length()
    save_checkpoint(run.checkpoints, state)


def evaluate(prepared: PreparedRun, runtime: Runtime, log: Log) -> MeasuredTable | None:
    """Test the net on whole images at the paper's scales for its S."""
    run, split, settings = prepared.run, prepared.test_split, prepared.settings
    if split is None:
        return None
    net = Net.open(run.path)
    members = (EnsembleMember(net, net.config.test_scales),)
    task: ClassEvaluationTask | BoxEvaluationTask = ClassEvaluationTask(members, "dense")
    if settings.regression is not None:
        task = BoxEvaluationTask(build_box_ensemble(members, "dense", None, Collection(run.path)))
    parent, name = evaluation_folder((run.path,), task, settings.data)
    folder = parent / "evaluations" / shorten_name(f"{split.name}-{name}")
    options = EvaluationOptions(settings.data, folder, decoding=settings.decoding, bad_boxes=settings.bad_boxes)
    table = task.run(split, options, runtime, log)
    if table is not None:
        log.record(table.to_text())
    return table
