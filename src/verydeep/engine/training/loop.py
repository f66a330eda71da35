"""The training loop of a run: `fit` with metrics, progress, advice and checkpoints."""

import gc
import shlex
import signal
import time
from contextlib import closing, nullcontext

from verydeep.engine.log import LOGGER, Log
from verydeep.engine.memory import BatchLimit
from verydeep.engine.nets.folders import RunFolder
from verydeep.engine.process import release_freed_memory
from verydeep.engine.progress import progress_bar
from verydeep.engine.runtime import Runtime
from verydeep.engine.training.advice import TrainingMonitor, describe_epoch, estimate_test_cost, final_step
from verydeep.engine.training.checkpoint import save_checkpoint
from verydeep.engine.training.curves import draw_curves
from verydeep.engine.training.event_log import EventLog
from verydeep.engine.training.fit import StepReport, fit
from verydeep.engine.training.metrics_log import MetricsLog, read_metrics
from verydeep.engine.training.prepared_run import PreparedRun
from verydeep.engine.training.state import TrainState
from verydeep.engine.training.stopping import StopRequest
from verydeep.engine.training.task import TrainingTask
from verydeep.files import check_present
from verydeep.json_files import write_json
from verydeep.models.weights.model_folder import ModelConfig, save_config, save_weights
from verydeep.wording import rate_text

CHECKPOINT_SECONDS = 600
DRAWING_SECONDS = 5
"""The curves are drawn after an epoch, but not more often than this."""


def run_steps(prepared: PreparedRun, state: TrainState, runtime: Runtime, log: Log) -> None:
    """Run the training loop, with metrics, progress, advice and checkpoints.

    Raises:
        FloatingPointError: the loss or the weights overflowed.
        SystemExit: a signal asked to stop, and the state is saved.
    """
    run, task = prepared.plan.run, prepared.task
    has_source = prepared.plan.settings.init_from is not None
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
                    gc.collect()  # a figure is cycles of small objects, which keep apart the free memory between them
                    release_freed_memory()
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
    run, progress = prepared.plan.run, state.progress
    events = EventLog(run.events, progress.step) if prepared.plan.tensorboard else None
    return MetricsLog(run.metrics, progress.metrics_bytes, events)


def error_name(task: TrainingTask) -> str:
    """Return the name of the validation error."""
    return "top-1 error" if task.regression is None else "error of the true class's box"


def draw_run(prepared: PreparedRun) -> None:
    """Draw the curves of the run so far."""
    run = prepared.plan.run
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
