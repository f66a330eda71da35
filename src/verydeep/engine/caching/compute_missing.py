"""Compute the arrays that a cache lacks: posteriors and descriptors alike."""

from collections.abc import Callable, Generator, Iterable, Sequence

import numpy as np

from verydeep.engine.caching.array_cache import ArrayCache, count_bytes
from verydeep.engine.nets.digests import check_unchanged
from verydeep.engine.nets.net import Net
from verydeep.engine.posteriors import ArrayBatch
from verydeep.engine.runtime import Runtime
from verydeep.models.cpu_engine import TestedNet
from verydeep.ops.arrays import Int64Array

ComputeBatches = Callable[[TestedNet, Sequence[str], Int64Array], Iterable[ArrayBatch]]
"""Takes a net on its device, kinds, and positions (m,) of images; yields this process's share of their arrays."""


def compute_missing(
    cache: ArrayCache,
    net: Net,
    digest: str,
    kinds: Sequence[str],
    keys: Int64Array,
    compute_batches: ComputeBatches,
    runtime: Runtime,
) -> Generator[float, None, dict[str, str]]:
    """Compute the arrays that a cache lacks and add them to it; load the net only where some are missing.

    What is computed stays in the cache if the generator is closed early or fails.

    Args:
        cache: receives the arrays.
        net: computes them.
        digest: of the net when the cache was opened.
        kinds: of the arrays that each image needs.
        keys: (n,) of the images in the cache; an image that is listed repeatedly is computed once.
        compute_batches: yields arrays batch by batch.
        runtime: of this process.

    Yields:
        Numbers of images that are done, which sum to n: first those that the cache has, then those of each batch. An
        image that lacks only some kinds counts in parts.

    Returns:
        Files that could not be decoded -> the reason, of all processes.

    Raises:
        WeightsError: the net has changed since its digest was taken.
        ResourceError: arrays must be written, and cannot or have no room, by the size of those of the first batch.
    """
    # All processes share the same images, whatever another job has written meanwhile.
    groups = runtime.from_main(find_missing(cache, kinds, keys) if runtime.is_main else [])
    yield len(keys) - sum(len(positions) / len(groups) for _, positions in groups)
    skipped: dict[str, str] = {}
    if groups:
        model = net.prepare(runtime)
        check_unchanged(net, digest)
    for group, positions in groups:
        is_measured = False
        with cache:
            for batch in compute_batches(model, group, positions):
                skipped |= batch.skipped
                if batch.arrays and not is_measured:
                    cache.reserve(len(positions) * count_bytes(batch.arrays) // len(batch.indices))
                    is_measured = True
                cache.add(keys[batch.indices], batch.arrays)
                yield (len(batch.indices) + len(batch.skipped)) * runtime.world_size / len(groups)
        cache.check_written()
    return {file: reason for part in runtime.gather(skipped) for file, reason in part.items()}


def find_missing(cache: ArrayCache, kinds: Sequence[str], keys: Int64Array) -> list[tuple[list[str], Int64Array]]:
    """Return the missing results: sets of kinds, each with the positions of the images that lack them.

    Kinds that the same images lack are together, so that each image is decoded once for all of them.
    """
    is_first = np.zeros(len(keys), np.bool_)
    is_first[np.unique(keys, return_index=True)[1]] = True
    groups: dict[bytes, list[str]] = {}
    for kind in kinds:
        missing = is_first & ~np.isin(keys, cache.keys(kind))
        if missing.any():
            groups.setdefault(missing.tobytes(), []).append(kind)
    return [(group, np.flatnonzero(np.frombuffer(missing, np.bool_))) for missing, group in groups.items()]
