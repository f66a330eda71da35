"""A class score map: what a net says of every window of an image at one test scale (section 3.2)."""

from dataclasses import dataclass

import numpy as np

from verydeep.ops.arrays import Float32Array, Float64Array
from verydeep.ops.map_geometry import soft_max, spread_map, window_edges
from verydeep.results.predictions import ScoreKind


@dataclass(frozen=True, eq=False)
class ScoreMap:
    """The scores of every class at every position of one image at one test scale."""

    net: str
    """Name of the net."""
    scale: int
    """Test scale Q: the short side in pixels for a net of crop 224."""
    scores: Float32Array
    """(K, h, w) float32: a net's logits, or a classifier's margins, whose mean over positions is the image's margin."""
    kind: ScoreKind
    """Whether the map comes from a net ("probability") or from a classifier ("margin")."""
    size: tuple[int, int]
    """Height and width of the rescaled image, in pixels."""
    photograph_size: tuple[int, int]
    """Height and width of the upright photograph, in pixels."""
    stride: int
    """Pixels of the rescaled image between two positions."""
    window: int
    """Side of the window that a position sees, in pixels of the rescaled image."""

    @property
    def values(self) -> Float32Array:
        """(K, h, w) float32: probabilities of the classes at each position, or margins of a classifier."""
        return self.scores if self.kind == "margin" else soft_max(self.scores, axis=0)

    @property
    def windows(self) -> Float64Array:
        """(h, w, 4) float64: left, upper, right and lower edge of each position's window, in pixels of the photograph.

        Edges lie between pixels, so the photograph extends from 0 to its width. The last windows may reach beyond it.
        """
        height, width = self.photograph_size
        scale = (width / self.size[1], height / self.size[0])
        num_rows, num_columns = self.scores.shape[1:]
        return window_edges((num_rows, num_columns), self.stride, self.window, scale)

    def strongest(self, label: int) -> tuple[int, int]:
        """Return row and column of the position with the highest value of a class; the first if several are equal."""
        row, column = np.unravel_index(int(self.values[label].argmax()), self.scores.shape[1:])
        return int(row), int(column)

    def nearest(self, x: float, y: float) -> tuple[int, int]:
        """Return row and column of the position whose window's center is nearest to a point of the photograph."""
        left, upper, right, lower = np.moveaxis(self.windows, 2, 0)
        distances = np.hypot((left + right) / 2 - x, (upper + lower) / 2 - y)
        row, column = np.unravel_index(int(distances.argmin()), distances.shape)
        return int(row), int(column)

    def spread(self, label: int, shape: tuple[int, int] | None = None) -> Float32Array:
        """Return the values of a class as an image (height, width) that covers the whole photograph.

        The center of each window has the value of its position. Between centers values are interpolated, and the
        outermost ones continue to the borders.

        Args:
            label: the class.
            shape: height and width of the result; None: those of the photograph.
        """
        return spread_map(self.values[label], self.stride, self.window, self.size, shape or self.photograph_size)
