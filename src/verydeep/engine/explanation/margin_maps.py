"""Maps of the margins of a classifier: how much each position adds to the margin of each class.

A descriptor is a mean over positions, so its product with the weights of a linear SVM is a mean, too. Only its length,
by which it is divided, belongs to the whole image. The map takes the length as it is for this image. So the mean of a
map over its positions, over the image and its mirror image, and over all maps of the image is exactly the margin. But
a position's value is not the margin of its window alone, whose descriptor would have another length.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from verydeep.data.pixels.decoding import Decoding
from verydeep.data.split import Split
from verydeep.engine.inference import RescaledBatch, rescale_images
from verydeep.engine.nets.checks import refuse_overflow
from verydeep.engine.nets.kernels import choose_kernels
from verydeep.engine.nets.net import Net
from verydeep.engine.runtime import Runtime
from verydeep.engine.score_maps import MappedImages, make_score_map, map_layer
from verydeep.engine.transfer.classifier import Classifier
from verydeep.errors import OptionError
from verydeep.models.cpu_engine import TestedNet
from verydeep.ops.arrays import Float32Array
from verydeep.ops.descriptors import aggregate_scales, divide_weights, stack_parts
from verydeep.results.score_map import ScoreMap


@dataclass(frozen=True, eq=False)
class _LayerMaps:
    """Activations of one net for an image, at each test scale."""

    activations: list[Float32Array]
    """(D, h, w)"""
    descriptors: list[Float32Array]
    """(D,) means over all positions of the image and its mirror image."""
    maps: list[ScoreMap]
    """Whose scores are the activations."""


def compute_margin_maps(
    classifier: Classifier, split: Split, runtime: Runtime, decoding: Decoding
) -> Iterator[MappedImages]:
    """Yield the maps of the margins of images, one image after another: one for each net and test scale.

    Raises:
        OptionError: the classifier takes boxes of persons.
        DataError: a file cannot be decoded, and bad images are errors.
        WeightsError: a net computes values that are not finite, or its weights are missing.
    """
    representation = classifier.representation
    if representation.coverage == "image+box":
        raise OptionError(
            "This classifier also takes boxes of persons, which have no map: train one with `actions=image`."
        )
    runtime = choose_kernels(runtime, representation.nets, len(split))
    models = [net.prepare(runtime) for net in representation.nets]
    for index in range(len(split)):
        parts: list[_LayerMaps] = []
        for (net, layer), model in zip(representation, models, strict=True):
            with runtime.autocast(), refuse_overflow(net):
                scales = representation.scales
                (batch,) = rescale_images(model, split, scales, runtime, decoding, whole=True, indices=[index])
                if batch.skipped:
                    break
                parts.append(_map_activations(net, model, layer, scales, batch, split.image_size(index)))
        if batch.skipped:
            yield MappedImages(skipped=batch.skipped)
        else:
            yield _combine(classifier, index, parts)


def _map_activations(
    net: Net,
    model: TestedNet,
    layer: str,
    scales: Sequence[int],
    batch: RescaledBatch,
    size: tuple[int, int],
) -> _LayerMaps:
    """Return the activations of a net's layer for a photograph of this (width, height) at each test scale."""
    activations, descriptors, maps = [], [], []
    for scale in scales:
        images = batch.images[scale]
        image, mirrored = (map_layer(model, view, layer)[0] for view in (images, images.flip(3)))
        activations.append(image)
        descriptors.append((image.mean(axis=(1, 2)) + mirrored.mean(axis=(1, 2))) / 2)
        maps.append(make_score_map(net, model, scale, image, images, size, layer))
    return _LayerMaps(activations, descriptors, maps)


def _combine(classifier: Classifier, index: int, parts: Sequence[_LayerMaps]) -> MappedImages:
    """Weigh the activations of all nets by the linear SVMs."""
    svms, aggregation = classifier.svms, classifier.representation.aggregation
    weights = divide_weights(svms.weights, [part.descriptors for part in parts], aggregation)
    count = sum(len(part.maps) for part in parts)
    maps = tuple(
        replace(each, scores=count * np.tensordot(own, activations, axes=1) + svms.biases[:, None, None])
        for part, own_weights in zip(parts, weights, strict=True)
        for each, activations, own in zip(part.maps, part.activations, own_weights, strict=True)
    )
    rows = [[each[None] for each in part.descriptors] for part in parts]
    descriptor = stack_parts(aggregate_scales(scales, aggregation) for scales in rows)
    return MappedImages((index,), (maps,), (svms.compute_margins(descriptor)[0],))
