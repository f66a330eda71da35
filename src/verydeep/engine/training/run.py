"""A training run from its settings to its errors: set up or resumed, trained, saved, tested."""

import signal
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np

from verydeep.data.split import Split
from verydeep.engine.evaluation_folders import evaluation_folder, shorten_name
from verydeep.engine.evaluation_tasks import BoxEvaluationTask, ClassEvaluationTask, EvaluationOptions
from verydeep.engine.localization.box_ensemble import build_box_ensemble
from verydeep.engine.localization.boxed_split import read_boxed_split
from verydeep.engine.log import Log
from verydeep.engine.nets.collection import Collection
from verydeep.engine.nets.folders import RunFolder, find_model_folder
from verydeep.engine.nets.net import EnsembleMember, Net
from verydeep.engine.progress import progress_bar
from verydeep.engine.runtime import Runtime
from verydeep.engine.training.advice import TrainingMonitor, estimate_test_cost, last_step, log_plan
from verydeep.engine.training.checkpoint import find_checkpoint, load_checkpoint, save_checkpoint
from verydeep.engine.training.curves import draw_curves
from verydeep.engine.training.fit import StepReport, fit
from verydeep.engine.training.metrics_log import MetricsLog, read_metrics
from verydeep.engine.training.plan import TrainingPlan
from verydeep.engine.training.settings import RunSettings
from verydeep.engine.training.setup import (
    choose_learning,
    constant_box,
    fitting_micro_batch,
    initialize_weights,
    measure_colors,
    model_config,
    open_test_split,
)
from verydeep.engine.training.state import TrainState, new_state
from verydeep.engine.training.stopping import StopRequest
from verydeep.engine.training.task import TrainingTask
from verydeep.errors import VerydeepError
from verydeep.files import try_lock, write_json
from verydeep.models.weights.native import ModelConfig, keep_classifier, load_config, save_config, save_weights

CHECKPOINT_SECONDS = 600


def train_run(plan: TrainingPlan, runtime: Runtime) -> None:
    """Train and test; a resumed run goes on from its last checkpoint, if it came to one.

    Raises:
        VerydeepError: another job trains it, the data, the source net or the checkpoint cannot be used, or the loss
            overflowed.
        SystemExit: 130 or 143, after saving, when SIGINT or SIGTERM asked to stop.
    """
    with lock_run(plan.run, runtime):
        prepare_and_train(plan, runtime)


@contextmanager
def lock_run(run: RunFolder, runtime: Runtime) -> Iterator[None]:
    """Keep other jobs from the run; the main process holds the lock for all of this one.

    Raises:
        VerydeepError: another job trains it, or the processes do not see the same folder.
    """
    runtime.check_shared(run.path, "by --out")
    with try_lock(run.lock) if runtime.is_main else nullcontext(True) as free:
        if not all(runtime.gather(free)):
            raise VerydeepError(f"{run.path} is being trained by another process: wait for its end, or stop it.")
        yield


