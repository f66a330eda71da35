"""Scales put together, by the formulas written out for two images and two scales."""

import numpy as np
import pytest

from verydeep.ops.descriptors import aggregate_scales, compose_descriptors, normalize

A = np.array([[3.0, 4.0], [0.0, 0.0]], np.float32)
B = np.array([[0.0, 5.0], [2.0, 0.0]], np.float32)


def test_length_is_one_and_zero_stays_zero() -> None:
    assert normalize(A) == pytest.approx(np.array([[0.6, 0.8], [0, 0]]))


def test_the_mean_is_of_the_values_as_they_are() -> None:
    """(1.5, 4.5) and (1, 0), not the mean of unit vectors."""
    assert aggregate_scales([A, B], "average") == pytest.approx(np.array([[1.5, 4.5], [1, 0]]) / [[22.5**0.5], [1]])


def test_the_largest_of_each_value() -> None:
    assert aggregate_scales([A, B], "max") == pytest.approx(np.array([[3, 5], [2, 0]]) / [[34**0.5], [2]])


def test_stacked_parts_weigh_the_same_unless_the_whole_alone_is_normalized() -> None:
    parts = np.array([[0.6, 0.8, 0, 1], [0, 0, 1, 0]]) / [[2**0.5], [1]]
    assert aggregate_scales([A, B], "stack") == pytest.approx(parts)
    assert compose_descriptors([[A], [B]], "average") == pytest.approx(parts)
    whole = np.array([[3, 4, 0, 5], [0, 0, 2, 0]]) / [[50**0.5], [2]]
    assert aggregate_scales([A, B], "stack", "whole") == pytest.approx(whole)
    assert compose_descriptors([[A], [B]], "average", "whole") == pytest.approx(whole)


def test_nets_weigh_the_same_unless_the_whole_alone_is_normalized() -> None:
    """The second net's values are ten times as large; each has two scales."""
    first, second = np.array([3.0, 4.0]), np.array([0.0, 20.0])
    nets = [[np.array([row - 1, row + 1], np.float32) for row in (first,)], [np.array([second] * 2, np.float32)]]
    averaged = [[net[0][:1], net[0][1:]] for net in nets]
    parts = np.concatenate([first / 5, second / 20]) / 2**0.5
    assert compose_descriptors(averaged, "average")[0] == pytest.approx(parts)
    assert compose_descriptors(averaged, "average", "whole")[0] == pytest.approx(
        np.concatenate([first, second]) / 425**0.5
    )


def test_what_is_put_together_stays_as_it_was() -> None:
    """Arrays may belong to somebody else."""
    for how in ("average", "stack", "max"):
        for normalization in ("parts", "whole"):
            a, b = A.copy(), B.copy()
            compose_descriptors([[a, b], [b]], how, normalization)
            compose_descriptors([[a]], how, normalization)
            assert (a == A).all() and (b == B).all()
