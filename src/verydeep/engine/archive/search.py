"""The images of an archive that are nearest to others: exactly, by the inner product of descriptors of length one.

The descriptors pass by, a few megabytes at a time as float32, so the memory that is needed does not grow with their
number. PyTorch compares them; FAISS's own exact comparison of the same parts is no faster beyond chance
(benchmarks/search.py).
"""

from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from verydeep.engine.archive.manifest import Manifest
from verydeep.engine.archive.shards import all_rows, shards_of
from verydeep.engine.progress import progress_bar
from verydeep.errors import VerydeepError
from verydeep.ops.arrays import Float32Array

SHOWN_FROM = 100_000
"""Images: fewer take no time that a bar could tell."""


@dataclass(frozen=True)
class Neighbor:
    """An image of an archive."""

    path: Path
    similarity: float
    """The inner product of two descriptors of length one, that is the cosine of the angle between them."""


def nearest(
    folder: Path,
    manifest: Manifest,
    queries: Float32Array,
    top: int,
    *,
    device: torch.device | None = None,
) -> list[list[Neighbor]]:
    """The nearest images of an archive to each query, nearest first; equals in any order.

    Args:
        folder: of the archive.
        manifest: its manifest.
        queries: (q, D) descriptors of length one, made as those in the archive were.
        top: how many of each query; all where there are fewer.
        device: where they are compared; None: the CPU.

    Raises:
        VerydeepError: the archive is empty, a shard is damaged, or a job removes images from it meanwhile; what a job
            adds is not seen, and does no harm.
    """
    shards = shards_of(folder)
    starts = [0, *accumulate(map(len, shards))]
    if not starts[-1]:
        raise VerydeepError(f"{folder} holds no descriptors yet: run the verydeep features again that began it.")
    asked = torch.from_numpy(queries).to(device or "cpu")
    values, places = asked.new_empty(len(asked), 0), torch.empty(len(asked), 0, dtype=torch.int64, device=asked.device)
    done = 0
    with progress_bar(visible=starts[-1] >= SHOWN_FROM) as progress:
        task = progress.add_task("Comparing", total=starts[-1], note="")
        for rows in all_rows(shards, manifest.dimensions, asked.device):
            found, where = top_similarities(asked, rows, min(top, len(rows)))
            values, places = torch.cat([values, found], dim=1), torch.cat([places, where + done], dim=1)
            values, order = values.topk(min(top, values.shape[1]), dim=1)
            places = places.gather(1, order)
            done += len(rows)
            progress.update(task, completed=done)
    root, paths = Path(manifest.images_root), dict[int, str]()
    wanted = np.unique(places.cpu().numpy())
    for shard, first, last in zip(shards, starts, starts[1:], strict=False):
        inside = wanted[(wanted >= first) & (wanted < last)].tolist()
        if inside:
            names = shard.paths()
            paths |= {place: names[place - first] for place in inside}
    return [
        [Neighbor(root / paths[place], value) for place, value in zip(*each, strict=True)]
        for each in zip(places.tolist(), values.tolist(), strict=True)
    ]


def top_similarities(queries: Tensor, rows: Tensor, top: int) -> tuple[Tensor, Tensor]:
    """Of queries (q, D) and rows (n, D) the largest inner products (q, top), falling, and which rows' they are."""
    found = (rows @ queries.T).T.topk(top, dim=1)  # a quarter faster than queries @ rows.T (measured)
    return found.values, found.indices
