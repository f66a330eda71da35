"""Linear SVMs on descriptors, one class against the rest (appendix B), by scikit-learn's LIBLINEAR.

The paper says "a linear SVM classifier" and that hyper-parameters were chosen on 20% of the training images. The rest
is as in its authors' public code (LIBLINEAR ``-s 3 -B 1``; docs/choices.md): for each class, over its images i with
targets t_i of 1 and -1, minimize

    |w|^2 / 2 + b^2 / 2 + C * sum_i max(0, 1 - t_i (w . x_i + b))

in the dual, by coordinate descent. The bias is the weight of a feature that is always 1, so it is regularized too.
Results do not depend on the number of processes, nor on the order of the classes.
"""

import math
import warnings
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from verydeep.engine.progress import progress_bar
from verydeep.engine.transfer.linear import CHUNK, LinearClassifiers, margins
from verydeep.errors import VerydeepError
from verydeep.ops.arrays import BoolArray, Float32Array, Float64Array, FloatArray, Int8Array, Int64Array
from verydeep.ops.targets import hold_out_samples

CANDIDATES = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0)
"""For descriptors of norm 1: below, all images of a class weigh the same; above, nothing is left to be traded off."""

USUAL = 10.0
"""The C of the authors' public code, for where a few images cannot tell; at the smallest of equals no margin of a class
that is rare would be above 0."""

TOLERANCE = 1e-4
"""Of the projected gradient, which is in units of the margin.

With the 0.1 of the authors' code the order in which images are visited decides the result where C is small: on
generated descriptors three orders gave a class an AP of 87, 79 and 77% at C=0.01; with 1e-4 all gave 79.6%, in one to
two and a half times the time, on a harder set in up to six."""

MAX_PASSES = 10_000
"""Mostly of the few images that are near the margin: they cost little."""

MOST_NODES = 2**31 - 1
"""LIBLINEAR counts the values that are not 0 in 32 bits, with two more for each image."""

DOUBLE_BYTES, NODE_BYTES = 8, 16
QUICK = 1e9
"""Values times trainings, about 15 seconds: not worth starting processes for."""

ScoreFunction = Callable[[Float32Array, Int8Array], float]
"""Of margins and targets, both (n, K); larger is better."""

Result = TypeVar("Result")


@dataclass(frozen=True)
class TrainedSvm:
    """One SVM is trained."""

    class_name: str
    C: float


@dataclass(frozen=True)
class Trial:
    """What one C gives on the images held out, by the metric of the data set."""

    C: float
    score: float


def train_svms(
    descriptors: FloatArray,
    targets: Int8Array,
    class_names: Sequence[str],
    metric: ScoreFunction,
    *,
    candidates: Sequence[float] = CANDIDATES,
    seed: int = 0,
    photographs: Int64Array | None = None,
    processes: int = 1,
) -> Generator[TrainedSvm, None, tuple[LinearClassifiers, tuple[Trial, ...]]]:
    """Choose C on a held-out part of the training images, then train on all of them.

    Yields K steps for each candidate and K more; of a single candidate, nothing is held out and tried.

    Args:
        descriptors: (n, D) of the training images.
        targets: (n, K) of the training images.
        class_names: K, for messages.
        metric: what a data set is scored by.
        candidates: for C.
        seed: of what is held out.
        photographs: (n,) which one each sample is of, where persons share some: those of one are held out together.
        processes: see ``affordable_processes``.

    Returns:
        The classifiers, and what each candidate gave, from the smallest; none of a single one.

    Raises:
        VerydeepError: as ``fit_svms``, or a class has no image in the part held out or none in the rest.
    """
    features = _in_double(descriptors)
    trials: tuple[Trial, ...] = ()
    if len(candidates) > 1:
        trials = yield from try_candidates(
            features,
            targets,
            class_names,
            metric,
            candidates=candidates,
            seed=seed,
            photographs=photographs,
            processes=processes,
        )
    chosen = best(trials) if trials else candidates[0]
    return (yield from fit_svms(features, targets, chosen, class_names, processes=processes)), trials


