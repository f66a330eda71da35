"""Linear SVMs on descriptors (appendix B): weights, biases, and the margins that they give."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from verydeep.errors import OptionError
from verydeep.ops.arrays import Float32Array, FloatArray

ROWS_AT_ONCE = 4096
"""Descriptors that are multiplied at once."""


@dataclass(frozen=True, eq=False)
class LinearSVMs:
    """One linear SVM for each class k: its margin is ``weights[k] . descriptor + biases[k]``, above 0 for the class."""

    weights: Float32Array
    """(K, D)"""
    biases: Float32Array
    """(K,)"""
    C: float
    """Cost of a margin violation."""
    unconverged: tuple[int, ...] = ()
    """Labels of the classes whose training ended before it converged."""

    def compute_margins(self, descriptors: FloatArray) -> Float32Array:
        """Return (n, K) margins of (n, D) descriptors, which may be memory-mapped: a few are in memory at a time.

        Raises:
            OptionError: the descriptors have another number of dimensions than the SVMs.
        """
        num_classes, dimensions = self.weights.shape
        if descriptors.shape[1] != dimensions:
            raise OptionError(
                f"The SVMs take descriptors of {dimensions:,} dimensions, these have {descriptors.shape[1]:,}: compute "
                "them with the nets, layers and scales that the SVMs were trained with."
            )
        margins = np.empty((len(descriptors), num_classes), np.float32)
        for start in range(0, len(descriptors), ROWS_AT_ONCE):
            rows = np.asarray(descriptors[start : start + ROWS_AT_ONCE], np.float32)
            margins[start : start + ROWS_AT_ONCE] = rows @ self.weights.T + self.biases
        return margins

    def convergence_remark(self, class_names: Sequence[str], *, is_chosen: bool) -> str:
        """Return a remark about classes that did not converge; empty if all did.

        Args:
            class_names: names of the classes.
            is_chosen: whether C had the best score of several values, so that another one is no advice.
        """
        if not self.unconverged:
            return ""
        names = ", ".join(class_names[label] for label in self.unconverged)
        advice = (
            ": of the values tried, this C had the best score."
            if is_chosen
            else f". For SVMs that converge, give a smaller C, such as `c={self.C / 10:g}`."
        )
        return (
            f"Not converged: the SVMs of {len(self.unconverged)} of {len(class_names)} classes ({names}) ended early "
            f"at C={self.C:g}. They are used as they are{advice}"
        )
