"""Classifiers on disk, and what they refuse."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.engine.descriptors.nets import CPU, make_net
from verydeep.data.split import Split
from verydeep.engine.descriptors.in_memory import describe_images
from verydeep.engine.descriptors.representation import Representation
from verydeep.engine.transfer.classifier import Classifier, is_classifier, load_classifier, save_classifier
from verydeep.engine.transfer.linear_svms import LinearSVMs
from verydeep.errors import DataError, OptionError
from verydeep.json_files import write_json
from verydeep.models.weights.model_folder import SplitRecord
from verydeep.ops.arrays import Float32Array

SVMS = LinearSVMs(
    np.random.default_rng(0).normal(size=(2, 24)).astype(np.float32), np.array([-1, 0.25], np.float32), 3.0, (1,)
)

RECORD = SplitRecord("/photos", seed=3, val_fraction=0.2, train="0123", val="4567", plateau=False)


@pytest.fixture
def classifier(tmp_path: Path) -> Classifier:
    net = make_net(tmp_path / "run")
    representation = Representation((net,), ("relu7",), (256, 320), "stack")
    return Classifier(("ant", "bell"), ("ant, emmet", "bell"), representation, SVMS, RECORD)


@pytest.fixture
def folder(classifier: Classifier, tmp_path: Path) -> Path:
    save_classifier(tmp_path / "few", classifier)
    return tmp_path / "few"


def test_classifier_is_read_as_it_was_written(classifier: Classifier, folder: Path) -> None:
    again = load_classifier(folder)
    assert is_classifier(folder) and not is_classifier(folder.parent)
    assert (again.class_names, again.class_words) == (classifier.class_names, classifier.class_words)
    assert again.representation == classifier.representation
    assert np.array_equal(again.svms.weights, SVMS.weights) and np.array_equal(again.svms.biases, SVMS.biases)
    assert (again.svms.C, again.svms.unconverged) == (3.0, (1,))
    assert (again.record, again.path) == (RECORD, folder)
    assert str(again) == folder.name


def test_one_classifier_predicts_in_several_threads(classifier: Classifier, val_split: Split) -> None:
    """Margins are those of its descriptors."""
    split = val_split.subset([0, 3, 7])
    expected = SVMS.compute_margins(describe_images(classifier.representation, split, CPU).values)
    results: list[Float32Array] = []
    threads = [Thread(target=lambda: results.append(classifier.predict(split, CPU).scores)) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 3 and all(margins == pytest.approx(expected, abs=1e-5) for margins in results)
    assert classifier.predict(split, CPU).images == split.files


def test_classifier_of_boxes_refuses_photographs_alone(classifier: Classifier, val_split: Split) -> None:
    representation = Representation(
        classifier.representation.nets, ("relu7",), (256, 320), "stack", coverage="image+box"
    )
    boxed = replace(classifier, representation=representation)
    with pytest.raises(OptionError, match="takes photographs and boxes of persons"):
        boxed.predict(val_split, CPU)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 1}, "was written by an earlier version of verydeep: run `verydeep transfer` again"),
        ({"model_type": "verydeep"}, "is another kind of file"),
        ({"aggregation": "halves"}, "is damaged"),
        ({"coverage": "boxes"}, "is damaged"),
        ({"scales": []}, "is damaged"),
        ({"nets": []}, "is damaged"),
        ({"C": "much"}, "is damaged"),
        ({"unconverged": 3}, "is damaged"),
        ({"class_words": ["ant"]}, "is damaged"),
        ({"class_names": ["a", "b", "c"], "class_words": ["a", "b", "c"]}, "do not fit 3 classes"),
    ],
)
def test_impossible_classifier_is_refused(folder: Path, change: dict[str, Any], message: str) -> None:
    path = folder / "classifier.json"
    write_json(path, {**json.loads(path.read_text()), **change})
    with pytest.raises(DataError, match=message) as refusal:
        load_classifier(folder)
    assert str(folder) in str(refusal.value) and "\n" not in str(refusal.value)


def lose_biases(tensors: dict[str, Any]) -> None:
    del tensors["biases"]


def shorten_biases(tensors: dict[str, Any]) -> None:
    tensors["biases"] = tensors["biases"][:1]


@pytest.mark.parametrize("name", ["weights", "biases"])
def test_svms_with_numbers_that_are_not_finite_are_refused(folder: Path, name: str) -> None:
    tensors = load_file(folder / "svms.safetensors")
    tensors[name].flat[1] = float("nan")
    save_file(tensors, folder / "svms.safetensors")
    with pytest.raises(DataError, match=r"has NaN or infinite numbers: run `verydeep transfer` again"):
        load_classifier(folder)


@pytest.mark.parametrize("change", [lose_biases, shorten_biases])
def test_impossible_tensors_are_refused(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    path = folder / "svms.safetensors"
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)
    with pytest.raises(DataError, match=r"is damaged.*run `verydeep transfer` again"):
        load_classifier(folder)
