"""Geometry and color of images: rescaling, crops, flips and the RGB color shift (sections 3.1 and 3.2)."""

from typing import Literal

import numpy as np
import numpy.typing as npt
from torch import Tensor, where

Floats = npt.NDArray[np.float64]


def rescaled_size(width: int, height: int, short: int) -> tuple[int, int]:
    """(width, height) after isotropic rescaling to a short side of exactly ``short``; the long side is rounded."""
    if width <= height:
        return short, max(short, round(height * short / width))
    return max(short, round(width * short / height)), short


def crop_box(width: int, height: int, short: int, left: int, top: int, crop: int) -> tuple[float, float, float, float]:
    """The pre-image, in a file of width x height, of a crop of the rescaled image: (left, upper, right, lower).

    ``left`` and ``top`` are pixels of the image rescaled to ``short``. ``Image.resize((crop, crop), box=...)`` of this
    box agrees within one grey level (a few values of a crop within two) with rescaling everything and cutting the
    crop, and is about twice as fast.
    """
    new_width, new_height = rescaled_size(width, height, short)
    x, y = width / new_width, height / new_height
    return left * x, top * y, (left + crop) * x, (top + crop) * y


def center_crop(images: Tensor, crop: int) -> Tensor:
    """The central crop (N, C, crop, crop) of (N, C, H, W); an odd remainder leaves the extra pixel right and below."""
    top, left = (images.shape[2] - crop) // 2, (images.shape[3] - crop) // 2
    return images[:, :, top : top + crop, left : left + crop]


def flip_where(images: Tensor, flip: Tensor) -> Tensor:
    """Mirror those images (N, C, H, W) left to right whose ``flip`` (N,), bool, is set."""
    return where(flip[:, None, None, None], images.flip(3), images)


def color_basis(covariance: Floats, convention: Literal["std", "eigenvalue"]) -> Floats:
    """The (3, 3) matrix M of the RGB color shift: three standard normals n give the shift M @ n in grey levels.

    Krizhevsky's text adds P (alpha * lambda), alpha ~ N(0, 0.1^2), P and lambda being eigenvectors and eigenvalues of
    the covariance of RGB pixels. That is not free of scale: "eigenvalue" takes lambda of pixels in [0, 1] and returns
    to 0-255, as public code does; "std" takes the square roots, which mean the same in any unit and is what the
    authors' own later toolbox does (docs/choices.md).

    Args:
        covariance: (3, 3), RGB, of pixels in 0-255.
        convention: which reading.
    """
    eigenvalues, eigenvectors = np.linalg.eigh(covariance)
    eigenvalues = eigenvalues.clip(min=0)
    spread = np.sqrt(eigenvalues) if convention == "std" else eigenvalues / 255
    return np.asarray(0.1 * eigenvectors * spread, dtype=np.float64)
