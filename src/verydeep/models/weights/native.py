"""The model folder: ``config.json`` and ``model.safetensors``, the layout of the Hugging Face Hub."""

import math
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from verydeep.configs.networks import NETWORKS, PAPER_CROP, PAPER_FC_WIDTH
from verydeep.configs.protocols import Regression
from verydeep.configs.recipes import FineTuned
from verydeep.configs.scales import TrainScale
from verydeep.errors import VerydeepError
from verydeep.files import read_json, write_json, writing
from verydeep.models.vgg import ILSVRC_MEAN_RGB, VGG, Pooling

FORMAT = 1
CONFIG, WEIGHTS = "config.json", "model.safetensors"
CLASSIFIER = "classifier"
"""Folder within that of a localization net: the net that rates its boxes and tells their classes."""


@dataclass(frozen=True)
class ModelConfig:
    """What travels with a net."""

    network: str
    class_names: tuple[str, ...]
    """None of a trunk, whose convolutions are all it has."""
    class_words: tuple[str, ...]
    crop: int = PAPER_CROP
    width: float = 1.0
    fc_width: int = PAPER_FC_WIDTH
    mean_rgb: tuple[float, float, float] = ILSVRC_MEAN_RGB
    input_scale: tuple[float, float, float] | None = None
    """What conv1_1's weights were divided by, R, G, B, when a net that divides its input was imported; None: nothing.

    Its gradient is divided by the square, so that the net learns as it would have in its own system."""
    scale: str | None = None
    """The train scale S as text, "256" or "256-512"; None where the source has none."""
    fine_tuned: FineTuned = "all"
    """The layers that learned at this S; "fc" where the convolutions are those of the net it started from."""
    pooling: Pooling = "ceil"
    seed: int = 0
    split: Mapping[str, Any] = field(default_factory=dict)
    """How the training part was chosen, so that a flat folder is never tested on what it was trained on."""
    provenance: Mapping[str, Any] = field(default_factory=dict)
    regression: Regression | None = None
    """Of a localization net: whether it has a box for each class or one for all; None: it tells classes."""
    mean_box: tuple[float, float, float, float] | None = None
    """Of a localization net: the constant box, what one would answer who sees nothing of an image.

    Center x and width as shares of the image's width, center y and height as shares of its height: of each image that
    it was trained on the mean over the instances of its class, and of these the mean over the images."""

    @property
    def task(self) -> Literal["classify", "localize"]:
        """What the outputs are."""
        return "classify" if self.regression is None else "localize"

    @property
    def is_trunk(self) -> bool:
        """Whether it is convolutions alone, which name no classes."""
        return not self.class_names

    @property
    def num_outputs(self) -> int:
        """Of fc8: one a class, or four numbers for a box of each class, or of any; 0 of a trunk."""
        classes = len(self.class_names)
        return {None: classes, "per-class": 4 * classes, "single-class": 4}[self.regression]

    @property
    def test_scales(self) -> tuple[int, ...]:
        """The paper's test scales Q for this net's S; 256 where the source has none."""
        return TrainScale.parse(self.scale).test_scales if self.scale else (256,)

    def build(self) -> VGG:
        """The net itself, its weights not filled."""
        return VGG(
            NETWORKS[self.network],
            self.num_outputs,
            crop=self.crop,
            width=self.width,
            fc_width=self.fc_width,
            mean_rgb=self.mean_rgb,
            ceil_mode=self.pooling == "ceil",
        )


def save_config(folder: Path, config: ModelConfig) -> None:
    """Write ``config.json``."""
    write_json(folder / CONFIG, {"model_type": "verydeep", "format": FORMAT, "task": config.task, **asdict(config)})


