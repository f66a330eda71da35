"""Average the activations of a net's layer over positions and the mirror image; the net is applied densely."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from verydeep.data.pixels.decoding import Decoding
from verydeep.data.split import Split
from verydeep.engine.inference import rescale_images
from verydeep.engine.nets.checks import refuse_overflow
from verydeep.engine.nets.net import Net
from verydeep.engine.runtime import Runtime
from verydeep.errors import WeightsError
from verydeep.models.cpu_engine import TestedNet
from verydeep.models.pieces import average_map
from verydeep.models.weights.model_folder import ModelConfig
from verydeep.ops.arrays import Float32Array, Int64Array

VERSION = 1
"""Increased whenever the same net and images would give other descriptors than before."""


@dataclass(frozen=True)
class DescriptorBatch:
    """Descriptors of a batch of images at each test scale, before normalization."""

    indices: Int64Array
    """(n,) indices into the split."""
    descriptors: dict[int, Float32Array]
    """Test scale -> (n, D); empty where no image could be decoded."""
    skipped: dict[str, str]
    """File -> why it could not be decoded."""


def default_layer(config: ModelConfig) -> str:
    """Return relu7, the paper's 4096-D penultimate layer, or the last layer of a trunk, pool5."""
    return "pool5" if config.is_trunk else "relu7"


@torch.inference_mode()
def average_activations(model: TestedNet, images: Tensor, layer: str) -> Tensor:
    """Return the (N, D) float32 means of a layer over all positions of images and their mirror images.

    Args:
        model: the net.
        images: (N, 3, H, W), RGB 0-255.
        layer: the layer's name, such as relu7.

    Raises:
        OptionError: the net has no such layer.
    """
    return average_map(model, images, layer).view(2, len(images), -1).mean(dim=0)


def describe_batches(
    net: Net,
    model: TestedNet,
    layer: str,
    scales: Sequence[int],
    split: Split,
    runtime: Runtime,
    decoding: Decoding,
    indices: Iterable[int] | None = None,
) -> Iterator[DescriptorBatch]:
    """Describe this process's share of a split, or of the images at ``indices``, batch by batch.

    Args:
        net: the net on disk, named where its activations cannot be used.
        model: the net in memory, prepared by ``prepare_net``.
        layer: the layer's name.
        scales: test scales Q; each image is decoded once for all of them.
        split: the images.
        runtime: device, precision, and which share is this process's.
        decoding: how files are decoded.
        indices: images of the split; None for all.

    Raises:
        DataError: a file cannot be decoded and bad images are errors.
        WeightsError: an activation is not finite.
    """

    def describe(images: Tensor, at_once: int) -> Tensor:
        return torch.cat([average_activations(model, part, layer) for part in torch.split(images, at_once)])

    for batch in rescale_images(model, split, scales, runtime, decoding, whole=True, indices=indices):
        with runtime.autocast(), refuse_overflow(net):
            descriptors = {scale: batch.compute(model, scale, describe) for scale in batch.images}
        # A length that is not finite would make a descriptor of length one zero.
        if not all(np.isfinite(np.einsum("nd,nd->n", values, values)).all() for values in descriptors.values()):
            raise WeightsError(f"{net.path} computes descriptors that are not finite at {layer}: train the net again.")
        yield DescriptorBatch(batch.indices, descriptors, batch.skipped)
