import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from verydeep.ops.near_duplicates import join_pairs


@given(st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), max_size=25))
def test_joined_groups_are_the_connected_parts_of_a_graph(pairs: list[tuple[int, int]]) -> None:
    reachable = np.eye(20, dtype=bool)
    for one, other in pairs:
        reachable[one, other] = reachable[other, one] = True
    for _ in range(5):
        reachable = reachable @ reachable
    expected = sorted({tuple(np.flatnonzero(row).tolist()) for row in reachable if row.sum() > 1})
    assert [tuple(group) for group in join_pairs(pairs, 20)] == expected
