"""Recipes of sections 3.1 and A.1 as values, and their adaptation to the size of the data."""

import math
from dataclasses import dataclass, replace
from typing import Literal

from verydeep.configs.scales import TrainScale
from verydeep.errors import OptionError
from verydeep.wording import count_of

Initialization = Literal["glorot", "normal"]
Balance = Literal["none", "sampling", "weights"]
"""Unequal classes: nothing; equally many samples of each class; or larger weights in the loss for smaller classes."""
ColorShift = Literal["std", "eigenvalue", "none"]
FineTuned = Literal["all", "fc"]
"""The layers that learn: all, or only fc6, fc7 and fc8, on the convolutions of a trained net (section 4.4)."""

MAX_EPOCHS = 74
"""The paper's number of epochs: 370,000 iterations of 256 over 1.28 million images."""

PAPER_BATCH = 256
SMALLEST_BATCH = 8

NUM_DROPS = 3
"""Divisions of the learning rate by ten in the paper."""

SHORT_MILESTONES = (0.60, 0.80, 0.93)
"""Milestones of a stage in a run of fewer than 74 epochs; the paper's points are unknown."""

LOCALIZATION_RATE = 1e-3
"""The first learning rate of the paper's localization nets (section A.1)."""

SMALL_LOCALIZATION_RATE = 1e-2
"""The first learning rate of localization nets on fewer images than LARGE_FOR_LOCALIZATION. Measured with a prototype
on the generated set's 10,000 images in batches of 32, without dropout: a mean IoU of 0.75 after ten epochs; at 1e-3,
after six, 0.35, where the constant box has 0.31."""

LARGE_FOR_LOCALIZATION = 100_000
"""Number of images from which localization nets begin with the paper's rate (inferred): 74 epochs at 1e-3 in batches of
256 then have about the same product of rate and steps as those ten epochs at 1e-2."""


@dataclass(frozen=True)
class Stage:
    """A part of a training run with one train scale, one dropout and one learning-rate schedule."""

    scale: TrainScale
    dropout: float = 0.5
    epochs: int = MAX_EPOCHS
    """The largest number of epochs; a plateau schedule may end the stage earlier."""
    learning_rate: float = 1e-2
    """The rate at the start of the stage."""
    milestones: tuple[float, ...] | None = None
    """Shares of the stage after which the rate is divided by ten; None: at plateaus of the validation error."""


@dataclass(frozen=True)
class Recipe:
    """Hyper-parameters of a training run: its stages in order, and values that all stages share.

    The defaults are the paper's; docs/choices.md gives the reasons.
    """

    stages: tuple[Stage, ...]
    batch_size: int = PAPER_BATCH
    momentum: float = 0.9
    weight_decay: float = 5e-4
    """The decay of weights; biases have none."""
    bias_rate_factor: float = 2.0
    """The rate of biases, as a multiple of that of weights; 2 as in Caffe's recipe of the time."""
    num_drops: int = NUM_DROPS
    patience_epochs: int = 5
    patience_iterations: int = 500
    min_gain: float = 0.1
    """The smallest improvement of the validation error that ends no plateau, in percentage points."""
    color_shift: ColorShift = "std"
    initialization: Initialization = "glorot"
    balance: Balance = "none"
    """What is done about unequal classes; the paper does nothing."""
    stuck_above: float = 0.95
    """The share of ln K, the loss of guessing, above which the loss is reported as stuck."""
    stuck_after: float = 1.0
    """The share of the steps after which the loss is judged; at the latest after 5,000 steps or 10 epochs."""

    @property
    def epochs(self) -> int:
        """The largest possible number of epochs, summed over the stages."""
        return sum(stage.epochs for stage in self.stages)

    @property
    def has_plateaus(self) -> bool:
        """Whether the learning rate of any stage drops at plateaus of the validation error."""
        return any(stage.milestones is None for stage in self.stages)


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
        stages=(Stage(TrainScale(256, 256), 0.0, 10, SMALL_LOCALIZATION_RATE, milestones=SHORT_MILESTONES),),
        batch_size=32,
    ),
}
"""The paper's three stages by their S: 384 starts from the net of 256, the jittered one from that of 384.

"generated" is the same in small for the generated set: the default of ``verydeep train``. "localize" is for boxes, at
S = 384 as at 256: section A.1 changes only the loss, the last layer and the rate. "localize-generated" is for the boxes
of the generated set."""


