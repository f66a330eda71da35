"""The order of training: permutations cut into full batches, whoever takes which rows."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare
from sklearn.utils.class_weight import compute_class_weight

from verydeep.data.loading.sampling import (
    REPETITION,
    BalancedClasses,
    StepSampler,
    class_weights,
    global_batch,
    permutation,
    process_rows,
    steps_after,
)

seeds = st.integers(0, 2**40)
sizes = st.integers(1, 40)


@given(seed=seeds, num_images=sizes, batch_size=st.integers(1, 70), epochs=st.integers(1, 4))
def test_every_epoch_is_a_permutation_and_every_batch_full(
    seed: int, num_images: int, batch_size: int, epochs: int
) -> None:
    """The tail of an epoch runs over into the next; a batch larger than the data holds several epochs."""
    steps = -(-epochs * num_images // batch_size)
    batches = [global_batch(seed, step, num_images, batch_size) for step in range(steps)]
    assert {len(batch) for batch in batches} == {batch_size}
    rows = [row for batch in batches for row in batch]
    for epoch in range(epochs):
        inside = rows[epoch * num_images : (epoch + 1) * num_images]
        assert {row[0] for row in inside} == {epoch}
        assert sorted(index for _, index in inside) == list(range(num_images))


@given(batch_size=st.integers(1, 300), world_size=st.integers(1, 64))
def test_the_rows_of_all_processes_are_the_batch(batch_size: int, world_size: int) -> None:
    """In order, none twice, none missing, and no process has two more than another."""
    rows = list(range(batch_size))
    parts = [rows[process_rows(rank, world_size, batch_size)] for rank in range(world_size)]
    assert [row for part in parts for row in part] == rows
    lengths = [len(part) for part in parts]
    assert max(lengths) - min(lengths) <= 1


@given(seed=seeds, num_images=sizes, batch_size=st.integers(1, 20), world_size=st.integers(1, 5), data=st.data())
def test_processes_and_resumed_runs_see_the_same_steps(
    seed: int, num_images: int, batch_size: int, world_size: int, data: st.DataObject
) -> None:
    stop = data.draw(st.integers(0, 12))
    start = data.draw(st.integers(0, stop))
    whole = list(StepSampler(num_images, batch_size, seed, 0, stop))
    assert whole == [global_batch(seed, step, num_images, batch_size) for step in range(stop)]
    resumed = [StepSampler(num_images, batch_size, seed, start, stop, rank, world_size) for rank in range(world_size)]
    assert {len(sampler) for sampler in resumed} == {stop - start}
    assert [[row for part in parts for row in part] for parts in zip(*resumed, strict=True)] == whole[start:]


@given(epochs=st.integers(0, 100), num_images=st.integers(1, 2000), batch_size=st.integers(1, 300))
def test_steps_after_is_the_first_step_that_completes_the_epochs(epochs: int, num_images: int, batch_size: int) -> None:
    steps = steps_after(epochs, num_images, batch_size)
    assert steps * batch_size >= epochs * num_images
    assert steps == 0 or (steps - 1) * batch_size < epochs * num_images


def test_orders_differ_by_epoch_and_seed() -> None:
    orders = [permutation(seed, epoch, 50).tolist() for seed, epoch in ((0, 0), (0, 1), (1, 0), (1, 1), (2, 0))]
    assert all(a != b for i, a in enumerate(orders) for b in orders[:i])
    assert permutation(0, 0, 50).tolist() == orders[0]


def test_every_order_is_as_likely() -> None:
    """The 24 orders of four images over 4,800 epochs."""
    counts: dict[tuple[int, ...], int] = {}
    for epoch in range(4800):
        order = tuple(permutation(5, epoch, 4).tolist())
        counts[order] = counts.get(order, 0) + 1
    assert len(counts) == 24
    assert chisquare(np.array(list(counts.values()))).pvalue > 1e-3


counts_of_classes = st.lists(st.integers(1, 30), min_size=1, max_size=6)


def balanced_classes(counts: list[int]) -> BalancedClasses:
    return BalancedClasses(np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts)))


@given(seed=seeds, counts=counts_of_classes, batch_size=st.integers(1, 20), epoch=st.integers(0, 3))
def test_a_balanced_epoch_has_equally_many_samples_of_each_class(
    seed: int, counts: list[int], batch_size: int, epoch: int
) -> None:
    """Within one, and so have the images of a class; each use of an image is another sample."""
    balanced = balanced_classes(counts)
    num_images = sum(counts)
    steps = -(-(epoch + 1) * num_images // batch_size)
    rows = [row for step in range(steps) for row in global_batch(seed, step, num_images, batch_size, balanced)]
    samples = rows[epoch * num_images : (epoch + 1) * num_images]
    assert {key % REPETITION for key, _ in samples} == {epoch}
    assert len(set(samples)) == num_images
    images = np.array([index for _, index in samples])
    of_class = np.bincount(balanced.labels[images], minlength=len(counts))
    assert of_class.max() - of_class.min() <= 1
    uses = np.bincount(images, minlength=num_images)
    for label in range(len(counts)):
        of_image = uses[balanced.labels == label]
        assert of_image.max() - of_image.min() <= 1


@given(seed=seeds, counts=counts_of_classes, batch_size=st.integers(1, 20), world_size=st.integers(1, 5))
def test_processes_and_resumed_runs_see_the_same_balanced_steps(
    seed: int, counts: list[int], batch_size: int, world_size: int
) -> None:
    size = sum(counts)
    whole = list(StepSampler(size, batch_size, seed, 0, 6, balanced=balanced_classes(counts)))
    resumed = [
        StepSampler(size, batch_size, seed, 3, 6, rank, world_size, balanced_classes(counts))
        for rank in range(world_size)
    ]
    assert [[row for part in parts for row in part] for parts in zip(*resumed, strict=True)] == whole[3:]


def test_balanced_epochs_differ() -> None:
    balanced = balanced_classes([3, 40])
    epochs = [{index for _, index in global_batch(0, step, 43, 43, balanced)} for step in range(20)]
    assert set.union(*epochs) == set(range(43))  # a large class shows all of its images in the course of time
    assert len({tuple(sorted(images)) for images in epochs}) > 15


def test_weights_of_classes() -> None:
    """Those that scikit-learn calls balanced; a class without images has none."""
    labels = np.repeat([0, 1, 3], [2, 5, 13])
    weights = class_weights(labels, 4)
    np.testing.assert_allclose(
        weights[[0, 1, 3]], compute_class_weight("balanced", classes=np.unique(labels), y=labels)
    )
    assert weights[2] == 0 and weights[labels].mean() == pytest.approx(1)
