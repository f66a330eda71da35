"""Geometry and color of images: rescaling, crops, flips and the RGB color shift (sections 3.1 and 3.2)."""

from typing import Literal

import numpy as np
from torch import Tensor, stack, where

from verydeep.ops.arrays import Float64Array

CROPS_PER_SIDE = 5
"""Crops per side of the regular grid of multi-crop testing (section 3.2)."""


def rescaled_size(width: int, height: int, short: int) -> tuple[int, int]:
    """Return (width, height) after isotropic rescaling to a short side of ``short``; the long side is rounded."""
    if width <= height:
        return short, max(short, round(height * short / width))
    return max(short, round(width * short / height)), short


def crop_box(width: int, height: int, short: int, left: int, top: int, crop: int) -> tuple[float, float, float, float]:
    """Return the edges (left, upper, right, lower), in a file of width x height, of a crop of the rescaled image.

    ``left`` and ``top`` are pixels of the image rescaled to ``short``. ``Image.resize((crop, crop), box=...)`` with
    this box agrees within one gray level (a few values of a crop within two) with rescaling the whole image and cutting
    the crop, and is about twice as fast.
    """
    new_width, new_height = rescaled_size(width, height, short)
    x, y = width / new_width, height / new_height
    return left * x, top * y, (left + crop) * x, (top + crop) * y


def center_crop(images: Tensor, crop: int) -> Tensor:
    """Return the central crop (N, C, crop, crop) of (N, C, H, W); an odd margin has its extra pixel right and below."""
    top, left = (images.shape[2] - crop) // 2, (images.shape[3] - crop) // 2
    return images[:, :, top : top + crop, left : left + crop]


def crop_grid(height: int, width: int, crop: int) -> list[tuple[int, int]]:
    """Return (top, left) of the 25 crops of multi-crop testing, row by row: a regular 5x5 grid over the whole image.

    The paper only says "5x5 regular grid" (docs/choices.md). The offsets i (H - crop) / 4 are rounded, halves up, so
    that the first and the last crop of a side touch the borders.
    """
    assert min(height, width) >= crop, (height, width, crop)
    gaps = CROPS_PER_SIDE - 1
    tops, lefts = (
        [(2 * i * (side - crop) + gaps) // (2 * gaps) for i in range(CROPS_PER_SIDE)] for side in (height, width)
    )
    return [(top, left) for top in tops for left in lefts]


def grid_crops(images: Tensor, crop: int) -> Tensor:
    """Return (N, 50, C, crop, crop): the 25 crops of each image (N, C, H, W), then their 25 mirror images."""
    height, width = images.shape[2:]
    grid = crop_grid(height, width, crop)
    # Mirrored crops are cut from the mirrored image: H x W is mirrored once, and every pixel of a crop is copied once.
    mirrored = images.flip(3)
    crops = [images[:, :, top : top + crop, left : left + crop] for top, left in grid]
    crops += [mirrored[:, :, top : top + crop, width - left - crop : width - left] for top, left in grid]
    return stack(crops, dim=1)


def flip_where(images: Tensor, flip: Tensor) -> Tensor:
    """Mirror the images (N, C, H, W) left to right for which ``flip`` (N,), bool, is set."""
    return where(flip[:, None, None, None], images.flip(3), images)


def color_basis(covariance: Float64Array, convention: Literal["std", "eigenvalue"]) -> Float64Array:
    """Return the (3, 3) matrix M of the RGB color shift: three standard normals n give the shift M @ n in gray levels.

    Krizhevsky's text adds P (alpha * lambda), alpha ~ N(0, 0.1^2), with eigenvectors P and eigenvalues lambda of the
    covariance of RGB pixels. That depends on the unit of pixels: "eigenvalue" uses lambda of pixels in [0, 1] and
    scales the shift to 0-255, as public code does; "std" uses the square roots, which agree in any unit, as the
    authors' own later toolbox does (docs/choices.md).

    Args:
        covariance: (3, 3), RGB, of pixels in 0-255.
        convention: the reading of the text.
    """
    eigenvalues, eigenvectors = np.linalg.eigh(covariance)
    eigenvalues = eigenvalues.clip(min=0)
    spread = np.sqrt(eigenvalues) if convention == "std" else eigenvalues / 255
    return np.asarray(0.1 * eigenvectors * spread, dtype=np.float64)
