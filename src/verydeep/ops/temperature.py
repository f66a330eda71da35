"""Turn margins into posteriors by a soft-max whose temperature fits the labels best."""

import numpy as np

from verydeep.ops.arrays import Float64Array, FloatArray, Int64Array

FACTORS = np.geomspace(0.1, 100, 61)
"""Factors on the margins that are tried."""


def fit_posteriors(margins: FloatArray, labels: Int64Array) -> Float64Array:
    """Return the posteriors (n, K) of margins (n, K) with the factor of the largest likelihood of the labels (n,).

    A single number is fitted, so the labels hardly influence the posteriors.
    """
    candidates = (log_softmax(factor * margins.astype(np.float64)) for factor in FACTORS)
    return np.exp(max(candidates, key=lambda logs: float(logs[np.arange(len(labels)), labels].mean())))


def log_softmax(scores: Float64Array) -> Float64Array:
    """Return the logarithms of the soft-max of scores (n, K)."""
    shifted = scores - scores.max(axis=1, keepdims=True)
    logs: Float64Array = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return logs
