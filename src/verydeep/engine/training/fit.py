"""Training (section 3.1): mini-batch gradient descent with momentum, read from top to bottom in ``fit``."""

import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from torch import nn

from verydeep.configs.recipes import Recipe
from verydeep.data.sampling import StepSampler, steps_after
from verydeep.data.training_images import TrainSamples, load_train_batches
from verydeep.engine.process import release_freed_memory
from verydeep.engine.runtime import Runtime
from verydeep.engine.training.gradients import backward, color_matrix, gradient_norm, unscale_input_gradient
from verydeep.engine.training.schedule import Schedule
from verydeep.engine.training.stopping import StopRequest
from verydeep.engine.training.task import TrainingTask
from verydeep.engine.training.validation import validate
from verydeep.errors import VerydeepError
from verydeep.models.vgg import VGG


class LossNotFiniteError(VerydeepError):
    """The loss overflowed; the weights are of no use any more."""


@dataclass
class TrainState:
    """Everything that changes while training; a checkpoint holds all of it."""

    model: VGG
    optimizer: torch.optim.SGD
    schedule: Schedule
    stage: int = 0
    step: int = 0
    """Steps done, over all stages."""
    epoch_loss: float = 0.0
    """Sum of the losses of this epoch's steps so far."""
    epoch_steps: int = 0
    best_error: float = math.inf
    skipped: dict[str, str] = field(default_factory=dict)
    off_target: int = 0
    """Of this epoch's samples so far, in all processes, those whose crop hardly sees the box (localization)."""


@dataclass(frozen=True)
class EpochReport:
    """What is known at the end of an epoch."""

    epoch: int
    """Epochs done."""
    train_loss: float
    val_error: float | None
    """Top-1 error in percent, center crop; of a localization net the ground-truth-class error."""
    is_best: bool
    grad_norm: float
    dead_fc6: float
    """Share of units that are zero for every validation image."""
    dead_fc7: float
    off_target: float | None
    """Share of the samples whose crop sees less than half of the box (localization)."""


@dataclass(frozen=True)
class StepReport:
    """One or more steps of training, and perhaps the end of an epoch."""

    step: int
    loss: float
    """Mean over the steps since the last report."""
    learning_rate: float
    epoch: EpochReport | None
    stopped: bool
    """A signal asks to stop, in this process or another: save now."""


def make_optimizer(model: VGG, recipe: Recipe) -> torch.optim.SGD:
    """SGD with momentum; weights decay, biases do not and learn at twice the rate (docs/choices.md).

    What does not learn is left out, so that it does not decay either.
    """
    learning = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    weights = [parameter for name, parameter in learning if name.endswith("weight")]
    biases = [parameter for name, parameter in learning if name.endswith("bias")]
    return torch.optim.SGD(
        [
            {"params": weights, "weight_decay": recipe.weight_decay, "factor": 1.0},
            {"params": biases, "weight_decay": 0.0, "factor": recipe.bias_rate_factor},
        ],
        lr=0.0,
        momentum=recipe.momentum,
        fused=True,
    )


