"""Training (section 3.1): mini-batch gradient descent with momentum, read from top to bottom in ``fit``."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from verydeep.data.loading.training_images import TrainBatch
from verydeep.engine.memory import BatchLimit, is_lack_of_memory
from verydeep.engine.process import release_freed_memory
from verydeep.engine.runtime import Runtime
from verydeep.engine.training.gradients import BatchLoss, dropout_masks, gradient_norm, unscale_gradient
from verydeep.engine.training.overflow import describe_overflow
from verydeep.engine.training.schedule import new_schedule
from verydeep.engine.training.state import TrainState, set_learning_rate, update_weights
from verydeep.engine.training.step_batches import load_steps, make_sampler
from verydeep.engine.training.stopping import StopRequest
from verydeep.engine.training.task import TrainingTask
from verydeep.engine.training.validation import validate
from verydeep.errors import ResourceError
from verydeep.wording import rate_text


@dataclass(frozen=True)
class EpochReport:
    """Measurements at the end of an epoch."""

    epoch: int
    """Epochs so far."""
    train_loss: float
    """Mean over the steps of the epoch."""
    val_error: float | None
    """Top-1 error in percent on the central crop; for a localization net the ground-truth-class error."""
    is_best: bool
    """Whether no earlier epoch had so small a validation error."""
    grad_norm: float
    """Euclidean norm of the gradient in the last step."""
    dead_fc6: float
    """Share of units that are zero for every validation image."""
    dead_fc7: float
    off_target: float | None
    """Share of the samples whose crop sees less than half of the box (localization)."""


@dataclass(frozen=True)
class StepReport:
    """One or more steps of training, and perhaps the end of an epoch."""

    step: int
    """Steps so far."""
    loss: float
    """Mean over the steps since the last report."""
    learning_rate: float
    """Rate of the weights in the last step."""
    epoch: EpochReport | None
    """Measurements, where an epoch ends with this step."""
    stopped: bool
    """Whether a signal asked this process or another one to stop: save now."""
    stage: int
    """Stage of the recipe, counted from 1."""


def fit(
    state: TrainState, task: TrainingTask, runtime: Runtime, stop: StopRequest, limit: BatchLimit | None = None
) -> Iterator[StepReport]:
    """Train from ``state`` to the end, stage after stage. At each report ``state`` may be saved.

    ``limit`` makes micro-batches smaller where memory runs out; None: one that sends its messages to the logger.

    Raises:
        FloatingPointError: a loss or gradient is not finite; the weights are those before this step.
        DataError: a file cannot be decoded, and bad images are errors.
        ResourceError: memory ran out after the first step, while other processes wait for this one.
    """
    parallel, limit = runtime.parallel(state.model), limit or BatchLimit(str(runtime.device))
    while state.progress.stage < len(task.recipe.stages):
        yield from train_stage(state, parallel, task, runtime, stop, limit)


def train_stage(
    state: TrainState, parallel: nn.Module, task: TrainingTask, runtime: Runtime, stop: StopRequest, limit: BatchLimit
) -> Iterator[StepReport]:
    """Train the rest of the current stage."""
    model, optimizer, schedule, progress = state.model, state.optimizer, state.schedule, state.progress
    stage_index, first_step, last_report = progress.stage, progress.step, progress.step
    loss, num_off_target = torch.zeros((), device=runtime.device), 0  # of this process, since the last report
    is_good, num_good = torch.ones((), dtype=torch.bool, device=runtime.device), torch.zeros_like(loss)
    batch_loss = BatchLoss(parallel, task, runtime)
    model.set_dropout(task.recipe.stages[stage_index].dropout)
    for batch in stage_batches(state, task, runtime):
        learning_rate = schedule.rate_at(progress.step)
        set_learning_rate(optimizer, learning_rate)
        model.train()
        masks = dropout_masks(model, task, progress.step, runtime)
        gradient = partial(compute_gradient, batch_loss, batch, masks, is_first=progress.step == first_step)
        step_loss = limit.run(gradient, task.micro_batch)
        loss += step_loss
        unscale_gradient(model, task.input_scale)
        ends_epoch = is_end_of_epoch(progress.step + 1, task) or progress.step + 1 == schedule.last_step
        grad_norm = gradient_norm(model)
        is_good = is_good & (step_loss + grad_norm).isfinite()
        num_good += is_good.float()
        update_weights(optimizer, is_good)
        progress.step += 1
        progress.skipped |= batch.skipped
        num_off_target += 0 if batch.off_target is None else int(batch.off_target.sum())
        if not ends_epoch and progress.step % runtime.report_every:
            continue
        sums = [loss, (~is_good).float(), loss.new_tensor(num_off_target), loss.new_tensor(stop.signal is not None)]
        total_loss, num_bad, total_off_target, num_stopped = runtime.sum(torch.stack(sums)).tolist()
        if num_bad:
            step = last_report + min(runtime.gather(int(num_good)))
            place = describe_overflow(state, task, step, max(1, task.micro_batch // limit.divisor // 4), runtime)
            raise FloatingPointError(
                f"The loss or its gradient is not finite at step {step + 1:,} (learning rate "
                f"{rate_text(schedule.rate_at(step))}), first in {place}"
            )
        num_steps, last_report = progress.step - last_report, progress.step
        progress.epoch_loss += total_loss
        progress.epoch_steps += num_steps
        progress.epoch_off_target += int(total_off_target)
        if num_stopped:
            gather_skipped(state, {}, runtime)
        epoch = end_epoch(state, task, runtime, float(grad_norm)) if ends_epoch else None
        yield StepReport(progress.step, total_loss / num_steps, learning_rate, epoch, num_stopped > 0, stage_index + 1)
        if progress.stage != stage_index:
            return
        loss, num_good, num_off_target = torch.zeros_like(loss), torch.zeros_like(loss), 0


def compute_gradient(
    batch_loss: BatchLoss, batch: TrainBatch, masks: dict[str, Tensor], at_once: int, *, is_first: bool
) -> Tensor:
    """Compute the gradient of a step, and return this process's part of the loss; may be called again.

    In the first step of a job, each process finds the micro-batch for which it has memory, before it meets the others.

    Raises:
        ResourceError: memory ran out in a later step, while other processes wait for this one.
    """
    runtime = batch_loss.runtime
    batch_loss.net.zero_grad(set_to_none=True)
    overlap = runtime.world_size > 1 and not is_first
    try:
        return batch_loss.backward(batch, masks, at_once, overlap=overlap)
    except (RuntimeError, MemoryError) as error:
        if overlap and is_lack_of_memory(error):
            raise ResourceError(
                f"The memory of {runtime.device} ran out: give `micro_batch={max(1, at_once // 2)}`."
            ) from None
        raise


def stage_batches(state: TrainState, task: TrainingTask, runtime: Runtime) -> Iterator[TrainBatch]:
    """Yield this process's rows of the batches of the current stage, from the current step on."""
    sampler = make_sampler(task, state.progress.step, state.schedule.last_step, runtime)
    if runtime.num_workers:
        release_freed_memory()
    workers, pin_memory = runtime.num_workers, runtime.pin_memory
    return load_steps(task, state.progress.stage, state.model.crop, sampler, workers, pin_memory=pin_memory)


