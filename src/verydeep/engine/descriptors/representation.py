"""How images are described for a linear classifier (appendix B): by which nets, at which layer and scales.

Of one net: descriptors of several test scales are averaged, stacked, or the largest value taken. Those of several nets,
and of an image and of the box on it, are stacked. Whatever comes out has length one.
"""

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import torch

from verydeep.configs.transfer import Coverage
from verydeep.data.decoding import STRICT, Decoding
from verydeep.data.split import Split, all_skipped_error
from verydeep.engine.descriptors.activations import (
    DescribeResult,
    LayerAtScale,
    cache_ids,
    cached_descriptors,
    describe_missing,
    descriptor_cache,
)
from verydeep.engine.nets.net import Net
from verydeep.engine.progress import progress_bar
from verydeep.engine.runtime import Runtime
from verydeep.errors import VerydeepError
from verydeep.files import cache_folder
from verydeep.ops.arrays import Float32Array, Int64Array
from verydeep.ops.descriptors import Aggregation, Normalization, compose_descriptors

AGGREGATED: Mapping[Aggregation, str] = {
    "average": "averaged",
    "stack": "stacked",
    "max": "the largest of each",
}
"""What became of several scales, for people."""


@dataclass(frozen=True)
class Representation:
    """What a sample, an image or a box on one, becomes."""

    nets: tuple[Net, ...]
    layers: tuple[str, ...]
    """Of each net."""
    scales: tuple[int, ...]
    aggregation: Aggregation = "average"
    normalization: Normalization = "parts"
    coverage: Coverage = "image"

    def check(self) -> None:
        """Refuse layers that the nets do not have, before anything is computed.

        Raises:
            VerydeepError: that is so.
        """
        for net, layer in zip(self.nets, self.layers, strict=True):
            with torch.device("meta"):
                net.config.build().check_layer(layer)

    def __str__(self) -> str:
        names = " + ".join(f"{net.path.name} {layer}" for net, layer in zip(self.nets, self.layers, strict=True))
        how = AGGREGATED[self.aggregation]
        scales = ", ".join(map(str, self.scales))
        of_both = ", of the image and of the box" if self.coverage == "image+box" else ""
        whole = ", the whole normalized alone" if self.normalization == "whole" else ""
        return f"{names}, Q={scales}{f' {how}' if len(self.scales) > 1 else ''}{of_both}{whole}"

    def layers_at_scales(self, layer: str) -> list[LayerAtScale]:
        """At one net's layer."""
        return [LayerAtScale(layer, scale) for scale in self.scales]

    def views(self, split: Split) -> list[Split]:
        """The samples of a split as the nets see them: their whole images, then no more than their boxes."""
        return [split, split.cropped_to_boxes()] if self.coverage == "image+box" else [split]


@dataclass(frozen=True, eq=False)
class Descriptors:
    """Of samples of a split."""

    indices: Int64Array
    """(n,) in the split, ascending, without those that could not be decoded."""
    values: Float32Array
    """(n, D) of length one."""
    skipped: dict[str, str]
    """File -> why it could not be decoded."""


def describe_split(
    representation: Representation, split: Split, runtime: Runtime, decoding: Decoding = STRICT
) -> Descriptors | None:
    """Describe samples, behind a bar; what the cache holds is not computed again. None but on the main process.

    Raises:
        VerydeepError: as ``compute_descriptors``, or not one image could be decoded.
    """
    skipped = compute_descriptors(representation, split, runtime, decoding)
    return read_descriptors(representation, split, skipped, runtime, decoding) if runtime.is_main else None


def read_descriptors(
    representation: Representation,
    split: Split,
    skipped: dict[str, str],
    runtime: Runtime,
    decoding: Decoding = STRICT,
) -> Descriptors:
    """What ``compute_descriptors`` computed of a split, put together.

    Raises:
        VerydeepError: not one image could be decoded, or one has changed since.
    """
    ids = [cache_ids(view) for view in representation.views(split)]
    layers_at_scales = [
        (descriptor_cache(net, split, runtime, decoding), representation.layers_at_scales(layer))
        for net, layer in zip(representation.nets, representation.layers, strict=True)
    ]
    described = np.ones(len(split), np.bool_)
    for cache, each_scale in layers_at_scales:
        for layer_at_scale in each_scale:
            known = cache.indices(str(layer_at_scale))
            for of_view in ids:
                described &= np.isin(of_view, known)
    if not described.any():
        raise all_skipped_error(split)
    lacking = [file for file, is_there in zip(split.files, described, strict=True) if not is_there]
    if changed := sorted(set(lacking) - skipped.keys()):
        raise VerydeepError(
            f"{split.root / changed[0]} changed while it was described, or the cache was emptied: run the same again."
        )
    parts = (
        (cached_descriptors(cache, of_view[described], layer_at_scale) for layer_at_scale in each_scale)
        for cache, each_scale in layers_at_scales
        for of_view in ids
    )
    values = compose_descriptors(parts, representation.aggregation, representation.normalization)
    return Descriptors(np.flatnonzero(described), values, skipped)


def compute_descriptors(
    representation: Representation, split: Split, runtime: Runtime, decoding: Decoding = STRICT
) -> dict[str, str]:
    """Compute all that is needed of a split and not kept yet, by all processes.

    Returns:
        File -> why it could not be decoded.

    Raises:
        VerydeepError: a net has no such layer, an image cannot be decoded, or the processes have no cache in common.
    """
    runtime.check_shared(cache_folder(), "VERYDEEP_CACHE moves the cache")
    skipped: dict[str, str] = {}
    views = representation.views(split)
    jobs = list(product(zip(representation.nets, representation.layers, strict=True), views))
    for number, ((net, layer), view) in enumerate(jobs, start=1):
        cache = descriptor_cache(net, split, runtime, decoding)
        each = describe_missing(net, view, representation.layers_at_scales(layer), cache, runtime, decoding)
        what = "Describing" if view.regions is None else "Describing boxes"
        title = f"{what}, {net.path.name} ({number} of {len(jobs)})"
        skipped |= run_described(each, title, len(split), visible=runtime.is_main and len(split) > 1)
    runtime.gather(None)  # all of it is on the disk before anybody reads it
    return skipped


def run_described(job: Iterator[float | DescribeResult], title: str, total: int, *, visible: bool) -> dict[str, str]:
    """Run a job to its end behind a bar of images; returns what was skipped."""
    with progress_bar(visible=visible) as progress:
        task = progress.add_task(title, total=total, note="")
        for done in job:
            if isinstance(done, DescribeResult):
                return done.skipped
            progress.advance(task, done)
    raise AssertionError("the job's last word is what it skipped")


def union(splits: Sequence[Split]) -> Split:
    """The samples of splits of one set, each once, sorted by path; below the folder that holds them all."""
    assert len({split.boxes is None for split in splits}) == 1
    first, root = splits[0], Path(os.path.commonpath([split.root for split in splits]))
    places = {split.sample_key(index): (split, index) for split in splits for index in range(len(split))}
    each = [(split.path(index).relative_to(root).as_posix(), split, index) for split, index in places.values()]
    each.sort(key=lambda sample: sample[0])
    boxes = tuple(split.boxes[index] for _, split, index in each if split.boxes is not None)
    return Split(
        name="all",
        root=root,
        files=tuple(file for file, _, _ in each),
        boxes=boxes or None,
        labels=None,
        class_names=first.class_names,
        class_words=first.class_words,
        layout=first.layout,
        camera_rotation=first.camera_rotation,
    )
