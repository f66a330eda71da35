"""Training (section 3.1): mini-batch gradient descent with momentum, read from top to bottom in ``fit``."""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import nn

from verydeep.data.loading.sampling import BalancedClasses, StepSampler
from verydeep.data.loading.training_images import TrainBatch, TrainSamples, load_train_batches
from verydeep.engine.process import release_freed_memory
from verydeep.engine.runtime import Runtime
from verydeep.engine.training.gradients import (
    backward,
    color_matrix,
    dropout_masks,
    gradient_norm,
    loss_weights,
    unscale_gradient,
)
from verydeep.engine.training.schedule import new_schedule
from verydeep.engine.training.state import TrainState, set_learning_rate
from verydeep.engine.training.stopping import StopRequest
from verydeep.engine.training.task import TrainingTask
from verydeep.engine.training.validation import validate
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


def fit(state: TrainState, task: TrainingTask, runtime: Runtime, stop: StopRequest) -> Iterator[StepReport]:
    """Train from ``state`` to the end, stage after stage. At each report ``state`` may be saved.

    Raises:
        FloatingPointError: the loss overflowed.
        DataError: a file cannot be decoded, and bad images are errors.
    """
    parallel = runtime.parallel(state.model)
    while state.progress.stage < len(task.recipe.stages):
        yield from train_stage(state, parallel, task, runtime, stop)


def train_stage(
    state: TrainState, parallel: nn.Module, task: TrainingTask, runtime: Runtime, stop: StopRequest
) -> Iterator[StepReport]:
    """Train the rest of the current stage."""
    model, optimizer, schedule, progress = state.model, state.optimizer, state.schedule, state.progress
    stage_index, last_report = progress.stage, progress.step
    loss, num_off_target = torch.zeros((), device=runtime.device), 0  # of this process, since the last report
    colors, weights = color_matrix(task, runtime.device), loss_weights(task, runtime.device)
    model.set_dropout(task.recipe.stages[stage_index].dropout)
    for batch in stage_batches(state, task, runtime):
        learning_rate = schedule.rate_at(progress.step)
        set_learning_rate(optimizer, learning_rate)
        model.train()
        masks = dropout_masks(model, task, progress.step, runtime)
        loss += backward(parallel, batch, masks, colors, weights, task, runtime)
        unscale_gradient(model, task.input_scale)
        ends_epoch = is_end_of_epoch(progress.step + 1, task) or progress.step + 1 == schedule.last_step
        grad_norm = gradient_norm(model) if ends_epoch else 0.0
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        progress.step += 1
        progress.skipped |= batch.skipped
        num_off_target += 0 if batch.off_target is None else int(batch.off_target.sum())
        if not ends_epoch and progress.step % runtime.report_every:
            continue
        sums = [loss, loss.new_tensor(num_off_target), loss.new_tensor(stop.signal is not None)]
        total_loss, total_off_target, num_stopped = runtime.sum(torch.stack(sums)).tolist()
        if not math.isfinite(total_loss + grad_norm):
            raise FloatingPointError(
                f"The loss or its gradient is not finite at step {progress.step:,} (learning rate "
                f"{rate_text(learning_rate)})"
            )
        num_steps, last_report = progress.step - last_report, progress.step
        progress.epoch_loss += total_loss
        progress.epoch_steps += num_steps
        progress.epoch_off_target += int(total_off_target)
        epoch = end_epoch(state, task, runtime, grad_norm) if ends_epoch else None
        yield StepReport(progress.step, total_loss / num_steps, learning_rate, epoch, num_stopped > 0, stage_index + 1)
        if progress.stage != stage_index:
            return
        loss, num_off_target = torch.zeros_like(loss), 0


def stage_batches(state: TrainState, task: TrainingTask, runtime: Runtime) -> Iterator[TrainBatch]:
    """Yield this process's rows of the batches of the current stage, from the current step on."""
    scale = task.recipe.stages[state.progress.stage].scale.in_pixels(state.model.crop)
    samples = TrainSamples(
        task.train, scale, state.model.crop, task.seed, task.decoding, with_boxes=task.regression is not None
    )
    first, last, process = state.progress.step, state.schedule.last_step, (runtime.rank, runtime.world_size)
    balanced = None
    if task.recipe.balance == "sampling":
        assert task.train.labels is not None
        balanced = BalancedClasses(task.train.labels)
    sampler = StepSampler(len(task.train), task.recipe.batch_size, task.seed, first, last, *process, balanced)
    if runtime.num_workers:
        release_freed_memory()
    return load_train_batches(samples, sampler, runtime.num_workers, pin_memory=runtime.pin_memory)


def is_end_of_epoch(step: int, task: TrainingTask) -> bool:
    """Whether this step is the last of an epoch."""
    return epochs_after(step, task) > epochs_after(step - 1, task)


def epochs_after(step: int, task: TrainingTask) -> int:
    """Return the number of complete epochs after so many steps."""
    return step * task.recipe.batch_size // len(task.train)


def end_epoch(state: TrainState, task: TrainingTask, runtime: Runtime, grad_norm: float) -> EpochReport:
    """Validate, let the schedule decide about its rate, and begin the next stage where this one is over."""
    progress, schedule, is_localization = state.progress, state.schedule, task.regression is not None
    validation = validate(state.model, task, task.recipe.stages[progress.stage].scale.middle, runtime)
    error = None if task.val is None else validation.error
    is_best = error is not None and (progress.best_error is None or error < progress.best_error)
    progress.best_error = error if is_best else progress.best_error
    skipped_by_process = runtime.gather(progress.skipped | validation.skipped)
    progress.skipped = {file: reason for skipped in skipped_by_process for file, reason in skipped.items()}
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