def save_weights(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write ``model.safetensors``, float32."""
    plain = {name: tensor.detach().float().cpu().contiguous() for name, tensor in tensors.items()}
    write_tensors(folder / WEIGHTS, plain, {"format": "pt"})


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file, complete or not at all.

    Raises:
        VerydeepError: the disk is full or does not let us.
    """
    with writing(path) as beside:
        try:
            save_file(tensors, beside, metadata=metadata)
        except SafetensorError as error:
            raise VerydeepError(f"{path} cannot be written ({error}): make room, or choose another --out.") from None


def unnamed(count: int) -> tuple[str, ...]:
    """What outputs are called that nobody named."""
    return tuple(f"class {number}" for number in range(count))


def is_ours(folder: Path) -> bool:
    """Whether there is a config.json that says that verydeep wrote it."""
    if not (folder / CONFIG).exists():
        return False
    values = read_json(folder / CONFIG)
    return isinstance(values, dict) and values.get("model_type") == "verydeep"


def load_config(folder: Path) -> ModelConfig:
    """Read ``config.json``.

    Raises:
        VerydeepError: it is missing, damaged, of a later format or not of this package.
    """
    path = folder / CONFIG
    if not path.exists():
        raise VerydeepError(f"{folder} is neither a run nor a model folder: it has no {CONFIG}.")
    values = read_json(path)
    if not isinstance(values, dict) or values.get("model_type") != "verydeep":
        raise VerydeepError(f"{path} does not describe a net of verydeep (model_type is missing or another).")
    if values.get("format") != FORMAT:
        raise VerydeepError(f"{path} has format {values.get('format')}, this version reads {FORMAT}: upgrade verydeep.")
    known: dict[str, Any] = {
        name: tuple(values[name]) if isinstance(values[name], list) else values[name]
        for name in ModelConfig.__dataclass_fields__
        if name in values
    }
    wrong = [name for name, good in _CHECKS.items() if name in known and not good(known[name])]
    lacking = [name for name in _REQUIRED if name not in known]
    if wrong or lacking or len(known["class_names"]) != len(known["class_words"]):
        named = [*(f"{name}={known[name]!r:.40}" for name in wrong), *lacking]
        what = ", ".join(named) or "class_names or class_words"
        raise VerydeepError(f"{path} is damaged at {what}: restore it from the run that wrote it.")
    return ModelConfig(**known)


def _are_names(value: object) -> bool:
    return isinstance(value, tuple) and all(isinstance(name, str) for name in value)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_color(value: object) -> bool:
    return (
        isinstance(value, tuple) and len(value) == 3 and all(_is_number(each) and math.isfinite(each) for each in value)
    )


def _is_box(value: object) -> bool:
    """Four finite numbers, the last two, its sides, above 0."""
    if not (isinstance(value, tuple) and len(value) == 4 and all(map(_is_number, value))):
        return False
    return all(map(math.isfinite, value)) and min(value[2:]) > 0


_REQUIRED = ("network", "class_names", "class_words", "mean_rgb")
_CHECKS: Mapping[str, Callable[[Any], bool]] = {
    "network": lambda value: value in NETWORKS,
    "class_names": _are_names,
    "class_words": _are_names,
    "crop": lambda value: isinstance(value, int) and value >= 32 and value % 32 == 0,
    "width": lambda value: _is_number(value) and 0 < value < math.inf,
    "fc_width": lambda value: isinstance(value, int) and value > 0,
    "mean_rgb": _is_color,
    "input_scale": lambda value: value is None or (_is_color(value) and min(value) > 0),
    "scale": lambda value: value is None or (isinstance(value, str) and TrainScale.is_one(value)),
    "fine_tuned": lambda value: value in get_args(FineTuned),
    "pooling": lambda value: value in get_args(Pooling),
    "seed": lambda value: isinstance(value, int),
    "split": lambda value: isinstance(value, dict),
    "provenance": lambda value: isinstance(value, dict),
    "regression": lambda value: value is None or value in get_args(Regression),
    "mean_box": lambda value: value is None or _is_box(value),
}
"""What each entry of config.json has to be; people edit files by hand."""


def load_tensors(folder: Path) -> dict[str, Tensor]:
    """Read ``model.safetensors``.

    Raises:
        VerydeepError: it is missing or damaged.
    """
    path = folder / WEIGHTS
    try:
        return load_file(path)
    except FileNotFoundError:
        raise VerydeepError(f"{folder} has no {WEIGHTS}: its training has not saved a net yet.") from None
    except (SafetensorError, OSError) as error:
        raise VerydeepError(f"{path} is damaged ({error}): restore it or train again.") from None


def keep_classifier(folder: Path, classifier: Path) -> None:
    """Copy the model folder of the classification net that a localization net starts from into the latter's."""
    for name in (CONFIG, WEIGHTS):
        with writing(folder / CLASSIFIER / name) as beside:
            shutil.copyfile(classifier / name, beside)


def load_model(folder: Path) -> tuple[VGG, ModelConfig]:
    """The net of a model folder, in eval mode, and what travels with it.

    Raises:
        VerydeepError: the folder is incomplete or damaged, or weights and config do not fit each other.
    """
    config, tensors = load_config(folder), load_tensors(folder)
    with torch.device("meta"):
        model = config.build()
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if expected != found:
        wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        raise VerydeepError(
            f"{folder / WEIGHTS} does not fit its {CONFIG} at {', '.join(wrong[:3])}"
            f"{' and others' if len(wrong) > 3 else ''}: they come from different nets."
        )
    model.load_state_dict(tensors, assign=True)
    return model.eval(), config
