"""Scores by hand, and a partition of generated descriptors that can and cannot be told apart."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.svm import SVC

from verydeep.data.split import Split
from verydeep.data.transfer_sets import Partition, TransferSet
from verydeep.engine.descriptors.representation import Descriptors, Representation
from verydeep.engine.runtime import Runtime
from verydeep.engine.transfer import svm
from verydeep.engine.transfer.protocol import (
    as_values,
    check_training,
    described_part,
    mean_and_deviation,
    score,
    score_of_each_class,
    targets_of,
    transfer,
    transfer_remarks,
    with_interval,
)
from verydeep.errors import VerydeepError
from verydeep.ops.arrays import BoolArray, Float32Array, Int64Array
from verydeep.ops.descriptors import normalize
from verydeep.ops.targets import hold_out_samples

CPU = Runtime(torch.device("cpu"), bf16=False)
NAMES = ("ant", "bell", "crab")
REPRESENTATION = Representation((), (), (256,))


def split_of(labels: list[int] | None, name: str, first: int = 0, relevance: list[list[int]] | None = None) -> Split:
    count = len(labels if labels is not None else relevance or [])
    return Split(
        name, Path("photos"), tuple(f"{first + i:03d}.jpg" for i in range(count)),
        None if labels is None else np.array(labels, np.int64), NAMES, NAMES, "class folders", True,
        relevance=None if relevance is None else np.array(relevance, np.int8),
    )  # fmt: skip


def test_recall_is_a_mean_over_classes_of_unequal_size() -> None:
    """Right: 3 of 4 ants (one is as much a bell, which does not count), the bell; accuracy would be 80%."""
    labels = np.array([0, 0, 0, 0, 1])
    margins = np.array([[1, 0, 0], [1, 0, 0], [1, 0, 0], [1, 1, 0], [-2, -1, -3]], np.float32)
    targets = np.where(labels[:, None] == np.arange(3), 1, -1).astype(np.int8)
    each = score_of_each_class("mean class recall", margins, targets)
    assert each[:2] == [75, 100] and np.isnan(each[2])
    assert score("mean class recall", margins, targets) == pytest.approx(87.5)


def test_precision_is_averaged_over_classes_and_difficult_images_count_in_neither() -> None:
    """Ranked by the first column: hit, neither, miss, hit: 1 and 2/3, the mean 5/6; the other is found at once."""
    margins = np.array([[4, 0], [3, 1], [2, 3], [1, 2]], np.float32)
    targets = np.array([[1, -1], [0, -1], [-1, 1], [1, -1]], np.int8)
    assert score_of_each_class("AP, all points", margins, targets) == pytest.approx([100 * 5 / 6, 100])
    assert score("AP, all points", margins, targets) == pytest.approx((500 / 6 + 100) / 2)
    eleven = (6 * 1 + 5 * 2 / 3) / 11  # recall up to one half: 1; above: 2/3
    assert score_of_each_class("AP, 11 points", margins, targets)[0] == pytest.approx(100 * eleven)


def test_targets_are_one_against_the_rest_or_what_the_set_says() -> None:
    assert targets_of(split_of([2, 0], "train")).tolist() == [[-1, -1, 1], [1, -1, -1]]  # type: ignore[union-attr]
    told = [[1, 0, -1], [1, 1, -1]]
    assert targets_of(split_of(None, "train", relevance=told)).tolist() == told  # type: ignore[union-attr]
    assert targets_of(Split("test", Path(), ("a",), None, NAMES, NAMES, "", True)) is None


def drawn(labels: Int64Array, seed: int) -> Float32Array:
    """Unit vectors about three directions; not separable."""
    rng = np.random.default_rng(seed)
    centers = np.random.default_rng(99).normal(size=(3, 12))
    return normalize((centers[labels] + rng.normal(scale=1.6, size=(len(labels), 12))).astype(np.float32))


@pytest.fixture
def case() -> tuple[Partition, Split, Descriptors]:
    train_labels, test_labels = np.arange(60) % 3, np.arange(45) % 3
    train = split_of(train_labels.tolist(), "train")
    test = split_of(test_labels.tolist(), "test", first=500)
    everything = Split("all", Path("photos"), (*train.files, *test.files), None, NAMES, NAMES, "", True)
    values = np.concatenate([drawn(train_labels, 1), drawn(test_labels, 2)])
    return Partition(train, test), everything, Descriptors(np.arange(105), values, {})


def test_a_partition_is_trained_and_tested(case: tuple[Partition, Split, Descriptors]) -> None:
    """Margins are those of scikit-learn's other solver, LIBSVM, with the bias as a feature, trained by hand."""
    one, everything, descriptors = case
    found = transfer(one, everything, descriptors, "mean class recall", candidates=[3.0], seed=0)
    assert found.margins is not None and one.train.labels is not None and one.test is not None
    with_bias = np.hstack([descriptors.values, np.ones((105, 1), np.float32)])
    expected = np.stack(
        [
            SVC(kernel="linear", C=3.0, tol=1e-8).fit(with_bias[:60], one.train.labels == k)
            .decision_function(with_bias[60:])
            for k in range(3)
        ],
        axis=1,
    )  # fmt: skip
    # LIBSVM's own bias is free and takes up what the feature's leaves: the order of classes is what both agree on.
    assert np.mean(found.margins.argmax(1) == expected.argmax(1)) > 0.95
    recall = [100 * np.mean(found.margins[k::3].argmax(1) == k) for k in range(3)]
    assert found.of_each_class == pytest.approx(recall)
    assert found.score == pytest.approx(np.mean(recall)) and 60 < found.score < 99
    assert (found.num_train, found.trials) == (60, ())


