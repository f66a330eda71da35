"""The score with fewer photographs, against scikit-learn on photographs chosen by hand."""

import hashlib
import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.svm import LinearSVC

from verydeep.data.sets.draws import draw_of_each_class
from verydeep.data.split import Split
from verydeep.data.transfer_sets import Partition, TransferSet
from verydeep.engine.descriptors.cache import DescribedSamples
from verydeep.engine.transfer.curve import COUNTS, CurvePoint, draw_learning_curve, measure_learning_curve
from verydeep.engine.transfer.partition import add_interval, transfer_partition
from verydeep.ops.arrays import Float32Array
from verydeep.ops.metrics import Share

NAMES = ("ant", "bell", "crab")
PER_CLASS, NUM_TRAIN, SEEDS = 20, 12, (5, 6)


@pytest.fixture
def split() -> Split:
    files = tuple(f"{name}/{i:02}.jpg" for name in NAMES for i in range(PER_CLASS))
    labels = np.repeat(np.arange(3), PER_CLASS)
    return Split("all", Path("/data"), files, labels, NAMES, NAMES, "class folders", camera_rotation=True)


@pytest.fixture
def values(split: Split) -> Float32Array:
    """Classes that overlap."""
    rng = np.random.default_rng(1)
    assert split.labels is not None
    descriptors = rng.normal(size=(len(split), 6)) + 1.2 * np.eye(3, 6)[split.labels]
    return np.asarray(descriptors / np.linalg.norm(descriptors, axis=1, keepdims=True), np.float32)


def test_points_are_svms_of_the_first_photographs_by_their_hashes(split: Split, values: Float32Array) -> None:
    partitions = tuple(Partition(*draw_of_each_class(split, NUM_TRAIN, None, seed=seed)) for seed in SEEDS)
    transfer_set = TransferSet("photos", "own", NAMES, "mean class recall", partitions)
    samples = DescribedSamples(split, values)
    results = [transfer_partition(one, samples, transfer_set.metric, costs=[3.0], seed=0) for one in partitions]
    points = measure_learning_curve(transfer_set, samples, results, seed=SEEDS[0])
    assert [point.num_train for point in points] == [1, 2, 5, 10, 12]
    for point in points:
        assert point.scores == pytest.approx([score_by_hand(split, values, point.num_train, seed) for seed in SEEDS])
    assert points[-1].scores == tuple(result.score for result in results)


def test_a_single_draw_has_intervals_over_test_images(split: Split, values: Float32Array) -> None:
    """The interval of the curve's last point is that of the score itself; with fewer photographs it lies elsewhere."""
    partition = Partition(*draw_of_each_class(split, NUM_TRAIN, None, seed=5))
    transfer_set = TransferSet("photos", "own", NAMES, "mean class recall", (partition,))
    samples = DescribedSamples(split, values)
    result = transfer_partition(partition, samples, transfer_set.metric, costs=[3.0], seed=0)
    points = measure_learning_curve(transfer_set, samples, [add_interval(result, transfer_set.metric)], seed=5)
    for point in points:
        assert point.interval is not None and point.interval.percent == pytest.approx(point.scores[0])
        assert point.limits == (point.interval.low, point.interval.high)
        assert 5 < point.interval.high - point.interval.low < 60
    assert CurvePoint(1, (40.0, 44.0)).limits == pytest.approx((42 - 8**0.5, 42 + 8**0.5))


def score_by_hand(split: Split, values: Float32Array, count: int, seed: int) -> float:
    """Return the mean class recall with ``count`` photographs of each class, on those that are never learned from."""
    train: list[int] = []
    test: list[int] = []
    for k in range(3):
        members = list(range(k * PER_CLASS, (k + 1) * PER_CLASS))
        members.sort(key=lambda i: hashlib.sha256(f"{seed}:{split.files[i]}".encode()).digest())
        train += members[:count]
        test += members[NUM_TRAIN:]
    margins = []
    for k in range(3):
        svm: Any = LinearSVC(C=3.0, loss="hinge", dual=True, tol=1e-6, max_iter=100_000, random_state=1)
        svm.fit(values[train], np.array(train) // PER_CLASS == k)
        margins.append(svm.decision_function(values[test]))
    right = np.argmax(margins, axis=0) == np.array(test) // PER_CLASS
    return 100 * float(right.reshape(3, -1).mean())


def test_curve_is_drawn(tmp_path: Path) -> None:
    points = (CurvePoint(1, (40.0, 44.0)), CurvePoint(30, (80.0, 82.0)))
    draw_learning_curve(points, "Mean class recall, %", tmp_path / "curve.png")
    assert (tmp_path / "curve.png").stat().st_size > 5000
    assert str(points[0]) == "42.0 ± 2.8 with 1" and str(CurvePoint(2, (50.0,))) == "50.0 with 2"
    assert str(CurvePoint(5, (50.0,), Share(50.0, 23.66, 76.34))) == "50.0 [23.7,76.3] with 5"


@pytest.mark.parametrize("largest", [2, 3, 11, 31, 34, 45, 99, 101, 130, 520, 734, 999])
def test_labels_of_the_curve_do_not_touch(largest: int, tmp_path: Path) -> None:
    """A digit of Matplotlib's font is 0.636 of its size wide, and numbers have a third of that between them."""
    points = [CurvePoint(count, (50.0, 60.0)) for count in (*(n for n in COUNTS if n < largest), largest)]
    draw_learning_curve(points, "Mean class recall, %", tmp_path / "curve.svg")
    text = (tmp_path / "curve.svg").read_text().split('id="matplotlib.axis_2"')[0]
    found = re.findall(r"<!-- (\d+) -->\s*<g [^>]*translate\(([\d.]+) [^>]*scale\(([\d.]+)", text)
    labels = [(number, float(left), 63.6 * float(scale)) for number, left, scale in found]
    assert labels[-1][0] == str(largest)
    for (number, left, digit), (_, right, _) in itertools.pairwise(labels):
        assert left + (len(number) + 1 / 3) * digit < right
    assert len(labels) >= min(len(points), 3)
