"""Descriptors that are written to an archive as they are computed (appendix B), and those of a few photographs.

Each process goes through its share of the images in portions: no more than one portion's headers are read before the
first image is described, and no more descriptors are in memory than a shelf lets wait.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from verydeep.data.decoding import STRICT, Decoding
from verydeep.data.split import Split
from verydeep.engine.archive.shards import PATH_IDS, PATHS, SHARDS, packed, path_ids
from verydeep.engine.caching.array_cache import ArrayCache, Arrays
from verydeep.engine.descriptors.activations import DESCRIPTORS, DescribeResult, layer_descriptors
from verydeep.engine.descriptors.representation import Representation
from verydeep.engine.inference import prepare_net, rescale_images
from verydeep.engine.nets.digests import check_unchanged
from verydeep.engine.progress import progress_bar
from verydeep.engine.runtime import Runtime
from verydeep.errors import VerydeepError
from verydeep.models.vgg import VGG
from verydeep.ops.arrays import Float32Array, Int64Array
from verydeep.ops.descriptors import aggregate_scales

PORTION = 16384
"""Images: enough to fill batches of one shape, few enough that reading their headers delays nothing."""


@dataclass(frozen=True)
class DescriptorBatch:
    """Images that were described."""

    indices: Int64Array
    """(n,) in the split"""
    values: Float32Array
    """(n, D) of length one"""
    skipped: dict[str, str]
    """File -> why it could not be decoded."""


def describe_batches(
    asked: Representation,
    model: VGG,
    split: Split,
    runtime: Runtime,
    decoding: Decoding = STRICT,
    indices: Int64Array | None = None,
) -> Iterator[DescriptorBatch]:
    """This process's share of a split, or of those ``indices`` of it, by one net, which is ``ready``; nothing is kept.

    Raises:
        VerydeepError: a file cannot be decoded, or the net overflows.
    """
    (net,), (layer,) = asked.nets, asked.layers
    for batch in rescale_images(model, split, asked.scales, runtime, decoding, whole=True, indices=indices):
        if not batch.images:
            yield DescriptorBatch(batch.indices, np.empty((0, 0), np.float32), batch.skipped)
            continue
        with runtime.autocast():
            each = [
                layer_descriptors(model, batch.images[scale], [layer])[layer].cpu().numpy() for scale in asked.scales
            ]
        values = aggregate_scales(each, asked.aggregation, asked.normalization)
        if not np.isfinite(values).all():
            raise VerydeepError(f"The descriptors by {net.path} are not all numbers: train it anew.")
        yield DescriptorBatch(batch.indices, values, batch.skipped)


def describe_images(asked: Representation, split: Split, runtime: Runtime, decoding: Decoding = STRICT) -> Float32Array:
    """(n, D) of a few images, by one process; nothing is kept.

    Raises:
        VerydeepError: as ``describe_batches``.
    """
    batches = []
    with progress_bar(visible=len(split) > 1) as progress:
        task = progress.add_task("Describing", total=len(split), note="")
        for batch in describe_batches(asked, prepare_net(asked.nets[0].load(), runtime), split, runtime, decoding):
            batches.append(batch)
            progress.advance(task, len(batch.indices))
    order = np.argsort(np.concatenate([batch.indices for batch in batches]))
    return np.concatenate([batch.values for batch in batches])[order]


@dataclass(frozen=True)
class MissingImages:
    """What an archive lacks."""

    split: Split
    ids: Int64Array
    """(n,) by which its images will be known (``image_ids``)."""
    num_there: int
    """Images that were asked for and are described already."""


def describe_missing_images(
    folder: Path, missing: MissingImages, asked: Representation, digest: str, runtime: Runtime, decoding: Decoding
) -> Iterator[float | DescribeResult]:
    """Describe what an archive lacks, each process its share; the net is loaded only where something is lacking.

    Yields how many images are done, first those that were already, and last, on all processes, what was skipped.

    Raises:
        VerydeepError: as ``describe_batches``, the net is not that of the archive any more, or the disk is full.
    """
    yield missing.num_there
    mine = np.arange(len(missing.split))[runtime.rank :: runtime.world_size]
    alone = replace(runtime, rank=0, world_size=1)  # its share is divided no further
    cache, skipped = ArrayCache(folder, {}), dict[str, str]()
    if len(mine):
        model = prepare_net(asked.nets[0].load(), runtime)
        check_unchanged(asked.nets[0], digest)
    with cache:
        for first in range(0, len(mine), PORTION):
            for batch in describe_batches(asked, model, missing.split, alone, decoding, mine[first : first + PORTION]):
                skipped |= batch.skipped
                files = [missing.split.files[index] for index in batch.indices]
                values = batch.values.astype(np.float16)
                arrays: Arrays = {DESCRIPTORS: values, PATHS: packed(files), PATH_IDS: path_ids(files)}
                cache.add(missing.ids[batch.indices], {SHARDS: arrays})
                if cache.write_error:
                    raise VerydeepError(cache.write_error)
                yield (len(batch.indices) + len(batch.skipped)) * runtime.world_size
    if cache.write_error:
        raise VerydeepError(cache.write_error)
    yield DescribeResult({file: why for part in runtime.gather(skipped) for file, why in part.items()})
