import tracemalloc

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from verydeep.ops.near_duplicates import group_near_duplicates, join_pairs


@given(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=25))
def test_joined_groups_are_the_connected_parts_of_a_graph(pairs: list[tuple[int, int]]) -> None:
    reachable = np.eye(20, dtype=bool)
    for one, other in pairs:
        reachable[one, other] = reachable[other, one] = True
    for _ in range(5):
        reachable = reachable @ reachable
    expected = sorted({tuple(np.flatnonzero(row).tolist()) for row in reachable if row.sum() > 1})
    assert [tuple(group) for group in join_pairs(pairs, 20)] == expected


def test_memory_is_bounded_where_all_are_alike() -> None:
    """Of 8,000 pictures of one scene, whose 32 million pairs alone would take 500 MB, all are one group."""
    rng = np.random.default_rng(5)
    scene = np.add.outer(np.linspace(0, 90, 32), np.linspace(0, 60, 32)) + 20 * rng.random((32, 32))
    thumbnails = (scene + rng.integers(-2, 3, (8000, 1, 1))).astype(np.uint8)
    tracemalloc.start()
    steps, groups = group_near_duplicates(thumbnails), None
    while groups is None:
        try:
            next(steps)
        except StopIteration as stop:
            groups = stop.value
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert groups == [list(range(8000))]
    assert peak < 300e6
