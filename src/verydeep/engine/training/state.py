"""Everything that changes during a training."""

from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from verydeep.configs.recipes import Recipe
from verydeep.engine.training.schedule import Schedule, new_schedule
from verydeep.engine.training.task import TrainingTask
from verydeep.models.vgg import VGG


@dataclass
class TrainingProgress:
    """Position and sums of a training; plain values, which a checkpoint holds as they are."""

    step: int = 0
    """Steps so far, over all stages."""
    stage: int = 0
    """Index of the current stage; the number of stages after the last one."""
    epoch_loss: float = 0.0
    """Sum of the losses of this epoch's steps."""
    epoch_steps: int = 0
    """Steps of this epoch."""
    epoch_off_target: int = 0
    """Samples of this epoch, in all processes, whose crop sees less than half of the box (localization)."""
    best_error: float | None = None
    """Smallest validation error so far, in percent."""
    metrics_bytes: int = 0
    """Length of metrics.jsonl at the last checkpoint; later lines are cut on resume."""
    skipped: dict[str, str] = field(default_factory=dict)
    """Files that could not be decoded, with reasons."""


@dataclass
class TrainState:
    """Everything that changes during a training; a checkpoint holds all of it."""

    model: VGG
    optimizer: torch.optim.SGD
    schedule: Schedule
    """Schedule of the current stage."""
    progress: TrainingProgress = field(default_factory=TrainingProgress)


def new_state(model: VGG, task: TrainingTask) -> TrainState:
    """Return the state before the first step."""
    return TrainState(model, make_optimizer(model, task.recipe), new_schedule(task.recipe, 0, 0, len(task.train)))


def follow_recipe(progress: TrainingProgress, schedule: Schedule, recipe: Recipe, num_images: int) -> Schedule:
    """Return a checkpoint's schedule with the epochs of the recipe, whose number may have changed since.

    A stage that has become longer and was over is the current one again.
    """
    stage = min(progress.stage, len(recipe.stages) - 1)
    planned = new_schedule(recipe, stage, schedule.first_step, num_images)
    schedule = replace(schedule, milestones=planned.milestones, num_steps=planned.num_steps)
    if progress.step < schedule.last_step and not schedule.is_over(progress.step):
        progress.stage = stage
    return schedule


def make_optimizer(model: VGG, recipe: Recipe) -> torch.optim.SGD:
    """Return SGD with momentum; weights decay, biases do not and learn at twice the rate (docs/choices.md).

    Parameters that do not learn are left out, so that they do not decay either.
    """
    learning = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
    weights = [parameter for name, parameter in learning if name.endswith("weight")]
    biases = [parameter for name, parameter in learning if name.endswith("bias")]
    return torch.optim.SGD(
        [
            {"params": weights, "weight_decay": recipe.weight_decay, "rate_factor": 1.0},
            {"params": biases, "weight_decay": 0.0, "rate_factor": recipe.bias_rate_factor},
        ],
        lr=0.0,
        momentum=recipe.momentum,
        fused=True,
    )


def update_weights(optimizer: torch.optim.SGD, is_good: Tensor) -> None:
    """Take a step where ``is_good`` () holds; it is read on the device, so that nothing waits for it."""
    optimizer.found_inf = (~is_good).float()  # type: ignore[attr-defined]
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


def set_learning_rate(optimizer: torch.optim.SGD, learning_rate: float) -> None:
    """Set the rate of the weights, and that of the biases as a multiple of it."""
    for group in optimizer.param_groups:
        group["lr"] = learning_rate * group["rate_factor"]
