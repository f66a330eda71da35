"""Linear classifiers on descriptors (appendix B): their margins, and what is kept of them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from verydeep.errors import VerydeepError
from verydeep.ops.arrays import Float32Array, FloatArray

CHUNK = 4096
"""Descriptors multiplied at a time."""


@dataclass(frozen=True, eq=False)
class LinearClassifiers:
    """The margin of class k is ``weights[k] . descriptor + biases[k]``, positive for the class."""

    weights: Float32Array
    """(K, D)"""
    biases: Float32Array
    """(K,)"""
    C: float
    unconverged: tuple[int, ...] = ()
    """Labels of the classes whose training ended before it had converged."""

    def to_tensors(self) -> dict[str, Float32Array]:
        """What a safetensors file takes."""
        return {"weights": self.weights, "biases": self.biases}

    def to_fields(self) -> dict[str, Any]:
        """What a JSON file takes."""
        return {"C": self.C, "unconverged": list(self.unconverged)}

    @classmethod
    def from_tensors(
        cls, tensors: Mapping[str, FloatArray], fields: Mapping[str, Any], source: str
    ) -> "LinearClassifiers":
        """What the two above gave.

        Args:
            tensors: of the safetensors file.
            fields: of the JSON file.
            source: where both were read, for people.

        Raises:
            VerydeepError: they do not belong together, or are damaged.
        """
        try:
            weights, biases = (np.asarray(tensors[name], np.float32) for name in ("weights", "biases"))
            classifiers = cls(weights, biases, float(fields["C"]), tuple(int(k) for k in fields["unconverged"]))
        except (KeyError, TypeError, ValueError) as error:
            raise VerydeepError(f"{source} holds no linear classifiers ({error!r}): transfer again.") from None
        if weights.ndim != 2 or biases.shape != weights.shape[:1]:
            raise VerydeepError(
                f"{source} is damaged: weights {weights.shape} and biases {biases.shape} do not belong together; "
                "transfer again."
            )
        return classifiers

    def note(self, class_names: Sequence[str]) -> str:
        """What has to be known before figures are quoted; nothing where all trainings converged."""
        if not self.unconverged:
            return ""
        names = ", ".join(class_names[label] for label in self.unconverged)
        return (
            f"Not converged: the SVMs of {len(self.unconverged)} of {len(class_names)} classes ({names}) ended early "
            f"at C={self.C:g}; a smaller C converges."
        )


def margins(classifiers: LinearClassifiers, descriptors: FloatArray) -> Float32Array:
    """(n, K) of descriptors (n, D), which may lie on the disk: a chunk of them is in memory at a time.

    Raises:
        VerydeepError: the descriptors have another number of dimensions than the classifiers.
    """
    num_classes, dimensions = classifiers.weights.shape
    if descriptors.shape[1] != dimensions:
        raise VerydeepError(
            f"The classifiers take descriptors of {dimensions:,} dimensions, these have {descriptors.shape[1]:,}: "
            "compute them with the nets, layer and scales that the classifiers were trained on."
        )
    found = np.empty((len(descriptors), num_classes), np.float32)
    for start in range(0, len(descriptors), CHUNK):
        chunk = np.asarray(descriptors[start : start + CHUNK], np.float32)
        found[start : start + CHUNK] = chunk @ classifiers.weights.T + classifiers.biases
    return found
