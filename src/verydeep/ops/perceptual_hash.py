"""Perceptual hashes of small gray images.

The hash is the DCT hash of Zauner (Implementation and Benchmarking of Perceptual Image Hash Functions, 2010), known as
pHash: the 8x8 lowest frequencies of the discrete cosine transform, without those that are constant along an axis, each
compared with their median. Two photographs are alike where few of the 64 signs differ. Files of one photograph in other
sizes and qualities differ in 4 or less, unrelated photographs in 32 on average.
"""

import numpy as np

from verydeep.ops.arrays import Float32Array, UInt8Array

FREQUENCIES = 8
"""Frequencies along each axis."""
NUM_SIGNS = FREQUENCIES**2

AT_ONCE = 4096
"""Thumbnails that are hashed at once."""


def hash_thumbnails(thumbnails: UInt8Array, *, share: float = 1.0, mirrored: bool = False) -> Float32Array:
    """Return the hashes (n, 64), each value 1 or -1, of gray thumbnails (n, side, side).

    Args:
        thumbnails: the whole photographs, squeezed to squares.
        share: of both sides that is hashed, around the center; 0.9 is the hash of a photograph after a crop.
        mirrored: whether the mirror images are hashed.
    """
    side = thumbnails.shape[1]
    rows = _cosines(side, share)
    columns = rows * np.where(np.arange(1, FREQUENCIES + 1) % 2, -1, 1)[:, None] if mirrored else rows
    parts = [
        rows @ thumbnails[first : first + AT_ONCE].astype(np.float32) @ columns.T  # (n, 8, 8)
        for first in range(0, max(1, len(thumbnails)), AT_ONCE)
    ]
    spectrum = np.concatenate(parts).reshape(len(thumbnails), NUM_SIGNS)
    signs: Float32Array = np.where(spectrum > np.median(spectrum, axis=1, keepdims=True), 1, -1).astype(np.float32)
    return signs


def smallest_product(max_distance: int) -> float:
    """Return the inner product of two hashes that differ in this number of signs."""
    return NUM_SIGNS - 2 * max_distance


def _cosines(side: int, share: float) -> Float32Array:
    """Return the cosines (8, side) of frequencies 1 to 8 over the middle of a line, and 0 outside of it."""
    edges = np.clip(((np.arange(side + 1) / side) - 0.5) / share + 0.5, 0, 1)
    frequencies = np.pi * np.arange(1, FREQUENCIES + 1)[:, None]
    # The integral over each pixel, so that pixels at the edge count by their part that is inside.
    cosines: Float32Array = np.diff(np.sin(frequencies * edges) / frequencies, axis=1).astype(np.float32)
    return cosines
