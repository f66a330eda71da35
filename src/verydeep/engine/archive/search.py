"""Find the images of an archive that are nearest to others, exactly, by the inner product of descriptors.

The descriptors are read a few megabytes at a time, so the memory that a search needs does not grow with their number.
PyTorch compares them; FAISS's exact comparison of the same parts is not faster (benchmarks/search.py).

An archive stores descriptors in float16, which changes their length by up to 1 part in 10,000: the photographs of a
burst differ by less. So a query is rounded in the same way, and both are divided by their lengths after rounding. The
best candidates are compared again in float64, so that a photograph has similarity 1 to itself.
"""

import os
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from verydeep.engine.archive.manifest import Manifest
from verydeep.engine.archive.shards import Shard, list_shards, read_all_rows
from verydeep.engine.progress import run_with_progress
from verydeep.errors import DataError
from verydeep.ops.arrays import Float32Array, Float64Array, FloatArray, Int64Array

REPORT_EVERY = 100_000
"""Images between two reports of progress: fewer are compared at once, so no bar is needed for them."""

NUM_SPARE = 16
"""Candidates of a query beyond twice the neighbors asked for: float32 may rank equal photographs in any order."""

DECIMALS = 8
"""Decimals of a similarity; smaller differences arise where a net computes one photograph in two batches."""

PAIRS_AT_ONCE = 2048
"""Pairs of a query and a candidate that are compared in float64 at once."""


@dataclass(frozen=True)
class Neighbor:
    """An image of an archive and its similarity to a query."""

    path: Path
    similarity: float
    """Inner product of two descriptors of length one: the cosine of the angle between them, at most 1."""


def find_neighbors(
    folder: Path,
    manifest: Manifest,
    queries: Float32Array,
    top: int,
    *,
    files: Sequence[str] = (),
    device: torch.device | None = None,
) -> list[list[Neighbor]]:
    """Return the nearest images of an archive to each query, nearest first; equals in the order of their paths.

    Images that are added during the search are not considered.

    Args:
        folder: the archive's folder.
        manifest: the archive's manifest.
        queries: (q, D) descriptors of length one, made like those in the archive.
        top: number of neighbors of each query; all images if there are fewer.
        files: q paths of the queries, if they are files: a photograph of the archive comes before its equals.
        device: where descriptors are compared; None for the CPU.

    Raises:
        DataError: the archive is empty, or a shard is damaged.
        ResourceError: images are removed from the archive meanwhile.
    """
    shards = list_shards(folder)
    total = sum(map(len, shards))
    if not total:
        raise DataError(f"{folder} holds no descriptors yet: run its `verydeep features` command again.")
    rounded = normalize_stored(queries.astype(np.float16))
    on_device = torch.from_numpy(rounded.astype(np.float32)).to(device or "cpu")
    steps = find_nearest_rows(shards, manifest.dimensions, on_device, min(total, 2 * top + NUM_SPARE))
    rows = run_with_progress(steps, "Comparing", total)[1].cpu().numpy()
    similarities, names = compare_candidates(shards, rows, rounded)
    root = Path(manifest.images_root)
    neighbors = []
    for number, candidates in enumerate(rows.tolist()):
        own = Path(os.path.abspath(files[number])) if files else None  # noqa: PTH100 - links stay as they are
        found = [
            Neighbor(root / names[row], similarity)
            for row, similarity in zip(candidates, similarities[number].tolist(), strict=True)
        ]
        if own is not None and similarities[number].min() == 1 and all(each.path != own for each in found):
            own_row = _find_row(shards, root, own)  # so many copies of it are there that it was no candidate
            if own_row is not None:
                similarity = compare_candidates(shards, np.array([[own_row]]), rounded[number : number + 1])[0]
                found.append(Neighbor(own, float(similarity[0, 0])))
        found.sort(key=lambda each: (-each.similarity, each.path != own, str(each.path)))
        neighbors.append(found[:top])
    return neighbors


def _find_row(shards: Sequence[Shard], root: Path, path: Path) -> int | None:
    """Return the row of a photograph, counted over all shards; None if the archive does not have it."""
    name = path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
    first = 0
    for shard in shards:
        names = shard.read_paths()
        if name in names:
            return first + names.index(name)
        first += len(names)
    return None


def normalize_stored(descriptors: FloatArray) -> Float64Array:
    """Return float16 descriptors (n, D) in float64, divided by their length after rounding; zero stays zero."""
    values = descriptors.astype(np.float64)
    lengths = np.sqrt((values * values).sum(axis=1, keepdims=True))
    return values / np.where(lengths > 0, lengths, 1)


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
    """Return the largest similarities (q, top) of queries (q, D) to rows (n, D) of any length, and these rows' indices.

    The queries have length one.
    """
    lengths = torch.linalg.vector_norm(rows, dim=1).clamp_(min=torch.finfo(rows.dtype).tiny)
    products = (rows @ queries.T).div_(lengths[:, None])  # a quarter faster than queries @ rows.T (measured)
    nearest = products.T.topk(top, dim=1)
    return nearest.values, nearest.indices


def compare_candidates(
    shards: Sequence[Shard], rows: Int64Array, queries: Float64Array
) -> tuple[Float64Array, dict[int, str]]:
    """Compare each query with its candidates in float64.

    Args:
        shards: the shards of an archive.
        rows: (q, m) candidates of each query, counted over all shards.
        queries: (q, D) descriptors as ``normalize_stored`` returns them.

    Returns:
        Similarities (q, m), at most 1, and row -> path.
    """
    similarities, paths = np.empty(rows.shape), dict[int, str]()
    for shard, (first, last) in zip(shards, pairwise((0, *accumulate(map(len, shards)))), strict=True):
        query_numbers, places = np.nonzero((rows >= first) & (rows < last))
        if not len(places):
            continue
        wanted, positions = np.unique(rows[query_numbers, places], return_inverse=True)
        names, descriptors = shard.read_paths(), shard.read_some(wanted - first)
        paths |= {row: names[row - first] for row in wanted.tolist()}
        for start in range(0, len(places), PAIRS_AT_ONCE):
            part = slice(start, start + PAIRS_AT_ONCE)
            products = normalize_stored(descriptors[positions[part]]) * queries[query_numbers[part]]
            similarities[query_numbers[part], places[part]] = products.sum(axis=1)
    return similarities.round(DECIMALS).clip(max=1), paths
