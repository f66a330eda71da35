"""Where the windows of a class score map lie, and how a map covers its photograph."""

import numpy as np
import pytest
from scipy.interpolate import RegularGridInterpolator

from verydeep.ops.map_geometry import spread_map, window_edges


def test_windows_step_by_the_stride_and_scale_with_the_photograph() -> None:
    """Figures of docs/dense-evaluation.md: an image of 96x160 and crop 64."""
    windows = window_edges((2, 4), 32, 64)
    assert windows.shape == (2, 4, 4)
    assert windows[0, :, 0].tolist() == [0, 32, 64, 96] and windows[:, 0, 1].tolist() == [0, 32]
    assert windows[1, 2].tolist() == [64, 32, 128, 96]
    doubled = window_edges((2, 4), 32, 64, (2.0, 3.0))
    assert doubled[1, 2].tolist() == [128, 96, 256, 288]


@pytest.mark.parametrize("shape", [(96, 160), (33, 51), (400, 300)])
def test_a_spread_map_is_linear_between_the_centers_of_windows(shape: tuple[int, int]) -> None:
    values = np.random.default_rng(0).random((2, 4))
    spread = spread_map(values, 32, 64, (96, 160), shape)
    grid = RegularGridInterpolator((32 + 32 * np.arange(2), 32 + 32 * np.arange(4)), values)
    rows, columns = (
        ((np.arange(count) + 0.5) * length / count).clip(32, last)
        for count, length, last in zip(shape, (96, 160), (64, 128), strict=True)
    )
    expected = grid(np.stack(np.meshgrid(rows, columns, indexing="ij"), axis=2))
    np.testing.assert_allclose(spread, expected, atol=1e-6)


def test_a_map_of_one_position_is_flat() -> None:
    assert (spread_map(np.full((1, 1), 0.25), 32, 224, (224, 230), (7, 9)) == 0.25).all()
