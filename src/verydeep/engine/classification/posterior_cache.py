"""The cache of posteriors on disk.

Tables that share members compute nothing twice, and an interrupted evaluation continues where it stopped. The cache has
a folder for each net, list of images, precision, kernels and decoding, and in it a folder for each view and test scale.
"""

import hashlib
from collections.abc import Generator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from verydeep.data.pixels.decoding import STRICT, Decoding
from verydeep.data.split import Split
from verydeep.engine.cache_folder import cache_folder
from verydeep.engine.caching.array_cache import ArrayCache
from verydeep.engine.caching.compute_missing import compute_missing
from verydeep.engine.inference import ViewAtScale
from verydeep.engine.nets.digests import digest_of_net
from verydeep.engine.nets.net import Net
from verydeep.engine.posteriors import POSTERIORS, ArrayBatch, NetPredictions, combine_batches, predict_batches
from verydeep.engine.runtime import Runtime
from verydeep.errors import ResourceError
from verydeep.models.cpu_engine import TestedNet
from verydeep.ops.arrays import Int64Array

VERSION = 3
"""Rises whenever the same net and images would give other posteriors than before."""


def posteriors_folder() -> Path:
    """Return the folder of all cached posteriors."""
    return cache_folder() / POSTERIORS


def open_posterior_cache(net: Net, split: Split, runtime: Runtime, *, fast_decode: bool) -> ArrayCache:
    """Open the cache of the posteriors of one net on one list of images.

    The device is none of its conditions: at one precision, devices agree but for rounding.
    """
    conditions = {
        "version": VERSION,
        "net": digest_of_net(net),
        **({} if net.outputs is None else {"outputs": net.outputs}),
        "images": digest_of_images(split),
        "camera_rotation": split.camera_rotation,
        "precision": runtime.precision,
        **runtime.kernel_conditions,
        "decoding": "fast" if fast_decode else "full",
        "resampling": "bilinear",
        "averaging": "scores over positions, posteriors over crops and flips",
    }
    notes = {"net_folder": str(net.folder), "images_folder": str(split.root), "count": len(split)}
    return ArrayCache.open(POSTERIORS, conditions, notes)


def predict_cached(
    net: Net, split: Split, views: Sequence[ViewAtScale], runtime: Runtime, decoding: Decoding = STRICT
) -> Generator[float, None, NetPredictions | None]:
    """Predict a split; compute only the posteriors that are not cached, and cache them.

    Yields:
        Numbers of images that are done, as ``compute_missing`` does.

    Returns:
        The predictions; None on all processes but the main one.

    Raises:
        OptionError: a test scale is smaller than the crop.
        DataError: a file cannot be decoded, or none can.
        WeightsError: the net cannot be read or has changed meanwhile.
        ResourceError: the cache was emptied meanwhile.
    """
    cache = open_posterior_cache(net, split, runtime, fast_decode=decoding.fast)
    view_of_kind = {str(view): view for view in views}
    computed: list[ArrayBatch] = []  # gathered from memory, as the cache may be full or another machine's

    def compute_batches(model: TestedNet, kinds: Sequence[str], indices: Int64Array) -> Iterator[ArrayBatch]:
        missing_views = [view_of_kind[kind] for kind in kinds]
        for batch in predict_batches(model, split, missing_views, runtime, decoding, indices=indices):
            computed.append(batch)
            yield batch

    skipped = yield from compute_missing(
        cache, net, cache.description["net"], list(view_of_kind), np.arange(len(split)), compute_batches, runtime
    )
    gathered = [batch for part in runtime.gather_on_main(computed) for batch in part]
    if not runtime.is_main:
        return None
    cached = [batch for kind in view_of_kind for batch in read_cached(cache, kind, gathered, len(split))]
    batches, num_decoded = [*gathered, *cached], sum(file not in skipped for file in split.files)
    for kind in view_of_kind:
        if sum(len(batch.indices) for batch in batches if kind in batch.arrays) != num_decoded:
            raise ResourceError(f"{cache.folder} changed while it was read: try again.")
    return replace(combine_batches(batches, split, views, skipped), write_error=cache.write_error)


def read_cached(cache: ArrayCache, kind: str, computed: Sequence[ArrayBatch], count: int) -> Iterator[ArrayBatch]:
    """Read the posteriors of one kind of those images, of ``count``, that were not computed."""
    missing = np.ones(count, np.bool_)
    for batch in computed:
        if kind in batch.arrays:
            missing[batch.indices] = False
    if missing.any() and (cached := cache.load(kind, np.flatnonzero(missing))) is not None:
        indices, arrays = cached
        yield ArrayBatch(indices, {kind: arrays}, {})


def describe_posterior_cache() -> str:
    """Return a sentence about the size and place of all cached posteriors; empty below a megabyte."""
    folder = posteriors_folder()
    size = sum(path.stat().st_size for path in folder.rglob("*.safetensors"))
    return f"Posteriors cached: {size / 1e6:,.0f} MB in {folder}." if size >= 1e6 else ""


def digest_of_images(split: Split) -> str:
    """Return a hash of the paths, sizes and modification times of the images, in their order."""
    digest = hashlib.sha256()
    for index in range(len(split)):
        digest.update(f"{split.fingerprint(index)}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()
