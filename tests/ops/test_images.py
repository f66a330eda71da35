"""Geometry by hand and by properties; the color shift's matrix against the published ImageNet values."""

import math
from fractions import Fraction
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from verydeep.ops.images import center_crop, color_basis, crop_box, crop_grid, flip_where, grid_crops, rescaled_size

Convention = Literal["std", "eigenvalue"]

EIGENVALUES = np.array([0.2175, 0.0188, 0.0045])
EIGENVECTORS = np.array(
    [
        [-0.5675, 0.7192, 0.4009],
        [-0.5808, -0.0045, -0.8140],
        [-0.5836, -0.6948, 0.4203],
    ]
)
"""Of RGB pixels of ImageNet in [0, 1], as many repositories publish them: rows R, G, B (docs/choices.md)."""
IMAGENET_COVARIANCE = 255**2 * EIGENVECTORS @ np.diag(EIGENVALUES) @ EIGENVECTORS.T

sides = st.integers(1, 5000)
shorts = st.integers(32, 1200)


@pytest.mark.parametrize(
    ("size", "short", "expected"),
    [
        ((640, 427), 256, (384, 256)),  # 383.7
        ((427, 640), 256, (256, 384)),
        ((500, 375), 256, (341, 256)),  # 341.3
        ((500, 375), 512, (683, 512)),  # 682.7: rounded, not cut
        ((64, 64), 73, (73, 73)),
        ((20, 10), 256, (512, 256)),  # enlarged
        ((3000, 3), 32, (32000, 32)),
    ],
)
def test_rescaled_sizes_by_hand(size: tuple[int, int], short: int, expected: tuple[int, int]) -> None:
    assert rescaled_size(*size, short) == expected


@given(width=sides, height=sides, short=shorts)
def test_the_short_side_is_exact_and_the_long_one_rounded(width: int, height: int, short: int) -> None:
    new = rescaled_size(width, height, short)
    assert min(new) == short
    assert (new[0] - new[1]) * (width - height) >= 0
    exact = Fraction(max(width, height) * short, min(width, height))
    assert abs(max(new) - exact) <= Fraction(1, 2)
    assert rescaled_size(height, width, short) == new[::-1]


@given(width=sides, height=sides, short=shorts, data=st.data())
def test_the_pre_image_of_a_crop_lies_in_the_file(width: int, height: int, short: int, data: st.DataObject) -> None:
    """As single precision too, in which Pillow takes the box; a box beyond the image is an error there."""
    new_width, new_height = rescaled_size(width, height, short)
    crop = data.draw(st.integers(1, short))
    left = data.draw(st.sampled_from([0, new_width - crop]) | st.integers(0, new_width - crop))
    top = data.draw(st.sampled_from([0, new_height - crop]) | st.integers(0, new_height - crop))
    x0, y0, x1, y1 = crop_box(width, height, short, left, top, crop)
    assert 0 <= np.float32(x0) < np.float32(x1) <= width
    assert 0 <= np.float32(y0) < np.float32(y1) <= height
    assert (x0, y0) == pytest.approx((left * width / new_width, top * height / new_height))
    assert (x1 - x0, y1 - y0) == pytest.approx((crop * width / new_width, crop * height / new_height))


@pytest.mark.parametrize(
    ("height", "width", "top", "left"), [(5, 8, 1, 2), (6, 7, 1, 2), (3, 3, 0, 0), (4, 4, 0, 0), (3, 10, 0, 3)]
)
def test_the_center_crop_by_hand(height: int, width: int, top: int, left: int) -> None:
    """An odd remainder leaves the extra pixel right and below."""
    images = torch.arange(2 * 3 * height * width).view(2, 3, height, width)
    crop = center_crop(images, 3)
    assert torch.equal(crop, images[:, :, top : top + 3, left : left + 3])
    assert crop.shape == (2, 3, 3, 3)


def test_only_the_marked_images_are_mirrored_left_to_right() -> None:
    images = torch.arange(3 * 1 * 2 * 3).view(3, 1, 2, 3)
    flipped = flip_where(images, torch.tensor([True, False, True]))
    assert flipped[0].tolist() == [[[2, 1, 0], [5, 4, 3]]]
    assert torch.equal(flipped[1], images[1])
    assert flipped[2].tolist() == [[[14, 13, 12], [17, 16, 15]]]


