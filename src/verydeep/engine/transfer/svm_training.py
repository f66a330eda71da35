"""Train linear SVMs on descriptors, one class against the rest (appendix B), by scikit-learn's LIBLINEAR.

The paper says "a linear SVM classifier" and that hyper-parameters were chosen on 20% of the training images. The rest
is as in its authors' public code (LIBLINEAR ``-s 3 -B 1``; docs/choices.md): for each class, over its images i with
targets t_i of 1 and -1, minimize

    |w|^2 / 2 + b^2 / 2 + C * sum_i max(0, 1 - t_i (w . x_i + b))

in the dual, by coordinate descent. The bias is the weight of a feature that is always 1, so it is regularized too.
Results depend neither on the number of processes nor on the order of the classes.
"""

import math
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from verydeep.engine.memory import host_memory
from verydeep.engine.transfer.linear_svms import ROWS_AT_ONCE, LinearSVMs
from verydeep.errors import DataError, ResourceError, WeightsError, require_extra
from verydeep.machine import available_cores
from verydeep.ops.arrays import BoolArray, Float32Array, Float64Array, FloatArray, Int8Array, Int64Array
from verydeep.ops.targets import hold_out_samples

COSTS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
"""Values of C to choose from, for descriptors of length one.

Below, all images of a class weigh the same; above, no violation is traded off."""

USUAL_COST = 10.0
"""The C of the authors' public code, preferred among equal scores.

With the smallest of equal values, no margin of a rare class would be above 0."""

TOLERANCE = 1e-4
"""Tolerance of the projected gradient, in units of the margin.

With the 0.1 of the authors' code the order in which images are visited decides the result where C is small: on
generated descriptors three orders gave a class an AP of 87, 79 and 77% at C=0.01; with 1e-4 all gave 79.6%, in one to
two and a half times the time, on a harder set in up to six."""

MAX_PASSES = 10_000
"""Passes of a training; most visit only the few images near the margin, so they cost little."""

MAX_NODES = 2**31 - 1
"""LIBLINEAR counts the values that are not 0 in 32 bits, and two more for each image."""

DOUBLE_BYTES, NODE_BYTES = 8, 16
QUICK = 1e8
"""Values times classes that take about 1.5 seconds: not worth starting processes for."""

ScoreFunction = Callable[[Float32Array, Int8Array], float]
"""Margins and targets, both (n, K) -> a score; larger is better."""


@dataclass(frozen=True)
class Trial:
    """The score that one value of C gives on the images held out."""

    C: float
    score: float


def train_svms(
    descriptors: FloatArray,
    targets: Int8Array,
    class_names: Sequence[str],
    metric: ScoreFunction,
    *,
    costs: Sequence[float] = COSTS,
    seed: int = 0,
    photographs: Int64Array | None = None,
    balanced: bool = False,
) -> Generator[float, None, tuple[LinearSVMs, tuple[Trial, ...]]]:
    """Choose C on a fifth of the training images, which is held out, then train on all of them.

    Args:
        descriptors: (n, D) of the training images.
        targets: (n, K) of the training images.
        class_names: K names, for messages.
        metric: scores margins as the data set does.
        costs: values of C to choose from; of a single one, nothing is held out.
        seed: of the random choice of what is held out.
        photographs: (n,) numbers of the photographs, or groups of them, that samples are on, if they share some:
            samples of one are held out together.
        balanced: whether the images of a class weigh as much together as all others, as in ``fit_svms``.

    Yields:
        0, then 1 for each trained SVM: K for each value of C if there are several, and K more.

    Returns:
        The SVMs, and what each value of C gave, from the smallest; nothing for a single one, or if every class has a
        single photograph: the value nearest to ``USUAL_COST`` then holds.

    Raises:
        DataError: a class has no image or is on all images, or cannot be held out.
        WeightsError: a descriptor is not finite.
        ResourceError: scikit-learn is not installed, or there are more values than it can take.
    """
    yield 0
    features, trials = _convert_features(descriptors), list[Trial]()
    is_held_out = np.zeros(len(targets), np.bool_)
    if len(costs) > 1:
        is_held_out = hold_out_fifth(targets, class_names, seed, photographs)
    if (targets[is_held_out] == 1).any():
        train_targets = np.where(is_held_out[:, None], 0, targets).astype(np.int8)
        for cost in sorted(set(costs)):
            svms = yield from fit_svms(features, train_targets, cost, class_names, balanced=balanced)
            trials.append(Trial(cost, metric(svms.compute_margins(features[is_held_out]), targets[is_held_out])))
    cost = choose_cost(trials or [Trial(cost, 0) for cost in costs])
    return (yield from fit_svms(features, targets, cost, class_names, balanced=balanced)), tuple(trials)


