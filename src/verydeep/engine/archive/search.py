"""Find the images of an archive that are nearest to others, exactly, by the inner product of descriptors.

The descriptors are read a few megabytes at a time, so the memory that a search needs does not grow with their number.
PyTorch compares them; FAISS's exact comparison of the same parts is not faster (benchmarks/search.py).
"""

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from verydeep.engine.archive.manifest import Manifest
from verydeep.engine.archive.shards import Shard, list_shards, read_all_rows
from verydeep.engine.progress import run_with_progress
from verydeep.errors import DataError
from verydeep.ops.arrays import Float32Array

REPORT_EVERY = 100_000
"""Images between two reports of progress: fewer are compared at once, so no bar is needed for them."""


@dataclass(frozen=True)
class Neighbor:
    """An image of an archive and its similarity to a query."""

    path: Path
    similarity: float
    """Inner product of two descriptors of length one: the cosine of the angle between them."""


def find_neighbors(
    folder: Path, manifest: Manifest, queries: Float32Array, top: int, *, device: torch.device | None = None
) -> list[list[Neighbor]]:
    """Return the nearest images of an archive to each query, nearest first; equals come in any order.

    Images that are added during the search are not considered.

    Args:
        folder: the archive's folder.
        manifest: the archive's manifest.
        queries: (q, D) descriptors of length one, made like those in the archive.
        top: number of neighbors of each query; all images if there are fewer.
        device: where descriptors are compared; None for the CPU.

    Raises:
        DataError: the archive is empty, or a shard is damaged.
        ResourceError: images are removed from the archive meanwhile.
    """
    shards = list_shards(folder)
    total = sum(map(len, shards))
    if not total:
        raise DataError(f"{folder} holds no descriptors yet: run the `verydeep features` that began it again.")
    steps = find_nearest_rows(shards, manifest.dimensions, torch.from_numpy(queries).to(device or "cpu"), top)
    similarities, rows = run_with_progress(steps, "Comparing", total)
    paths = read_paths_of_rows(shards, rows)
    root = Path(manifest.images_root)
    return [
        [Neighbor(root / paths[row], similarity) for row, similarity in zip(*neighbors, strict=True)]
        for neighbors in zip(rows.tolist(), similarities.tolist(), strict=True)
    ]


def find_nearest_rows(
    shards: Sequence[Shard], dimensions: int, queries: Tensor, top: int, at_once: int | None = None
) -> Generator[float, None, tuple[Tensor, Tensor]]:
    """Compare queries with all descriptors; yield numbers of compared images.

    Args:
        shards: the shards of an archive.
        dimensions: D.
        queries: (q, D) descriptors of length one, on the device that compares.
        top: number of rows for each query.
        at_once: number of descriptors that are compared at once; None takes as many as a processor's cache holds.

    Returns:
        Similarities (q, top), largest first, and the rows (q, top) over all shards that have them.
    """
    similarities, rows = queries.new_empty(len(queries), 0), queries.new_empty(len(queries), 0, dtype=torch.int64)
    first, reported = 0, 0
    for part in read_all_rows(shards, dimensions, queries.device, at_once):
        part_similarities, part_rows = find_largest_products(queries, part, min(top, len(part)))
        similarities = torch.cat([similarities, part_similarities], dim=1)
        rows = torch.cat([rows, part_rows + first], dim=1)
        similarities, order = similarities.topk(min(top, similarities.shape[1]), dim=1)
        rows = rows.gather(1, order)
        first += len(part)
        if first - reported >= REPORT_EVERY:
            yield first - reported
            reported = first
    yield first - reported
    return similarities, rows


def find_largest_products(queries: Tensor, rows: Tensor, top: int) -> tuple[Tensor, Tensor]:
    """Return the largest inner products (q, top) of queries (q, D) with rows (n, D), and the indices of these rows."""
    products = (rows @ queries.T).T.topk(top, dim=1)  # a quarter faster than queries @ rows.T (measured)
    return products.values, products.indices


def read_paths_of_rows(shards: Sequence[Shard], rows: Tensor) -> dict[int, str]:
    """Return row -> path, for rows that are counted over all shards."""
    starts = [0, *accumulate(map(len, shards))]
    distinct_rows = np.unique(rows.cpu().numpy())
    paths: dict[int, str] = {}
    for shard, first, last in zip(shards, starts, starts[1:], strict=False):
        inside = distinct_rows[(distinct_rows >= first) & (distinct_rows < last)].tolist()
        if inside:
            names = shard.read_paths()
            paths |= {row: names[row - first] for row in inside}
    return paths