def test_c_is_chosen_without_the_test_images(case: tuple[Partition, Split, Descriptors]) -> None:
    """The choice, and the classifiers, do not change with them."""
    one, everything, descriptors = case
    found = transfer(one, everything, descriptors, "mean class recall", candidates=[0.01, 1, 100], seed=0)
    values = descriptors.values.copy()
    values[60:] = values[60:][::-1] * -1
    other = Descriptors(descriptors.indices, values, {})
    again = transfer(one, everything, other, "mean class recall", candidates=[0.01, 1, 100], seed=0)
    assert [trial.C for trial in found.trials] == [0.01, 1, 100]
    assert found.trials == again.trials and np.array_equal(found.classifiers.weights, again.classifiers.weights)
    assert found.score != again.score


def test_images_that_could_not_be_decoded_are_left_out(case: tuple[Partition, Split, Descriptors]) -> None:
    one, everything, descriptors = case
    some = Descriptors(descriptors.indices[5:100], descriptors.values[5:100], {})
    split, values = described_part(one.train, everything, some)
    assert split.files == one.train.files[5:] and np.array_equal(values, descriptors.values[5:60])
    assert split.labels is not None and split.labels.tolist() == (np.arange(5, 60) % 3).tolist()
    assert one.test is not None
    rows = [60 + index for index in range(40)]
    assert np.array_equal(described_part(one.test, everything, some)[1], descriptors.values[rows])
    nothing = Descriptors(descriptors.indices[:60], descriptors.values[:60], {})
    with pytest.raises(VerydeepError, match=r"Not one of the 45 images of photos \(test\)"):
        described_part(one.test, everything, nothing)


def test_persons_of_one_image_are_not_mixed_up() -> None:
    """Neither where each has a descriptor, nor where they share that of the image."""
    boxes = tuple(np.array([[i, 0, 9, 9]], np.float32) for i in range(4))
    persons = Split(
        "val", Path("voc"), ("a.jpg", "a.jpg", "b.jpg", "b.jpg"), None, NAMES, NAMES, "", False,
        boxes=boxes, relevance=np.array([[1, -1, -1], [-1, 1, -1], [-1, -1, 1], [1, -1, -1]], np.int8),
    )  # fmt: skip
    everything = persons.subset([1, 0, 3, 2])
    values = np.arange(8, dtype=np.float32).reshape(4, 2)
    split, found = described_part(persons, everything, Descriptors(np.array([0, 1, 3]), values[:3], {}))
    assert split.relevance is not None and split.relevance.tolist() == [[1, -1, -1], [-1, 1, -1], [-1, -1, 1]]
    assert found.tolist() == values[[1, 0, 2]].tolist()


def test_c_is_chosen_by_photographs_that_were_not_learned_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """Persons of one photograph, who share its descriptor, are all held out or none."""
    files = tuple(f"{i // 3:02d}.jpg" for i in range(90))
    relevance = np.where(np.arange(90)[:, None] % 4 == np.arange(3), 1, -1).astype(np.int8)
    persons = Split("train", Path("voc"), files, None, NAMES, NAMES, "", False, relevance=relevance,
                    boxes=tuple(np.array([[i, 0, i + 9, 9]], np.float32) for i in range(90)))  # fmt: skip
    values = drawn(np.arange(90) // 3 % 3, 3)[np.arange(90) // 3 * 3]
    held: list[BoolArray] = []

    def keeping(*arguments: Any, **options: Any) -> BoolArray:
        held.append(hold_out_samples(*arguments, **options))
        return held[-1]

    monkeypatch.setattr(svm, "hold_out", keeping)
    check_training(persons, [1.0, 10.0], seed=0)
    transfer(Partition(persons, None), persons, Descriptors(np.arange(90), values, {}), "AP, all points",
             candidates=[1.0, 10.0], seed=0)  # fmt: skip
    early, late = held
    assert np.array_equal(early, late)
    chosen = {files[i] for i in np.flatnonzero(late)}
    assert 4 <= len(chosen) <= 8 and late.sum() == 3 * len(chosen)


@pytest.mark.parametrize("mark", [-1, 0])
def test_without_a_class_on_a_test_image_there_is_no_score(mark: int) -> None:
    """As of a test.csv without labels: it says so, for people and for machines."""
    relevance = np.where(np.arange(60)[:, None] % 3 == np.arange(3), 1, -1).tolist()
    one = Partition(
        split_of(None, "train", relevance=relevance), split_of(None, "test", first=500, relevance=[[mark] * 3] * 2)
    )
    assert one.test is not None
    everything = Split("all", Path("photos"), (*one.train.files, *one.test.files), None, NAMES, NAMES, "", True)
    descriptors = Descriptors(np.arange(62), drawn(np.arange(62) % 3, 1), {})
    found = with_interval(
        transfer(one, everything, descriptors, "AP, all points", candidates=[1.0], seed=0), "AP, all points"
    )
    task = TransferSet("photos", "own", NAMES, "AP, all points", (one,))
    assert list(transfer_remarks([found], task, REPRESENTATION))[-1] == (
        "No score: of no test image it is known that a class is on it."
    )
    values = json.loads(json.dumps(as_values([found], task, REPRESENTATION)), parse_constant=pytest.fail)
    assert values["score"] is None and values["draws"][0]["of_each_class"] == {}
    assert found.margins is not None and found.margins.shape == (2, 3)


def test_the_spread_is_the_sample_deviation() -> None:
    assert mean_and_deviation([90.0]) == (90.0, None)
    assert mean_and_deviation([90.0, 92.0, 94.0]) == (92.0, pytest.approx(2.0))
