"""The order of training: permutations cut into full batches, whoever takes which rows."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chisquare

from verydeep.data.loading.sampling import StepSampler, global_batch, permutation, process_rows, steps_after

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
