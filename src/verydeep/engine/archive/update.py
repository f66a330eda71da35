"""Add the descriptors of photographs to an archive; images that it already contains are not described again.

The main process lists the photographs and finds those that are missing; all processes share them. Each process goes
through its share in portions: it reads the headers of one portion before it describes the first image of it.
"""

import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from verydeep.data.folders.photographs import photograph_names
from verydeep.data.pixels.decoding import Decoding
from verydeep.data.split import Split, all_skipped_error
from verydeep.engine.archive.contents import read_contents
from verydeep.engine.archive.manifest import ArchiveOptions, Manifest, resolve_manifest
from verydeep.engine.archive.shards import PATH_IDS, PATHS, SHARDS, Shard, hash_paths, list_shards, pack_paths
from verydeep.engine.caching.array_cache import ArrayCache, Arrays
from verydeep.engine.caching.compute_missing import compute_missing
from verydeep.engine.datasets import find_value_ranges
from verydeep.engine.descriptors.activations import describe_batches
from verydeep.engine.descriptors.cache import DESCRIPTORS, hash_images
from verydeep.engine.descriptors.duration import DescribingJob, log_duration
from verydeep.engine.log import Log
from verydeep.engine.nets.net import Net
from verydeep.engine.posteriors import ArrayBatch
from verydeep.engine.progress import run_with_progress
from verydeep.engine.runtime import Runtime
from verydeep.errors import OptionError, ResourceError
from verydeep.files import try_lock
from verydeep.json_files import write_json
from verydeep.models.cpu_engine import TestedNet
from verydeep.ops.arrays import BoolArray, Int64Array
from verydeep.ops.descriptors import aggregate_scales
from verydeep.results.archive import Archive

SKIPPED, LOCK = "skipped.json", ".lock"

PORTION = 16_384
"""Images: enough to fill batches of one shape, few enough that reading their headers delays nothing."""

KEYS_AT_ONCE = 10_000
"""Files whose keys are computed between two reports of progress: fewer need no bar."""


@dataclass(frozen=True)
class _Plan:
    """An update that the main process has prepared for all."""

    manifest: Manifest
    split: Split
    """All photographs that were named."""
    keys: Int64Array
    """(n,) keys of the photographs."""
    missing: Int64Array
    """(m,) indices of the photographs that the archive lacks."""
    outdated: list[tuple[Shard, BoolArray]]
    """Shards with images that have changed since, and which of their rows these are."""


def update_archive(
    folder: Path, net: Net, options: ArchiveOptions, patterns: Sequence[str], runtime: Runtime, decoding: Decoding
) -> Archive:
    """Describe the photographs that an archive lacks, by all processes.

    The old descriptors of images that have changed are removed at the end, so an update that fails removes nothing.

    Args:
        folder: the archive's folder; a new archive is made where there is none.
        net: describes the photographs.
        options: how they are described; must agree with an archive that exists.
        patterns: photographs, folders of them, or patterns.
        runtime: device and processes; its precision is the archive's.
        decoding: how bad images are treated; whether decoding is fast is for the archive to say.

    Raises:
        DataError: a pattern matches no photograph, an image cannot be decoded, or not one can be.
        OptionError: the archive has descriptors that were computed in another way.
        ResourceError: another process writes there, the disk is full, or processes do not see the same folder.
        WeightsError: the net cannot be loaded, has changed, or computes values that are not finite.
    """
    log = Log(silent=not runtime.is_main)
    with ExitStack() as stack:
        runtime.check_shared(folder, "by `out`")
        plan = runtime.from_main(_plan_update(folder, net, options, patterns, log, stack) if runtime.is_main else None)
        assert plan is not None
        decoding = replace(decoding, fast=plan.manifest.fast_decode)
        runtime = keep_kernels(folder, plan.manifest, runtime, log)
        assert runtime.kernels != "auto"
        plan = replace(plan, manifest=replace(plan.manifest, kernels=plan.manifest.kernels or runtime.kernels))
        if runtime.is_main:
            plan.manifest.write(folder)  # before the first descriptors, so that a stopped update keeps its kernels
        job = DescribingJob(net, plan.manifest.layer, plan.manifest.scales, plan.split, plan.missing)
        ready = log_duration([job], runtime, decoding, log)
        steps = describe_missing_images(folder, net, plan.manifest, plan.split, plan.keys, runtime, decoding)
        skipped = run_with_progress(steps, "Describing", len(plan.split), is_main=runtime.is_main)
        del ready
        update = None
        if runtime.is_main:
            for shard, rows in plan.outdated:
                shard.drop(rows)
            update = _finish_update(folder, net, plan, skipped)
        update = runtime.from_main(update)
        assert update is not None
        return update


def keep_kernels(folder: Path, manifest: Manifest, runtime: Runtime, log: Log) -> Runtime:
    """Return the runtime with the kernels of an archive.

    A new archive gets the engine's wherever they are, however few its first photographs: more will follow.

    Raises:
        OptionError: others are wanted.
    """
    if runtime.kernels not in ("auto", manifest.kernels or runtime.kernels):
        raise OptionError(
            f"{folder} was made with `kernels={manifest.kernels}`: use that, or another `out`.", "kernels"
        )
    if manifest.kernels == "native" and not runtime.has_engine:
        log.info(
            "Kernels: PyTorch's, because the CPU engine is missing here. The archive's other images were described "
            "with the CPU engine; descriptors differ by rounding."
        )
        return replace(runtime, kernels="torch")
    if runtime.kernels != "auto" or manifest.kernels:
        return replace(runtime, kernels=manifest.kernels or runtime.kernels)
    return replace(runtime, kernels="native" if runtime.has_engine else "torch")


