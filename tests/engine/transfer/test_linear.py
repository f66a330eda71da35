"""Margins by hand, and classifiers that are kept."""

from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from verydeep.engine.transfer import linear
from verydeep.engine.transfer.linear import LinearClassifiers, margins
from verydeep.errors import VerydeepError

TWO = LinearClassifiers(
    weights=np.array([[1, -2, 0.5], [0, 3, 4]], np.float32),
    biases=np.array([-1, 0.25], np.float32),
    C=3.0,
    unconverged=(1,),
)


def test_a_margin_is_a_product_and_the_bias() -> None:
    found = margins(TWO, np.array([[1, 0, 0], [2, 1, 4], [0, 0, 0], [-1, 1, 2]], np.float32))
    assert found.dtype == np.float32
    assert found.tolist() == [[0, 0.25], [1, 19.25], [-1, 0.25], [-3, 11.25]]


def test_descriptors_may_lie_on_the_disk_and_be_more_than_a_chunk(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(linear, "CHUNK", 4)
    descriptors = np.random.default_rng(0).normal(size=(11, 3)).astype(np.float16)
    np.save(tmp_path / "descriptors.npy", descriptors)
    found = margins(TWO, np.load(tmp_path / "descriptors.npy", mmap_mode="r"))
    expected = descriptors.astype(np.float64) @ TWO.weights.T.astype(np.float64) + TWO.biases
    assert np.allclose(found, expected, rtol=0, atol=1e-5)


def test_descriptors_of_another_net_are_refused() -> None:
    with pytest.raises(VerydeepError, match="descriptors of 3 dimensions, these have 4: compute them with the nets"):
        margins(TWO, np.zeros((2, 4), np.float32))


def test_what_is_kept_is_what_is_read(tmp_path: Path) -> None:
    save_file(TWO.to_tensors(), tmp_path / "svm.safetensors")
    again = LinearClassifiers.from_tensors(load_file(tmp_path / "svm.safetensors"), TWO.to_fields(), "here")
    assert np.array_equal(again.weights, TWO.weights) and again.weights.dtype == np.float32
    assert np.array_equal(again.biases, TWO.biases) and again.biases.dtype == np.float32
    assert (again.C, again.unconverged) == (3.0, (1,))


@pytest.mark.parametrize("lost", ["weights", "biases"])
def test_a_damaged_file_is_told(lost: str) -> None:
    kept = {name: tensor for name, tensor in TWO.to_tensors().items() if name != lost}
    with pytest.raises(VerydeepError, match=f"cup/classifier holds no linear classifiers .*{lost}.*: transfer again"):
        LinearClassifiers.from_tensors(kept, TWO.to_fields(), "cup/classifier")
    with pytest.raises(VerydeepError, match=r"cup/classifier is damaged: .* do not belong together"):
        LinearClassifiers.from_tensors({**kept, lost: np.zeros((3,), np.float32)}, TWO.to_fields(), "cup/classifier")


@pytest.mark.parametrize("fields", [{}, {"C": "much", "unconverged": []}, {"C": 1.0, "unconverged": 3}])
def test_damaged_fields_are_told(fields: dict[str, object]) -> None:
    with pytest.raises(VerydeepError, match="cup/classifier holds no linear classifiers"):
        LinearClassifiers.from_tensors(TWO.to_tensors(), fields, "cup/classifier")


def test_what_did_not_converge_is_noted() -> None:
    assert TWO.note(["ant", "bell"]) == (
        "Not converged: the SVMs of 1 of 2 classes (bell) ended early at C=3; a smaller C converges."
    )
    assert not LinearClassifiers(TWO.weights, TWO.biases, C=3.0).note(["ant", "bell"])
