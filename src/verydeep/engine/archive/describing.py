"""A job that describes photographs into an archive: what is asked for, what is there, what is left of it.

The main process lists the photographs and finds out which are described already; all processes share the others.
"""

import os
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from verydeep.data.decoding import Decoding
from verydeep.data.photographs import photograph_names
from verydeep.data.split import Split
from verydeep.engine.archive.manifest import MANIFEST, Manifest
from verydeep.engine.archive.shards import SHARDS, DamagedShardError, Shard, path_ids, shards_of
from verydeep.engine.archive.streaming import MissingImages, describe_missing_images
from verydeep.engine.descriptors.activations import default_layer, image_ids
from verydeep.engine.descriptors.representation import Representation, run_described
from verydeep.engine.log import Log
from verydeep.engine.nets.digests import digest_of_net
from verydeep.engine.nets.folders import RunFolder, Weights
from verydeep.engine.nets.net import Net
from verydeep.engine.progress import progress_bar
from verydeep.engine.runtime import Precision, Runtime, wants_bf16
from verydeep.errors import VerydeepError
from verydeep.files import check_output_folder, try_lock, write_json
from verydeep.ops.arrays import BoolArray, Int64Array
from verydeep.ops.descriptors import Aggregation

SKIPPED, LOCK = "skipped.json", ".lock"

DEFAULT_SCALES = (256,)
"""256, 384 and 512, the paper's, take seven times as long."""

Outdated = list[tuple[Shard, BoolArray]]
"""Shards, and which of their rows are of images as they were before they changed."""


@dataclass(frozen=True)
class ArchiveContents:
    """What an archive holds."""

    shards: list[Shard]
    sizes: list[int]
    path_ids: Int64Array
    """Of all shards, one behind the other."""
    ids: Int64Array

    def outdated(self, paths: Int64Array, ids: Int64Array) -> Outdated:
        """Of images as they are now, by the ids of their paths and their own."""
        rows = np.isin(self.path_ids, paths) & ~np.isin(self.ids, ids)
        each = np.split(rows, np.cumsum(self.sizes))  # and nothing behind the last
        return [(shard, part) for shard, part in zip(self.shards, each, strict=False) if part.any()]


@dataclass(frozen=True)
class DescribeOptions:
    """How photographs are to be described; what is None is as the archive has it or, of a new one, the usual."""

    net: Net
    weights: Weights = "last"
    layer: str | None = None
    scales: tuple[int, ...] | None = None
    aggregation: Aggregation | None = None
    precision: Precision = "auto"
    fast_decode: bool = False
    """False is as the archive has it, too."""
    device: str = "auto"

    def manifest(self, folder: Path) -> Manifest:
        """What the archive in ``folder`` says, or is going to say.

        Raises:
            VerydeepError: the folder holds other things, or descriptors of another kind; or the net has no such layer.
        """
        if not (folder / MANIFEST).exists():
            check_output_folder(folder, lambda name: name.startswith(".") or name == f"{MANIFEST}.tmp", "descriptors")
            return self.new_manifest()
        there = Manifest.read(folder)
        if digest_of_net(self.net) != there.digest:
            raise VerydeepError(
                f"{folder} holds descriptors by {there.net} as it was then, and {self.net.path} is another net: choose "
                "another --out."
            )
        for option, known, wanted in (
            ("--layer", there.layer, self.layer),
            ("--scales", there.scales, self.scales),
            ("--aggregate", there.aggregation, self.aggregation),
            ("--precision", there.precision, None if self.precision == "auto" else self.precision),
        ):
            if wanted not in (None, known):
                told = ",".join(map(str, known)) if isinstance(known, tuple) else known
                raise VerydeepError(f"{folder} holds descriptors with {option} {told}: give that, or another --out.")
        if self.fast_decode and not there.fast_decode:
            raise VerydeepError(f"{folder} holds descriptors without --fast-decode: leave it out, or another --out.")
        return replace(there, net=self.net.stored_path, weights=self.weights)  # it may have been moved

    def new_manifest(self) -> Manifest:
        """Of an archive that is not there yet, nor known where its images are.

        Raises:
            VerydeepError: the net has no such layer.
        """
        layer = self.layer or default_layer(self.net.config)
        options = Representation((self.net,), (layer,), self.scales or DEFAULT_SCALES, self.aggregation or "average")
        options.check()
        return Manifest(
            net=self.net.stored_path,
            weights=self.weights,
            digest=digest_of_net(self.net),
            layer=layer,
            scales=options.scales,
            aggregation=options.aggregation,
            precision="bf16" if wants_bf16(self.precision, self.device) else "fp32",
            fast_decode=self.fast_decode,
            dimensions=num_dimensions(options),
            images_root="",
        )


def archive_weights(folder: Path, run: Path) -> Weights:
    """Which weights of a run an archive's images were described by; of a new archive, or a single net, the last.

    Raises:
        VerydeepError: the archive is damaged.
    """
    known = (folder / MANIFEST).exists() and RunFolder(run).best.is_dir()
    return Manifest.read(folder).weights if known else "last"


def num_dimensions(options: Representation) -> int:
    """Of an image's descriptor by one net."""
    (net,), (layer,), side = options.nets, options.layers, options.nets[0].config.crop
    with torch.device("meta"):
        model = net.config.build().to("meta")
        (found,) = model.activations(torch.empty(1, 3, side, side), [layer]).values()
    return int(found.shape[1]) * (len(options.scales) if options.aggregation == "stack" else 1)


