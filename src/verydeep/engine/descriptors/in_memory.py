"""Describe a few images in memory; nothing is cached."""

from collections.abc import Generator
from functools import reduce

import numpy as np

from verydeep.data.pixels.decoding import STRICT, Decoding
from verydeep.data.split import Split, all_skipped_error
from verydeep.engine.descriptors.activations import describe_batches
from verydeep.engine.descriptors.representation import Representation
from verydeep.engine.nets.kernels import choose_kernels
from verydeep.engine.nets.net import Net
from verydeep.engine.progress import run_with_progress
from verydeep.engine.runtime import Runtime
from verydeep.ops.arrays import Float32Array, Int64Array
from verydeep.ops.descriptors import aggregate_scales, stack_parts
from verydeep.results.descriptors import Descriptors


def describe_images(
    representation: Representation, split: Split, runtime: Runtime, decoding: Decoding = STRICT
) -> Descriptors:
    """Describe images in one process.

    Raises:
        DataError: an image cannot be used and bad images are errors, or not one can be used.
        WeightsError: a net cannot be loaded, or computes values that are not finite.
        OptionError: a net has no such layer, or a scale is smaller than its crop.
    """
    runtime = choose_kernels(runtime, representation.nets, len(split))
    parts = [
        run_with_progress(
            _describe_by_net(representation, net, layer, view, runtime, decoding), "Describing", total=len(split)
        )
        for net, layer in representation
        for view in representation.cover(split)
    ]
    indices = reduce(np.intersect1d, [part_indices for part_indices, _, _ in parts])
    skipped = {file: reason for *_, part_skipped in parts for file, reason in part_skipped.items()}
    if not len(indices):
        raise all_skipped_error(split, skipped)
    return Descriptors(
        images=tuple(split.files[index] for index in indices),
        values=stack_parts(values[np.isin(part_indices, indices)] for part_indices, values, _ in parts),
        skipped=skipped,
        made_by=representation.identify(),
    )


def _describe_by_net(
    representation: Representation, net: Net, layer: str, split: Split, runtime: Runtime, decoding: Decoding
) -> Generator[float, None, tuple[Int64Array, Float32Array, dict[str, str]]]:
    """Describe images by one net; yield how many are done.

    Returns:
        Indices into the split (n,), ascending, descriptors (n, D), and file -> why it could not be decoded.
    """
    yield 0
    model = net.prepare(runtime)
    indices, values, skipped = [np.empty(0, np.int64)], [], dict[str, str]()
    for batch in describe_batches(net, model, layer, representation.scales, split, runtime, decoding):
        if batch.descriptors:
            indices.append(batch.indices)
            scales = (batch.descriptors[scale] for scale in representation.scales)
            values.append(aggregate_scales(scales, representation.aggregation))
        skipped |= batch.skipped
        yield len(batch.indices) + len(batch.skipped)
    order = np.argsort(np.concatenate(indices))
    return np.concatenate(indices)[order], np.concatenate(values or [np.empty((0, 1), np.float32)])[order], skipped
