"""Queries a second in a million descriptors on disk, and the memory that it takes: ours against NumPy and FAISS.

    python -m benchmarks.search --write     # 8.4 GB of disk, and as much memory for FAISS's index; a quarter of an hour

An archive as ``verydeep features`` leaves it is drawn: 4096 values of length one, float16, half of them zero, in shards
of 32,768 images. Ours is ``engine.archive.search.find_neighbors``, which reads all of it for each call and compares by
PyTorch; FAISS's own exact comparison is given the same parts. NumPy is what docs/features.md reads an archive with: one
shard after the other, as float32. FAISS's index holds all of it in memory, as float16; building it is timed, too. It
comes last, as there may be no room for it beside the files, which the system keeps in memory after the first, untimed
call. That all find the same is checked in each call. Nothing else may run: FAISS's threads wait for each other, and
are several times as slow beside another process.

Memory is the peak of a process of its own that answers one batch, above what it had before it touched a descriptor
(Linux alone tells it).
"""

import argparse
import multiprocessing
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import faiss
import numpy as np
import torch
from safetensors.numpy import load_file, save_file

from benchmarks.timing import interleave, peak, rate, report, speedup, table
from verydeep.engine.archive.manifest import Manifest
from verydeep.engine.archive.search import find_largest_products, find_neighbors
from verydeep.engine.archive.shards import list_shards, pack_paths, read_all_rows
from verydeep.engine.progress import track
from verydeep.ops.arrays import Float32Array

OURS, FAISS, NUMPY, INDEX = "ours", "FAISS, a part at a time", "NumPy", "FAISS, an index in memory"
SHARD, TOP, BATCH = 32_768, 10, 64
TOLERANCE = 1e-4
"""Of a similarity."""

Side = Callable[[Float32Array], Float32Array]
"""Queries (q, D) -> the similarities of their neighbors (q, TOP), falling."""


@dataclass(frozen=True)
class Case:
    """An archive."""

    folder: Path
    images: int
    dimensions: int

    @property
    def manifest(self) -> Manifest:
        """As far as a search asks for it."""
        return Manifest(
            net="none",
            weights="last",
            digest="",
            layer="relu7",
            scales=(256,),
            aggregation="average",
            precision="fp32",
            fast_decode=False,
            dimensions=self.dimensions,
            images_root="/",
        )

    def drawn(self, seed: int, count: int) -> Float32Array:
        """(count, D) of length one, half of the values zero, as behind a ReLU."""
        values = np.random.default_rng(seed).standard_normal((count, self.dimensions), np.float32).clip(0)
        return np.asarray(values / np.linalg.norm(values, axis=1, keepdims=True), np.float32)

    def write(self) -> None:
        """Draw it, shard by shard."""
        (self.folder / "shards").mkdir()
        firsts = range(0, self.images, SHARD)
        for first in track(firsts, "Drawing descriptors", len(firsts)):
            count = min(SHARD, self.images - first)
            paths = pack_paths([f"{number}.jpg" for number in range(first, first + count)])
            values = self.drawn(first + 1, count).astype(np.float16)
            save_file({"descriptors": values, "paths": paths}, self.folder / "shards" / f"{first:09d}.safetensors")


def by_ours(case: Case, queries: Float32Array) -> Float32Array:
    found = find_neighbors(case.folder, case.manifest, queries, TOP)
    return np.array([[one.similarity for one in each] for each in found], np.float32)


def by_faiss(case: Case, queries: Float32Array) -> Float32Array:
    best = np.empty((len(queries), 0), np.float32)
    for rows in read_all_rows(list_shards(case.folder), case.dimensions, torch.device("cpu")):
        found, _ = faiss.knn(queries, rows.numpy(), TOP, metric=faiss.METRIC_INNER_PRODUCT)
        best = -np.sort(-np.concatenate([best, found], axis=1), axis=1)[:, :TOP]
    return best


def by_numpy(case: Case, queries: Float32Array) -> Float32Array:
    best = np.empty((len(queries), 0), np.float32)
    for shard in list_shards(case.folder):
        values = load_file(shard.path)["descriptors"].astype(np.float32)
        best = np.concatenate([best, queries @ values.T], axis=1)
        best = np.sort(np.partition(best, -TOP, axis=1)[:, -TOP:], axis=1)[:, ::-1]
    return best


def built(case: Case) -> faiss.Index:
    """FAISS's own index, which takes the bytes of float16 as they are."""
    index = faiss.IndexScalarQuantizer(case.dimensions, faiss.ScalarQuantizer.QT_fp16, faiss.METRIC_INNER_PRODUCT)
    index.is_trained = True
    for shard in list_shards(case.folder):
        index.add_sa_codes(load_file(shard.path)["descriptors"].view(np.uint8))
    return index


