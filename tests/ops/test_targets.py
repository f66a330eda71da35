"""Targets of single labels, and who is held out of them."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from verydeep.ops.arrays import Int8Array
from verydeep.ops.targets import hold_out_groups, hold_out_samples, one_vs_rest


def several_labels(seed: int, num_images: int, num_classes: int, often: float) -> Int8Array:
    """Classes of falling frequency, images of several, one or no class, some of them left out."""
    rng = np.random.default_rng(seed)
    targets = np.where(rng.random((num_images, num_classes)) < often / np.arange(1, num_classes + 1), 1, -1)
    targets[rng.random(targets.shape) < 0.05] = 0
    return targets.astype(np.int8)


def test_one_class_against_the_rest() -> None:
    targets = one_vs_rest(np.array([2, 0, 2, 1]), 4)
    assert targets.dtype == np.int8
    assert targets.tolist() == [[-1, -1, 1, -1], [1, -1, -1, -1], [-1, -1, 1, -1], [-1, 1, -1, -1]]


def test_of_single_labels_a_fifth_of_every_class_is_held_out() -> None:
    counts = np.array([30, 2, 5, 7, 60, 8, 3])  # 20% of 7 and 8 are 1.4 and 1.6
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(7), counts))
    held_out = hold_out_samples(one_vs_rest(labels, 7), seed=3)
    assert np.bincount(labels[held_out], minlength=7).tolist() == [6, 1, 1, 1, 12, 2, 1]


def test_a_class_of_one_image_keeps_it_for_training() -> None:
    assert not hold_out_samples(one_vs_rest(np.array([0, 1, 1, 1]), 2), seed=0)[0]


def test_images_of_no_class_are_held_out_too() -> None:
    held_out = hold_out_samples(np.full((50, 2), -1, np.int8), seed=0)
    assert held_out.sum() == 10


def test_the_draw_is_the_seeds_alone() -> None:
    labels = np.arange(60) % 3
    first, again, other = (hold_out_samples(one_vs_rest(labels, 3), seed) for seed in (1, 1, 2))
    assert np.array_equal(first, again)
    for label in range(3):
        held_out, held_out_by_another = (np.flatnonzero(each[labels == label]).tolist() for each in (first, other))
        assert held_out != held_out_by_another
        assert held_out != [0, 1, 2, 3]  # nor is it the order of the files


def test_a_class_that_came_to_one_side_gets_one_image_on_the_other() -> None:
    """Two of nine classes on each of 27 images: each class is on six, and serving the others may leave none of them."""
    first = np.arange(27) % 9
    targets = np.full((27, 9), -1, np.int8)
    targets[np.arange(27), first] = targets[np.arange(27), (first + 1 + np.arange(27) // 9) % 9] = 1
    for seed in range(200):
        held_out = hold_out_samples(targets, seed)
        assert (targets[held_out] == 1).any(axis=0).all() and (targets[~held_out] == 1).any(axis=0).all()
        assert held_out.sum() < 12


def test_no_class_loses_its_last_image_to_another() -> None:
    """Both classes are on the same two images: one is held out."""
    for seed in range(20):
        assert hold_out_samples(np.ones((2, 2), np.int8), seed).sum() == 1


def test_samples_of_one_photograph_stay_together() -> None:
    """A fifth of the photographs, of every class, in whatever order their samples come."""
    rng = np.random.default_rng(0)
    photographs = rng.permutation(np.repeat(np.arange(100), 3))
    targets = several_labels(1, 300, 4, 0.5)
    held_out = hold_out_samples(targets, seed=2, photographs=photographs)
    assert not set(photographs[held_out]) & set(photographs[~held_out])
    assert len(set(photographs[held_out])) == 20
    for column in targets.T:
        assert 0 < (column[held_out] == 1).sum() < (column == 1).sum()


def test_a_rare_class_is_served_before_the_one_that_shares_its_images() -> None:
    targets = np.full((20, 2), 1, np.int8)
    targets[2:, 1] = -1
    for seed in range(20):
        held_out = hold_out_samples(targets, seed)
        assert held_out[:2].sum() == 1 and held_out.sum() == 4


@given(seed=st.integers(0, 10_000), num_classes=st.integers(1, 12), often=st.floats(0.1, 0.9))
def test_of_several_labels_every_class_is_held_out_by_about_a_fifth(seed: int, num_classes: int, often: float) -> None:
    targets = several_labels(seed, 300, num_classes, often)
    held_out, positive = hold_out_samples(targets, seed), targets == 1
    total, of_held_out = positive.sum(axis=0), positive[held_out].sum(axis=0)
    assert abs(held_out.mean() - 0.2) < 0.08
    for count, found in zip(total, of_held_out, strict=True):
        assert abs(found - 0.2 * count) <= 2 + 0.16 * count
        assert count < 10 or 0 < found < count


group_sets = st.integers(1, 12).flatmap(
    lambda num_groups: st.lists(
        st.tuples(st.integers(0, num_groups - 1), st.sampled_from((1, -1)), st.sampled_from((1, -1))), min_size=1
    )
)


@given(rows=group_sets, share=st.sampled_from((0.2, 0.5)))
def test_groups_are_whole_and_classes_on_both_sides(rows: list[tuple[int, int, int]], share: float) -> None:
    """A class of several groups has one on each side, where no other class has any of them."""
    numbers = np.unique(np.array([row[0] for row in rows]), return_inverse=True)[1]
    targets = np.array([row[1:] for row in rows], np.int8)
    classes = [np.flatnonzero(column == 1) for column in targets.T]
    held_out = hold_out_groups(classes, numbers, share)
    for number in range(numbers.max() + 1):
        assert len(np.unique(held_out[numbers == number])) == 1
    groups_of = [set(numbers[members].tolist()) for members in classes]
    for groups, others in (groups_of, groups_of[::-1]):
        sides = {bool(held_out[numbers == group][0]) for group in groups}
        if len(groups) == 1:
            assert sides == {False}
        elif len(groups) > 1 and not groups & others:
            assert sides == {True, False}


def test_groups_share_their_images_about_equally() -> None:
    """Of forty groups of 1 to 40 images, half a mean group more or less than a fifth."""
    groups = np.repeat(np.random.default_rng(0).permutation(40), np.arange(1, 41))
    held_out = hold_out_groups([np.arange(len(groups))], groups, 0.2)
    assert abs(held_out.sum() - 0.2 * len(groups)) <= 20
