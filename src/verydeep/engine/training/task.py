"""What a training is given: images, a recipe, a seed."""

from dataclasses import dataclass

from verydeep.configs.protocols import Regression
from verydeep.configs.recipes import Recipe
from verydeep.data.decoding import STRICT, Decoding
from verydeep.data.split import Split
from verydeep.ops.arrays import Float64Array


@dataclass(frozen=True)
class TrainingTask:
    """What is trained on, and how; nothing of it changes while it runs."""

    train: Split
    val: Split | None
    """Drives the plateau and chooses the best weights, where there is one."""
    recipe: Recipe
    covariance: Float64Array
    """(3, 3) of the training set's RGB pixels."""
    seed: int
    micro_batch: int
    """Rows that go through the net at once; the gradient is that of the whole batch."""
    decoding: Decoding = STRICT
    regression: Regression | None = None
    """What a localization net learns; every image of train and val then has a box. None: classes."""
    input_scale: tuple[float, float, float] | None = None
    """Of the net (``ModelConfig.input_scale``)."""

    @property
    def watched(self) -> Split:
        """The validation part, or some training images, which then show dead units and no error."""
        return self.val or self.train.first_of_each_class(-(-256 // len(self.train.class_names)))
