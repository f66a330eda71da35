"""Merging against the plain algorithm, which computes every distance anew in each step, and what it promises."""

import math
from collections.abc import Sequence
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verydeep.ops import merging
from verydeep.ops.arrays import Float64Array
from verydeep.ops.boxes import iou
from verydeep.ops.merging import BoxSets, merge_sets

Box = tuple[float, float, float, float]
Merged = tuple[list[Box], list[float], list[int]]


def distance(a: Box, b: Box) -> float:
    """|center a - center b| / mean diagonal + 1 - IoU."""

    def size(box: Box) -> tuple[float, float]:
        return box[2] + 1 - box[0], box[3] + 1 - box[1]

    def center(box: Box) -> tuple[float, float]:
        return (box[0] + box[2] + 1) / 2, (box[1] + box[3] + 1) / 2

    (wa, ha), (wb, hb), (xa, ya), (xb, yb) = size(a), size(b), center(a), center(b)
    common = max(min(a[2], b[2]) + 1 - max(a[0], b[0]), 0) * max(min(a[3], b[3]) + 1 - max(a[1], b[1]), 0)
    diagonals = math.sqrt(wa**2 + ha**2) / 2 + math.sqrt(wb**2 + hb**2) / 2
    return 1 - common / (wa * ha + wb * hb - common) + math.sqrt((xa - xb) ** 2 + (ya - yb) ** 2) / diagonals


def merge_plainly(boxes: Sequence[Box], scores: Sequence[float], threshold: float) -> Merged:
    """While the closest pair, the first of several, is within the threshold, it becomes one box."""
    left, sums, members = list(boxes), list(scores), [1] * len(boxes)
    while len(left) > 1:
        pairs = [(distance(left[i], left[j]), i, j) for j in range(len(left)) for i in range(j)]
        closest, i, j = min(pairs)
        if closest > threshold:
            break
        members[i] += members[j]
        share = members[j] / members[i]
        x1, y1, x2, y2 = (a + (b - a) * share for a, b in zip(left[i], left[j], strict=True))
        left[i] = x1, y1, x2, y2
        sums[i] += sums[j]
        del left[j], members[j], sums[j]
    return left, sums, members


def sets_of(lists: Sequence[Sequence[Box]], scores: Sequence[Sequence[float]]) -> BoxSets:
    boxes = np.array([box for those in lists for box in those], np.float64).reshape(-1, 4)
    return BoxSets.from_predictions(
        boxes, np.array([s for those in scores for s in those]), [len(those) for those in lists]
    )


def apart(sets: BoxSets) -> list[Merged]:
    """Set by set."""
    ends = np.cumsum(sets.counts)[:-1]
    rows = zip(*(np.split(of, ends) for of in (sets.boxes, sets.scores, sets.members)), strict=True)
    return [([tuple(box) for box in boxes.tolist()], scores.tolist(), m.tolist()) for boxes, scores, m in rows]


def predictions(rng: np.random.Generator, count: int) -> Float64Array:
    """Boxes as a dense map gives them, about a few objects and some anywhere."""
    objects = rng.uniform([100, 80, 60, 50], [300, 200, 250, 180], (3, 4))
    cxcywh = objects[rng.choice(3, count, p=[0.6, 0.3, 0.1])] * rng.normal(1, 0.12, (count, 4))
    anywhere = rng.random(count) < 0.2
    cxcywh[anywhere] = rng.uniform([0, 0, 20, 20], [400, 300, 300, 300], (anywhere.sum(), 4))
    half = cxcywh[:, 2:].clip(2) / 2
    return np.concatenate([cxcywh[:, :2] - half, cxcywh[:, :2] + half - 1], axis=1)


@st.composite
def small_boxes(draw: st.DrawFn) -> Box:
    """On a grid so coarse that equal boxes and equal distances are common."""
    x, y, w, h = draw(st.tuples(st.integers(0, 4), st.integers(0, 3), st.integers(0, 3), st.integers(0, 2)))
    return float(x), float(y), float(x + w), float(y + h)


@given(
    lists=st.lists(st.lists(small_boxes(), max_size=9), min_size=1, max_size=6),
    threshold=st.sampled_from([0.0, 0.25, 0.5, 0.9, 1.3, 9.0]) | st.floats(0, 2),
    lanes=st.sampled_from([1, 2, 128]),
)
def test_small_boxes_merge_as_plainly(lists: list[list[Box]], threshold: float, lanes: int) -> None:
    """To the last bit: ties are decided alike. Sets of all sizes together, none and one among them."""
    scores = [[float(2**k) for k in range(len(boxes))] for boxes in lists]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(merging, "LANES", lanes)
        merged = merge_sets(sets_of(lists, scores), threshold)
    assert apart(merged) == [merge_plainly(*pair, threshold) for pair in zip(lists, scores, strict=True)]


def test_of_equally_close_pairs_the_first_is_merged() -> None:
    """Two boxes become one that is as far to the right of a third as a fourth is to the left, in any order of them."""
    around: list[Box] = [(50 + x, 50 + y, 59 + x, 59 + y) for x, y in ((0, 0), (6, 1), (6, -1), (-6, 0))]
    assert distance(around[0], (56, 50, 65, 59)) == distance(around[0], around[3]) > distance(around[1], around[2])
    orders = [list(order) for order in permutations(around)]
    merged = apart(merge_sets(sets_of(orders, [[1, 2, 4, 8]] * len(orders)), 1.2))
    assert merged == [merge_plainly(order, [1, 2, 4, 8], 1.2) for order in orders]
    assert {tuple(members) for _, _, members in merged} >= {(3, 1), (2, 2)}


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.6, 1.0, 5.0])
def test_dense_predictions_merge_as_plainly(threshold: float) -> None:
    """Sets of up to 60 boxes, large enough for merged boxes to be cleared away in between."""
    rng = np.random.default_rng(int(10 * threshold))
    lists = [[tuple(box) for box in predictions(rng, count).tolist()] for count in (60, 0, 41, 55, 1, 2, 60, 17)]
    lists[3] = lists[3][:11] * 5
    scores = [rng.random(len(boxes)).tolist() for boxes in lists]
    merged = merge_sets(sets_of(lists, scores), threshold)
    assert apart(merged) == [merge_plainly(*pair, threshold) for pair in zip(lists, scores, strict=True)]