def best(trials: Sequence[Trial]) -> float:
    """The C of the best score; of equal scores the one nearest to ``USUAL``, by their ratio, then the smaller."""
    return max(trials, key=lambda trial: (trial.score, -abs(math.log(trial.C / USUAL)), -trial.C)).C


def try_candidates(
    descriptors: FloatArray,
    targets: Int8Array,
    class_names: Sequence[str],
    metric: ScoreFunction,
    *,
    candidates: Sequence[float] = CANDIDATES,
    seed: int = 0,
    photographs: Int64Array | None = None,
    processes: int = 1,
) -> Generator[TrainedSvm, None, tuple[Trial, ...]]:
    """Hold out 20% of the training images, train on the others with each C, and score those held out.

    Args and raised errors are those of ``train_svms``; yields K steps for each candidate.
    """
    features = _in_double(descriptors)
    for candidate in candidates:
        _check_cost(candidate)
    held = held_out(targets, class_names, seed, photographs)
    trained_on = np.where(held[:, None], 0, targets).astype(np.int8)
    trials = []
    for candidate in sorted(set(candidates)):
        classifiers = yield from fit_svms(features, trained_on, candidate, class_names, processes=processes)
        trials.append(Trial(candidate, metric(margins(classifiers, features[held]), targets[held])))
    return tuple(trials)


def held_out(
    targets: Int8Array, class_names: Sequence[str], seed: int, photographs: Int64Array | None = None
) -> BoolArray:
    """(n,) which of the training images choose C: a fifth.

    Raises:
        VerydeepError: a class has no image among them, or none among the others.
    """
    held = hold_out_samples(targets, seed, photographs=photographs)
    for label, name in enumerate(class_names):
        total, of_held = int((targets[:, label] == 1).sum()), int((targets[held, label] == 1).sum())
        if total and of_held in (0, total):
            raise VerydeepError(
                f"Of the {total} training images of class {name} {of_held} fell to the fifth that C is chosen by, and "
                f"some have to, though not all: add images of the class, or give one C, as --c {USUAL:g}."
            )
    return held


def check_targets(targets: Int8Array, class_names: Sequence[str]) -> None:
    """Refuse classes that cannot be told from others.

    Raises:
        VerydeepError: of one there is no image, or no image is without it.
    """
    for name, column in zip(class_names, targets.T, strict=True):
        if not (column == 1).any():
            raise VerydeepError(
                f"Class {name} is on no training image, or on none that can be decoded: add some, or leave it out."
            )
        if not (column == -1).any():
            raise VerydeepError(
                f"Class {name} is on every training image, so there is nothing to tell it from: add images of others."
            )


def fit_svms(
    descriptors: FloatArray, targets: Int8Array, C: float, class_names: Sequence[str], *, processes: int = 1
) -> Generator[TrainedSvm, None, LinearClassifiers]:
    """One SVM a class; yields a step for each.

    Args:
        descriptors: (n, D); of C-ordered float64 no copy is made.
        targets: (n, K)
        C: what a margin that falls short costs, against the norm of the weights.
        class_names: K, for messages.
        processes: how many classes are trained at once. LIBLINEAR draws from one generator for the whole process, so
            threads would make results depend on chance.

    Raises:
        VerydeepError: a class has no positive or no negative image, a descriptor is not finite, C is not above 0,
            there are more values than LIBLINEAR can count, or scikit-learn is not installed.
    """
    assert targets.shape == (len(descriptors), len(class_names))
    _check_cost(C)
    features = _in_double(descriptors)
    check_targets(targets, class_names)
    solutions = []
    for name, solution in zip(class_names, _solve_each(features, targets, C, processes), strict=True):
        solutions.append(solution)
        yield TrainedSvm(name, C)
    return LinearClassifiers(
        np.stack([solution.weights for solution in solutions]),
        np.array([solution.bias for solution in solutions], np.float32),
        C,
        tuple(label for label, solution in enumerate(solutions) if not solution.converged),
    )


