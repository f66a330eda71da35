"""Describe a data set by all processes; what is computed stays in the cache.

The cache has a folder for each net. An image is known there by its path, size and modification time, and by its box
where it is cut to one. So lists that share images share their descriptors, and so do the persons on one image.
"""

import hashlib
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from pathlib import Path

import numpy as np

from verydeep.data.pixels.decoding import STRICT, Decoding
from verydeep.data.split import Split, all_skipped_error
from verydeep.engine.cache_folder import cache_folder
from verydeep.engine.caching.array_cache import ArrayCache
from verydeep.engine.caching.compute_missing import compute_missing, find_missing
from verydeep.engine.descriptors.activations import VERSION, describe_batches
from verydeep.engine.descriptors.duration import DescribingJob, log_duration
from verydeep.engine.descriptors.representation import Representation
from verydeep.engine.log import Log
from verydeep.engine.nets.digests import digest_of_net
from verydeep.engine.nets.net import Net
from verydeep.engine.posteriors import ArrayBatch
from verydeep.engine.progress import run_with_progress
from verydeep.engine.runtime import Runtime
from verydeep.errors import DataError, ResourceError
from verydeep.models.cpu_engine import TestedNet
from verydeep.ops.arrays import Float32Array, Int64Array
from verydeep.ops.descriptors import aggregate_scales, stack_parts
from verydeep.paths import real_path

DESCRIPTORS = "descriptors"
"""Name of the cached arrays."""


@dataclass(frozen=True, eq=False)
class DescribedSamples:
    """Samples of a data set, images or the persons on them, with their descriptors."""

    split: Split
    """The samples that could be decoded."""
    values: Float32Array
    """(n, D) descriptors of length one."""

    @cached_property
    def _rows(self) -> dict[tuple[Path, bytes], int]:
        return {self.split.sample_key(index): index for index in range(len(self.split))}

    def find(self, part: Split) -> tuple[Split, list[int]]:
        """Return the samples of a part that have descriptors, and the rows of these.

        Raises:
            DataError: no sample has.
        """
        rows = {index: row for index in range(len(part)) if (row := self._rows.get(part.sample_key(index))) is not None}
        if not rows:
            raise all_skipped_error(part)
        return part.subset(list(rows)), list(rows.values())

    def select(self, part: Split) -> tuple[Split, Float32Array]:
        """Return the samples of a part that have descriptors, and these descriptors (m, D).

        Raises:
            DataError: no sample has.
        """
        split, rows = self.find(part)
        return split, self.values[rows]


def compute_descriptors(
    representation: Representation, split: Split, runtime: Runtime, decoding: Decoding = STRICT
) -> dict[str, str]:
    """Compute the descriptors of a split that the cache lacks, by all processes.

    Returns:
        File -> why it could not be decoded.

    Raises:
        OptionError: a net has no such layer, or a scale is smaller than its crop.
        DataError: an image cannot be decoded and bad images are errors.
        WeightsError: a net cannot be loaded, or computes values that are not finite.
        ResourceError: the processes have no cache in common, or the disk is full.
    """
    runtime.check_shared(cache_folder(), "VERYDEEP_CACHE moves the cache")
    ready = []
    if runtime.is_main:  # the others wait until it has found what is missing
        ready.append(log_duration(find_jobs(representation, split, runtime, decoding), runtime, decoding, Log()))
    skipped: dict[str, str] = {}
    steps = list(product(representation, representation.cover(split)))
    for number, ((net, layer), view) in enumerate(steps, start=1):
        noun = "images" if view.regions is None else "boxes"
        skipped |= run_with_progress(
            _compute_by_net(net, layer, representation.scales, view, runtime, decoding),
            f"Describing {noun}, {net.path.name} ({number} of {len(steps)})",
            total=len(split),
            is_main=runtime.is_main,
        )
        ready.clear()  # the first net alone was kept from the timing
    runtime.gather(None)  # everything is on disk before the main process reads it
    return skipped


def find_jobs(
    representation: Representation, split: Split, runtime: Runtime, decoding: Decoding
) -> list[DescribingJob]:
    """Return what each net has yet to describe of a split."""
    jobs = []
    for (net, layer), view in product(representation, representation.cover(split)):
        scale_of_kind = {_kind(layer, scale): scale for scale in representation.scales}
        cache, keys = _open_cache(net, split, runtime, decoding), _hash_cached_images(view)
        for kinds, missing in find_missing(cache, list(scale_of_kind), keys):
            jobs.append(DescribingJob(net, layer, [scale_of_kind[kind] for kind in kinds], view, missing))
    return jobs


