import numpy as np
import pytest

from verydeep.ops.close_pairs import find_close_pairs, find_nearest
from verydeep.ops.perceptual_hash import smallest_product


def test_close_pairs_are_those_that_a_loop_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    one = np.where(rng.random((70, 64)) < 0.5, 1, -1).astype(np.float32)
    other = np.where(rng.random((70, 64)) < 0.3, -one, one).astype(np.float32)
    other[40:] = one[:30]
    monkeypatch.setattr("verydeep.ops.close_pairs.ROWS", 16)
    monkeypatch.setattr("verydeep.ops.close_pairs.COLUMNS", 24)
    expected = {(i, j) for i in range(70) for j in range(i + 1, 70) if (one[i] != other[j]).sum() <= 12}
    found = {
        (row, int(column)) for row, columns in find_close_pairs(one, other, smallest_product(12)) for column in columns
    }
    assert found == expected and len(found) >= 30


def test_nearest_vectors_are_those_that_sorting_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("verydeep.ops.close_pairs.PRODUCTS", 16 * 50)
    vectors = np.random.default_rng(4).normal(size=(50, 7)).astype(np.float32)
    products = vectors @ vectors.T
    np.fill_diagonal(products, -np.inf)
    for row, nearest in find_nearest(vectors, 3):
        assert set(nearest.tolist()) == set(np.argsort(-products[row])[:3].tolist())
    assert list(find_nearest(vectors[:1], 3)) == []