def is_end_of_epoch(step: int, task: TrainingTask) -> bool:
    """Whether this step is the last of an epoch."""
    return epochs_after(step, task) > epochs_after(step - 1, task)


def epochs_after(step: int, task: TrainingTask) -> int:
    """Return the number of complete epochs after so many steps."""
    return step * task.recipe.batch_size // len(task.train)


def gather_skipped(state: TrainState, more: dict[str, str], runtime: Runtime) -> None:
    """Let every process know the files that any of them has skipped so far; ``more`` are new ones of this process."""
    skipped_by_process = runtime.gather(state.progress.skipped | more)
    state.progress.skipped = {file: reason for skipped in skipped_by_process for file, reason in skipped.items()}


def end_epoch(state: TrainState, task: TrainingTask, runtime: Runtime, grad_norm: float) -> EpochReport:
    """Validate, let the schedule decide about its rate, and begin the next stage where this one is over."""
    progress, schedule, is_localization = state.progress, state.schedule, task.regression is not None
    validation = validate(state.model, task, task.recipe.stages[progress.stage].scale.middle, runtime)
    error = None if task.val is None else validation.error
    is_best = error is not None and (progress.best_error is None or error < progress.best_error)
    progress.best_error = error if is_best else progress.best_error
    gather_skipped(state, validation.skipped, runtime)
    num_samples = progress.epoch_steps * task.recipe.batch_size
    report = EpochReport(
        epoch=epochs_after(progress.step, task),
        train_loss=progress.epoch_loss / progress.epoch_steps,
        val_error=error,
        is_best=is_best,
        grad_norm=grad_norm,
        dead_fc6=validation.dead_fc6,
        dead_fc7=validation.dead_fc7,
        off_target=progress.epoch_off_target / num_samples if is_localization else None,
    )
    progress.epoch_loss, progress.epoch_steps, progress.epoch_off_target = 0.0, 0, 0
    num_classes = None if is_localization else len(task.train.class_names)
    is_over = schedule.update(progress.step, error, report.train_loss, num_classes)
    if is_over or progress.step == schedule.last_step:
        progress.stage += 1
        if progress.stage < len(task.recipe.stages):
            state.schedule = new_schedule(task.recipe, progress.stage, progress.step, len(task.train))
    return report
