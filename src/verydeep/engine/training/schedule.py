"""When the learning rate drops (section 3.1): at milestones, or when the validation error stops improving."""

import math
from dataclasses import dataclass

from verydeep.configs.recipes import Recipe, Stage


@dataclass
class Schedule:
    """The state of one stage's learning rate; saved with each checkpoint.

    A plateau schedule drops the rate after ``patience`` steps without a gain, and where it would drop for the fourth
    time the stage is over.
    """

    recipe: Recipe
    stage: Stage
    first_step: int
    """Of the stage."""
    num_steps: int
    """The most that the stage may last."""
    patience: int
    """Steps; the longer of the recipe's epochs and iterations."""
    drops: int = 0
    best_error: float = math.inf
    best_step: int = 0
    """Where the patience counts from: the last gain, or the last drop."""
    learning: bool = False
    """Whether the loss has left the plateau at ln K that every classification net begins on; before that no patience is
    lost."""

    def learning_rate(self, step: int) -> float:
        """The rate of the weights at this step."""
        drops = self.drops
        if self.stage.milestones is not None:
            drops = sum(step - self.first_step >= share * self.num_steps for share in self.stage.milestones)
        return self.stage.learning_rate * 0.1**drops

    def update(self, step: int, error: float | None, loss: float, num_classes: int | None) -> bool:
        """Note an epoch's validation error (percent) and training loss; returns whether the stage is over.

        ``num_classes`` is K, or None where boxes are learned: their loss begins on no plateau.
        """
        if self.stage.milestones is not None or error is None:
            return False
        if not self.learning:
            self.learning = num_classes is None or loss < 0.95 * math.log(num_classes)
            self.best_step = step
        if error <= self.best_error - self.recipe.min_gain:
            self.best_error, self.best_step = error, step
        elif step - self.best_step >= self.patience:
            if self.drops == self.recipe.num_drops:
                return True
            self.drops, self.best_step = self.drops + 1, step
        return False

    def complete(self, step: int) -> bool:
        """Whether all of the rate's drops were made by this step."""
        if self.stage.milestones is not None:
            return all(step - self.first_step >= share * self.num_steps for share in self.stage.milestones)
        return self.drops == self.recipe.num_drops
