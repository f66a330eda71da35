"""More or fewer epochs for a run that was begun; every step so far stays as it would have been."""

import math
import os
import shlex
from dataclasses import replace
from itertools import compress
from pathlib import Path

from verydeep.configs.recipes import Recipe, shorten
from verydeep.engine.datasets import GENERATED
from verydeep.engine.training.checkpoint import find_checkpoint, read_position
from verydeep.engine.training.metrics_log import read_metrics
from verydeep.engine.training.plan import TrainingPlan
from verydeep.engine.training.schedule import Schedule, new_schedule
from verydeep.engine.training.settings import RunSettings
from verydeep.engine.training.state import follow_recipe
from verydeep.errors import OptionError
from verydeep.models.weights.model_folder import CLASSIFIER, load_config
from verydeep.wording import count_of

NUM_LOSSES = 10
"""Last reports of a run whose mean loss tells whether its net is still guessing."""


def change_epochs(plan: TrainingPlan, epochs: int) -> TrainingPlan:
    """Return the plan of a resumed run with another number of epochs.

    Raises:
        OptionError: the run has had so many epochs, or its learning rate has dropped as planned for another number.
    """
    recipe, checkpoint = plan.settings.recipe, find_checkpoint(plan.run.checkpoints)
    changed = shorten(recipe, epochs)
    if changed != recipe and checkpoint is not None:
        progress, schedule = read_position(checkpoint)
        num_images = count_training_images(plan)
        num_epochs = progress.step * recipe.batch_size // num_images
        if epochs <= num_epochs or not has_same_steps(schedule, changed, progress.step, num_images):
            longer = range(max(epochs, num_epochs) + 1, recipe.epochs)
            fits = (has_same_steps(schedule, shorten(recipe, each), progress.step, num_images) for each in longer)
            least = next(compress(longer, fits), recipe.epochs)
            reason = _explain_refusal(plan, schedule, progress.step, epochs, num_epochs, least)
            raise OptionError(
                f"{plan.run.path} has had {num_epochs} of its {count_of(recipe.epochs, 'epoch')}{reason}", "epochs"
            )
    return replace(plan, settings=replace(plan.settings, recipe=changed))


def _explain_refusal(
    plan: TrainingPlan, schedule: Schedule, step: int, epochs: int, num_epochs: int, least: int
) -> str:
    """Return the end of a sentence: why a run that has had ``num_epochs`` cannot have ``epochs``, and what to do."""
    recipe = plan.settings.recipe
    has_dropped = schedule.rate_at(step - 1) < schedule.learning_rate or schedule.is_over(step)
    if has_dropped or len(recipe.stages) > 1:
        reason = "its learning rate has dropped already" if has_dropped else "it has several stages"
        more = epochs - num_epochs if epochs > num_epochs else recipe.epochs
        return f", and their number cannot be changed, because {reason}; {advise_training(plan, more)}"
    if epochs > num_epochs:
        return f", and with {epochs} its learning rate would have dropped by now: give `epochs={least}` or more."
    return f": use its net as it is, or give `epochs={least}` or more."


def count_training_images(plan: TrainingPlan) -> int:
    """Return the number of images that a run learns from; for boxes, of those that have one."""
    return load_config(plan.run.model).provenance.num_images or len(plan.train)


def describe_end(plan: TrainingPlan) -> str:
    """Return one sentence about a resumed run that has nothing left to learn, and nothing about others."""
    recipe, checkpoint = plan.settings.recipe, find_checkpoint(plan.run.checkpoints)
    if not plan.resume or checkpoint is None:
        return ""
    num_images = count_training_images(plan)
    progress, schedule = read_position(checkpoint)
    follow_recipe(progress, schedule, recipe, num_images)
    if progress.stage < len(recipe.stages):
        return ""
    num_epochs = progress.step * recipe.batch_size // num_images
    return f"{plan.run.path} is finished ({num_epochs} of {count_of(recipe.epochs, 'epoch')})."


def has_same_steps(schedule: Schedule, changed: Recipe, step: int, num_images: int) -> bool:
    """Whether a run would have come to this step in the same way by the changed recipe.

    Args:
        schedule: of the run at this step.
        changed: the run's recipe with another number of epochs.
        step: steps so far.
        num_images: number of training images.
    """
    if len(changed.stages) > 1 or schedule.first_step:
        return False
    planned = new_schedule(changed, 0, 0, num_images)
    if planned.milestones is None:
        return schedule.milestones is None and not schedule.is_over(step)
    first_rate = schedule.learning_rate
    return not schedule.drops and first_rate == schedule.rate_at(step - 1) == planned.rate_at(step - 1)


def advise_training(plan: TrainingPlan, more_epochs: int) -> str:
    """Return how to train longer by a new run: from the net of this one, or for boxes from its source net."""
    settings, run = plan.settings, plan.run.path
    if _is_guessing(plan):
        return "its net is still guessing, so start a new run with more `epochs` and another `out`."
    words = ["verydeep train", shlex.quote(nearest_name(settings.data))]
    if settings.regression is None:
        words += [f"`init_from={run}`", f"`epochs={more_epochs}`"]
        start = "start a new run from its net (the learning rate is then a tenth of the one from random weights)"
    else:
        classifier = plan.run.model / CLASSIFIER
        words += ["`task=localize`", f"`regression={settings.regression}`", f"`init_from={classifier}`"]
        words += [f"`epochs={settings.recipe.epochs + more_epochs}`"]
        start = "start a new run"
    return f"{start}: {' '.join([*words, *_list_choices(settings), f'`out={run}-more`'])}"


def _is_guessing(plan: TrainingPlan) -> bool:
    """Whether the last losses of a run that learns classes are near that of guessing, ln K."""
    if plan.settings.regression is not None or not plan.run.metrics.exists():
        return False
    losses = [line["loss"] for line in read_metrics(plan.run.metrics)[-NUM_LOSSES:]]
    guessing_loss = math.log(len(plan.train.class_names))
    return bool(losses) and sum(losses) / len(losses) > plan.settings.recipe.stuck_above * guessing_loss


def _list_choices(settings: RunSettings) -> list[str]:
    """Return the parameters of a run that a run from its net does not take over."""
    choices = [] if settings.fine_tuned == "all" else [f"`fine_tune={settings.fine_tuned}`"]
    if settings.regression is None and settings.data != GENERATED:
        choices.append(f"`scale={settings.net.scale}`")
    return choices


def nearest_name(data: str) -> str:
    """Return a data set by its path from the current folder, if it lies below, and by its whole path otherwise."""
    if data == GENERATED or not Path(data).is_relative_to(Path.cwd()):
        return data
    return os.path.relpath(data)
