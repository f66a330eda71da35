"""The localization error against its definition, image by image, and on the real truth of ILSVRC's images."""

import csv
import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verydeep.ops.localization_errors import (
    TrueBoxes,
    best_overlaps,
    ground_truth_overlaps,
    localization_errors,
    success_rates,
)

Box = tuple[int, int, int, int]


def overlap(a: Box, b: Box) -> float:
    """compute_overlap.m, -1 where two boxes are apart included."""
    width = min(a[2], b[2]) - max(a[0], b[0]) + 1
    height = min(a[3], b[3]) - max(a[1], b[1]) + 1
    if width <= 0 or height <= 0:
        return -1
    union = (a[2] - a[0] + 1) * (a[3] - a[1] + 1) + (b[2] - b[0] + 1) * (b[3] - b[1] + 1) - width * height
    return width * height / union


def devkit_error(guesses: list[tuple[int, Box]], label: int, instances: list[Box]) -> int:
    """eval_clsloc.m: min over guesses j and instances m of max(d(c_j, C), f(b_j, B_m))."""
    errors = []
    for guessed, box in guesses:
        d = int(guessed != label)
        f = [int(overlap(box, instance) < 0.5) for instance in instances] if d == 0 else [1]
        errors.append(min(max(d, each) for each in f))
    return min(errors)


@st.composite
def images(draw: st.DrawFn) -> tuple[list[tuple[int, Box]], int, list[Box]]:
    """Five guesses, the true class of three, and instances; small boxes, so that an IoU of exactly 0.5 is common."""

    def box() -> Box:
        x, y = draw(st.integers(0, 3)), draw(st.integers(0, 2))
        return x, y, x + draw(st.integers(0, 4)), y + draw(st.integers(0, 3))

    guesses = [(draw(st.integers(-1, 2)), box()) for _ in range(5)]
    return guesses, draw(st.integers(0, 2)), [box() for _ in range(draw(st.integers(1, 4)))]


@given(tree=st.lists(st.tuples(images(), st.booleans()), min_size=1, max_size=8))
def test_the_error_is_the_devkits(tree: list[tuple[tuple[list[tuple[int, Box]], int, list[Box]], bool]]) -> None:
    """Image by image, and in all without the blacklisted ones."""
    labels = np.array([[guessed for guessed, _ in guesses] for (guesses, _, _), _ in tree])
    boxes = np.array([[box for _, box in guesses] for (guesses, _, _), _ in tree], np.float32)
    truth = TrueBoxes.from_images(
        np.array([label for (_, label, _), _ in tree]), [np.array(instances) for (_, _, instances), _ in tree]
    )
    expected = np.array([devkit_error(*image) for image, _ in tree])
    overlaps = best_overlaps(labels, boxes, truth)
    assert (overlaps < 0.5).tolist() == expected.astype(bool).tolist()
    blacklisted = np.array([listed for _, listed in tree])
    if not blacklisted.all():
        errors = localization_errors(overlaps[~blacklisted])
        assert errors.num_images == (~blacklisted).sum()
        assert errors.error.percent == pytest.approx(100 * expected[~blacklisted].mean())
    first = [max(0.0, *(overlap(guesses[0][1], instance) for instance in all_)) for (guesses, _, all_), _ in tree]
    np.testing.assert_allclose(ground_truth_overlaps(boxes[:, 0], truth), first)
    of_truth = localization_errors(ground_truth_overlaps(boxes[:, 0], truth))
    assert of_truth.mean_iou.value == pytest.approx(np.mean(first))