def new_schedule(recipe: Recipe, stage: int, step: int, num_images: int) -> Schedule:
    """The schedule of a stage that begins at this step."""
    batch = recipe.batch_size
    last = steps_after(step * batch // num_images + recipe.stages[stage].epochs, num_images, batch)
    patience = max(recipe.patience_epochs * num_images // batch, recipe.patience_iterations)
    return Schedule(recipe, recipe.stages[stage], first_step=step, num_steps=last - step, patience=patience)


def new_state(model: VGG, task: TrainingTask) -> TrainState:
    """The state before the first step."""
    schedule = new_schedule(task.recipe, 0, 0, len(task.train))
    return TrainState(model, make_optimizer(model, task.recipe), schedule)


def fit(state: TrainState, task: TrainingTask, runtime: Runtime, stop: StopRequest) -> Iterator[StepReport]:
    """Train from ``state`` to the end, stage after stage. At each report ``state`` may be saved.

    Raises:
        LossNotFiniteError: the loss overflowed.
        VerydeepError: a file cannot be decoded and bad images are errors.
    """
    parallel = runtime.parallel(state.model)
    while state.stage < len(task.recipe.stages):
        yield from train_stage(state, parallel, task, runtime, stop)


def train_stage(
    state: TrainState, parallel: nn.Module, task: TrainingTask, runtime: Runtime, stop: StopRequest
) -> Iterator[StepReport]:
    """The rest of the current stage."""
    recipe, stage_index, schedule = task.recipe, state.stage, state.schedule
    stage = recipe.stages[stage_index]
    samples = TrainSamples(
        task.train,
        stage.scale.in_pixels(state.model.crop),
        state.model.crop,
        task.seed,
        task.decoding,
        with_boxes=task.regression is not None,
    )
    last_step = schedule.first_step + schedule.num_steps
    sampler = StepSampler(
        len(task.train), recipe.batch_size, task.seed, state.step, last_step, runtime.rank, runtime.world_size
    )
    basis = color_matrix(task, runtime.device)
    loss_sum, steps, off_target = torch.zeros((), device=runtime.device), 0, 0
    state.model.set_dropout(stage.dropout)
    if runtime.num_workers:
        release_freed_memory()
    for batch in load_train_batches(samples, sampler, runtime.num_workers, pin_memory=runtime.pin_memory):
        learning_rate = schedule.learning_rate(state.step)
        for group in state.optimizer.param_groups:
            group["lr"] = learning_rate * group["factor"]
        state.model.train()
        loss_sum += backward(parallel, state.model, batch, basis, task, state.step, runtime)
        unscale_input_gradient(state.model, task.input_scale)
        ends_epoch = epoch_at(task, state.step + 1) > epoch_at(task, state.step) or state.step + 1 == last_step
        grad_norm = gradient_norm(state.model) if ends_epoch else 0.0
        state.optimizer.step()
        state.optimizer.zero_grad(set_to_none=True)
        state.step, steps = state.step + 1, steps + 1
        state.skipped |= batch.skipped
        off_target += 0 if batch.off_target is None else int(batch.off_target.sum())
        if not (ends_epoch or state.step % runtime.report_every == 0):
            continue
        stop_asked, off = (torch.full_like(loss_sum, float(each)) for each in (stop.signal is not None, off_target))
        loss, stopped, off_targets = runtime.sum(torch.stack([loss_sum, stop_asked, off])).tolist()
        if not math.isfinite(loss):
            raise LossNotFiniteError(f"The loss is not finite at step {state.step} (learning rate {learning_rate:g})")
        state.epoch_loss, state.epoch_steps = state.epoch_loss + loss, state.epoch_steps + steps
        state.off_target += int(off_targets)
        report = StepReport(
            step=state.step,
            loss=loss / steps,
            learning_rate=learning_rate,
            epoch=end_epoch(state, task, runtime, grad_norm, state.step == last_step) if ends_epoch else None,
            stopped=stopped > 0,
        )
        loss_sum, steps, off_target = torch.zeros_like(loss_sum), 0, 0
        yield report
        if state.stage != stage_index:
            return


def epoch_at(task: TrainingTask, step: int) -> int:
    """Epochs done after that many steps."""
    return step * task.recipe.batch_size // len(task.train)


def end_epoch(state: TrainState, task: TrainingTask, runtime: Runtime, grad_norm: float, is_last: bool) -> EpochReport:
    """Validate, let the schedule decide, and begin the next stage where this one is over."""
    scale = task.recipe.stages[state.stage].scale.middle
    checked = validate(state.model, task, scale, runtime)
    error = checked.error if task.val is not None else None
    train_loss = state.epoch_loss / state.epoch_steps
    is_best = error is not None and error < state.best_error
    num_classes = len(task.train.class_names) if task.regression is None else None
    over = state.schedule.update(state.step, error, train_loss, num_classes)
    state.best_error = min(state.best_error, error) if error is not None else state.best_error
    off_target = (
        state.off_target / (state.epoch_steps * task.recipe.batch_size) if task.regression is not None else None
    )
    state.epoch_loss, state.epoch_steps, state.off_target = 0.0, 0, 0
    skipped = runtime.gather(state.skipped | checked.skipped)
    state.skipped = {file: reason for part in skipped for file, reason in part.items()}
    if over or is_last:
        state.stage += 1
        if state.stage < len(task.recipe.stages):
            state.schedule = new_schedule(task.recipe, state.stage, state.step, len(task.train))
    epoch = epoch_at(task, state.step)
    return EpochReport(epoch, train_loss, error, is_best, grad_norm, checked.dead_fc6, checked.dead_fc7, off_target)
