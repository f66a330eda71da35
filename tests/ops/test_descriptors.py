"""Descriptors are combined by the formulas, written out for two images and two scales."""

import numpy as np
import pytest

from verydeep.ops.descriptors import Aggregation, aggregate_scales, normalize, stack_parts

A = np.array([[3.0, 4.0], [0.0, 0.0]], np.float32)
B = np.array([[0.0, 5.0], [2.0, 0.0]], np.float32)


def test_length_is_one_and_zero_stays_zero() -> None:
    assert normalize(A) == pytest.approx(np.array([[0.6, 0.8], [0, 0]]))


def test_average_is_taken_before_normalizing() -> None:
    """(1.5, 4.5) and (1, 0), not the mean of unit vectors."""
    assert aggregate_scales([A, B], "average") == pytest.approx(np.array([[1.5, 4.5], [1, 0]]) / [[22.5**0.5], [1]])


def test_max_takes_the_largest_of_each_value() -> None:
    assert aggregate_scales([A, B], "max") == pytest.approx(np.array([[3, 5], [2, 0]]) / [[34**0.5], [2]])


def test_stacked_scales_weigh_the_same() -> None:
    expected = np.array([[0.6, 0.8, 0, 1], [0, 0, 1, 0]]) / [[2**0.5], [1]]
    assert aggregate_scales([A, B], "stack") == pytest.approx(expected)
    assert stack_parts([normalize(A), normalize(B)]) == pytest.approx(expected)


def test_stacked_nets_weigh_the_same() -> None:
    """The second net's values are ten times as large; each net has two scales."""
    first, second = np.array([3.0, 4.0]), np.array([0.0, 20.0])
    nets = [
        [np.array([first - 1], np.float32), np.array([first + 1], np.float32)],
        [np.array([second], np.float32)] * 2,
    ]
    expected = np.concatenate([first / 5, second / 20]) / 2**0.5
    assert stack_parts(aggregate_scales(scales, "average") for scales in nets)[0] == pytest.approx(expected)


@pytest.mark.parametrize("aggregation", ["average", "stack", "max"])
def test_inputs_stay_unchanged(aggregation: Aggregation) -> None:
    a, b = A.copy(), B.copy()
    aggregate_scales([a, b], aggregation)
    aggregate_scales([a], aggregation)
    stack_parts([a, b])
    assert (a == A).all() and (b == B).all()