def by_index(index: faiss.Index, queries: Float32Array) -> Float32Array:
    found: Float32Array = index.search(queries, TOP)[0]
    return found


def sides_of(case: Case) -> dict[str, Callable[[], Side]]:
    """What makes each side ready, in a process of its own or in this one."""
    return {
        OURS: lambda: partial(by_ours, case),
        FAISS: lambda: partial(by_faiss, case),
        NUMPY: lambda: partial(by_numpy, case),
        INDEX: lambda: partial(by_index, built(case)),
    }


def megabytes(case: Case, name: str) -> float:
    """The peak of this process's memory while one batch is answered, above what it was before."""
    queries = case.drawn(0, BATCH)
    find_largest_products(torch.from_numpy(queries), torch.from_numpy(queries), 1)  # threads and their buffers exist
    before = peak()
    sides_of(case)[name]()(queries)
    return (peak() - before) / 1e6


def memory(case: Case, name: str) -> float:
    """The same in a fresh process."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(megabytes, case, name).result()


def checked(name: str, side: Side, queries: Float32Array, expected: Float32Array) -> Callable[[], None]:
    """A side that ends the run where it does not find what ours found."""

    def run() -> None:
        difference = float(np.abs(side(queries) - expected).max())
        if not difference <= TOLERANCE:
            raise SystemExit(f"{name} finds other similarities ({difference:.2g}): nothing to compare.")

    return run


def measure(case: Case, repeats: int) -> tuple[list[list[str]], float]:
    """Rows of the table, and the seconds that FAISS's index takes to be built."""
    taken: dict[str, float] = {}
    for name in sides_of(case):
        print(f"Memory of: {name} ...", file=sys.stderr, flush=True)
        taken[name] = memory(case, name)
    make = sides_of(case)
    reading = {name: make[name]() for name in (OURS, FAISS, NUMPY)}
    expected = {count: reading[OURS](case.drawn(0, count)) for count in (1, BATCH)}
    seconds = {count: timed(case, reading, similarities, repeats) for count, similarities in expected.items()}
    begin = time.perf_counter()
    index = {INDEX: make[INDEX]()}
    building = time.perf_counter() - begin
    for count, similarities in expected.items():
        seconds[count] |= timed(case, index, similarities, repeats)
    rows = [
        [
            str(count),
            name,
            rate(times, count),
            "-" if name == OURS else speedup(times, seconds[count][OURS]),
            f"{taken[name]:,.0f}",
        ]
        for count in expected
        for name, times in seconds[count].items()
    ]
    return rows, building


def timed(case: Case, sides: dict[str, Side], expected: Float32Array, repeats: int) -> dict[str, list[float]]:
    """Seconds of each side in each repeat, for as many queries as the expected similarities are of."""
    print(f"Queries at once: {len(expected)} ...", file=sys.stderr, flush=True)
    queries = case.drawn(0, len(expected))
    return interleave({name: checked(name, side, queries, expected) for name, side in sides.items()}, repeats)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()), help="where there is room for 8 GB")
    parser.add_argument("--quick", action="store_true", help="seconds, to see that it works; the figures mean nothing")
    parser.add_argument("--write", action="store_true", help="write the table to benchmarks/results/")
    options = parser.parse_args()
    images, dimensions, repeats = (3000, 256, 1) if options.quick else (options.images, 4096, options.repeats)
    needed = 2 * images * dimensions
    if shutil.disk_usage(options.folder).free < 1.2 * needed:
        raise SystemExit(f"{options.folder} has no room for {needed / 1e9:.1f} GB: give another --folder.")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        case = Case(Path(folder), images, dimensions)
        case.write()
        rows, building = measure(case, repeats)
    header = ["queries at once", "how", "queries/s", "speed-up of ours", "memory, MB"]
    body = (
        f"{images:,} descriptors of {dimensions:,} values, float16, {needed / 1e9:.1f} GB; {TOP} neighbors; "
        f"threads: {torch.get_num_threads()}. Medians of {repeats} interleaved repeats; ratios within a repeat, "
        f"[smallest, largest]. Building FAISS's index took {building:,.0f} s.\n\n{table(header, rows)}"
    )
    packages = ("torch", "numpy", "faiss-cpu", "safetensors")
    report("search", "Search in descriptors", body, torch.device("cpu"), packages, write=options.write)


if __name__ == "__main__":
    main()
