"""Align pairs of small gray images, and measure how alike they then are.

The second image is shifted and stretched along both axes until it fits the first best, by Gauss-Newton steps (Lucas and
Kanade 1981; here with four numbers for the position, and gain and offset for the brightness). So a crop of a photograph
fits the photograph, and two photographs of one scene, whose hashes may be as close, do not.
"""

import numpy as np

from verydeep.ops.arrays import BoolArray, Float32Array, UInt8Array

PAIRS = 64
"""Pairs that are aligned at once."""
STEPS = 12
FIRST_STEPS = 4
"""Steps after which pairs that do not come close are given up."""
HOPELESS = 0.85
"""Correlation below which they are."""
MAX_SHIFT, MAX_STRETCH = 0.2, 0.4
"""Largest shift, in halves of a side, and largest change of a side."""
MIN_OVERLAP = 0.45
"""Smallest share of the first image that the second one has to cover."""


def align_thumbnails(one: UInt8Array, other: UInt8Array) -> Float32Array:
    """Return the correlation (n,) of gray images (n, side, side) with others, after these are aligned to them.

    1 means equal but for brightness and contrast, over the part that both show.
    """
    parts = [
        _align_chunk(one[first : first + PAIRS].astype(np.float32), other[first : first + PAIRS].astype(np.float32))
        for first in range(0, len(one), PAIRS)
    ]
    return np.concatenate(parts) if parts else np.empty(0, np.float32)


def _align_chunk(one: Float32Array, other: Float32Array) -> Float32Array:
    count, side = len(one), one.shape[1]
    line = ((np.arange(side) + 0.5) / side * 2 - 1).astype(np.float32)  # -1 to 1
    border = 1 - 1 / side + 1e-6  # the centers of the outermost pixels
    position = np.tile(np.array([1, 0, 1, 0], np.float32), (count, 1))  # stretch and shift along x, then along y
    best = np.full(count, -1, np.float32)
    active = np.arange(count)
    slopes = [np.gradient(other, axis=axis) for axis in (1, 2)]
    for step in range(STEPS + 1):
        place = position[active]
        x = place[:, 0, None] * line + place[:, 1, None]  # (m, side)
        y = place[:, 2, None] * line + place[:, 3, None]
        inside = ((abs(y) <= border)[:, :, None] & (abs(x) <= border)[:, None, :]).astype(np.float32)
        moved = _sample(other[active], x, y)
        first, second = _center(one[active], inside), _center(moved, inside)
        products = [np.einsum("nyx,nyx->n", *pair) for pair in ((first, first), (second, second), (first, second))]
        correlation = products[2] / np.sqrt(np.maximum(products[0] * products[1], 1e-6))
        covers = inside.mean(axis=(1, 2)) >= MIN_OVERLAP
        best[active] = np.where(covers, np.maximum(best[active], correlation), best[active])
        going = _goes_on(best[active], step)
        if step == STEPS or not going.any():
            break
        gain = (products[2] / np.maximum(products[1], 1e-6))[:, None, None]
        change_y, change_x = (gain * _sample(slope[active], x, y) * (side / 2) * inside for slope in slopes)
        columns = [change_x * line, change_x, change_y * line[:, None], change_y, second, inside]
        moves = _solve(np.stack(columns, axis=-1), first - gain * second)
        position[active] = place + np.clip(moves, -0.1, 0.1)
        position[:, 0::2] = np.clip(position[:, 0::2], 1 - MAX_STRETCH, 1 + MAX_STRETCH)
        position[:, 1::2] = np.clip(position[:, 1::2], -MAX_SHIFT, MAX_SHIFT)
        active = active[going]
    return best


def _goes_on(best: Float32Array, step: int) -> BoolArray:
    """Return which pairs may still come closer; the first steps bring those together that belong together."""
    return (best < 0.9999) & ((best > HOPELESS) | (step < FIRST_STEPS))


def _center(images: Float32Array, inside: Float32Array) -> Float32Array:
    """Return images less their means over the part inside, and 0 outside."""
    count = np.maximum(inside.sum(axis=(1, 2)), 1)
    means = np.einsum("nyx,nyx->n", images, inside) / count
    centered: Float32Array = (images - means[:, None, None]) * inside
    return centered


def _sample(images: Float32Array, x: Float32Array, y: Float32Array) -> Float32Array:
    """Interpolate images (n, side, side) at columns x (n, side) and rows y (n, side), which are from -1 to 1."""
    rows = _interpolation(y, images.shape[1])
    columns = _interpolation(x, images.shape[2])
    moved: Float32Array = (rows @ images @ columns.transpose(0, 2, 1)).astype(np.float32)
    return moved


def _interpolation(places: Float32Array, side: int) -> Float32Array:
    """Return the weights (n, places, side) of pixels for linear interpolation at places from -1 to 1."""
    centers = np.clip((places + 1) * side / 2 - 0.5, 0, side - 1)[:, :, None]
    weights = np.maximum(0, 1 - abs(centers - np.arange(side)))
    return weights.astype(np.float32)


def _solve(columns: Float32Array, rest: Float32Array) -> Float32Array:
    """Return the four numbers (n, 4) of the least-squares step, with a little damping."""
    design = columns.reshape(len(columns), -1, columns.shape[-1])
    squares = design.transpose(0, 2, 1) @ design
    damping = 1e-3 * np.trace(squares, axis1=1, axis2=2) / squares.shape[1] + 1e-6
    squares += damping[:, None, None] * np.eye(squares.shape[1], dtype=np.float32)
    targets = design.transpose(0, 2, 1) @ rest.reshape(len(rest), -1, 1)
    step: Float32Array = np.linalg.solve(squares, targets)[:, :4, 0]
    return step