@pytest.mark.parametrize(
    ("convention", "deviations"), [("eigenvalue", (5.55, 0.48, 0.11)), ("std", (11.89, 3.50, 1.71))]
)
def test_the_shift_along_imagenets_components(convention: Convention, deviations: tuple[float, ...]) -> None:
    """Standard deviations in grey levels along PC1..3 (docs/choices.md); the components are uncorrelated."""
    basis = color_basis(IMAGENET_COVARIANCE, convention)
    along = EIGENVECTORS.T @ basis @ basis.T @ EIGENVECTORS
    assert np.sqrt(np.diag(along)) == pytest.approx(deviations, abs=0.006)
    assert np.abs(along - np.diag(np.diag(along))).max() < 0.01


@given(st.lists(st.floats(-60, 60), min_size=9, max_size=9))
def test_the_std_convention_has_a_hundredth_of_the_covariance(values: list[float]) -> None:
    root = np.array(values).reshape(3, 3)
    covariance = root @ root.T
    basis = color_basis(covariance, "std")
    assert basis @ basis.T == pytest.approx(0.01 * covariance, abs=1e-7 + 1e-9 * float(np.abs(covariance).max()))


def test_only_the_std_convention_is_free_of_scale() -> None:
    """Pixels in other units: the shift in the same units has to scale with them, and by the literal text does not."""
    both: tuple[tuple[Convention, int], ...] = (("std", 10), ("eigenvalue", 100))
    for convention, factor in both:
        small, large = (color_basis(c * IMAGENET_COVARIANCE, convention) for c in (1, 100))
        assert large @ large.T == pytest.approx(factor**2 * small @ small.T)


def test_grey_pictures_are_shifted_along_grey() -> None:
    """A covariance of rank one, whose smallest eigenvalue may come out below zero."""
    basis = color_basis(np.full((3, 3), 900.0), "std")
    assert np.isfinite(basis).all()
    assert basis @ basis.T == pytest.approx(np.full((3, 3), 9.0))
    assert math.isclose(float(np.linalg.norm(basis)), math.sqrt(27))


@pytest.mark.parametrize(
    ("short", "offsets"),
    [
        (224, (0, 0, 0, 0, 0)),
        (256, (0, 8, 16, 24, 32)),
        (384, (0, 40, 80, 120, 160)),
        (512, (0, 72, 144, 216, 288)),
        (226, (0, 1, 1, 2, 2)),  # 0.5 and 1.5 are rounded up
        (229, (0, 1, 3, 4, 5)),  # 1.25, 2.5, 3.75
    ],
)
def test_the_offsets_of_the_short_side(short: int, offsets: tuple[int, ...]) -> None:
    """Those of Q=256, 384 and 512 are the paper's grid (docs/choices.md); the long side has its own: 341 px."""
    long = (0, 29, 59, 88, 117)  # 29.25, 58.5, 87.75
    assert crop_grid(short, 341, 224) == [(top, left) for top in offsets for left in long]
    assert crop_grid(341, short, 224) == [(top, left) for top in long for left in offsets]


@given(crop=st.integers(1, 300), height=st.integers(0, 700), width=st.integers(0, 700))
def test_the_offsets_by_formula(crop: int, height: int, width: int) -> None:
    """``height`` and ``width`` are what the image has beyond the crop."""
    grid = crop_grid(crop + height, crop + width, crop)
    assert len(grid) == 25
    for k, (top, left) in enumerate(grid):
        assert top == math.floor(Fraction(k // 5 * height, 4) + Fraction(1, 2))
        assert left == math.floor(Fraction(k % 5 * width, 4) + Fraction(1, 2))
    assert (grid[0], grid[4], grid[-1]) == ((0, 0), (0, width), (height, width))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.uint8])
def test_the_fifty_crops_of_an_image(dtype: torch.dtype) -> None:
    images = torch.arange(2 * 3 * 11 * 17).remainder(251).view(2, 3, 11, 17).to(dtype)
    crops = grid_crops(images, 6)
    assert (crops.shape, crops.dtype) == ((2, 50, 3, 6, 6), dtype)
    for k, (top, left) in enumerate(crop_grid(11, 17, 6)):
        assert torch.equal(crops[:, k], images[:, :, top : top + 6, left : left + 6])
        assert torch.equal(crops[:, 25 + k], crops[:, k].flip(3))


def test_the_crops_of_an_image_of_the_crop_s_size_are_itself_and_its_mirror() -> None:
    image = torch.arange(3 * 7 * 7).view(1, 3, 7, 7)
    crops = grid_crops(image, 7)
    assert torch.equal(crops[:, :25], image.unsqueeze(1).expand(1, 25, 3, 7, 7))
    assert torch.equal(crops[:, 25:], image.flip(3).unsqueeze(1).expand(1, 25, 3, 7, 7))
    assert not torch.equal(crops[:, 0], crops[:, 25])
