"""A partition of generated descriptors that can and cannot be told apart."""

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.svm import SVC

from tests.engine.transfer.samples import NAMES, join, make_descriptors, make_split
from verydeep.data.split import Split
from verydeep.data.transfer_sets import Partition, TransferSet
from verydeep.engine.descriptors.cache import DescribedSamples
from verydeep.engine.descriptors.representation import Representation
from verydeep.engine.progress import run_with_progress
from verydeep.engine.transfer.partition import add_interval, check_training, transfer_partition
from verydeep.engine.transfer.scoring import score
from verydeep.engine.transfer.svm_training import hold_out_fifth, train_svms
from verydeep.engine.transfer.task import TransferResult, TransferTask
from verydeep.engine.transfer.transfer_report import result_lines, result_values
from verydeep.errors import DataError


@pytest.fixture
def partition() -> Partition:
    """60 training images and 45 test images."""
    train, test = (np.arange(count) % 3 for count in (60, 45))
    return Partition(make_split(train.tolist(), "train"), make_split(test.tolist(), "test", first=500))


@pytest.fixture
def samples(partition: Partition) -> DescribedSamples:
    assert partition.test is not None
    values = [make_descriptors(np.arange(60) % 3, 1), make_descriptors(np.arange(45) % 3, 2)]
    return DescribedSamples(join(partition.train, partition.test), np.concatenate(values))


def test_partition_is_trained_and_tested(partition: Partition, samples: DescribedSamples) -> None:
    """Margins are those of scikit-learn's other solver, LIBSVM, with the bias as a feature, trained by hand."""
    result = transfer_partition(partition, samples, "mean class recall", costs=[3.0], seed=0)
    assert result.margins is not None and partition.train.labels is not None
    with_bias = np.hstack([samples.values, np.ones((105, 1), np.float32)])
    expected = np.stack(
        [
            SVC(kernel="linear", C=3.0, tol=1e-8).fit(with_bias[:60], partition.train.labels == k)
            .decision_function(with_bias[60:])
            for k in range(3)
        ],
        axis=1,
    )  # fmt: skip
    # LIBSVM's own bias is free and takes up what the feature's leaves: the order of classes is what both agree on.
    assert np.mean(result.margins.argmax(1) == expected.argmax(1)) > 0.95
    recall = [100 * np.mean(result.margins[k::3].argmax(1) == k) for k in range(3)]
    assert result.class_scores == pytest.approx(recall)
    assert result.score == pytest.approx(np.mean(recall)) and 60 < result.score < 99
    assert (result.num_train, result.trials) == (60, ())


def test_c_is_chosen_without_the_test_images(partition: Partition, samples: DescribedSamples) -> None:
    """The choice, and the SVMs, do not change with them."""
    values = samples.values.copy()
    values[60:] = values[60:][::-1] * -1
    result, other = (
        transfer_partition(partition, each, "mean class recall", costs=[0.01, 1, 100], seed=0)
        for each in (samples, DescribedSamples(samples.split, values))
    )
    assert [trial.C for trial in result.trials] == [0.01, 1, 100]
    assert result.trials == other.trials and np.array_equal(result.svms.weights, other.svms.weights)
    assert result.score != other.score


def test_images_that_could_not_be_decoded_are_left_out(partition: Partition, samples: DescribedSamples) -> None:
    some = DescribedSamples(samples.split.subset(range(5, 100)), samples.values[5:100])
    train, values = some.select(partition.train)
    assert train.files == partition.train.files[5:] and np.array_equal(values, samples.values[5:60])
    assert train.labels is not None and train.labels.tolist() == (np.arange(5, 60) % 3).tolist()
    assert partition.test is not None
    assert np.array_equal(some.select(partition.test)[1], samples.values[60:100])
    without_test = DescribedSamples(samples.split.subset(range(60)), samples.values[:60])
    with pytest.raises(DataError, match=r"Not one of the 45 images of photos \(test\)"):
        without_test.select(partition.test)