def describe_archive(
    folder: Path, options: DescribeOptions, patterns: Sequence[str], runtime: Runtime, decoding: Decoding
) -> None:
    """Describe photographs into an archive, and say so; what it holds already is not computed again.

    Of images that have changed, what was known is forgotten at the end: a job that fails takes nothing away.

    Args:
        folder: of the archive.
        options: how they are to be described.
        patterns: which photographs.
        runtime: what with.
        decoding: what a file that cannot be decoded means; how fast they are decoded is as the archive has it.

    Raises:
        VerydeepError: a pattern matches no photograph, another job writes there, not one image could be decoded, or
            the processes do not see the same folder.
    """
    log = Log(silent=not runtime.is_main)
    with ExitStack() as stack:
        runtime.check_shared(folder, "by --out")
        begun = begin(folder, options, patterns, log, stack) if runtime.is_main else None
        begun = runtime.from_main(begun)
        assert begun is not None
        manifest, missing, outdated = begun
        how = manifest.representation(options.net)
        decoding = replace(decoding, fast=manifest.fast_decode)
        job = describe_missing_images(folder, missing, how, manifest.digest, runtime, decoding)
        total = missing.num_there + len(missing.split)
        skipped = run_described(job, "Describing", total, visible=runtime.is_main and len(missing.split) > 1)
        if runtime.is_main:
            log.info(f"Described by {how}, {manifest.precision}.")
            for shard, rows in outdated:
                shard.drop(rows)
            end(folder, manifest, missing, skipped, log)


def begin(
    folder: Path, options: DescribeOptions, patterns: Sequence[str], log: Log, stack: ExitStack
) -> tuple[Manifest, MissingImages, Outdated]:
    """Find out what is to be done, on the main process; the archive is locked until the stack is closed.

    Raises:
        VerydeepError: as ``describe_archive``.
    """
    options.manifest(folder)  # refuses before anything is left there
    names = photograph_names(patterns)
    if not stack.enter_context(try_lock(folder / LOCK)):
        raise VerydeepError(f"Another job writes into {folder}: wait for its end, or choose another --out.")
    manifest = options.manifest(folder)  # another job may just have begun it
    split = relative_split(manifest.images_root, names)
    manifest = replace(manifest, images_root=str(split.root))
    manifest.write(folder)
    ids, paths = ids_of(split), path_ids(split.files)
    held = read_contents(folder, log)
    lacking = np.flatnonzero(~np.isin(ids, held.ids))
    there, changed = len(split) - len(lacking), int(np.isin(paths[lacking], held.path_ids).sum())
    log.info(f"Images: {len(split):,}{f', of which {there:,} are described already' if there else ''}.")
    if changed:
        log.info(f"Changed since they were described, and described anew: {changed:,} images.")
    return manifest, MissingImages(split.subset(lacking.tolist()), ids[lacking], there), held.outdated(paths, ids)


def relative_split(root: str, names: Sequence[str]) -> Split:
    """Photographs, each once, their paths relative to a folder or, if it is "", to the one that holds them all.

    Those outside of it keep their whole paths.
    """
    whole = [os.path.abspath(name) for name in names]  # noqa: PTH100 - links stay as they are
    root = root or os.path.commonpath({os.path.dirname(path) for path in whole})  # noqa: PTH120
    inside = root.rstrip(os.sep) + os.sep
    files = tuple(dict.fromkeys(path.removeprefix(inside) for path in whole))
    return replace(Split.of_photographs([]), root=Path(root), files=files)


def ids_of(split: Split) -> Int64Array:
    """``image_ids``, behind a bar where they are many: each file is looked at."""
    at_once, found = 10_000, [np.empty(0, np.int64)]
    with progress_bar(visible=len(split) > at_once) as progress:
        task = progress.add_task("Looking for what is new", total=len(split), note="")
        for first in range(0, len(split), at_once):
            part = range(first, min(first + at_once, len(split)))
            found.append(image_ids(split.subset(part)))
            progress.advance(task, len(part))
    return np.concatenate(found)


def read_contents(folder: Path, log: Log) -> ArchiveContents:
    """What an archive holds, once shards that are damaged are set aside, and halves that a kill left removed."""
    for left in (folder / SHARDS).glob("*.tmp"):
        left.unlink()
    shards, paths, ids = [], [], []
    for shard in shards_of(folder):
        try:
            its_paths, its_ids = shard.ids()
        except DamagedShardError:
            aside = shard.path.rename(shard.path.with_suffix(".damaged"))
            log.info(f"Damaged, and set aside as {aside}: its images are described anew where they are named.")
        else:
            shards.append(shard)
            paths.append(its_paths)
            ids.append(its_ids)
    nothing = np.empty(0, np.int64)
    return ArchiveContents(
        shards, list(map(len, ids)), np.concatenate([nothing, *paths]), np.concatenate([nothing, *ids])
    )


def end(folder: Path, manifest: Manifest, missing: MissingImages, skipped: dict[str, str], log: Log) -> None:
    """Count, list what was skipped, and say what there is now.

    Raises:
        VerydeepError: there is nothing.
    """
    shards = shards_of(folder)
    count, size = sum(map(len, shards)), sum(shard.path.stat().st_size for shard in shards)
    (folder / SKIPPED).unlink(missing_ok=True)
    if skipped:
        write_json(folder / SKIPPED, skipped)
        log.info(f"Skipped: {len(skipped):,} files that cannot be decoded, listed in {folder / SKIPPED}.")
    if not count:
        raise VerydeepError(f"Not one of the {len(missing.split):,} images could be decoded.")
    replace(manifest, num_images=count).write(folder)
    log.info(
        f"Written: {folder}/ ({MANIFEST}, {SHARDS}/): {count:,} images, {manifest.dimensions:,} dimensions, "
        f"{size / 1e6:,.1f} MB."
    )
    log.info(f"Try:  verydeep search {folder} photo.jpg")