def choose_cost(trials: Sequence[Trial]) -> float:
    """Return the C of the best score; of equal scores, the nearest to ``USUAL_COST`` by ratio, then the smaller."""
    return max(trials, key=lambda trial: (trial.score, -abs(math.log(trial.C / USUAL_COST)), -trial.C)).C


def hold_out_fifth(
    targets: Int8Array, class_names: Sequence[str], seed: int, photographs: Int64Array | None = None
) -> BoolArray:
    """Return (n,) which training images are held out to choose C: a fifth; none of a class of one photograph.

    Raises:
        DataError: all images of a class are held out, or none of several photographs.
    """
    is_held_out = hold_out_samples(targets, seed, photographs=photographs)
    single = find_single(targets, photographs)
    for label, name in enumerate(class_names):
        is_positive = targets[:, label] == 1
        total, num_held_out = int(is_positive.sum()), int((is_positive & is_held_out).sum())
        if num_held_out == total > 0 or (total > 0 == num_held_out and label not in single):
            raise DataError(
                f"C cannot be chosen for class {name}: {num_held_out} of its {total} training images are held out, but "
                "at least one must be held out and one kept. Add images of the class, or give one value, such as "
                f"`c={USUAL_COST:g}`."
            )
    return is_held_out


def find_single(targets: Int8Array, photographs: Int64Array | None = None) -> list[int]:
    """Return the labels of the classes that are on a single photograph, or in a single group of photographs."""
    units = np.arange(len(targets)) if photographs is None else photographs
    return [label for label, column in enumerate(targets.T) if len(np.unique(units[column == 1])) == 1]


def check_targets(targets: Int8Array, class_names: Sequence[str]) -> None:
    """Refuse classes that cannot be told from others.

    Raises:
        DataError: a class is on no image, or on all.
    """
    for name, column in zip(class_names, targets.T, strict=True):
        if not (column == 1).any():
            raise DataError(
                f"Class {name!r} is on no training image that can be decoded: add images of it, or leave it out."
            )
        if not (column == -1).any():
            raise DataError(
                f"Class {name!r} is on every training image, so there is nothing to tell it from: add images of "
                "other classes."
            )


def fit_svms(
    descriptors: FloatArray,
    targets: Int8Array,
    C: float,
    class_names: Sequence[str],
    *,
    processes: int | None = None,
    max_passes: int = MAX_PASSES,
    balanced: bool = False,
) -> Generator[float, None, LinearSVMs]:
    """Train one SVM for each class.

    Args:
        descriptors: (n, D); C-contiguous float64 is not copied.
        targets: (n, K)
        C: cost of a margin violation, against the norm of the weights.
        class_names: K names, for messages.
        processes: number of classes that are trained at once; None takes as many as memory and cores allow. LIBLINEAR
            draws from one generator for the whole process, so threads would make results depend on chance.
        max_passes: passes over the images after which a training ends.
        balanced: whether C is multiplied by n / (2 n_+) for the n_+ images of the class and by n / (2 n_-) for the
            others, so that both weigh the same.

    Yields:
        1 for each SVM.

    Raises:
        DataError: a class has no positive or no negative image.
        WeightsError: a descriptor is not finite.
        ResourceError: there are more values than LIBLINEAR can count, or scikit-learn is not installed.
    """
    assert targets.shape == (len(descriptors), len(class_names))
    features = _convert_features(descriptors)
    check_targets(targets, class_names)
    if processes is None:
        shape = features.shape[0], features.shape[1]
        processes = choose_num_processes(shape, len(class_names), host_memory(), available_cores())
    solutions = []
    for solution in _solve_all(features, targets, C, processes, max_passes, balanced):
        solutions.append(solution)
        yield 1
    return LinearSVMs(
        np.stack([solution.weights for solution in solutions]),
        np.array([solution.bias for solution in solutions], np.float32),
        C,
        tuple(label for label, solution in enumerate(solutions) if not solution.has_converged),
    )


