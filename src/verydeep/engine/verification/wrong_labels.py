"""Photographs whose label is probably wrong, by the descriptors of a net (docs/finding-bad-data.md).

Every photograph is judged by linear SVMs that were trained on the others: the photographs are divided into five folds,
and the photographs of each fold are classified by SVMs of the other four. So no label vouches for itself. The margins
become posteriors, and confident learning decides (``ops/confident_learning.py``).
"""

from collections.abc import Generator, Sequence

import numpy as np

from verydeep.engine.transfer.svm_training import fit_svms
from verydeep.engine.verification.description import DescribedPhotographs
from verydeep.ops.arrays import BoolArray, Float32Array, Float64Array, Int64Array
from verydeep.ops.confident_learning import rank_wrong_labels
from verydeep.ops.descriptors import normalize
from verydeep.ops.targets import one_vs_rest
from verydeep.ops.temperature import fit_posteriors
from verydeep.results.verified_data import Finding, LabelCheck

NUM_FOLDS = 5
COST = 1.0
"""C of the SVMs. Wrong labels are to be traded off, so it is smaller than the one that usually classifies best."""


def assign_folds(labels: Int64Array, units: Int64Array, seed: int = 0) -> Int64Array:
    """Return the fold (n,) of each photograph, about equally many of each class in each fold.

    Args:
        labels: (n,)
        units: (n,) number of the group of near-duplicates of each photograph; a group is in one fold.
        seed: of the order.
    """
    order = np.random.default_rng(seed).permutation(len(labels))
    fold_of_unit: dict[int, int] = {}
    next_fold: dict[int, int] = {}
    for index in order.tolist():
        unit, label = int(units[index]), int(labels[index])
        if unit not in fold_of_unit:
            fold_of_unit[unit] = next_fold.get(label, label) % NUM_FOLDS  # classes begin with different folds
            next_fold[label] = fold_of_unit[unit] + 1
    return np.array([fold_of_unit[int(unit)] for unit in units], np.int64)


def find_judged(labels: Int64Array, folds: Int64Array) -> BoolArray:
    """Return which photographs (n,) can be judged: those of classes that lie in two folds or more."""
    judged = [label for label in np.unique(labels) if len(np.unique(folds[labels == label])) > 1]
    return np.isin(labels, judged)


def predict_out_of_fold(
    descriptors: Float32Array, labels: Int64Array, folds: Int64Array, class_names: Sequence[str]
) -> Generator[float, None, Float64Array]:
    """Return posteriors (n, K), each by SVMs that were not trained on the photograph's fold.

    Args:
        descriptors: (n, D)
        labels: (n,); the photographs of every class lie in two folds or more.
        folds: (n,)
        class_names: K names.

    Yields:
        1 for each SVM, K for each fold.
    """
    targets = one_vs_rest(labels, len(class_names))
    # Less their mean, because some nets give all photographs nearly the same descriptor.
    values = normalize(descriptors - descriptors.mean(axis=0)).astype(np.float64)
    margins = np.zeros(targets.shape, np.float32)
    for fold in np.unique(folds):
        is_tested = folds == fold
        svms = yield from fit_svms(values[~is_tested], targets[~is_tested], COST, class_names)
        margins[is_tested] = svms.compute_margins(values[is_tested])
    return fit_posteriors(margins, labels)


def find_wrong_labels(
    descriptors: DescribedPhotographs, duplicates: Sequence[Finding]
) -> Generator[float, None, tuple[list[Finding], LabelCheck | None]]:
    """Return a finding for each photograph whose label is probably wrong, most doubtful first, and their check.

    Photographs without a single known label are left out, and classes that cannot be judged: of fewer than two
    photographs that are no near-duplicates of each other.

    Args:
        descriptors: of the photographs.
        duplicates: findings of near-duplicates, each of which is in one fold.

    Yields:
        0, then 1 for each SVM.
    """
    yield 0
    photographs = descriptors.photographs
    group_of = {file: finding.group for finding in duplicates for file in finding.files}
    names = sorted({photograph.label for photograph in photographs if photograph.label is not None})
    labels = np.array([-1 if each.label is None else names.index(each.label) for each in photographs], np.int64)
    units = [group_of.get(each.file) or -number for number, each in enumerate(photographs)]
    folds = assign_folds(labels, np.array(units, np.int64))
    rows = np.flatnonzero((labels >= 0) & find_judged(labels, folds))
    shown, numbers = np.unique(labels[rows], return_inverse=True)
    if len(shown) < 2:
        return [], None
    class_names = [names[label] for label in shown]
    posteriors = yield from predict_out_of_fold(descriptors.values[rows], numbers, folds[rows], class_names)
    findings = []
    for index in rank_wrong_labels(posteriors, numbers).tolist():
        label, probable = int(numbers[index]), int(posteriors[index].argmax())
        text = (
            f"labeled {class_names[label]}, but probably {class_names[probable]}: posteriors "
            f"{posteriors[index, label]:.2f} and {posteriors[index, probable]:.2f}"
        )
        findings.append(Finding("probably a wrong label", (photographs[int(rows[index])].file,), text))
    num_others = int((posteriors.argmax(axis=1) != numbers).sum())
    return findings, LabelCheck(len(rows), num_others, len(findings))
