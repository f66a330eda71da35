"""The kernels that a job computes with: PyTorch's, or those of the CPU engine (docs/cpu-engine.md)."""

from collections.abc import Iterable
from dataclasses import replace

import torch

from verydeep.configs.networks import STRIDE
from verydeep.configs.scales import in_pixels
from verydeep.engine.nets.net import Net
from verydeep.engine.runtime import Runtime
from verydeep.models.weights.model_folder import ModelConfig

USES_THAT_PAY = 2500
"""Multiplications by each weight for which the engine saves the time that packing the weights takes (measured)."""


def choose_kernels(runtime: Runtime, nets: Iterable[Net], num_images: int) -> Runtime:
    """Return the runtime with the kernels of a whole job.

    They do not depend on what is cached, nor on test scales and views: a job that continues keeps them, and jobs of the
    same images share what is cached.

    Args:
        runtime: of the job; "auto" kernels are replaced.
        nets: all nets of the job; one in memory is packed once for all jobs of a program.
        num_images: of the job.
    """
    if runtime.kernels != "auto":
        return runtime
    pays = any(net.in_memory or num_images * count_uses(net.config) >= USES_THAT_PAY for net in nets)
    return replace(runtime, kernels="native" if pays and runtime.has_engine else "torch")


def count_uses(config: ModelConfig) -> float:
    """Return how often a weight is used, on average, for an image of 4:3 and its mirror image at Q = 256."""
    pixels = in_pixels(256, config.crop) ** 2 * 4 / 3 * 2
    uses, num_weights = 0.0, 0
    with torch.device("meta"):
        layers = config.build().weight_layers()
    for name, layer in layers.items():
        stride = 2 ** (int(name[4]) - 1) if name.startswith("conv") else STRIDE
        uses += layer.weight.numel() * pixels / stride**2
        num_weights += layer.weight.numel()
    return uses / num_weights