def require_scikit_learn() -> None:
    """Refuse to begin hours of work that would be lost without scikit-learn.

    Raises:
        ResourceError: it is not installed.
    """
    with require_extra("Training linear SVMs", "scikit-learn", "transfer"):
        import joblib  # noqa: F401, PLC0415 - an extra, needed here alone
        import sklearn.svm  # noqa: F401, PLC0415 - as above


def choose_num_processes(shape: tuple[int, int], num_classes: int, free_memory: int, cores: int) -> int:
    """Return how many processes train SVMs: 1 if one is quick, or if LIBLINEAR's copies would not fit.

    Args:
        shape: (n, D) of the descriptors.
        num_classes: number of SVMs.
        free_memory: in bytes.
        cores: number of free cores.
    """
    num_images, dimensions = shape
    values = num_images * dimensions
    if values * num_classes < QUICK:
        return 1
    shared = 2 * DOUBLE_BYTES * values  # ours, and the copy that all processes read
    copy = NODE_BYTES * (values + 2 * num_images)
    return max(1, min(cores, (free_memory - shared) // copy))


def check_countable(num_nonzero: int, shape: tuple[int, int]) -> None:
    """Refuse more values than LIBLINEAR can count.

    Args:
        num_nonzero: number of values that are not 0.
        shape: (n, D) of the descriptors.

    Raises:
        ResourceError: there are more.
    """
    num_images, dimensions = shape
    if num_nonzero + 2 * num_images > MAX_NODES:
        raise ResourceError(
            f"{num_images:,} descriptors of {dimensions:,} dimensions are more than LIBLINEAR can count (2^31 values): "
            "train on fewer images, or average the scales instead of stacking them."
        )


@dataclass(frozen=True, eq=False)
class _Solution:
    weights: Float32Array
    bias: float
    has_converged: bool


def _convert_features(descriptors: FloatArray) -> Float64Array:
    """Return what LIBLINEAR takes without converting it again for every class."""
    features = np.ascontiguousarray(descriptors, np.float64)
    for start in range(0, len(features), ROWS_AT_ONCE):
        broken = np.flatnonzero(~np.isfinite(features[start : start + ROWS_AT_ONCE]).all(axis=1))
        if len(broken):
            raise WeightsError(
                f"The descriptor of training image {start + broken[0] + 1} of {len(features)} is not finite: use "
                "another net."
            )
    check_countable(int(np.count_nonzero(features)), (features.shape[0], features.shape[1]))
    return features


def _solve_all(
    features: Float64Array, targets: Int8Array, C: float, processes: int, max_passes: int, balanced: bool
) -> Iterator[_Solution]:
    """Yield the solutions in the order of the classes."""
    require_scikit_learn()
    import joblib  # noqa: PLC0415 - an extra, needed here alone

    # Processes read one copy of the features, a file that is mapped.
    run = joblib.Parallel(n_jobs=processes, return_as="generator")
    solutions: Iterator[_Solution] = run(
        joblib.delayed(_solve)(features, targets[:, label], C, max_passes, balanced)
        for label in range(targets.shape[1])
    )
    yield from solutions


def _solve(features: Float64Array, target: Int8Array, C: float, max_passes: int, balanced: bool) -> _Solution:
    """Train the SVM of one class."""
    from sklearn import config_context  # noqa: PLC0415 - an extra, needed here alone
    from sklearn.exceptions import ConvergenceWarning  # noqa: PLC0415 - as above
    from sklearn.svm import LinearSVC  # noqa: PLC0415 - as above

    class_weight = None
    if balanced:
        num_images = np.count_nonzero(target)
        class_weight = {sign: num_images / (2 * np.count_nonzero(target == sign)) for sign in (1, -1)}
    svm = LinearSVC(
        C=C,
        loss="hinge",
        dual=True,
        intercept_scaling=1,
        tol=TOLERANCE,
        max_iter=max_passes,
        random_state=0,
        class_weight=class_weight,
    )
    with config_context(assume_finite=True), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # reported by the caller
        # LIBLINEAR removes images of weight 0 before it begins. A copy without them would cost as much as all.
        svm.fit(features, np.where(target == 1, 1, -1), sample_weight=(target != 0).astype(np.float64))
    weights = svm.coef_[0].astype(np.float32)
    return _Solution(weights, float(svm.intercept_[0]), bool(svm.n_iter_ < max_passes))
