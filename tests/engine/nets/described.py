"""Nets that are nothing but what travels with them."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from verydeep.models.weights.model_folder import ModelConfig, save_config

CLASSES = ("ant", "bell", "crab")
BASE = ModelConfig("D", CLASSES, ("an ant", "a bell", "a crab"), crop=64, train_scale="256-512", seed=3)
WNIDS = ("n01440764", "n01443537", "n01484850", "n01491361")


def leave(runs: Path, name: str, **values: Any) -> Path:
    """A run of net D but for these values, whose file of weights is empty."""
    save_config(runs / name / "model", replace(BASE, **values))
    (runs / name / "model" / "model.safetensors").touch()
    return runs / name
