"""Nearest neighbors against a twin in float64 that compares everything."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from torch import Tensor

from verydeep.engine.archive.manifest import Manifest
from verydeep.engine.archive.search import compare_candidates, find_nearest_rows, find_neighbors
from verydeep.engine.archive.shards import list_shards, pack_paths, unpack_paths
from verydeep.engine.progress import run_with_progress
from verydeep.errors import DataError, ResourceError
from verydeep.ops.arrays import Float32Array

D, SIZES = 37, (40, 1, 3, 71)
MANIFEST = Manifest(
    "run", "last", "0", "relu7", (256,), "average", "fp32", fast_decode=False, dimensions=D, images_root="/photos"
)


def random_descriptors(seed: int, count: int, dimensions: int = D) -> Float32Array:
    """Return (count, D) of length one, half of the values zero, as behind a ReLU."""
    values = np.random.default_rng(seed).normal(size=(count, dimensions)).clip(0)
    return (values / np.linalg.norm(values, axis=1, keepdims=True).clip(1e-9)).astype(np.float32)


def write_shard(folder: Path, name: str, descriptors: Float32Array, paths: list[str]) -> None:
    (folder / "shards").mkdir(exist_ok=True)
    arrays = {"descriptors": descriptors.astype(np.float16), "paths": pack_paths(paths)}
    save_file(arrays, folder / "shards" / f"{name}.safetensors")


@pytest.fixture
def rows(tmp_path: Path) -> Float32Array:
    """115 descriptors in four shards."""
    descriptors, first = random_descriptors(0, sum(SIZES)), 0
    for number, size in enumerate(SIZES):
        numbers = range(first, first + size)
        write_shard(tmp_path, str(number), descriptors[first : first + size], [f"{row}.jpg" for row in numbers])
        first += size
    return descriptors


def search_by_brute_force(rows: Float32Array, queries: Float32Array, top: int) -> list[list[tuple[int, float]]]:
    """Compare all pairs as they are stored, by the cosine of their angle."""
    stored, rounded = (values.astype(np.float16).astype(np.float64) for values in (rows, queries))
    neighbors = []
    for query in rounded:
        similarities = [float(query @ row / np.linalg.norm(query) / np.linalg.norm(row)) for row in stored]
        best = sorted(range(len(stored)), key=lambda row: -similarities[row])[:top]
        neighbors.append([(row, similarities[row]) for row in best])
    return neighbors


@pytest.mark.parametrize(("count", "top"), [(1, 1), (1, 10), (3, 7), (25, 20), (2, 115), (2, 500)])
def test_nearest_are_the_nearest(tmp_path: Path, rows: Float32Array, count: int, top: int) -> None:
    """Compared all at once, and sixteen at a time."""
    queries = random_descriptors(1, count)
    expected = search_by_brute_force(rows, queries, top)
    neighbors = find_neighbors(tmp_path, MANIFEST, queries, top)
    rounded = queries.astype(np.float16).astype(np.float32)
    rounded /= np.linalg.norm(rounded, axis=1, keepdims=True)
    steps = find_nearest_rows(list_shards(tmp_path), D, torch.from_numpy(rounded), top, at_once=16)
    similarities, nearest = run_with_progress(steps, "", len(rows))
    assert len(neighbors) == len(nearest) == count
    for number, of_query in enumerate(expected):
        assert [str(each.path) for each in neighbors[number]] == [f"/photos/{row}.jpg" for row, _ in of_query]
        assert nearest[number].tolist() == [row for row, _ in of_query]
        for values in ([each.similarity for each in neighbors[number]], similarities[number].tolist()):
            assert values == pytest.approx([similarity for _, similarity in of_query], abs=1e-6)


def test_photograph_finds_itself_first(tmp_path: Path, rows: Float32Array) -> None:
    for row in (0, 39, 40, 43, 114):
        ((first, second),) = find_neighbors(tmp_path, MANIFEST, rows[row : row + 1], 2)
        assert first.path == Path(f"/photos/{row}.jpg")
        assert first.similarity == 1 and second.similarity < 0.99


@pytest.mark.parametrize(
    ("dimensions", "difference", "named"),
    [(D, 1e-2, False), (4096, 1e-2, False), (4096, 1e-3, False), (D, 1e-4, True), (4096, 1e-5, True)],
)
def test_each_photograph_of_a_burst_finds_itself_first(
    tmp_path: Path, dimensions: int, difference: float, named: bool
) -> None:
    """They differ by less than float16 changes their lengths, and a net computes each anew with another last bit.

    Those that float16 makes equal are told apart by their paths.
    """
    rng = np.random.default_rng(8)
    burst = random_descriptors(5, 1, dimensions) * (1 + difference * rng.normal(size=(60, dimensions)))
    burst = (burst / np.linalg.norm(burst, axis=1, keepdims=True)).astype(np.float32)
    write_shard(tmp_path, "0", burst[:20], [f"{row:02d}.jpg" for row in range(20)])
    write_shard(tmp_path, "1", burst[20:], [f"{row:02d}.jpg" for row in range(20, 60)])
    again = burst * (1 + 1e-7 * rng.normal(size=burst.shape)).astype(np.float32)
    manifest = replace(MANIFEST, dimensions=dimensions)
    files = [f"/photos/{row:02d}.jpg" for row in range(60)] if named else []
    for row, neighbors in enumerate(find_neighbors(tmp_path, manifest, again, 60, files=files)):
        assert neighbors[0].path == Path(f"/photos/{row:02d}.jpg")
        assert f"{neighbors[0].similarity:.6f}" == "1.000000"
        similarities = [neighbor.similarity for neighbor in neighbors]
        assert similarities == sorted(similarities, reverse=True) and max(similarities) <= 1


def test_photograph_without_any_activation_is_similar_to_none(tmp_path: Path) -> None:
    nothing = np.zeros((1, D), np.float32)
    write_shard(tmp_path, "0", np.concatenate([nothing, random_descriptors(1, 1)]), ["black.jpg", "a.jpg"])
    for query, path in ((nothing, "a.jpg"), (random_descriptors(1, 1), "a.jpg")):
        ((first, second),) = find_neighbors(tmp_path, MANIFEST, query, 2)
        assert first.path.name == path and second.similarity == 0


def test_float16_hardly_changes_a_similarity(tmp_path: Path, rows: Float32Array) -> None:
    """By less than a unit in its last place: each of the two descriptors is rounded by at most half of one."""
    queries = random_descriptors(2, 5)
    exact = queries.astype(np.float64) @ rows.astype(np.float64).T
    for neighbors, row in zip(find_neighbors(tmp_path, MANIFEST, queries, 115), exact, strict=True):
        for neighbor in neighbors:
            assert neighbor.similarity == pytest.approx(row[int(neighbor.path.stem)], abs=2.0**-10)


@pytest.mark.parametrize(("file", "first"), [("", "a"), ("/photos/d", "d"), ("/photos/x/../e", "e"), ("/d", "a")])
@pytest.mark.parametrize("top", [1, 3, 5])
def test_equals_come_in_the_order_of_their_paths(tmp_path: Path, file: str, first: str, top: int) -> None:
    """A photograph of the archive comes before its copies."""
    same = np.repeat(random_descriptors(3, 1), 3, axis=0)
    write_shard(tmp_path, "0", same[:2], ["b", "a"])
    write_shard(tmp_path, "1", same, ["d", "c", "e"])
    files = [file] if file else []
    (neighbors,) = find_neighbors(tmp_path, MANIFEST, random_descriptors(3, 1), top, files=files)
    expected = [first, *(name for name in "abcde" if name != first)]
    assert [neighbor.path.name for neighbor in neighbors] == expected[:top]
    assert all(neighbor.similarity == 1 for neighbor in neighbors)


def test_a_photograph_comes_before_any_number_of_copies(tmp_path: Path) -> None:
    write_shard(tmp_path, "0", np.repeat(random_descriptors(3, 1), 70, axis=0), [f"{row}.jpg" for row in range(70)])
    write_shard(tmp_path, "1", random_descriptors(3, 3), ["copy.jpg", "b.jpg", "/elsewhere/c.jpg"])
    for file in ("/photos/69.jpg", "/photos/copy.jpg", "/photos/33.jpg"):
        ((neighbor,),) = find_neighbors(tmp_path, MANIFEST, random_descriptors(3, 1), 1, files=[file])
        assert (str(neighbor.path), neighbor.similarity) == (file, 1)
    ((neighbor,),) = find_neighbors(tmp_path, MANIFEST, random_descriptors(3, 1), 1, files=["/photos/b.jpg"])
    assert neighbor.path != Path("/photos/b.jpg")  # it has another descriptor now
    assert find_neighbors(tmp_path, MANIFEST, random_descriptors(3, 1), 1, files=["/photos/new.jpg"])


def test_absolute_paths_stay_absolute(tmp_path: Path) -> None:
    write_shard(tmp_path, "0", random_descriptors(4, 2), ["inside/a.jpg", "/elsewhere/b.jpg"])
    (neighbors,) = find_neighbors(tmp_path, MANIFEST, random_descriptors(4, 1), 2)
    assert [str(neighbor.path) for neighbor in neighbors] == ["/photos/inside/a.jpg", "/elsewhere/b.jpg"]


def test_empty_archive_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no descriptors yet"):
        find_neighbors(tmp_path, MANIFEST, random_descriptors(1, 1), 3)


def test_damaged_shard_is_reported(tmp_path: Path, rows: Float32Array) -> None:
    path = tmp_path / "shards" / "2.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"2\.safetensors is damaged"):
        find_neighbors(tmp_path, MANIFEST, random_descriptors(1, 1), 3)


def reverse(path: Path) -> None:
    """Put another file of the same size in its place."""
    arrays, temporary = load_file(path), path.with_suffix(".tmp")
    paths = pack_paths(unpack_paths(arrays["paths"])[::-1])
    save_file({"descriptors": arrays["descriptors"][::-1].copy(), "paths": paths}, temporary)
    temporary.replace(path)


def shorten(path: Path) -> None:
    arrays, temporary = load_file(path), path.with_suffix(".tmp")
    paths = pack_paths(unpack_paths(arrays["paths"])[1:])
    save_file({"descriptors": arrays["descriptors"][1:], "paths": paths}, temporary)
    temporary.replace(path)


@pytest.mark.parametrize("change", [reverse, shorten, Path.unlink])
@pytest.mark.parametrize("is_compared", [False, True])
def test_archive_that_changes_meanwhile_is_reported(
    tmp_path: Path, rows: Float32Array, change: Callable[[Path], None], is_compared: bool
) -> None:
    """Between listing and comparing, and between comparing and naming: else rows would be named as others."""
    shards, query, nearest = list_shards(tmp_path), torch.from_numpy(rows[4:5]), Tensor([[0, 4]])
    if is_compared:
        _, nearest = run_with_progress(find_nearest_rows(shards, D, query, 3), "", len(rows))
    change(shards[0].path)
    with pytest.raises(ResourceError) as error:
        if is_compared:
            compare_candidates(shards, nearest.numpy().astype(np.int64), rows[4:5].astype(np.float64))
        else:
            run_with_progress(find_nearest_rows(shards, D, query, 3), "", len(rows))
    assert str(error.value) == f"`verydeep features` is changing {tmp_path}: try again when it has finished."


def test_shard_that_is_added_meanwhile_does_no_harm(tmp_path: Path, rows: Float32Array) -> None:
    shards = list_shards(tmp_path)
    steps = find_nearest_rows(shards, D, torch.from_numpy(rows[4:5]), 1, at_once=16)
    write_shard(tmp_path, "00", rows[:20], ["x"] * 20)
    _, nearest = run_with_progress(steps, "", len(rows))
    assert compare_candidates(shards, nearest.numpy(), rows[4:5].astype(np.float64))[1] == {4: "4.jpg"}


def test_progress_is_reported_of_a_large_archive_only(tmp_path: Path, rows: Float32Array) -> None:
    """A single report means that no bar appears."""
    assert list(find_nearest_rows(list_shards(tmp_path), D, torch.from_numpy(rows[5:6]), 1)) == [115]
    large, many = tmp_path / "large", random_descriptors(6, 60_000, dimensions=2)
    large.mkdir()
    for name in "012":
        write_shard(large, name, many, [name] * len(many))
    assert list(find_nearest_rows(list_shards(large), 2, torch.from_numpy(many[:1]), 1)) == [120_000, 60_000]
