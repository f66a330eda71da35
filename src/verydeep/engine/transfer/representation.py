"""How images are described for a linear classifier (appendix B): by which nets, at which layer and scales.

Of one net: descriptors of several test scales are averaged, stacked, or the largest value taken. Of several nets: they
are stacked. Whatever comes out has length one.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from verydeep.data.decoding import STRICT, Decoding
from verydeep.data.split import Split
from verydeep.engine.members import Net
from verydeep.engine.progress import progress_bar
from verydeep.engine.runtime import Runtime
from verydeep.engine.transfer.features import (
    Described,
    Look,
    describe_and_keep,
    image_ids,
    kept_descriptors,
    shelf_in_cache,
)
from verydeep.errors import VerydeepError
from verydeep.ops.descriptors import Aggregation, Floats, Normalization, aggregated, stacked


@dataclass(frozen=True)
class Representation:
    """What an image becomes."""

    nets: tuple[Net, ...]
    layers: tuple[str, ...]
    """Of each net."""
    scales: tuple[int, ...]
    aggregation: Aggregation = "average"
    normalization: Normalization = "parts"

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
        how = {"average": "averaged", "stack": "stacked", "max": "the largest of each"}[self.aggregation]
        scales = ", ".join(map(str, self.scales))
        return f"{names}, Q={scales}{f' {how}' if len(self.scales) > 1 else ''}"

    def looks(self, layer: str) -> list[Look]:
        """At one net's layer."""
        return [Look(layer, scale) for scale in self.scales]


@dataclass(frozen=True, eq=False)
class Descriptors:
    """Of images of a split."""

    indices: npt.NDArray[np.int64]
    """(n,) in the split, ascending, without those that could not be decoded."""
    values: Floats
    """(n, D) of length one."""
    skipped: dict[str, str]
    """File -> why it could not be decoded."""


def describe_split(
    representation: Representation, split: Split, runtime: Runtime, decoding: Decoding = STRICT
) -> Descriptors | None:
    """Describe images, behind a bar; what the cache holds is not computed again. None but on the main process.

    Raises:
        VerydeepError: a net has no such layer, an image cannot be decoded, or not one could.
    """
    skipped: dict[str, str] = {}
    shelves = [shelf_in_cache(net, split, runtime, decoding) for net in representation.nets]
    for number, (net, layer, shelf) in enumerate(
        zip(representation.nets, representation.layers, shelves, strict=True), start=1
    ):
        each = describe_and_keep(net, split, representation.looks(layer), shelf, runtime, decoding)
        title = f"Describing, {net.path.name} ({number} of {len(shelves)})"
        skipped |= followed(each, title, len(split), visible=runtime.is_main and len(split) > 1)
    runtime.gather(None)  # all of it is on the disk before anybody reads it
    if not runtime.is_main:
        return None
    indices = np.flatnonzero([file not in skipped for file in split.files])
    if not len(indices):
        raise VerydeepError(f"Not one of the {len(split)} images of {split.root} could be decoded.")
    ids = image_ids(split.subset(indices.tolist()))
    parts = [
        aggregated(
            [kept_descriptors(shelf, ids, look) for look in representation.looks(layer)],
            representation.aggregation,
            representation.normalization,
        )
        for shelf, layer in zip(shelves, representation.layers, strict=True)
    ]
    values = parts[0] if len(parts) == 1 else stacked(parts, representation.normalization)
    return Descriptors(indices, values, skipped)


def followed(job: Iterator[float | Described], title: str, total: int, *, visible: bool) -> dict[str, str]:
    """Run a job to its end behind a bar of images; returns what was skipped."""
    with progress_bar(visible=visible) as progress:
        task = progress.add_task(title, total=total, note="")
        for done in job:
            if isinstance(done, Described):
                return done.skipped
            progress.advance(task, done)
    raise AssertionError("the job's last word is what it skipped")


def union(splits: Sequence[Split]) -> Split:
    """The images of splits of one set, each once, sorted by path; below the folder that holds them all."""
    first, root = splits[0], Path(os.path.commonpath([split.root for split in splits]))
    prefixes = [split.root.relative_to(root) for split in splits]
    files = sorted(
        {(prefix / file).as_posix() for prefix, split in zip(prefixes, splits, strict=True) for file in split.files}
    )
    return Split(
        name="all",
        root=root,
        files=tuple(files),
        labels=None,
        class_names=first.class_names,
        class_words=first.class_words,
        layout=first.layout,
        camera_rotation=first.camera_rotation,
    )
