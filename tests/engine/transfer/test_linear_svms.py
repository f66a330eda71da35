"""Margins by hand."""

from pathlib import Path

import numpy as np
import pytest

from verydeep.engine.transfer.linear_svms import ROWS_AT_ONCE, LinearSVMs
from verydeep.errors import OptionError

TWO = LinearSVMs(
    weights=np.array([[1, -2, 0.5], [0, 3, 4]], np.float32),
    biases=np.array([-1, 0.25], np.float32),
    C=3.0,
    unconverged=(1,),
)


def test_margin_is_a_product_and_the_bias() -> None:
    margins = TWO.compute_margins(np.array([[1, 0, 0], [2, 1, 4], [0, 0, 0], [-1, 1, 2]], np.float32))
    assert margins.dtype == np.float32
    assert margins.tolist() == [[0, 0.25], [1, 19.25], [-1, 0.25], [-3, 11.25]]


def test_descriptors_may_be_memory_mapped_and_many(tmp_path: Path) -> None:
    descriptors = np.random.default_rng(0).normal(size=(2 * ROWS_AT_ONCE + 11, 3)).astype(np.float16)
    np.save(tmp_path / "descriptors.npy", descriptors)
    margins = TWO.compute_margins(np.load(tmp_path / "descriptors.npy", mmap_mode="r"))
    expected = descriptors.astype(np.float64) @ TWO.weights.T.astype(np.float64) + TWO.biases
    assert np.allclose(margins, expected, rtol=0, atol=1e-5)


def test_descriptors_of_another_net_are_refused() -> None:
    with pytest.raises(OptionError, match="descriptors of 3 dimensions, these have 4: compute them with the nets"):
        TWO.compute_margins(np.zeros((2, 4), np.float32))


def test_unconverged_classes_are_named() -> None:
    """Another C is advice only where the user chose it."""
    names = ["ant", "bell"]
    ended = "Not converged: the SVMs of 1 of 2 classes (bell) ended early at C=3. They are used as they are"
    chosen, given = (TWO.convergence_remark(names, is_chosen=is_chosen) for is_chosen in (True, False))
    assert chosen == f"{ended}: of the values tried, this C had the best score."
    assert given == f"{ended}. For SVMs that converge, give a smaller C, such as `c=0.3`."
    assert not LinearSVMs(TWO.weights, TWO.biases, C=3.0).convergence_remark(names, is_chosen=False)
