"""Descriptions of an exported net for its users: its input, its outputs, its classes."""

from typing import Any

from verydeep.configs.networks import STRIDE
from verydeep.configs.scales import in_pixels
from verydeep.models.weights.model_folder import ModelConfig

IMAGES = "images"
"""The name of an exported program's input."""


def describe_input(config: ModelConfig) -> str:
    """Return a sentence about the input of an exported program."""
    smallest = STRIDE if config.is_trunk else config.crop
    return (
        f"{IMAGES} (N, 3, H, W) float32, RGB, 0-255, each side at least {smallest} pixels; the net subtracts its mean "
        "itself"
    )


def describe_outputs(config: ModelConfig) -> dict[str, str]:
    """Return name -> description of the outputs of an exported program."""
    if config.is_trunk:
        return {"features": "(N, C, h, w), the output of pool5"}
    if config.regression is not None:
        whose = "the box" if config.regression == "single-class" else "each class's box"
        return {
            "boxes": f"(N, {config.num_outputs}, h, w), center x, center y, width and height of {whose} in units of "
            f"the crop, at each position; row i, column j sees the {config.crop} pixels from (32 i, 32 j)"
        }
    return {
        "scores": f"(N, {config.num_outputs}, h, w), the class score map, before the soft-max",
        "posterior": f"(N, {config.num_outputs}), the soft-max of the scores' mean over the positions",
    }


def short_sides(config: ModelConfig) -> list[int]:
    """Return the short sides of images that the net is tested on, in pixels."""
    return [in_pixels(scale, config.crop) for scale in config.test_scales]


def metadata(config: ModelConfig) -> dict[str, Any]:
    """Return the description for programs, without provenance."""
    about: dict[str, Any] = {
        "made_by": "verydeep",
        "network": config.network,
        "task": config.task,
        "crop": config.crop,
        "pooling": config.pooling,
        "mean_rgb": list(config.mean_rgb),
        "short_sides": short_sides(config),
        "class_names": list(config.class_names),
        "class_words": list(config.class_words),
    }
    return about if config.regression is None else {**about, "regression": config.regression}
