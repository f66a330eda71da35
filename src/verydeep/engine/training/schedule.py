"""The learning rate of a stage (section 3.1): it drops at milestones, or when the validation error stops improving."""

import math
from dataclasses import dataclass

from verydeep.configs.recipes import Recipe
from verydeep.data.loading.sampling import steps_after


@dataclass
class Schedule:
    """The learning rate of one stage, and its drops so far; plain values, which a checkpoint holds as they are.

    Without milestones, the rate drops after ``patience`` steps without a gain. Where it would drop more than
    ``num_drops`` times, the stage is over.
    """

    learning_rate: float
    """Rate of the weights at the start of the stage."""
    milestones: tuple[float, ...] | None
    """Shares of the stage after which the rate is divided by ten; None: at plateaus of the validation error."""
    first_step: int
    """Step at which the stage begins."""
    num_steps: int
    """Largest number of steps of the stage."""
    patience: int
    """Steps without a gain after which the rate drops; the longer of the recipe's epochs and iterations."""
    min_gain: float
    """Percentage points of validation error that count as a gain."""
    num_drops: int
    """Largest number of drops at plateaus."""
    drops: int = 0
    """Drops at plateaus so far."""
    best_error: float | None = None
    """Smallest validation error so far, in percent."""
    best_step: int = 0
    """Step from which the patience counts: that of the last gain or drop."""
    is_learning: bool = False
    """Whether the loss has fallen below that of guessing, ln K; no patience is used up before."""

    @property
    def last_step(self) -> int:
        """Step after which the stage is over."""
        return self.first_step + self.num_steps

    def rate_at(self, step: int) -> float:
        """Return the learning rate of the weights at a step."""
        return self.learning_rate * 0.1 ** self._drops_at(step)

    def update(self, step: int, error: float | None, loss: float, num_classes: int | None) -> bool:
        """Drop the rate if an epoch ends a plateau; returns whether the stage is over.

        Args:
            step: steps so far, over all stages.
            error: validation error in percent; None without a validation split.
            loss: mean training loss of the epoch.
            num_classes: K; None for boxes, where guessing has no known loss.
        """
        if self.milestones is not None or error is None:
            return False
        if not self.is_learning:
            self.is_learning = num_classes is None or loss < 0.95 * math.log(num_classes)
            self.best_step = step
        if self.best_error is None or error <= self.best_error - self.min_gain:
            self.best_error, self.best_step = error, step
        elif step - self.best_step >= self.patience:
            if self.is_over(step):
                return True
            self.drops, self.best_step = self.drops + 1, step
        return False

    def is_over(self, step: int) -> bool:
        """Whether the last plateau has ended by a step."""
        return self.milestones is None and self.drops == self.num_drops and step - self.best_step >= self.patience

    def is_complete(self, step: int) -> bool:
        """Whether the rate has dropped as often as planned by a step."""
        return self._drops_at(step) == (self.num_drops if self.milestones is None else len(self.milestones))

    def _drops_at(self, step: int) -> int:
        if self.milestones is None:
            return self.drops
        return sum(step - self.first_step >= share * self.num_steps for share in self.milestones)


def new_schedule(recipe: Recipe, stage_index: int, step: int, num_images: int) -> Schedule:
    """Return the schedule of a stage that begins at a step, for a training set of ``num_images``."""
    stage, batch_size = recipe.stages[stage_index], recipe.batch_size
    last_step = steps_after(step * batch_size // num_images + stage.epochs, num_images, batch_size)
    return Schedule(
        learning_rate=stage.learning_rate,
        milestones=stage.milestones,
        first_step=step,
        num_steps=last_step - step,
        patience=max(recipe.patience_epochs * num_images // batch_size, recipe.patience_iterations),
        min_gain=recipe.min_gain,
        num_drops=recipe.num_drops,
    )