def test_by_hand() -> None:
    """Four images, one instance each but for the third; half of 10 x 8 pixels is right, 39 of 80 is not."""
    whole, half, less = [0, 0, 9, 7], [0, 0, 4, 7], [0, 0, 12, 2]  # 80, 40 and 13 x 3 = 39 pixels, 30 in common
    far = [40, 40, 49, 47]
    truth = TrueBoxes.from_images(
        np.array([3, 3, 5, 3]), [np.array(b) for b in ([whole], [whole], [far, whole], [whole])]
    )
    labels = np.array([[1, 3], [3, -1], [5, 5], [0, 1]])
    boxes = np.array([[far, half], [less, whole], [half, half], [whole, whole]], np.float64)
    overlaps = best_overlaps(labels, boxes, truth)
    assert overlaps.tolist() == [0.5, 30 / 89, 0.5, 0]
    errors = localization_errors(overlaps)
    assert (errors.error.percent, errors.num_images) == (50, 4)
    assert errors.mean_iou.value == pytest.approx((1 + 30 / 89) / 4)
    assert localization_errors(overlaps[[0, 2, 3]]).error.percent == pytest.approx(100 / 3)
    assert [share.percent for share in success_rates(overlaps, [0.01, 0.5, 0.501, 1])] == [75, 50, 0, 0]


def test_success_at_one_half_is_what_the_error_leaves() -> None:
    overlaps = np.random.default_rng(0).random(1000)
    overlaps[:100], overlaps[100:300] = 0, 0.5
    thresholds = [0.1, 0.25, 0.5, 0.75, 0.9]
    shares = success_rates(overlaps, thresholds)
    assert [share.percent for share in shares] == [100 * (overlaps >= t).mean() for t in thresholds]
    error = localization_errors(overlaps).error
    assert shares[2].percent == pytest.approx(100 - error.percent)
    assert (shares[2].low, shares[2].high) == pytest.approx((100 - error.high, 100 - error.low))


def test_a_net_that_overflowed_is_never_right() -> None:
    truth = TrueBoxes.from_images(np.array([0, 0]), [np.array([[0, 0, 9, 9]])] * 2)
    nowhere = np.full((2, 3, 4), np.nan)
    assert best_overlaps(np.zeros((2, 3), np.int64), nowhere, truth).tolist() == [0, 0]
    nowhere[1, 1] = 0, 0, 9, 9
    assert best_overlaps(np.zeros((2, 3), np.int64), nowhere, truth).tolist() == [0, 1]


@pytest.mark.data
def test_the_whole_image_as_a_box_on_ilsvrcs_real_truth(real_data: Path) -> None:
    """58.529% of the images outside the blacklist, 59.298% of all: computed by brute force by others (README there).

    The five guesses are the whole image under the true class and four others'.
    """
    loadmat = pytest.importorskip("scipy.io", reason="scipy is not installed").loadmat
    real = real_data / "ilsvrc"
    records = loadmat(real / "clsloc_validation_boxes.mat", squeeze_me=True)["rec"]
    objects = [np.atleast_1d(record["objects"]) for record in records]
    labels = np.array([int(those[0]["label"]) for those in objects])
    assert labels.tolist() == np.loadtxt(real / "ILSVRC2012_validation_ground_truth.txt", np.int64).tolist()
    truth = TrueBoxes.from_images(labels, [np.stack([each["bbox"] for each in those]) for those in objects])
    assert (len(truth.counts), len(truth.boxes)) == (50_000, 80_477)
    with gzip.open(real / "validation_image_sizes.csv.gz", "rt") as lines:
        sizes = np.array([[int(width), int(height)] for _, width, height in csv.reader(lines)])
    blacklisted = np.zeros(50_000, bool)
    blacklisted[np.loadtxt(real / "clsloc_validation_blacklist.txt", np.int64) - 1] = True

    whole = np.concatenate([np.zeros_like(sizes), sizes - 1], axis=1)
    overlaps = ground_truth_overlaps(whole, truth)
    errors, all_images = localization_errors(overlaps[~blacklisted]), localization_errors(overlaps)
    assert (errors.num_images, all_images.num_images) == (48_238, 50_000)
    assert errors.error.percent == pytest.approx(58.529, abs=5e-4)
    assert all_images.error.percent == pytest.approx(59.298, abs=5e-4)
    guessed = (labels[:, None] + [7, 400, 0, 12, 3]) % 1001
    np.testing.assert_array_equal(best_overlaps(guessed, np.repeat(whole[:, None], 5, axis=1), truth), overlaps)
    wrong_class = np.where(guessed == labels[:, None], 1001, guessed)
    assert not best_overlaps(wrong_class, np.repeat(whole[:, None], 5, axis=1), truth).any()
