"""Labels that are probably wrong, by confident learning.

The method is that of Northcutt, Jiang and Chuang (Confident Learning: Estimating Uncertainty in Dataset Labels, Journal
of Artificial Intelligence Research 70, 2021). Posteriors have to come from a classifier that was not trained on the
image.
"""

import numpy as np

from verydeep.ops.arrays import Float64Array, FloatArray, Int64Array


def find_thresholds(posteriors: FloatArray, labels: Int64Array) -> Float64Array:
    """Return the thresholds t (K,): the mean posterior of class k over the images that are labeled k.

    Args:
        posteriors: (n, K)
        labels: (n,); every class has an image.
    """
    sums = np.bincount(labels, weights=posteriors[np.arange(len(labels)), labels], minlength=posteriors.shape[1])
    return sums / np.bincount(labels, minlength=posteriors.shape[1])


def count_confident_joint(posteriors: FloatArray, labels: Int64Array) -> Int64Array:
    """Return the confident joint C (K, K): numbers of images by their label i and their probable class j.

    The probable class of an image is the most probable of those whose posterior reaches their threshold; an image
    without such a class counts nowhere (equation 1 of the paper).
    """
    reaches = posteriors >= find_thresholds(posteriors, labels)
    probable = np.where(reaches, posteriors, -1).argmax(axis=1)
    counts = np.zeros((posteriors.shape[1],) * 2, np.int64)
    is_counted = reaches.any(axis=1)
    np.add.at(counts, (labels[is_counted], probable[is_counted]), 1)
    return counts


def estimate_num_wrong(posteriors: FloatArray, labels: Int64Array) -> int:
    """Return how many labels are wrong: for each class, its images times the share of C[i] outside of the diagonal."""
    joint = count_confident_joint(posteriors, labels)
    totals = np.maximum(joint.sum(axis=1), 1)
    shares = 1 - joint.diagonal() / totals
    shares[joint.sum(axis=1) == 0] = 0
    return round(float(shares @ np.bincount(labels, minlength=len(joint))))


def rank_wrong_labels(posteriors: FloatArray, labels: Int64Array) -> Int64Array:
    """Return the images (m,) whose labels are probably wrong, the most doubtful first.

    These are as many images as ``estimate_num_wrong`` says, those whose label has the smallest posterior, without
    images whose label is their most probable class.
    """
    of_label = posteriors[np.arange(len(labels)), labels]
    ranked = np.argsort(of_label, kind="stable")[: estimate_num_wrong(posteriors, labels)]
    suspects: Int64Array = ranked[posteriors[ranked].argmax(axis=1) != labels[ranked]]
    return suspects
