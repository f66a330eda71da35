"""Model folders: ``config.json`` and ``model.safetensors``, the layout of the Hugging Face Hub."""

import os
import re
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypedDict

import torch
from msgspec import Meta
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from verydeep.configs.networks import (
    LARGEST_CROP,
    LARGEST_FC_WIDTH,
    LARGEST_WIDTH,
    NETWORKS,
    PAPER_CROP,
    PAPER_FC_WIDTH,
    STRIDE,
    NetSizes,
)
from verydeep.configs.protocols import Regression, Task
from verydeep.configs.recipes import FineTuned, Recipe
from verydeep.configs.scales import TrainScale
from verydeep.disk import check_room, write_error
from verydeep.errors import WeightsError
from verydeep.files import atomic_write
from verydeep.json_files import FileFormat, read_json, write_json
from verydeep.models.vgg import ILSVRC_MEAN_RGB, VGG, Pooling
from verydeep.ops.value_ranges import ValueRanges
from verydeep.paths import describe_read_error, utf8_path
from verydeep.wording import shorten_list

CONFIG, WEIGHTS = "config.json", "model.safetensors"
CLASSIFIER = "classifier"
"""Folder in that of a localization net: the net that rates its boxes and predicts their classes."""

FORMAT = FileFormat("verydeep", 2, "`verydeep train` or `verydeep convert`", WeightsError)


@dataclass(frozen=True)
class Provenance:
    """The record of where a net comes from: its training, or its import from another system."""

    license: str | None = None
    """The license of the imported weights, or of those that the training started from, where it is known."""
    converged: bool | None = None
    """Whether the learning rate dropped as often as planned; None before the end of the training."""

    data: str | None = None
    """The data set of the training."""
    num_images: int | None = None
    class_images: tuple[int, ...] | None = None
    """The number of training images of each class, in the order of the classes."""
    epochs: int | None = None
    """The most that the recipe's stages may last."""
    steps: int | None = None
    """The steps that the training made."""
    precision: str | None = None
    recipe: Recipe | None = None
    source_net: str | None = None
    """The net that the training started from."""
    imported_source: str | None = None
    """The imported net that the training started from, perhaps by way of other runs."""

    imported_from: str | None = None
    """The name of the imported file."""
    format: str | None = None
    """The system and layout of that file."""
    input: str | None = None
    """The input convention of that system, which is folded into conv1_1."""
    left_out: str | None = None
    """The layers of that file that were left out, and why, where the net is a trunk."""
    sha256: str | None = None
    published_net: str | None = None
    """The published net that the file is."""
    url: str | None = None
    published_errors: tuple[float, float] | None = None
    """Top-1 and top-5 error in percent on ILSVRC-2012's validation images."""
    published_protocol: str | None = None


@dataclass(frozen=True)
class SplitRecord:
    """The record of the images of a training, so that a net is not tested on its training images."""

    data: str
    """The folder of the training split, an absolute path."""
    seed: int
    val_fraction: float
    """With the seed: the random division of a folder without val/."""
    train: str
    """The fingerprint of the training split."""
    val: str | None
    """The fingerprint of the validation split."""
    plateau: bool
    """Whether the validation error decided when the learning rate dropped."""
    group_by: str | None = None
    """The groups of images that the division left together: "parent", a CSV file, or a regular expression."""
    last_ranks: dict[str, str] | None = field(default=None, compare=False)
    """Class -> rank of its last validation image (``data.folders.division``); None if no single images were drawn."""


PositiveFloat = Annotated[float, Meta(gt=0)]


@dataclass(frozen=True)
class ModelConfig:
    """The content of a net's ``config.json``."""

    network: str
    class_names: tuple[str, ...]
    """Empty for a trunk."""
    class_words: tuple[str, ...]
    crop: Annotated[int, Meta(ge=STRIDE, multiple_of=STRIDE, le=LARGEST_CROP)] = PAPER_CROP
    width: Annotated[float, Meta(gt=0, le=LARGEST_WIDTH)] = 1.0
    fc_width: Annotated[int, Meta(gt=0, le=LARGEST_FC_WIDTH)] = PAPER_FC_WIDTH
    mean_rgb: tuple[float, float, float] = ILSVRC_MEAN_RGB
    input_scale: tuple[PositiveFloat, PositiveFloat, PositiveFloat] | None = None
    """The divisors (R, G, B) of conv1_1's weights if the net's own system divides its input; None: 1.

    The gradient of these weights is divided by the square, so that the net learns as in its own system."""
    train_scale: str | None = None
    """The train scale S as text, "256" or "256-512"; None where the source has none."""
    fine_tuned: FineTuned = "all"
    """The layers that learned at this S; the others are those of the source net."""
    pooling: Pooling = "ceil"
    value_ranges: ValueRanges = field(default_factory=dict)
    """The values of its images that became black and white, where they were not bytes."""
    seed: int = 0
    split: SplitRecord | None = None
    """None for an imported net."""
    provenance: Provenance = Provenance()
    regression: Regression | None = None
    """The boxes of a localization net: one for each class, or one for all; None: the net predicts classes."""
    constant_box: tuple[float, float, PositiveFloat, PositiveFloat] | None = None
    """The constant box of a localization net's training images: center x, center y, width, height.

    As shares of an image's width and height: the mean over the instances of an image's class, then over the images."""

    def __post_init__(self) -> None:
        """Check the fields that depend on others or on a table.

        Raises:
            ValueError: a value is not possible.
        """
        if self.network not in NETWORKS:
            raise ValueError(f"network {self.network!r}")
        if len(self.class_names) != len(self.class_words):
            raise ValueError(f"{len(self.class_names)} class_names, {len(self.class_words)} class_words")
        if self.train_scale is not None and not TrainScale.is_valid(self.train_scale):
            raise ValueError(f"train_scale {self.train_scale!r}")

    @property
    def task(self) -> Task:
        """Whether the net predicts classes ("classify") or boxes ("localize")."""
        return "classify" if self.regression is None else "localize"

    @property
    def sizes(self) -> NetSizes:
        """Crop, width and FC width."""
        return NetSizes(self.crop, self.width, self.fc_width)

    @property
    def is_trunk(self) -> bool:
        """Whether the net ends at pool5, without FC layers and classes."""
        return not self.class_names

    @property
    def num_outputs(self) -> int:
        """Number of outputs of fc8: one for each class, or four for each box; 0 for a trunk."""
        classes = len(self.class_names)
        return {None: classes, "per-class": 4 * classes, "single-class": 4}[self.regression]

    @property
    def test_scales(self) -> tuple[int, ...]:
        """The paper's test scales Q for this net's S; 256 if S is unknown."""
        return TrainScale.parse(self.train_scale).test_scales if self.train_scale else (256,)

    def build(self) -> VGG:
        """Return the model; its weights are not filled yet."""
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
    write_json(folder / CONFIG, {"task": config.task, **asdict(config)}, FORMAT)


