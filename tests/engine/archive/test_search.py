"""The nearest against a twin in float64 that looks at everything."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from verydeep.engine.archive import search, shards
from verydeep.engine.archive.manifest import Manifest
from verydeep.engine.archive.search import Neighbor, nearest, top_similarities
from verydeep.engine.archive.shards import packed, unpacked
from verydeep.errors import VerydeepError
from verydeep.ops.arrays import Float32Array

D, SIZES = 37, (40, 1, 3, 71)
MANIFEST = Manifest(
    "run", "last", "0", "relu7", (256,), "average", "fp32", fast_decode=False, dimensions=D, images_root="/photos"
)


def drawn(seed: int, count: int) -> Float32Array:
    """(count, D) of length one, half of the values zero, as behind a ReLU."""
    values = np.random.default_rng(seed).normal(size=(count, D)).clip(0)
    return (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Float32Array:
    """115 descriptors in four shards, compared sixteen at a time."""
    monkeypatch.setattr(shards, "VALUES_AT_ONCE", 16 * D)
    everything, first = drawn(0, sum(SIZES)), 0
    (tmp_path / "shards").mkdir()
    for number, size in enumerate(SIZES):
        part = everything[first : first + size].astype(np.float16)
        names = packed([f"{place}.jpg" for place in range(first, first + size)])
        save_file({"descriptors": part, "paths": names}, tmp_path / "shards" / f"{number}.safetensors")
        first += size
    return everything


def by_brute_force(rows: Float32Array, queries: Float32Array, top: int) -> list[list[tuple[str, float]]]:
    held = rows.astype(np.float16).astype(np.float64)
    found = []
    for query in queries.astype(np.float64):
        similarities = [float(np.dot(query, row)) for row in held]
        best = sorted(range(len(held)), key=lambda place: -similarities[place])[:top]
        found.append([(f"/photos/{place}.jpg", similarities[place]) for place in best])
    return found


@pytest.mark.parametrize(("count", "top"), [(1, 1), (1, 10), (3, 7), (25, 20), (2, 115), (2, 500)])
def test_the_nearest_are_the_nearest(tmp_path: Path, rows: Float32Array, count: int, top: int) -> None:
    queries = drawn(1, count)
    found = nearest(tmp_path, MANIFEST, queries, top)
    expected = by_brute_force(rows, queries, top)
    assert len(found) == count
    for mine, theirs in zip(found, expected, strict=True):
        assert [str(each.path) for each in mine] == [path for path, _ in theirs]
        assert [each.similarity for each in mine] == pytest.approx([value for _, value in theirs], abs=1e-6)


def test_a_photograph_finds_itself_first(tmp_path: Path, rows: Float32Array) -> None:
    for place in (0, 39, 40, 43, 114):
        ((first, second),) = nearest(tmp_path, MANIFEST, rows[place : place + 1], 2)
        assert first.path == Path(f"/photos/{place}.jpg")
        assert first.similarity == pytest.approx(1, abs=5e-4) and second.similarity < 0.99


def test_float16_hardly_changes_a_similarity(tmp_path: Path, rows: Float32Array) -> None:
    """By less than half a unit in its last place, as the inner product of vectors of length one says."""
    queries = drawn(2, 5)
    exact = queries.astype(np.float64) @ rows.astype(np.float64).T
    for each, row in zip(nearest(tmp_path, MANIFEST, queries, 115), exact, strict=True):
        for one in each:
            assert one.similarity == pytest.approx(row[int(one.path.stem)], abs=2.0**-11)


def test_equals_are_all_found(tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    same = np.repeat(drawn(3, 1), 5, axis=0).astype(np.float16)
    for number, names in enumerate((["b", "a"], ["d", "c", "e"])):
        values = {"descriptors": same[: len(names)], "paths": packed(names)}
        save_file(values, tmp_path / "shards" / f"{number}.safetensors")
    ((*found,),) = nearest(tmp_path, replace(MANIFEST, images_root=""), drawn(3, 1), 5)
    assert {each.path.name for each in found} == set("abcde")
    assert all(each.similarity == pytest.approx(1, abs=5e-4) for each in found)


def test_whole_paths_lie_where_they_say(tmp_path: Path) -> None:
    (tmp_path / "shards").mkdir()
    names = packed(["inside/a.jpg", "/elsewhere/b.jpg"])
    save_file({"descriptors": drawn(4, 2).astype(np.float16), "paths": names}, tmp_path / "shards" / "0.safetensors")
    ((*found,),) = nearest(tmp_path, MANIFEST, drawn(4, 1), 2)
    assert [str(each.path) for each in found] == ["/photos/inside/a.jpg", "/elsewhere/b.jpg"]


def test_an_empty_archive_is_told(tmp_path: Path) -> None:
    with pytest.raises(VerydeepError, match="holds no descriptors yet"):
        nearest(tmp_path, MANIFEST, drawn(1, 1), 3)


def test_a_damaged_shard_is_told(tmp_path: Path, rows: Float32Array) -> None:
    path = tmp_path / "shards" / "2.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(VerydeepError, match=r"2\.safetensors is damaged"):
        nearest(tmp_path, MANIFEST, drawn(1, 1), 3)


def reverse(path: Path) -> None:
    """Another file of the same size."""
    held, beside = load_file(path), path.with_suffix(".tmp")
    names = packed(unpacked(held["paths"])[::-1])
    save_file({"descriptors": held["descriptors"][::-1].copy(), "paths": names}, beside)
    beside.replace(path)


def shorten(path: Path) -> None:
    held, beside = load_file(path), path.with_suffix(".tmp")
    save_file({"descriptors": held["descriptors"][1:], "paths": packed(unpacked(held["paths"])[1:])}, beside)
    beside.replace(path)


@pytest.mark.parametrize("change", [reverse, shorten, Path.unlink])
@pytest.mark.parametrize(("call", "shard"), [(0, 3), (9, 0)])
def test_an_archive_that_changes_meanwhile_is_told(
    tmp_path: Path,
    rows: Float32Array,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[Path], None],
    call: int,
    shard: int,
) -> None:
    """Between counting and comparing, and between comparing and naming: else rows would be named as others."""
    calls = 0

    def meanwhile(queries: torch.Tensor, held: torch.Tensor, top: int) -> tuple[torch.Tensor, torch.Tensor]:
        nonlocal calls
        if calls == call:
            change(tmp_path / "shards" / f"{shard}.safetensors")
        calls += 1
        return top_similarities(queries, held, top)

    monkeypatch.setattr(search, "top_similarities", meanwhile)
    told = f"{tmp_path} is being changed by a job of verydeep features: try again when it has ended."
    with pytest.raises(VerydeepError) as refused:
        nearest(tmp_path, MANIFEST, rows[4:5], 3)
    assert str(refused.value) == told


def test_what_a_job_adds_meanwhile_does_no_harm(
    tmp_path: Path, rows: Float32Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    def meanwhile(queries: torch.Tensor, held: torch.Tensor, top: int) -> tuple[torch.Tensor, torch.Tensor]:
        save_file(
            {"descriptors": held.numpy(), "paths": packed(["x"] * len(held))}, tmp_path / "shards" / "00.safetensors"
        )
        return top_similarities(queries, held, top)

    monkeypatch.setattr(search, "top_similarities", meanwhile)
    ((found,),) = nearest(tmp_path, MANIFEST, rows[4:5], 1)
    assert found.path == Path("/photos/4.jpg")


def test_a_large_archive_is_compared_behind_a_bar(
    tmp_path: Path, rows: Float32Array, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert [Neighbor(Path("/photos/5.jpg"), pytest.approx(1, abs=1e-3))] == nearest(tmp_path, MANIFEST, rows[5:6], 1)[0]
    assert "Comparing" not in capsys.readouterr().err
    monkeypatch.setattr(search, "SHOWN_FROM", len(rows))
    nearest(tmp_path, MANIFEST, rows[5:6], 1)
    assert "Comparing" in capsys.readouterr().err