def describe_missing_images(
    folder: Path, net: Net, manifest: Manifest, split: Split, keys: Int64Array, runtime: Runtime, decoding: Decoding
) -> Generator[float, None, dict[str, str]]:
    """Describe the images that an archive lacks, each process its share; yield how many are done.

    Returns:
        File -> why it could not be decoded, of all processes.
    """
    alone = replace(runtime, rank=0, world_size=1)  # a portion of this process's share is divided no further

    def compute_batches(model: TestedNet, _kinds: Sequence[str], positions: Int64Array) -> Iterator[ArrayBatch]:
        for portion in divide(positions, runtime.rank, runtime.world_size):
            for batch in describe_batches(net, model, manifest.layer, manifest.scales, split, alone, decoding, portion):
                if not batch.descriptors:
                    yield ArrayBatch(batch.indices, {}, batch.skipped)
                    continue
                values = aggregate_scales((batch.descriptors[q] for q in manifest.scales), manifest.aggregation)
                files = [split.files[index] for index in batch.indices]
                descriptors = values.astype(np.float16)
                arrays: Arrays = {DESCRIPTORS: descriptors, PATHS: pack_paths(files), PATH_IDS: hash_paths(files)}
                yield ArrayBatch(batch.indices, {SHARDS: arrays}, batch.skipped)

    cache = ArrayCache(folder, {}, must_write=True)
    return compute_missing(cache, net, manifest.digest, [SHARDS], keys, compute_batches, runtime)


def divide(positions: Int64Array, rank: int, world_size: int, portion: int = PORTION) -> Iterator[Int64Array]:
    """Yield one process's share of positions, a portion at a time."""
    share = positions[rank::world_size]
    for first in range(0, len(share), portion):
        yield share[first : first + portion]


def relative_split(root: str, names: Sequence[str]) -> Split:
    """Return a split of photographs, each once, with paths relative to a folder.

    Args:
        root: the folder; if it is empty, the one that contains all photographs.
        names: paths of photographs; those outside of the folder keep their absolute paths.
    """
    paths = [os.path.abspath(name) for name in names]  # noqa: PTH100 - links stay as they are
    root = root or os.path.commonpath({os.path.dirname(path) for path in paths})  # noqa: PTH120
    prefix = root.rstrip(os.sep) + os.sep
    files = tuple(dict.fromkeys(path.removeprefix(prefix) for path in paths))
    return replace(Split.of_photographs([]), root=Path(root), files=files)


def _plan_update(
    folder: Path, net: Net, options: ArchiveOptions, patterns: Sequence[str], log: Log, stack: ExitStack
) -> _Plan:
    """Find what is to be described; the archive stays locked until the stack is closed."""
    resolve_manifest(folder, net, options)  # refuses before the folder is made
    names, notes = photograph_names(patterns)
    log.send_notes(notes)
    if not stack.enter_context(try_lock(folder / LOCK)):
        raise ResourceError(f"Another process writes into {folder}: wait until it ends, or choose another `out`.")
    manifest = resolve_manifest(folder, net, options)  # another process may have just begun the archive
    split = relative_split(manifest.images_root, names)
    keys = run_with_progress(_compute_keys(split), "Looking for new images", len(split))
    recorded = manifest.representation(net).recorded_ranges
    ranges = find_value_ranges([split], recorded, log)
    split = replace(split, value_ranges=ranges)
    manifest = replace(manifest, images_root=str(split.root), value_ranges={**ranges, **manifest.value_ranges})
    manifest.write(folder)
    path_ids, contents = hash_paths(split.files), read_contents(folder, log)
    is_missing = ~np.isin(keys, contents.keys)
    missing = np.flatnonzero(is_missing)
    num_changed = int(np.isin(path_ids[is_missing], contents.path_ids).sum())
    num_present = len(split) - len(missing)
    log.info(f"Images: {len(split):,}{f', of which {num_present:,} are already described' if num_present else ''}.")
    if num_changed:
        log.info(f"Images that have changed and are described again: {num_changed:,}.")
    return _Plan(manifest, split, keys, missing, contents.find_changed_rows(path_ids, keys))


def _compute_keys(split: Split) -> Generator[float, None, Int64Array]:
    parts = [np.empty(0, np.int64)]
    for first in range(0, len(split), KEYS_AT_ONCE):
        part = range(first, min(first + KEYS_AT_ONCE, len(split)))
        parts.append(hash_images(split.subset(part)))
        yield len(part)
    return np.concatenate(parts)


def _finish_update(folder: Path, net: Net, plan: _Plan, skipped: dict[str, str]) -> Archive:
    """Count the images, list those that were skipped, and write the manifest."""
    shards = list_shards(folder)
    num_images, num_bytes = sum(map(len, shards)), sum(shard.path.stat().st_size for shard in shards)
    (folder / SKIPPED).unlink(missing_ok=True)
    if skipped:
        write_json(folder / SKIPPED, skipped)
    if not num_images:
        raise all_skipped_error(plan.split, skipped)
    manifest = replace(plan.manifest, num_images=num_images)
    manifest.write(folder)
    return Archive(
        path=folder,
        num_images=num_images,
        num_new=len(plan.missing) - len(skipped),
        dimensions=manifest.dimensions,
        representation=str(manifest.representation(net)),
        precision=manifest.precision,
        num_bytes=num_bytes,
        skipped=skipped,
    )
