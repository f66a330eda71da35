"""The training of sections 3.1 and A.1 as values, and how it scales with the data."""

import math
from dataclasses import dataclass, replace
from typing import Literal

from verydeep.configs.scales import TrainScale
from verydeep.errors import VerydeepError

Initialization = Literal["glorot", "normal"]
ColorShift = Literal["std", "eigenvalue", "none"]
FineTuned = Literal["all", "fc"]
"""Which layers learn: all, or fc6, fc7 and fc8 alone on the convolutions of a trained net (section 4.4)."""

MAX_EPOCHS = 74
"""Where the paper stopped: 370,000 iterations of 256 over 1.28 million images."""

PAPER_BATCH = 256

NUM_DROPS = 3
"""How often the paper divided the learning rate by ten."""

SHORT_MILESTONES = (0.60, 0.80, 0.93)
"""Shares of a run of fewer than 74 epochs after which the rate drops; the paper's points are unknown."""

LOCALIZATION_RATE = 1e-3
"""At which the paper's localization nets begin (section A.1)."""

SMALL_LOCALIZATION_RATE = 1e-2
"""The same on fewer images than LARGE_FOR_LOCALIZATION. Measured with a prototype on the generated set's 10,000 in
batches of 32, without dropout: a mean IoU of 0.75 after ten epochs; at 1e-3, after six, 0.35, where the constant box
has 0.31."""

LARGE_FOR_LOCALIZATION = 100_000
"""Images from which on the paper's rate is taken (inferred): 74 epochs at 1e-3 in batches of 256 then add up to about
the same rate times steps as those ten epochs at 1e-2."""


@dataclass(frozen=True)
class Stage:
    """A part of a run with one train scale, one dropout and one schedule."""

    scale: TrainScale
    dropout: float = 0.5
    epochs: int = MAX_EPOCHS
    """The most it may last; a plateau schedule may end it sooner."""
    learning_rate: float = 1e-2
    """At the stage's start."""
    milestones: tuple[float, ...] | None = None
    """Shares of the stage after which the rate is divided by ten; None: when the validation error stops improving."""


@dataclass(frozen=True)
class Recipe:
    """Stages in order, and what they share. The defaults are the paper's; docs/choices.md says why."""

    stages: tuple[Stage, ...]
    batch_size: int = PAPER_BATCH
    momentum: float = 0.9
    weight_decay: float = 5e-4
    """On weights; biases have none."""
    bias_rate_factor: float = 2.0
    """Biases learn at this times the rate of the weights, as in Caffe's recipe of the time."""
    num_drops: int = NUM_DROPS
    patience_epochs: int = 5
    patience_iterations: int = 500
    min_gain: float = 0.1
    """Percentage points of validation error that count as an improvement."""
    color_shift: ColorShift = "std"
    initialization: Initialization = "glorot"
    stuck_above: float = 0.95
    """Share of ln K, the loss of guessing, above which the loss is reported as stuck ..."""
    stuck_after: float = 1.0
    """... after this share of the steps, or after 5,000 iterations or 10 epochs if that is sooner."""

    @property
    def epochs(self) -> int:
        """The most that all stages may last."""
        return sum(stage.epochs for stage in self.stages)


def _paper(scale: str, learning_rate: float) -> Recipe:
    return Recipe(stages=(Stage(TrainScale.parse(scale), learning_rate=learning_rate),))


RECIPES: dict[str, Recipe] = {
    "256": _paper("256", 1e-2),
    "384": _paper("384", 1e-3),
    "256-512": _paper("256-512", 1e-3),
    "generated": Recipe(
        stages=(
            Stage(TrainScale(256, 256), dropout=0.0, epochs=4, milestones=()),
            Stage(TrainScale(256, 512), dropout=0.5, epochs=4, milestones=(0.50, 0.84)),
        ),
        batch_size=32,
        stuck_above=0.87,
        stuck_after=0.35,
    ),
    "localize": _paper("256", LOCALIZATION_RATE),
    "localize-generated": Recipe(
        stages=(
            Stage(
                TrainScale(256, 256),
                dropout=0.0,
                epochs=10,
                learning_rate=SMALL_LOCALIZATION_RATE,
                milestones=SHORT_MILESTONES,
            ),
        ),
        batch_size=32,
    ),
}
"""The paper's three stages by their S (384 starts from the net of 256, the jittered one from that of 384), and the
same staging made small for the generated set: the default of ``verydeep train``.

``localize`` is for boxes, at S = 384 as at 256: section A.1 changes the loss, the last layer and the rate, and nothing
else. ``localize-generated`` is for the boxes of the generated set."""