def read_descriptors(
    representation: Representation, split: Split, skipped: dict[str, str], runtime: Runtime, decoding: Decoding = STRICT
) -> DescribedSamples:
    """Read the descriptors of a split from the cache.

    Args:
        representation: nets, layers and scales.
        split: the images.
        skipped: result of ``compute_descriptors`` for these images.
        runtime: device and precision, as they were computed with.
        decoding: how files were decoded.

    Raises:
        DataError: not one image could be decoded, or an image has changed since.
        ResourceError: the cache changes while it is read.
    """
    keys_of_views = [_hash_cached_images(view) for view in representation.cover(split)]
    caches = [(_open_cache(net, split, runtime, decoding), layer) for net, layer in representation]
    is_described = np.ones(len(split), np.bool_)
    for (cache, layer), scale, keys in product(caches, representation.scales, keys_of_views):
        is_described &= np.isin(keys, cache.keys(_kind(layer, scale)))
    if not is_described.any():
        raise all_skipped_error(split, skipped)
    missing = {split.files[index] for index in np.flatnonzero(~is_described)}
    if changed := sorted(missing - skipped.keys()):
        raise DataError(
            f"{split.root / changed[0]} changed while it was described, or the cache was emptied: "
            "run the same command again."
        )

    def load_scales(cache: ArrayCache, layer: str, keys: Int64Array) -> Iterator[Float32Array]:
        for scale in representation.scales:
            yield load_descriptors(cache, _kind(layer, scale), keys[is_described])

    values = stack_parts(
        aggregate_scales(load_scales(cache, layer, keys), representation.aggregation)
        for (cache, layer), keys in product(caches, keys_of_views)
    )
    return DescribedSamples(split.subset(np.flatnonzero(is_described).tolist()), values)


def load_descriptors(cache: ArrayCache, kind: str, keys: Int64Array) -> Float32Array:
    """Load the (n, D) descriptors of the images with these (n,) keys, which may repeat.

    Raises:
        ResourceError: one is no longer in the cache.
    """
    cached_keys, arrays = cache.load(kind, keys) or (np.empty(0, np.int64), {})
    if not np.isin(keys, cached_keys).all():
        raise ResourceError(f"{cache.folder} changed while it was read: run the command again.")
    return arrays[DESCRIPTORS][np.searchsorted(cached_keys, keys)]


def hash_images(split: Split, folder: str = "") -> Int64Array:
    """Return (n,) keys of images: 64 bits of a hash of path, size, modification time and region.

    Args:
        split: the images.
        folder: precedes their paths where images of several folders may meet.
    """
    return np.array([_image_key(split, index, folder) for index in range(len(split))], np.int64)


def _image_key(split: Split, index: int, folder: str) -> int:
    text = f"{folder}{split.fingerprint(index)}"
    if split.regions is not None:
        text += f"\0{split.regions[index].tolist()}"
    return int.from_bytes(hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()[:8], "little", signed=True)


def _hash_cached_images(split: Split) -> Int64Array:
    return hash_images(split, f"{real_path(split.root)}/")


def _kind(layer: str, scale: int) -> str:
    return f"{layer}-{scale}"


def _open_cache(net: Net, split: Split, runtime: Runtime, decoding: Decoding) -> ArrayCache:
    """Open the folder of one net: everything that changes a descriptor, apart from layer and scale, has another."""
    conditions = {
        "version": VERSION,
        "net": digest_of_net(net),
        "camera_rotation": split.camera_rotation,
        "precision": runtime.precision,
        **runtime.kernel_conditions,
        "decoding": "fast" if decoding.fast else "full",
        "averaging": "activations over positions and mirror images",
    }
    return ArrayCache.open("descriptors", conditions, {"net_folder": str(net.folder)}, must_write=True)


def _compute_by_net(
    net: Net, layer: str, scales: Sequence[int], split: Split, runtime: Runtime, decoding: Decoding
) -> Generator[float, None, dict[str, str]]:
    """Compute what the cache lacks of one net; yield how many images are done, and return the skipped files."""
    cache = _open_cache(net, split, runtime, decoding)
    by_kind = {_kind(layer, scale): scale for scale in scales}

    def compute_batches(model: TestedNet, kinds: Sequence[str], positions: Int64Array) -> Iterator[ArrayBatch]:
        missing_scales = [by_kind[kind] for kind in kinds]
        for batch in describe_batches(net, model, layer, missing_scales, split, runtime, decoding, positions):
            arrays = {_kind(layer, scale): {DESCRIPTORS: values} for scale, values in batch.descriptors.items()}
            yield ArrayBatch(batch.indices, arrays, batch.skipped)

    keys = _hash_cached_images(split)
    return compute_missing(cache, net, cache.description["net"], list(by_kind), keys, compute_batches, runtime)