def prepare_and_train(plan: TrainingPlan, runtime: Runtime) -> None:
    """What ``train_run`` does once it has the run for itself."""
    run, train, val = plan.run, plan.train, plan.val
    log = Log(run.log, silent=not runtime.is_main)
    log.info(f"Data: {train.root}: {train.layout}; {len(train):,} to train on, {len(train.class_names)} classes.")
    tested = open_test_split(plan.settings.data, plan.settings.split_seed, plan.settings.val_fraction)
    if plan.settings.regression is not None:  # first, as they may not be there
        plan = on_those_with_boxes(plan, tested, runtime, log)
    settings = plan.settings
    if settings.covariance is None:
        settings = measure_colors(settings, plan.train, runtime)
    config = model_config(settings, train, val)
    if settings.regression is not None:
        train, val = plan.train, plan.val
        about = replace(config.provenance, num_images=len(train))
        config = replace(config, constant_box=constant_box(train, settings, runtime), provenance=about)
    model = config.build()
    choose_learning(model, settings.fine_tuned)
    batch_size, processes = settings.recipe.batch_size, runtime.world_size
    if batch_size < processes:
        raise VerydeepError(f"A batch of {batch_size} cannot be shared by {processes} processes: lower --devices.")
    micro_batch = settings.micro_batch or fitting_micro_batch(model, -(-batch_size // processes), runtime)
    settings = replace(settings, micro_batch=micro_batch)
    checkpoint = find_checkpoint(run.checkpoints)
    if checkpoint is not None and not plan.resume:
        raise VerydeepError(f"{run.path} already holds a run: go on with --resume {run.path}, or choose another --out.")
    if checkpoint is None:
        initialize_weights(model, settings, plan.source, config.class_names, log)
        if runtime.is_main:
            settings.save(run)
            save_config(run.model, config)
            if settings.regression is not None:
                keep_classifier(run.model, find_model_folder(Path(settings.init_from or "")))
    elif any(getattr(load_config(run.model), name) != getattr(config, name) for name in ("split", "constant_box")):
        raise VerydeepError(f"{settings.data} has changed since {run.path} was started: train anew, or restore it.")
    task = TrainingTask(
        train=train,
        val=val,
        recipe=settings.recipe,
        covariance=np.array(settings.covariance),
        seed=settings.seed,
        micro_batch=micro_batch,
        decoding=settings.decoding,
        regression=settings.regression,
        input_scale=settings.input_scale,
    )
    state = new_state(runtime.place(model), task)
    metrics_length = load_checkpoint(checkpoint, state) if checkpoint is not None else 0
    log_plan(state, task, settings, run, log)
    worth = estimate_test_cost(
        0 if tested is None else len(tested),
        config.test_scales,
        fc_alone=config.fine_tuned == "fc",
        boxes=config.regression is not None,
    )
    monitor = TrainingMonitor(task, log, state.progress.step, worth)
    train_to_the_end(state, task, config, run, runtime, log, metrics_length, monitor)
    if state.progress.skipped:
        log.info(f"Skipped: {len(state.progress.skipped)} files that cannot be decoded, listed in {run.skipped}.")
    runtime.gather(None)  # the net is on the disk before anybody reads it
    test(run, tested, settings, runtime, log)


def on_those_with_boxes(plan: TrainingPlan, tested: Split | None, runtime: Runtime, log: Log) -> TrainingPlan:
    """The training on those of its images that have a box, with their boxes.

    Raises:
        VerydeepError: as ``read_boxed_split``.
    """
    settings = plan.settings

    def with_boxes(part: Split) -> Split:
        listed = plan.run.bad_boxes(part.name)
        return read_boxed_split(part, settings.data, settings.bad_boxes, runtime, log, listed)

    train, val = with_boxes(plan.train), None if plan.val is None else with_boxes(plan.val)
    if tested is not None and tested.name == "test":
        with_boxes(tested)  # boxes that cannot be used are told now, not after the training
    return plan.on(train, val)


def train_to_the_end(
    state: TrainState,
    task: TrainingTask,
    config: ModelConfig,
    run: RunFolder,
    runtime: Runtime,
    log: Log,
    metrics_length: int,
    monitor: TrainingMonitor,
) -> None:
    """The loop around ``fit``: metrics, bar, advice, checkpoints."""
    metrics_log = closing(MetricsLog(run.metrics, metrics_length)) if runtime.is_main else nullcontext()
    begin = saved = time.perf_counter()
    progress_bars = progress_bar(images=task.recipe.batch_size, visible=runtime.is_main)
    with metrics_log as metrics, StopRequest() as stop, progress_bars as progress, runtime.tuned():
        bar = progress.add_task("Training", total=last_step(state, task), completed=state.progress.step, note="")
        try:
            for report in fit(state, task, runtime, stop):
                now, last = time.perf_counter(), last_step(state, task)
                monitor.observe(report, last)
                note = f"loss {monitor.loss:.3f}, rate {report.learning_rate:g}"
                progress.update(bar, completed=report.step, total=last, note=note)
                if metrics is not None:
                    metrics.write(report, now - begin)
                    if report.epoch is not None or report.stopped or now - saved > CHECKPOINT_SECONDS:
                        save(state, report, run, metrics, config)
                        saved = now
                if report.stopped:
                    log.info(f"Stopped at step {report.step:,} and saved; go on with --resume {run.path}")
                    runtime.gather(None)  # nobody leaves before the checkpoint is complete
                    raise SystemExit(128 + (stop.signal or signal.SIGTERM))
        except FloatingPointError as error:
            kept = find_checkpoint(run.checkpoints)
            good = f"the last good checkpoint is {kept}" if kept else "no checkpoint was written yet"
            raise VerydeepError(f"{error}; {good}. Train anew with a smaller --learning-rate.") from None
    if runtime.is_main:
        what = "top-1 error" if task.regression is None else "ground-truth-class error"
        draw_curves(read_metrics(run.metrics), run.curves, run.path.name, what)
    converged = state.schedule.is_complete(state.progress.step)
    if runtime.is_main:
        ended = replace(config, provenance=replace(config.provenance, steps=state.progress.step, converged=converged))
        for folder in (run.model, run.best):
            if folder.exists():
                save_config(folder, ended)
    if not converged:
        drops = state.schedule.drops
        log.info(f"Not converged: the learning rate dropped {drops} of {task.recipe.num_drops} times.")


def save(state: TrainState, report: StepReport, run: RunFolder, metrics: MetricsLog, config: ModelConfig) -> None:
    """Model folders first, so that whatever the checkpoint speaks of exists when it does.

    Raises:
        FloatingPointError: the weights overflowed in this step, so the last checkpoint is the last good one.
    """
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
    save_checkpoint(run.checkpoints, state, metrics.length())


def test(run: RunFolder, split: Split | None, settings: RunSettings, runtime: Runtime, log: Log) -> None:
    """Dense testing at the paper's scales for this S."""
    net = Net.open(run.path)
    if split is None:
        log.info(f"Done: {run.path} (nothing with labels to test on)")
        return
    members = (EnsembleMember(net, net.config.test_scales),)
    if settings.regression is None:
        how: ClassEvaluationTask | BoxEvaluationTask = ClassEvaluationTask(members, "dense")
    else:
        how = BoxEvaluationTask(build_box_ensemble(members, "dense", None, Collection(run.path)))
    place, name = evaluation_folder((run.path,), how, settings.data)
    folder = place / "evaluations" / shorten_name(f"{split.name}-{name}")
    options = EvaluationOptions(settings.data, folder, decoding=settings.decoding, bad_boxes=settings.bad_boxes)
    how.run(split, options, runtime, log)
    log.info(f"Run: {run.path}")