def require_scikit_learn() -> None:
    """Called before hours of work that would be in vain without it.

    Raises:
        VerydeepError: it is not installed.
    """
    try:
        import joblib  # noqa: F401, PLC0415 - an extra, needed here alone
        import sklearn.svm  # noqa: F401, PLC0415 - as above
    except ImportError:
        raise VerydeepError("Training linear SVMs needs scikit-learn: pip install 'verydeep[transfer]'.") from None


def affordable_processes(shape: tuple[int, int], num_trainings: int, free_memory: int, cores: int) -> int:
    """How many processes ``train_svms`` may use: 1 where it is quick, or where LIBLINEAR's copies would not fit.

    Args:
        shape: (n, D) of the descriptors.
        num_trainings: classes times values of C.
        free_memory: bytes.
        cores: that are free.
    """
    num_images, dimensions = shape
    values = num_images * dimensions
    if values * num_trainings < QUICK:
        return 1
    shared = 2 * DOUBLE_BYTES * values  # ours, and the one that all processes read
    copy = NODE_BYTES * (values + 2 * num_images)
    return max(1, min(cores, (free_memory - shared) // copy))


def run_with_progress(
    steps: Generator[TrainedSvm, None, Result], num_steps: int, *, title: str = "Linear SVMs", visible: bool = True
) -> Result:
    """Run a training to its end behind a progress bar that names class and C."""
    with progress_bar(images=0, visible=visible) as bar:
        task = bar.add_task(title, total=num_steps, note="")
        while True:
            try:
                step = next(steps)
            except StopIteration as end:
                result: Result = end.value
                return result
            bar.update(task, advance=1, note=f"C={step.C:g} {step.class_name}")


@dataclass(frozen=True, eq=False)
class _Solution:
    weights: Float32Array
    bias: float
    converged: bool


def _check_cost(C: float) -> None:
    if not 0 < C < float("inf"):
        raise VerydeepError(f"C has to be above 0, not {C:g}.")


def _in_double(descriptors: FloatArray) -> Float64Array:
    """What LIBLINEAR takes without converting it again for every class."""
    features = np.ascontiguousarray(descriptors, np.float64)
    for start in range(0, len(features), CHUNK):
        broken = np.flatnonzero(~np.isfinite(features[start : start + CHUNK]).all(axis=1))
        if len(broken):
            raise VerydeepError(
                f"The descriptor of training image {start + broken[0] + 1} of {len(features)} is not finite: take "
                "another net."
            )
    nodes = np.count_nonzero(features) + 2 * len(features)
    if nodes > MOST_NODES:
        raise VerydeepError(
            f"{len(features):,} descriptors of {features.shape[1]:,} dimensions are more than LIBLINEAR can count "
            "(2^31 values): train on fewer images, or average the scales instead of stacking them."
        )
    return features


def _solve_each(features: Float64Array, targets: Int8Array, C: float, processes: int) -> Iterator[_Solution]:
    """In the order of the classes."""
    require_scikit_learn()
    import joblib  # noqa: PLC0415 - an extra, needed here alone

    # Processes read one copy of the features, a file that is mapped.
    run = joblib.Parallel(n_jobs=processes, return_as="generator")
    solutions: Iterator[_Solution] = run(
        joblib.delayed(_solve)(features, targets[:, label], C) for label in range(targets.shape[1])
    )
    yield from solutions


def _solve(features: Float64Array, target: Int8Array, C: float) -> _Solution:
    """One class."""
    from sklearn import config_context  # noqa: PLC0415 - an extra, needed here alone
    from sklearn.exceptions import ConvergenceWarning  # noqa: PLC0415 - as above
    from sklearn.svm import LinearSVC  # noqa: PLC0415 - as above

    svm = LinearSVC(
        C=C, loss="hinge", dual=True, intercept_scaling=1, tol=TOLERANCE, max_iter=MAX_PASSES, random_state=0
    )
    with config_context(assume_finite=True), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # told by the caller
        # LIBLINEAR removes images of weight 0 before it begins. A copy without them would cost as much as all.
        svm.fit(features, np.where(target == 1, 1, -1), sample_weight=(target != 0).astype(np.float64))
    weights = svm.coef_[0].astype(np.float32)
    return _Solution(weights, float(svm.intercept_[0]), bool(svm.n_iter_ < MAX_PASSES))