def save_weights(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write ``model.safetensors``, float32."""
    plain = {name: tensor.detach().float().cpu().contiguous() for name, tensor in tensors.items()}
    write_tensors(folder / WEIGHTS, plain, {"format": "pt"})


def write_tensors(path: Path, tensors: dict[str, Tensor], metadata: dict[str, str]) -> None:
    """Write a safetensors file, complete or not at all.

    Raises:
        ResourceError: the file cannot be written.
    """
    check_room(path, sum(tensor.nbytes for tensor in tensors.values()))
    with atomic_write(path) as temporary:
        try:
            save_file(tensors, temporary, metadata=metadata)
        except SafetensorError as error:
            number = re.search(r"os error (\d+)", str(error))
            code = int(number[1]) if number else 0
            raise write_error(path, OSError(code, os.strerror(code) if number else str(error))) from None


def placeholder_names(count: int) -> tuple[str, ...]:
    """Return names for the outputs of a file that has none."""
    return tuple(f"class {number}" for number in range(count))


class _Head(TypedDict, total=False):
    model_type: Any


def is_model_folder(folder: Path) -> bool:
    """Whether the folder has a ``config.json`` that verydeep wrote."""
    path = folder / CONFIG
    return path.exists() and read_json(path, _Head).get("model_type") == FORMAT.kind


def load_config(folder: Path) -> ModelConfig:
    """Read ``config.json``.

    Raises:
        WeightsError: the file is missing, damaged, of another format or not verydeep's, or names a single class.
    """
    if not (folder / CONFIG).exists():
        raise WeightsError(f"{folder} is neither a run nor a model folder: it has no {CONFIG}.")
    config = read_json(folder / CONFIG, ModelConfig, FORMAT)
    if config.num_outputs == 1:
        raise WeightsError(
            f"{folder} has one output, which is not a soft-max over classes: train a net of two classes."
        )
    return config


def load_tensors(folder: Path) -> dict[str, Tensor]:
    """Read ``model.safetensors``.

    Raises:
        WeightsError: it is missing or damaged, or a number is not finite.
    """
    path = folder / WEIGHTS
    try:
        with utf8_path(path) as readable:
            tensors = load_file(readable)
    except FileNotFoundError:
        raise WeightsError(f"{folder} has no {WEIGHTS}: its training has not saved a net yet.") from None
    except PermissionError as error:
        raise WeightsError(describe_read_error(path, error)) from None
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path} is damaged ({error}): restore it, or train again.") from None
    check_finite(tensors, path)
    return tensors


def check_finite(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Refuse weights with a number that is NaN or infinite.

    A sum takes a tenth of the time of a look at each number; only where it is not finite, each is looked at.

    Raises:
        WeightsError: there is such a number.
    """
    for name, tensor in tensors.items():
        if not torch.isfinite(tensor.sum()) and not torch.isfinite(tensor).all():
            number = "NaN" if tensor.isnan().any() else "infinite numbers"
            raise WeightsError(f"{path} has {number} in {name}: its training failed, or it is damaged.")


def keep_classifier(folder: Path, classifier: Path) -> None:
    """Copy the model folder of a localization net's source net into that of the localization net."""
    for name in (CONFIG, WEIGHTS):
        with atomic_write(folder / CLASSIFIER / name) as temporary:
            shutil.copyfile(classifier / name, temporary)


def load_model(folder: Path) -> tuple[VGG, ModelConfig]:
    """Read the net of a model folder, in eval mode, and its configuration.

    Raises:
        WeightsError: the folder is incomplete or damaged, or weights and configuration do not fit each other.
    """
    config, tensors = load_config(folder), load_tensors(folder)
    with torch.device("meta"):
        model = config.build()
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    found = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
    if expected != found:
        wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
        raise WeightsError(
            f"{folder / WEIGHTS} does not fit its {CONFIG} at {shorten_list(wrong, 3)}: they come from different nets."
        )
    model.load_state_dict(tensors, assign=True)
    return model.eval(), config