def test_persons_of_one_image_are_not_mixed_up() -> None:
    """Neither where each has a descriptor, nor where they share that of the image."""
    boxes = tuple(np.array([[i, 0, 9, 9]], np.float32) for i in range(4))
    persons = Split(
        "val", Path("voc"), ("a.jpg", "a.jpg", "b.jpg", "b.jpg"), None, NAMES, NAMES, "", False,
        boxes=boxes, relevance=np.array([[1, -1, -1], [-1, 1, -1], [-1, -1, 1], [1, -1, -1]], np.int8),
    )  # fmt: skip
    values = np.arange(6, dtype=np.float32).reshape(3, 2)
    split, selected = DescribedSamples(persons.subset([1, 0, 2]), values).select(persons)
    assert split.relevance is not None and split.relevance.tolist() == [[1, -1, -1], [-1, 1, -1], [-1, -1, 1]]
    assert selected.tolist() == values[[1, 0, 2]].tolist()


def test_persons_of_one_photograph_are_held_out_together() -> None:
    """They share its descriptor: an SVM would be asked about what it has learned."""
    files = tuple(f"{i // 3:02d}.jpg" for i in range(90))
    relevance = np.where(np.arange(90)[:, None] % 4 == np.arange(3), 1, -1).astype(np.int8)
    persons = Split("train", Path("voc"), files, None, NAMES, NAMES, "", False, relevance=relevance,
                    boxes=tuple(np.array([[i, 0, i + 9, 9]], np.float32) for i in range(90)))  # fmt: skip
    values = make_descriptors(np.arange(90) // 3 % 3, 3)[np.arange(90) // 3 * 3]
    is_held_out = hold_out_fifth(relevance, NAMES, 0, persons.photographs)
    held_out_files = {files[i] for i in np.flatnonzero(is_held_out)}
    assert 4 <= len(held_out_files) <= 8 and is_held_out.sum() == 3 * len(held_out_files)
    check_training(persons, [1.0, 10.0], seed=0)
    samples = DescribedSamples(persons, values)
    result = transfer_partition(Partition(persons, None), samples, "AP, all points", costs=[1.0, 10.0], seed=0)
    together, apart = (
        run_with_progress(
            train_svms(
                values,
                relevance,
                NAMES,
                lambda margins, targets: score("AP, all points", margins, targets),
                costs=[1.0, 10.0],
                photographs=photographs,
            ),
            "",
            1,
        )[1]
        for photographs in (persons.photographs, None)
    )
    assert result.trials == together != apart


@pytest.mark.parametrize("mark", [-1, 0])
def test_without_a_class_on_a_test_image_there_is_no_score(mark: int) -> None:
    """As of a test.csv without labels: messages and JSON values say so."""
    relevance = np.where(np.arange(60)[:, None] % 3 == np.arange(3), 1, -1).tolist()
    train = make_split(None, "train", relevance=relevance)
    test = make_split(None, "test", first=500, relevance=[[mark] * 3] * 2)
    samples = DescribedSamples(join(train, test), make_descriptors(np.arange(62) % 3, 1))
    partition = transfer_partition(Partition(train, test), samples, "AP, all points", costs=[1.0], seed=0)
    partition = add_interval(partition, "AP, all points")
    transfer_set = TransferSet("photos", "own", NAMES, "AP, all points", (Partition(train, test),))
    task = TransferTask(transfer_set, Representation((), (), (256,)), [1.0])
    result = TransferResult(task, (partition,), {}, "fp32")
    assert list(result_lines(result))[-1] == "No score: the classes of the test images are unknown."
    values = json.loads(json.dumps(result_values(result)), parse_constant=pytest.fail)
    assert values["score"] is None and values["draws"][0]["class_scores"] == {}
    assert partition.margins is not None and partition.margins.shape == (2, 3)