def with_options(
    recipe: Recipe,
    *,
    scale: TrainScale | None = None,
    epochs: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    dropout: float | None = None,
    dropout_after: int | None = None,
) -> Recipe:
    """Return the recipe with the given values in each of its stages.

    A scale replaces that of the last stage; the earlier stages are fixed at its smallest S.

    Raises:
        OptionError: the rate drops before ``dropout_after``, or the first stage has ended by then.
    """
    stages = list(recipe.stages)
    if scale is not None:
        first = TrainScale(scale.smallest, scale.smallest)
        stages = [replace(stage, scale=first) for stage in stages[:-1]] + [replace(stages[-1], scale=scale)]
    changed = [
        replace(
            stage,
            learning_rate=stage.learning_rate if learning_rate is None else learning_rate,
            dropout=stage.dropout if dropout is None else dropout,
        )
        for stage in stages
    ]
    batch_size = recipe.batch_size if batch_size is None else batch_size
    result = replace(recipe, stages=tuple(changed), batch_size=batch_size)
    if epochs is not None:
        result = shorten(result, epochs)
    return result if dropout_after is None else delay_dropout(result, dropout_after)


def delay_dropout(recipe: Recipe, epoch: int) -> Recipe:
    """Return the recipe without dropout before this epoch; the learning rate drops at the same steps.

    Small data leave the plateau at ln K sooner this way (docs/choices.md).

    Raises:
        OptionError: the recipe's first stage ends, or its rate drops, before that epoch.
    """
    first = recipe.stages[0]
    drops = None if first.milestones is None else [share * first.epochs - epoch for share in first.milestones]
    if epoch >= first.epochs or (drops and drops[0] <= 0):
        end = f"the end of the {count_of(first.epochs, 'epoch')} at train scale {first.scale}"
        limit = end if epoch >= first.epochs else "the first drop of the learning rate"
        raise OptionError(
            f"`dropout_after={epoch}` is not before {limit}: give a smaller number.",
            "dropout_after",
        )
    remaining = first.epochs - epoch
    milestones = None if drops is None else tuple(drop / remaining for drop in drops)
    before = replace(first, dropout=0.0, epochs=epoch, milestones=())
    after = replace(first, epochs=remaining, milestones=milestones)
    return replace(recipe, stages=(before, after, *recipe.stages[1:]))


def batch_size_for(num_images: int, largest: int = PAPER_BATCH) -> int:
    """Return the batch size for a data set: a 20th of the images, at least 8 (or all) and at most 256.

    See docs/choices.md.
    """
    return max(min(SMALLEST_BATCH, num_images), min(largest, num_images // 20))


def scale_rate(learning_rate: float, batch_size: int) -> float:
    """Return the rate for a smaller batch: the paper's times the square root of batch / 256.

    Measured with 189 photographs of three classes, net A at crop 64: at 0.01 the loss overflowed with batches of 9, 16
    and 32; with batches of 9 both 0.003 and 0.001 learned.
    """
    return learning_rate * math.sqrt(min(1.0, batch_size / PAPER_BATCH))


def localization_rate(num_images: int) -> float:
    """Return the first rate for boxes in batches of 256: the paper's, or a larger one for small data."""
    return LOCALIZATION_RATE if num_images >= LARGE_FOR_LOCALIZATION else SMALL_LOCALIZATION_RATE


def replace_plateaus(recipe: Recipe) -> Recipe:
    """Return the recipe for data without validation images: its rate drops at SHORT_MILESTONES, not at plateaus."""
    stages = (
        replace(stage, milestones=SHORT_MILESTONES) if stage.milestones is None else stage for stage in recipe.stages
    )
    return replace(recipe, stages=tuple(stages))


def shorten(recipe: Recipe, epochs: int) -> Recipe:
    """Return the recipe in another number of epochs, divided among its stages as before.

    Below 74 epochs a plateau schedule becomes three drops at SHORT_MILESTONES: a short run has no time to wait.
    """
    recipe = replace_plateaus(recipe) if epochs < MAX_EPOCHS else recipe
    total, stages, begin, done = recipe.epochs, [], 0, 0
    for stage in recipe.stages:
        done += stage.epochs
        end = round(epochs * done / total)
        stages.append(replace(stage, epochs=end - begin))
        begin = end
    return replace(recipe, stages=tuple(stage for stage in stages if stage.epochs))
