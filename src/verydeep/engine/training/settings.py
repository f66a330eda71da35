"""What a training run was asked for, resolved: ``run.json``."""

from dataclasses import asdict, dataclass
from typing import Any, get_args

from verydeep.configs.networks import NETWORKS
from verydeep.configs.protocols import Regression
from verydeep.configs.recipes import FineTuned, Recipe
from verydeep.data.decoding import BadImages, Decoding
from verydeep.data.truth import BadBoxes
from verydeep.engine.nets.folders import RunFolder
from verydeep.errors import VerydeepError
from verydeep.files import read_json, write_json
from verydeep.models.vgg import Pooling


@dataclass(frozen=True)
class RunSettings:
    """Everything that a run depends on; nothing of it changes on resume."""

    data: str
    network: str
    crop: int
    width: float
    fc_width: int
    recipe: Recipe
    seed: int
    bf16: bool
    init_from: str | None = None
    fine_tuned: FineTuned = "all"
    regression: Regression | None = None
    """Of a localization net; None: it learns classes."""
    bad_boxes: BadBoxes = "error"
    bad_images: BadImages = "error"
    fast_decode: bool = False
    deterministic: bool = False
    split_seed: int = 0
    """With ``val_fraction``, how a folder without val/ was split."""
    val_fraction: float = 0.2
    micro_batch: int | None = None
    mean_rgb: tuple[float, float, float] | None = None
    """Measured on the training set, or kept from the net it starts from."""
    covariance: tuple[tuple[float, ...], ...] | None = None
    pooling: Pooling = "ceil"
    """Of the net it starts from."""
    input_scale: tuple[float, float, float] | None = None
    """Of conv1_1's weights, where they are taken from a net that has one."""
    license: str | None = None
    """Of the weights it starts from, where it is known."""
    foreign_source: str | None = None
    """The net of another system that it starts from, perhaps by way of other runs."""

    @property
    def decoding(self) -> Decoding:
        """Of the images of its tests, as of its training."""
        return Decoding(self.bad_images, self.fast_decode)

    @classmethod
    def load(cls, run: RunFolder) -> "RunSettings":
        """Read run.json.

        Raises:
            VerydeepError: it is missing or damaged.
        """
        values = read_json(run.settings, dict[str, Any])
        try:
            recipe = Recipe.from_json(values["recipe"])
            covariance = tuple(tuple(row) for row in values["covariance"])
            mean_rgb: Any = tuple(values["mean_rgb"])
            input_scale: Any = tuple(values["input_scale"]) if values.get("input_scale") else None
            known = {name: values[name] for name in cls.__dataclass_fields__ if name in values}
            if values["network"] not in NETWORKS:
                raise ValueError(values["network"])
            if values.get("fine_tuned", "all") not in get_args(FineTuned):
                raise ValueError(values["fine_tuned"])
            if values.get("regression") not in (None, *get_args(Regression)):
                raise ValueError(values["regression"])
            decoded = {
                "recipe": recipe,
                "covariance": covariance,
                "mean_rgb": mean_rgb,
                "input_scale": input_scale,
            }
            return cls(**{**known, **decoded})
        except (KeyError, TypeError, ValueError) as error:
            raise VerydeepError(f"{run.settings} is not the settings of a run ({error!r}).") from None

    def save(self, run: RunFolder) -> None:
        """Write run.json."""
        write_json(run.settings, {**asdict(self), "recipe": self.recipe.to_json()})
