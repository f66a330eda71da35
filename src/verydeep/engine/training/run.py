"""A training run: lock its folder, prepare it, open its net, train, test."""

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import replace
from pathlib import Path

from verydeep.engine.datasets import follow_folder
from verydeep.engine.environment import read_environments, write_environment
from verydeep.engine.evaluation_folders import evaluation_folder
from verydeep.engine.evaluation_tasks import (
    BoxEvaluationTask,
    ClassEvaluationTask,
    EvaluationOptions,
    EvaluationTask,
    run_evaluation,
)
from verydeep.engine.localization.box_ensemble import build_box_ensemble
from verydeep.engine.log import Log
from verydeep.engine.nets.collection import Collection
from verydeep.engine.nets.folders import RunFolder, find_model_folder
from verydeep.engine.nets.net import Net
from verydeep.engine.runtime import Runtime, explain_failure
from verydeep.engine.training.advice import check_disk_space, log_plan, planned_bytes
from verydeep.engine.training.checkpoint import find_checkpoint, load_checkpoint
from verydeep.engine.training.extension import describe_end
from verydeep.engine.training.loop import draw_run, run_steps
from verydeep.engine.training.plan import TrainingPlan
from verydeep.engine.training.prepared_run import PreparedRun, prepare
from verydeep.engine.training.settings import RunSettings
from verydeep.engine.training.setup import initialize_weights, set_learning_layers
from verydeep.engine.training.state import TrainState, follow_recipe, new_state
from verydeep.errors import DataError, OptionError, ResourceError
from verydeep.files import try_lock
from verydeep.models.weights.model_folder import keep_classifier, load_config, save_config
from verydeep.paths import shorten_name
from verydeep.results.measured_table import MeasuredTable
from verydeep.wording import count_of


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
        state = open_state(prepared, runtime, log)
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


def open_state(prepared: PreparedRun, runtime: Runtime, log: Log) -> TrainState:
    """Return the state to train from: that of the last checkpoint, or a new one.

    Raises:
        OptionError: the run is to be a new one and has a checkpoint.
        DataError: the data have changed since the run began.
        WeightsError: the source net or the checkpoint cannot be used.
    """
    run, settings, config = prepared.plan.run, prepared.plan.settings, prepared.config
    model = config.build()
    set_learning_layers(model, settings.fine_tuned)
    checkpoint = find_checkpoint(run.checkpoints)
    if checkpoint is None:
        initialize_weights(model, settings, prepared.plan.source, config.class_names, log)
    elif not prepared.plan.resume:
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
    run, settings = prepared.plan.run, prepared.plan.settings
    settings.save(run)
    save_config(run.model, prepared.config)
    if settings.regression is not None:
        keep_classifier(run.model, find_model_folder(Path(settings.init_from or "")))


def resume_settings(prepared: PreparedRun, runtime: Runtime) -> None:
    """Check that the data are those that a run began with, and save new settings: epochs, micro-batch, a moved folder.

    Raises:
        DataError: the data have changed.
    """
    run, settings, config = prepared.plan.run, prepared.plan.settings, prepared.config
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
    run, config, task = prepared.plan.run, prepared.config, prepared.task
    if state.progress.stage < len(task.recipe.stages):
        log_plan(state, task, prepared.plan.settings, run, log)
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


def evaluate(prepared: PreparedRun, runtime: Runtime, log: Log) -> MeasuredTable | None:
    """Test the net on whole images at the paper's scales for its S."""
    run, split, settings = prepared.plan.run, prepared.test_split, prepared.plan.settings
    if split is None:
        return None
    members = (Net.open(run.path).member(),)
    task: EvaluationTask = ClassEvaluationTask(members, "dense")
    if settings.regression is not None:
        task = BoxEvaluationTask(build_box_ensemble(members, "dense", None, Collection(run.path)))
    parent, name = evaluation_folder((run.path,), task, settings.data)
    folder = parent / "evaluations" / shorten_name(f"{split.name}-{name}")
    options = EvaluationOptions(settings.data, folder, decoding=settings.decoding, bad_boxes=settings.bad_boxes)
    table = run_evaluation(task, split, options, runtime, log)
    if table is not None:
        log.record(table.to_text())
    return table
