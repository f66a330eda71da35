"""Describe a few images in memory; nothing is cached."""

from collections.abc import Generator
from functools import reduce

import numpy as np

from verydeep.data.decoding import STRICT, Decoding
from verydeep.data.split import Split, all_skipped_error
from verydeep.engine.descriptors.activations import describe_batches
from verydeep.engine.descriptors.representation import Descriptors, Representation
from verydeep.engine.nets.net import Net
from verydeep.engine.progress import run_with_progress
from verydeep.engine.runtime import Runtime
from verydeep.ops.descriptors import aggregate_scales, stack_parts


def describe_images(
    representation: Representation, split: Split, runtime: Runtime, decoding: Decoding = STRICT
) -> Descriptors:
    """Describe images by one process.

    Raises:
        DataError: an image cannot be decoded and bad images are errors, or not one can be decoded.
        WeightsError: a net cannot be loaded, or computes values that are not finite.
        OptionError: a net has no such layer, or a scale is smaller than its crop.
    """
    parts = [
        run_with_progress(
            _describe_by_net(representation, net, layer, view, runtime, decoding), "Describing", total=len(split)
        )
        for net, layer in representation
        for view in representation.cover(split)
    ]
    indices = reduce(np.intersect1d, [part.indices for part in parts])
    if not len(indices):
        raise all_skipped_error(split)
    values = stack_parts(part.values[np.isin(part.indices, indices)] for part in parts)
    return Descriptors(indices, values, {file: why for part in parts for file, why in part.skipped.items()})


def _describe_by_net(
    representation: Representation, net: Net, layer: str, split: Split, runtime: Runtime, decoding: Decoding
) -> Generator[float, None, Descriptors]:
    """Yield how many images are done, and return the part of the descriptors that one net gives."""
    yield 0
    model = net.prepare(runtime)
    indices, values, skipped = [np.empty(0, np.int64)], [], dict[str, str]()
    for batch in describe_batches(net, model, layer, representation.scales, split, runtime, decoding):
        if batch.descriptors:
            indices.append(batch.indices)
            values.append(
                aggregate_scales(
                    (batch.descriptors[scale] for scale in representation.scales), representation.aggregation
                )
            )
        skipped |= batch.skipped
        yield len(batch.indices) + len(batch.skipped)
    order = np.argsort(np.concatenate(indices))
    return Descriptors(
        np.concatenate(indices)[order], np.concatenate(values or [np.empty((0, 1), np.float32)])[order], skipped
    )
