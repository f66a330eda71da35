"""The input of the training loop: images, a recipe, a seed."""

from dataclasses import dataclass

from verydeep.configs.protocols import Regression
from verydeep.configs.recipes import Recipe
from verydeep.data.pixels.decoding import STRICT, Decoding
from verydeep.data.split import Split
from verydeep.ops.arrays import Float64Array


@dataclass(frozen=True)
class TrainingTask:
    """Everything that a training depends on and that does not change while it runs."""

    train: Split
    val: Split | None
    """Images whose error decides about the learning rate and the best weights; None if there are none."""
    recipe: Recipe
    covariance: Float64Array
    """(3, 3) covariance of the RGB pixels of the training images."""
    seed: int
    micro_batch: int
    """Images that go through the net together; the gradient is that of the whole batch."""
    decoding: Decoding = STRICT
    regression: Regression | None = None
    """Boxes that a localization net learns; every image of train and val then has one. None: classes."""
    input_scale: tuple[float, float, float] | None = None
    """Folded scale of the net (``ModelConfig.input_scale``)."""

    @property
    def validation_split(self) -> Split:
        """The validation images; without any, some training images, which show dead units but no error."""
        return self.val or self.train.first_of_each_class(-(-256 // len(self.train.class_names)))