def with_options(
    recipe: Recipe,
    *,
    scale: TrainScale | None = None,
    epochs: int | None = None,
    milestones: tuple[float, ...] | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    dropout: float | None = None,
    dropout_after: int | None = None,
) -> Recipe:
    """The recipe with what a user asks for in each of its stages, and otherwise as it is.

    A scale takes the place of the last stage's; the stages before it are fixed at its smallest S.

    Raises:
        VerydeepError: as ``dropout_from``.
    """
    stages = list(recipe.stages)
    if scale is not None:
        first = TrainScale(scale.smallest, scale.smallest)
        stages = [replace(stage, scale=first) for stage in stages[:-1]] + [replace(stages[-1], scale=scale)]
    changed = [
        replace(
            stage,
            milestones=stage.milestones if milestones is None else milestones,
            learning_rate=stage.learning_rate if learning_rate is None else learning_rate,
            dropout=stage.dropout if dropout is None else dropout,
        )
        for stage in stages
    ]
    batch_size = recipe.batch_size if batch_size is None else batch_size
    result = replace(recipe, stages=tuple(changed), batch_size=batch_size)
    if epochs is not None:
        result = shortened_to(result, epochs)
    return result if dropout_after is None else dropout_from(result, dropout_after)


def dropout_from(recipe: Recipe, epoch: int) -> Recipe:
    """The recipe with no dropout in the epochs before this one; its rates drop where they did.

    Small data leave the plateau at ln K sooner so (docs/choices.md).

    Raises:
        VerydeepError: the recipe's first stage ends, or its rate drops, before that epoch.
    """
    first = recipe.stages[0]
    drops = None if first.milestones is None else [share * first.epochs - epoch for share in first.milestones]
    if epoch >= first.epochs or (drops and drops[0] <= 0):
        raise VerydeepError(
            f"--dropout-after {epoch} is past the first drop of the rate, or the end of the {first.epochs} epochs at "
            f"S={first.scale}: choose fewer."
        )
    left = first.epochs - epoch
    milestones = None if drops is None else tuple(drop / left for drop in drops)
    begin = replace(first, dropout=0.0, epochs=epoch, milestones=())
    rest = replace(first, epochs=left, milestones=milestones)
    return replace(recipe, stages=(begin, rest, *recipe.stages[1:]))


def batch_for(num_images: int, most: int = PAPER_BATCH) -> int:
    """The batch for a data set of this size: max(1, min(256, N / 20)) (docs/choices.md)."""
    return max(1, min(most, num_images // 20))


def rate_for(learning_rate: float, batch_size: int) -> float:
    """The paper's rate for a smaller batch: times the square root of batch / 256.

    Measured with 189 photographs of three classes, net A at crop 64: at 0.01 the loss overflowed with batches of 9, 16
    and 32; with batches of 9 both 0.003 and 0.001 learned.
    """
    return learning_rate * math.sqrt(min(1.0, batch_size / PAPER_BATCH))


def localization_rate(num_images: int) -> float:
    """The rate at which boxes are learned with the paper's batch: the paper's, or a larger one on small data."""
    return LOCALIZATION_RATE if num_images >= LARGE_FOR_LOCALIZATION else SMALL_LOCALIZATION_RATE


def without_plateau(recipe: Recipe) -> Recipe:
    """The recipe where there is no validation error to watch: its rate drops at SHORT_MILESTONES instead."""
    stages = (
        replace(stage, milestones=SHORT_MILESTONES) if stage.milestones is None else stage for stage in recipe.stages
    )
    return replace(recipe, stages=tuple(stages))


def shortened_to(recipe: Recipe, epochs: int) -> Recipe:
    """The recipe in another number of epochs, shared among its stages as before.

    Below 74 epochs a plateau schedule becomes three drops at SHORT_MILESTONES: a short run has no time to wait.
    """
    recipe = without_plateau(recipe) if epochs < MAX_EPOCHS else recipe
    total, stages, begin, done = recipe.epochs, [], 0, 0
    for stage in recipe.stages:
        done += stage.epochs
        end = round(epochs * done / total)
        stages.append(replace(stage, epochs=end - begin))
        begin = end
    return replace(recipe, stages=tuple(stage for stage in stages if stage.epochs))
