"""A training run from its settings to its errors: set up or resumed, trained, saved, tested."""

import signal
import time
from contextlib import closing, nullcontext
from dataclasses import replace

import numpy as np

from verydeep.data.layout import split_names
from verydeep.engine.advice import Adviser, last_step, tell_plan
from verydeep.engine.checkpoint import RunFolder, last_checkpoint, load_checkpoint, save_checkpoint
from verydeep.engine.evaluation import evaluate, test_nets
from verydeep.engine.members import Net, NetAtScales
from verydeep.engine.pictures import draw_curves
from verydeep.engine.progress import progress_bar
from verydeep.engine.report import Journal, MetricsLog, leave_evaluation, read_metrics
from verydeep.engine.request import Training
from verydeep.engine.runtime import Runtime, StopRequest
from verydeep.engine.settings import Settings
from verydeep.engine.setup import choose_learning, fitting_micro_batch, measure, model_config, warm_start
from verydeep.engine.source import locate, open_part
from verydeep.engine.training import Job, LossNotFiniteError, Report, TrainState, fit, new_state
from verydeep.errors import VerydeepError
from verydeep.files import write_json
from verydeep.models.weights.native import ModelConfig, load_config, save_config, save_weights

CHECKPOINT_SECONDS = 600


def train_run(training: Training, runtime: Runtime) -> None:
    """Train and test; a resumed run goes on from its last checkpoint, if it came to one.

    Raises:
        VerydeepError: the data, the source net or the checkpoint cannot be used, or the loss overflowed.
        SystemExit: 130 or 143, after saving, when SIGINT or SIGTERM asked to stop.
    """
    settings, train, val, run = training.settings, training.train, training.val, training.run
    run.path.mkdir(parents=True, exist_ok=True)
    journal = Journal(run.path / "train.log", silent=not runtime.is_main)
    journal.say(f"Data: {train.root}: {train.layout}; {len(train):,} to train on, {len(train.class_names)} classes.")
    if settings.covariance is None:
        settings = measure(settings, train, runtime)
    config = model_config(settings, train, val)
    model = config.build()
    choose_learning(model, settings.fine_tuned)
    batch_size, processes = settings.recipe.batch_size, runtime.world_size
    if batch_size < processes:
        raise VerydeepError(f"A batch of {batch_size} cannot be shared by {processes} processes: lower --devices.")
    micro_batch = settings.micro_batch or fitting_micro_batch(model, -(-batch_size // processes), runtime)
    settings = replace(settings, micro_batch=micro_batch)
    checkpoint = last_checkpoint(run.checkpoints)
    if checkpoint is not None and not training.resume:
        raise VerydeepError(f"{run.path} already holds a run: go on with --resume {run.path}, or choose another --out.")
    if checkpoint is None:
        warm_start(model, settings, training.source, config.class_names, journal)
        if runtime.is_main:
            settings.save(run)
            save_config(run.model, config)
    elif load_config(run.model).split != config.split:
        raise VerydeepError(f"{settings.data} has changed since {run.path} was started: train anew, or restore it.")
    job = Job(
        train=train,
        val=val,
        recipe=settings.recipe,
        covariance=np.array(settings.covariance),
        seed=settings.seed,
        micro_batch=micro_batch,
        bad_images=settings.bad_images,
        fast_decode=settings.fast_decode,
    )
    state = new_state(runtime.place(model), job)
    metrics_length = load_checkpoint(checkpoint, state, job) if checkpoint is not None else 0
    tell_plan(state, job, settings, run, journal)
    train_to_the_end(state, job, config, run, runtime, journal, metrics_length)
    if state.skipped:
        journal.say(f"Skipped: {len(state.skipped)} files that cannot be decoded, listed in {run.path}/skipped.json.")
    runtime.gather(None)  # the net is on the disk before anybody reads it
    test(run, settings, runtime, journal)


def train_to_the_end(
    state: TrainState,
    job: Job,
    config: ModelConfig,
    run: RunFolder,
    runtime: Runtime,
    journal: Journal,
    metrics_length: int,
) -> None:
    """The loop around ``fit``: metrics, bar, advice, checkpoints."""
    log = closing(MetricsLog(run.metrics, metrics_length)) if runtime.is_main else nullcontext()
    adviser = Adviser(job, journal, state.step)
    begin = saved = time.perf_counter()
    bar = progress_bar(images=job.recipe.batch_size, visible=runtime.is_main)
    with log as metrics, StopRequest() as stop, bar as progress:
        task = progress.add_task("Training", total=last_step(state, job), completed=state.step, note="")
        try:
            for report in fit(state, job, runtime, stop):
                now, last = time.perf_counter(), last_step(state, job)
                adviser.listen(report, last)
                note = f"loss {adviser.loss:.3f}, rate {report.learning_rate:g}"
                progress.update(task, completed=report.step, total=last, note=note)
                if metrics is not None:
                    metrics.write(report, now - begin)
                    if report.epoch is not None or report.stopped or now - saved > CHECKPOINT_SECONDS:
                        save(state, report, run, metrics, config)
                        saved = now
                if report.stopped:
                    journal.say(f"Stopped at step {report.step:,} and saved; go on with --resume {run.path}")
                    runtime.gather(None)  # nobody leaves before the checkpoint is complete
                    raise SystemExit(128 + (stop.signal or signal.SIGTERM))
        except LossNotFiniteError as error:
            kept = last_checkpoint(run.checkpoints)
            good = f"the last good checkpoint is {kept}" if kept else "no checkpoint was written yet"
            raise VerydeepError(f"{error}; {good}. Train anew with a smaller --learning-rate.") from None
    if runtime.is_main:
        draw_curves(read_metrics(run.metrics), run.path / "curves.png", run.path.name)
    converged = state.schedule.complete(state.step)
    if runtime.is_main:
        ended = replace(config, provenance={**config.provenance, "steps": state.step, "converged": converged})
        for folder in (run.model, run.best):
            if folder.exists():
                save_config(folder, ended)
    if not converged:
        drops = state.schedule.drops
        journal.say(f"Not converged: the learning rate dropped {drops} of {job.recipe.num_drops} times.")


def save(state: TrainState, report: Report, run: RunFolder, metrics: MetricsLog, config: ModelConfig) -> None:
    """Model folders first, so that whatever the checkpoint speaks of exists when it does.

    Raises:
        LossNotFiniteError: the weights overflowed in this step, so the last checkpoint is the last good one.
    """
    if not all(bool(parameter.isfinite().all()) for parameter in state.model.parameters()):
        raise LossNotFiniteError(f"The weights are not finite after step {state.step}")
    if report.epoch is not None:
        tensors = state.model.state_dict()
        if report.epoch.is_best:
            save_config(run.best, config)
            save_weights(run.best, tensors)
        save_weights(run.model, tensors)
    if state.skipped:
        write_json(run.path / "skipped.json", state.skipped)
    save_checkpoint(run.checkpoints, state, metrics.length())


def test(run: RunFolder, settings: Settings, runtime: Runtime, journal: Journal) -> None:
    """Dense testing at the paper's scales for this S, on the test part or else on the validation part."""
    net, names = Net.open(run.path), split_names(locate(settings.data))
    parts = (open_part(settings.data, name, dict(net.config.split)) for name in ("test", "val") if name in names)
    split = next((part for part in parts if part.labels is not None and len(part)), None)
    if split is None:
        journal.say(f"Done: {run.path} (nothing with labels to test on)")
        return
    tested = test_nets(
        [NetAtScales(net, net.config.test_scales)],
        split,
        "dense",
        runtime,
        bad_images=settings.bad_images,
        fast_decode=settings.fast_decode,
    )
    if runtime.is_main:
        about = {
            "data": settings.data,
            "view": "dense",
            "weights": "last",
            "precision": runtime.precision,
            "fast_decode": settings.fast_decode,
        }
        target = run.path / "evaluations" / f"{split.name}-dense"
        leave_evaluation(evaluate(tested, split, "dense"), split, [net], target, about, journal)
        journal.say(f"Run: {run.path}")