@given(seed=st.integers(0, 10**6), count=st.integers(1, 30), threshold=st.floats(0, 1.5))
def test_a_merged_box_is_the_mean_of_its_members_and_has_their_scores(seed: int, count: int, threshold: float) -> None:
    """Powers of two for scores tell the members; none is lost, none counted twice, and what is left is apart."""
    boxes = predictions(np.random.default_rng(seed), count)
    merged = merge_sets(BoxSets.from_predictions(boxes, 2.0 ** np.arange(count), [count]), threshold)
    members = (merged.scores.astype(np.int64)[:, None] >> np.arange(count)) & 1
    assert (members.sum(axis=0) == 1).all()
    assert merged.members.tolist() == members.sum(axis=1).tolist()
    np.testing.assert_allclose(merged.boxes, members @ boxes / members.sum(axis=1, keepdims=True), rtol=1e-9)
    earliest = members.argmax(axis=1)
    assert (np.diff(earliest) > 0).all()
    left: list[Box] = [tuple(box) for box in merged.boxes.tolist()]
    assert all(distance(a, b) > threshold for k, a in enumerate(left) for b in left[:k])


def test_the_distance_by_hand() -> None:
    """Two boxes of 4 x 3 pixels, diagonal 5, the second moved by one pixel: 1/5 + 1 - 9/15 = 0.6."""
    pair = sets_of([[(0, 0, 3, 2), (1, 0, 4, 2)]], [[0.25, 0.5]])
    assert merge_sets(pair, 0.6 - 1e-9).counts.tolist() == [2]
    merged = merge_sets(pair, 0.6 + 1e-9)
    assert (merged.boxes.tolist(), merged.scores.tolist(), merged.counts.tolist()) == ([[0.5, 0, 3.5, 2]], [0.75], [1])
    assert iou(*pair.boxes) == 9 / 15


def test_the_mean_weighs_members() -> None:
    """(0, 0, 9, 9) twice and one moved by 3: x at 1, not 1.5."""
    merged = merge_sets(sets_of([[(3, 0, 12, 9), (0, 0, 9, 9), (0, 0, 9, 9)]], [[1, 2, 4]]), 1.0)
    np.testing.assert_allclose(merged.boxes, [[1, 0, 10, 9]])
    assert (merged.members.tolist(), merged.scores.tolist()) == ([3], [7])


def test_threshold_zero_merges_equal_boxes_alone() -> None:
    rng = np.random.default_rng(5)
    boxes = predictions(rng, 20)
    repeated = boxes[rng.permutation(np.repeat(np.arange(20), 7))]
    merged = merge_sets(BoxSets.from_predictions(repeated, np.ones(140), [140]), 0)
    assert merged.members.tolist() == [7] * 20
    assert {tuple(box) for box in merged.boxes.tolist()} == {tuple(box) for box in boxes.tolist()}


@given(seed=st.integers(0, 10**6), low=st.floats(0, 1.2), more=st.floats(0, 1.2))
def test_merging_on_with_a_larger_threshold_is_merging_at_once(seed: int, low: float, more: float) -> None:
    """So a threshold can be chosen in one pass over rising candidates."""
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 16, 4)
    sets = BoxSets.from_predictions(predictions(rng, counts.sum()), rng.random(counts.sum()), counts)
    assert apart(merge_sets(merge_sets(sets, low), low + more)) == apart(merge_sets(sets, low + more))


def test_boxes_that_are_no_numbers_are_left_alone() -> None:
    boxes = np.array([[0, 0, 9, 9], [np.nan, 0, 9, 9], [0, 0, 9, 9], [np.nan] * 4, [0, 0, np.inf, 9], [0, 0, 9, 9]])
    sets = BoxSets.from_predictions(np.concatenate([boxes, boxes[1:2]]), np.arange(7.0), [6, 1])
    merged = merge_sets(sets, 1.0)
    assert (merged.members.tolist(), merged.scores.tolist()) == ([3, 1, 1, 1, 1], [7, 1, 3, 4, 6])
    assert merged.counts.tolist() == [4, 1]
    np.testing.assert_array_equal(merged.boxes[1:4], boxes[[1, 3, 4]])


def test_the_given_sets_stay_as_they_are() -> None:
    boxes, scores = np.tile([1.0, 2, 8, 6], (3, 1)), np.ones(3)
    sets = BoxSets.from_predictions(boxes, scores, [3])
    merge_sets(sets, 1.0)
    assert (boxes == [1, 2, 8, 6]).all() and (scores == 1).all() and sets.members.tolist() == [1, 1, 1]


def test_the_best_box_of_each_set() -> None:
    """Of equal scores the first; an empty set has none."""
    boxes = np.arange(28.0).reshape(7, 4)
    sets = BoxSets.from_predictions(boxes, np.array([0.1, 0.7, 0.7, 0.2, 0.9, 0.3, 0.3]), [0, 3, 1, 0, 3])
    best, scores = sets.best()
    np.testing.assert_array_equal(best, [[np.nan] * 4, boxes[1], boxes[3], [np.nan] * 4, boxes[4]])
    np.testing.assert_array_equal(scores, [np.nan, 0.7, 0.2, np.nan, 0.9])
