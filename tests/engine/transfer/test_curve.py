"""The score with fewer photographs, against scikit-learn on photographs chosen by hand."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.svm import LinearSVC

from verydeep.data.draws import draw_of_each_class
from verydeep.data.split import Split
from verydeep.data.transfer_sets import Partition, TransferSet
from verydeep.engine.descriptors.representation import Descriptors
from verydeep.engine.transfer.curve import Point, draw_curve, learning_curve
from verydeep.engine.transfer.protocol import transfer
from verydeep.ops.arrays import Float32Array

NAMES = ("ant", "bell", "crab")
PER_CLASS, NUM_TRAIN, SEEDS = 20, 12, (5, 6)


@pytest.fixture
def everything() -> Split:
    files = tuple(f"{name}/{i:02}.jpg" for name in NAMES for i in range(PER_CLASS))
    labels = np.repeat(np.arange(3), PER_CLASS)
    return Split("all", Path("/data"), files, labels, NAMES, NAMES, "class folders", camera_rotation=True)


@pytest.fixture
def values(everything: Split) -> Float32Array:
    """Classes that overlap."""
    rng = np.random.default_rng(1)
    assert everything.labels is not None
    drawn = rng.normal(size=(len(everything), 6)) + 1.2 * np.eye(3, 6)[everything.labels]
    return np.asarray(drawn / np.linalg.norm(drawn, axis=1, keepdims=True), np.float32)


def test_points_are_svms_of_the_first_photographs_by_their_hashes(everything: Split, values: Float32Array) -> None:
    partitions = tuple(Partition(*draw_of_each_class(everything, NUM_TRAIN, None, seed=seed)) for seed in SEEDS)
    task = TransferSet("photos", "own", NAMES, "mean class recall", partitions)
    descriptors = Descriptors(np.arange(len(everything)), values, {})
    found = tuple(
        transfer(
            one,
            everything,
            descriptors,
            task.metric,
            candidates=[3.0],
            seed=0,
        )
        for one in partitions
    )
    points = learning_curve(task, everything, descriptors, found, seed=SEEDS[0])
    assert [point.num_train for point in points] == [1, 2, 5, 10, 12]
    for point in points:
        assert point.scores == pytest.approx([plain(everything, values, point.num_train, seed) for seed in SEEDS])
    assert points[-1].scores == tuple(each.score for each in found)


def plain(everything: Split, values: Float32Array, count: int, seed: int) -> float:
    """Mean class recall of ``count`` photographs of each class, tested on those that are never learned from."""
    train: list[int] = []
    test: list[int] = []
    for k in range(3):
        members = list(range(k * PER_CLASS, (k + 1) * PER_CLASS))
        members.sort(key=lambda i: hashlib.sha256(f"{seed}:{everything.files[i]}".encode()).digest())
        train += members[:count]
        test += members[NUM_TRAIN:]
    margins = []
    for k in range(3):
        svm: Any = LinearSVC(C=3.0, loss="hinge", dual=True, tol=1e-6, max_iter=100_000, random_state=1)
        svm.fit(values[train], np.array(train) // PER_CLASS == k)
        margins.append(svm.decision_function(values[test]))
    right = np.argmax(margins, axis=0) == np.array(test) // PER_CLASS
    return 100 * float(right.reshape(3, -1).mean())


def test_the_curve_is_drawn(tmp_path: Path) -> None:
    points = (Point(1, (40.0, 44.0)), Point(30, (80.0, 82.0)))
    draw_curve(points, "Mean class recall, %", tmp_path / "curve.png")
    assert (tmp_path / "curve.png").stat().st_size > 5000
    assert str(points[0]) == "1: 42.0 ± 2.8" and str(Point(2, (50.0,))) == "2: 50.0"
