"""The model folder: ``config.json`` and ``model.safetensors``, the layout of the Hugging Face Hub ."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from verydeep.configs.networks import NETWORKS, PAPER_CROP, PAPER_FC_WIDTH
from verydeep.configs.scales import TrainScale
from verydeep.errors import VerydeepError
from verydeep.files import read_json, write_json, writing
from verydeep.models.vgg import ILSVRC_MEAN_RGB, VGG

FORMAT = 1
CONFIG, WEIGHTS = "config.json", "model.safetensors"


@dataclass(frozen=True)
class ModelConfig:
    """What travels with a net."""

    network: str
    class_names: tuple[str, ...]
    class_words: tuple[str, ...]
    crop: int = PAPER_CROP
    width: float = 1.0
    fc_width: int = PAPER_FC_WIDTH
    mean_rgb: tuple[float, float, float] = ILSVRC_MEAN_RGB
    scale: str | None = None
    """The train scale S as text, "256" or "256-512"; None where the source has none."""
    pooling: Literal["ceil", "floor"] = "ceil"
    seed: int = 0
    split: Mapping[str, Any] = field(default_factory=dict)
    """How the training part was chosen, so that a flat folder is never tested on what it was trained on."""
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def test_scales(self) -> tuple[int, ...]:
        """The paper's test scales Q for this net's S; 256 where the source has none."""
        return TrainScale.parse(self.scale).test_scales if self.scale else (256,)

    def build(self) -> VGG:
        """The net itself, its weights not filled."""
        return VGG(
            NETWORKS[self.network],
            len(self.class_names),
            crop=self.crop,
            width=self.width,
            fc_width=self.fc_width,
            mean_rgb=self.mean_rgb,
            ceil_mode=self.pooling == "ceil",
        )


def save_config(folder: Path, config: ModelConfig) -> None:
    """Write ``config.json``."""
    write_json(folder / CONFIG, {"model_type": "verydeep", "format": FORMAT, "task": "classify", **asdict(config)})


def save_weights(folder: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write ``model.safetensors``, float32."""
    plain = {name: tensor.detach().float().cpu().contiguous() for name, tensor in tensors.items()}
    with writing(folder / WEIGHTS) as beside:
        save_file(plain, beside, metadata={"format": "pt"})


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
    for key in ("class_names", "class_words", "mean_rgb"):
        values[key] = tuple(values.get(key, ()))
    known = {name: values[name] for name in ModelConfig.__dataclass_fields__ if name in values}
    if known.get("network") not in NETWORKS or not known["class_names"] or len(known["mean_rgb"]) != 3:
        raise VerydeepError(f"{path} names no known network, no classes or no mean RGB: restore it from its run.")
    return ModelConfig(**known)


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
