"""What the user of an exported net has to know: its input, its outputs, its classes."""

from typing import Any

from verydeep.configs.networks import STRIDE
from verydeep.configs.scales import in_pixels
from verydeep.models.weights.native import ModelConfig

IMAGES = "images"
"""The input of a net that is exported dense."""


def input_in_words(config: ModelConfig) -> str:
    """The input of a net that is exported dense."""
    least = STRIDE if config.is_trunk else config.crop
    return (
        f"{IMAGES} (N, 3, H, W) float32, RGB, 0-255, each side at least {least} pixels; the net itself subtracts its "
        "mean"
    )


def outputs_in_words(config: ModelConfig) -> dict[str, str]:
    """Of a net that is exported dense: name -> what it is."""
    if config.is_trunk:
        return {"features": "(N, C, h, w), what pool5 gives"}
    if config.regression is not None:
        whose = "the box" if config.regression == "single-class" else "each class's box"
        return {
            "boxes": f"(N, {config.num_outputs}, h, w), center x, center y, width and height of {whose} in units of "
            f"the crop, at each position: that of row i and column j sees {config.crop} pixels from (32 i, 32 j) on"
        }
    return {
        "scores": f"(N, {config.num_outputs}, h, w), the class score map, before the soft-max",
        "posterior": f"(N, {config.num_outputs}), the soft-max of the scores' mean over the positions",
    }


def short_sides(config: ModelConfig) -> list[int]:
    """Of images that the net is tested on, in pixels."""
    return [in_pixels(scale, config.crop) for scale in config.test_scales]


def describe(config: ModelConfig) -> dict[str, Any]:
    """The same and more for machines; nothing of where the net was trained."""
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
