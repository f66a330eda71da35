"""Linear SVMs against solvers that know nothing of LIBLINEAR, and what they may and may not see."""

import sys
import tracemalloc
from collections.abc import Callable, Generator
from functools import partialmethod
from typing import Any, TypeVar

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn comes with verydeep[transfer]")

from scipy.optimize import lsq_linear, minimize
from sklearn.metrics import average_precision_score
from sklearn.svm import SVC, LinearSVC

from verydeep.engine.transfer import svm
from verydeep.engine.transfer.linear import LinearClassifiers, margins
from verydeep.engine.transfer.svm import (
    CANDIDATES,
    TrainedSvm,
    Trial,
    affordable_processes,
    best,
    fit_svms,
    run_with_progress,
    train_svms,
    try_candidates,
)
from verydeep.errors import VerydeepError
from verydeep.ops.arrays import Float32Array, Float64Array, Int8Array
from verydeep.ops.targets import hold_out_samples, one_vs_rest

Result = TypeVar("Result")

NAMES = ["ant", "bell", "crab", "drum"]


def ended(steps: Generator[TrainedSvm, None, Result]) -> Result:
    return run_with_progress(steps, 1, visible=False)


def photographs(
    num_images: int, dimensions: int = 12, noise: float = 1.0, seed: int = 0
) -> tuple[Float32Array, Int8Array]:
    """Descriptors of norm 1, not negative, some values 0, as relu7's are, and targets of four unequal classes."""
    rng = np.random.default_rng(seed)
    labels = np.arange(num_images) % 9 % 4
    of_class = np.random.default_rng(99).normal(size=(4, dimensions))
    descriptors = np.maximum(of_class[labels] + noise * rng.normal(size=(num_images, dimensions)) + 0.3, 0)
    descriptors[:, -1] += 0.01  # never all 0
    return (descriptors / np.linalg.norm(descriptors, axis=1, keepdims=True)).astype(np.float32), one_vs_rest(labels, 4)


def several_labels(num_images: int, dimensions: int = 12, noise: float = 1.0) -> tuple[Float32Array, Int8Array]:
    """The same, with second classes on some images and others left out."""
    descriptors, targets = photographs(num_images, dimensions, noise)
    rng = np.random.default_rng(5)
    targets[rng.random(targets.shape) < 0.1] = 1
    targets[rng.random(targets.shape) < 0.15] = 0
    return descriptors, targets


def recall(found: Float32Array, targets: Int8Array) -> float:
    right = found.argmax(axis=1) == targets.argmax(axis=1)
    return float(np.mean([right[targets[:, k] == 1].mean() for k in range(targets.shape[1])]))


def mean_average_precision(found: Float32Array, targets: Int8Array) -> float:
    counted = [targets[:, k] != 0 for k in range(targets.shape[1])]
    return float(np.mean([average_precision_score(targets[c, k] == 1, found[c, k]) for k, c in enumerate(counted)]))


def remember_and_fit(
    self: LinearSVC,
    given: list[Float64Array],
    fit_svms: Callable[..., LinearSVC],
    features: Float64Array,
    *args: Any,
    **options: Any,
) -> LinearSVC:
    given.append(features)
    return fit_svms(self, features, *args, **options)


def with_bias_feature(descriptors: Float32Array) -> Float64Array:
    return np.hstack([descriptors.astype(np.float64), np.ones((len(descriptors), 1))])


def rows(classifiers: LinearClassifiers) -> Float64Array:
    """(K, D + 1) weights, the bias last."""
    return np.hstack([classifiers.weights, classifiers.biases[:, None]]).astype(np.float64)


def primal(row: Float64Array, features: Float64Array, target: Int8Array, cost: float) -> float:
    return float(row @ row / 2 + cost * np.maximum(0, 1 - target * (features @ row)).sum())


def slowly(features: Float64Array, target: Int8Array, cost: float) -> tuple[Float64Array, float]:
    """The dual by a general minimizer with bounds: the weights, and the dual's value, which no primal falls below."""
    signed = features * target[:, None]
    found = minimize(
        lambda a: ((a @ signed) @ (a @ signed) / 2 - a.sum(), signed @ (a @ signed) - 1),
        np.zeros(len(target)),
        jac=True,
        bounds=[(0, cost)] * len(target),
        method="L-BFGS-B",
        options={"maxiter": 10_000, "maxfun": 100_000, "ftol": 1e-15, "gtol": 1e-9},
    )
    return found.x @ signed, -float(found.fun)


@pytest.mark.parametrize("cost", [0.03, 1.0, 30.0])
def test_weights_are_those_of_a_slow_solver(cost: float) -> None:
    """And no other weights could cost less: the dual's value is within a thousandth."""
    descriptors, targets = several_labels(70, 6)
    found, features = rows(ended(fit_svms(descriptors, targets, cost, NAMES))), with_bias_feature(descriptors)
    for row, target in zip(found, targets.T, strict=True):
        counted = target != 0
        expected, bound = slowly(features[counted], target[counted], cost)
        assert np.allclose(features @ row, features @ expected, rtol=0, atol=2e-3 * max(1, np.abs(expected).max()))
        cost_of_ours = primal(row, features[counted], target[counted], cost)
        assert bound * (1 - 1e-6) <= cost_of_ours <= bound * 1.001


@pytest.mark.parametrize("cost", [0.1, 10.0])
def test_the_optimality_conditions_hold(cost: float) -> None:
    """Weights are a sum of t_i x_i times C where the margin falls short, 0 where there is room, between on it."""
    descriptors, targets = photographs(400, 30)
    found, features = rows(ended(fit_svms(descriptors, targets, cost, NAMES))), with_bias_feature(descriptors)
    for row, target in zip(found, targets.T, strict=True):
        signed = features * target[:, None]
        room = signed @ row - 1
        between = np.abs(room) < 1e-3
        assert (room < -1e-3).any() and between.any() and (room > 1e-3).any()
        left = row - cost * signed[room < -1e-3].sum(axis=0)
        closest = lsq_linear(signed[between].T, left, bounds=(0, cost), tol=1e-12)
        assert np.abs(signed[between].T @ closest.x - left).max() < 2e-3 * np.linalg.norm(row)


def test_the_bias_is_regularized() -> None:
    """LIBSVM's is not, so it finds another; given the feature of 1, and centered, it has no use for one of its own."""
    descriptors, targets = photographs(60, 6)
    row = rows(ended(fit_svms(descriptors, targets, 1.0, NAMES)))[1]
    free = SVC(kernel="linear", C=1.0, tol=1e-6).fit(descriptors, targets[:, 1])
    assert abs(row[-1] - free.intercept_[0]) > 0.02
    features = with_bias_feature(descriptors)
    mirrored = np.vstack([features, -features])  # of which LIBSVM's bias is 0, and every weight as before at half the C
    twice = SVC(kernel="linear", C=0.5, tol=1e-6).fit(mirrored, np.concatenate([targets[:, 1], -targets[:, 1]]))
    assert np.allclose(row, twice.coef_[0], rtol=0, atol=1e-3)


def test_an_image_left_out_of_a_class_changes_nothing_there() -> None:
    descriptors, targets = photographs(60)
    out = np.array([4, 17, 33, 59])
    targets[out, 2] = 0
    found = ended(fit_svms(descriptors, targets, 1.0, NAMES))
    changed = descriptors.copy()
    changed[out] = np.random.default_rng(1).normal(size=changed[out].shape)
    kept = np.delete(np.arange(60), out)
    for others in (
        ended(fit_svms(changed, targets, 1.0, NAMES)),
        ended(fit_svms(descriptors[kept], targets[kept], 1.0, NAMES)),
    ):
        assert np.array_equal(others.weights[2], found.weights[2]) and others.biases[2] == found.biases[2]
        assert not np.array_equal(others.weights[1], found.weights[1])
    with_them = ended(fit_svms(descriptors, np.where(targets == 0, -1, targets), 1.0, NAMES))
    assert not np.array_equal(with_them.weights[2], found.weights[2])


def test_the_same_bits_in_other_processes_and_another_order_of_classes() -> None:
    descriptors, targets = several_labels(400, 500)  # large enough for the processes to read it from a mapped file
    order = [2, 0, 3, 1]
    names = [NAMES[k] for k in order]
    found = ended(fit_svms(descriptors, targets, 3.0, NAMES))
    again = ended(fit_svms(descriptors, targets, 3.0, NAMES))
    elsewhere = ended(fit_svms(descriptors, targets[:, order], 3.0, names, processes=2))
    assert found.weights.dtype == found.biases.dtype == np.float32
    assert np.array_equal(found.weights, again.weights) and np.array_equal(found.biases, again.biases)
    assert np.array_equal(found.weights[order], elsewhere.weights)
    assert np.array_equal(found.biases[order], elsewhere.biases)


def test_each_class_is_told_as_it_is_trained() -> None:
    descriptors, targets = photographs(40)
    steps = train_svms(descriptors, targets, NAMES, recall, candidates=(1.0, 0.1))
    assert next(steps) == TrainedSvm("ant", 0.1)
    told = [(step.C, step.class_name) for step in steps]
    assert len(told) == 11
    assert [C for C, _ in told] == [0.1] * 3 + [1.0] * 4 + [told[-1][0]] * 4
    assert [name for _, name in told] == NAMES[1:] + NAMES + NAMES


def test_classes_are_trained_one_at_a_time_on_one_converted_copy(monkeypatch: pytest.MonkeyPatch) -> None:
    descriptors, targets = photographs(60)
    given: list[Float64Array] = []
    monkeypatch.setattr(LinearSVC, "fit", partialmethod(remember_and_fit, given, LinearSVC.fit))
    steps = train_svms(descriptors, targets, NAMES, recall, candidates=(0.1, 1.0))
    next(steps)
    assert len(given) == 1
    assert len(list(steps)) == 11 and len(given) == 12
    assert given[0].dtype == np.float64 and given[0].flags.c_contiguous
    assert all(each is given[0] for each in given)


def test_no_class_copies_the_descriptors() -> None:
    """Copies are of 8 bytes a value; LIBLINEAR's own, of 16, is not seen here."""
    descriptors, targets = photographs(2000, 100)
    targets[::7, 1] = 0
    ended(fit_svms(descriptors[:50], targets[:50], 0.01, NAMES))  # imports
    tracemalloc.start()
    ended(fit_svms(descriptors, targets, 0.01, NAMES))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 8 * descriptors.size < peak < 1.5 * 8 * descriptors.size


@pytest.mark.parametrize(("make", "metric"), [(photographs, recall), (several_labels, mean_average_precision)])
def test_trials_are_trained_on_the_rest_and_scored_on_those_held_out(make, metric) -> None:  # type: ignore[no-untyped-def]
    """By hand, with rows cut out rather than left out."""
    descriptors, targets = make(120, 60, noise=3.0)
    held = hold_out_samples(targets, 4)
    expected = []
    for C in (0.1, 1.0, 10.0):
        scores = []
        for target in targets.T:
            used = ~held & (target != 0)
            hand = LinearSVC(C=C, loss="hinge", tol=1e-4, max_iter=10_000, random_state=0)
            scores.append(hand.fit(descriptors[used], target[used]).decision_function(descriptors[held]))
        expected.append((C, pytest.approx(metric(np.stack(scores, axis=1), targets[held]), abs=1e-6)))
    found = ended(try_candidates(descriptors, targets, NAMES, metric, candidates=(10.0, 0.1, 1.0), seed=4))
    assert [(trial.C, trial.score) for trial in found] == expected
    assert len({trial.score for trial in found}) > 1


def test_what_is_held_out_decides_for_c_and_then_trains() -> None:
    """Labels of a third of the training images are wrong: what fits them best, a large C, is not what is chosen."""
    descriptors, targets = photographs(200, 60, noise=0.7)
    wrong = np.random.default_rng(2).permutation(200)[:66]
    targets[wrong] = np.roll(targets[wrong], 1, axis=1)
    classifiers, trials = ended(train_svms(descriptors, targets, NAMES, recall, seed=1))
    by_fit = {
        C: recall(margins(ended(fit_svms(descriptors, targets, C, NAMES)), descriptors), targets) for C in CANDIDATES
    }
    assert [trial.C for trial in trials] == list(CANDIDATES)
    assert classifiers.C == best(trials) < max(by_fit, key=lambda C: by_fit[C])
    on_all = ended(fit_svms(descriptors, targets, classifiers.C, NAMES))
    assert np.array_equal(classifiers.weights, on_all.weights)
    assert np.array_equal(classifiers.biases, on_all.biases)


def test_the_metric_never_sees_an_image_that_was_trained_on() -> None:
    descriptors, targets = photographs(100)
    coverage: list[tuple[Float32Array, Int8Array]] = []

    def spy(found: Float32Array, of: Int8Array) -> float:
        coverage.append((found, of))
        return 0.5

    ended(train_svms(descriptors, targets, NAMES, spy, candidates=(0.1, 1.0), seed=6))
    held = hold_out_samples(targets, 6)
    rest = ended(fit_svms(descriptors[~held], targets[~held], 1.0, NAMES))
    assert len(coverage) == 2
    assert np.array_equal(coverage[1][0], margins(rest, descriptors[held]))
    assert np.array_equal(coverage[1][1], targets[held])


def test_of_equal_scores_the_smallest_c_is_chosen() -> None:
    descriptors, targets = photographs(60)
    classifiers, trials = ended(
        train_svms(descriptors, targets, NAMES, lambda found, of: 0.25, candidates=(3.0, 0.3, 100.0, 0.3))
    )
    assert trials == (Trial(0.3, 0.25), Trial(3.0, 0.25), Trial(100.0, 0.25))
    assert classifiers.C == 3.0
    assert best([Trial(0.1, 0.5), Trial(1.0, 0.75), Trial(3.0, 0.75)]) == 3.0
    assert best([Trial(1.0, 0.75), Trial(10.0, 0.5), Trial(100.0, 0.75)]) == 1.0
    assert best([Trial(0.01, 0.9), Trial(10.0, 0.8)]) == 0.01


def test_with_one_c_nothing_is_held_out() -> None:
    """One image of a class is enough then."""
    descriptors, targets = photographs(4)
    classifiers, trials = ended(train_svms(descriptors, targets, NAMES, recall, candidates=(3.0,)))
    assert trials == () and classifiers.C == 3.0
    assert (margins(classifiers, descriptors).argmax(axis=1) == np.arange(4)).all()


def test_a_class_of_one_image_leaves_nothing_to_choose_c_by() -> None:
    descriptors, targets = photographs(60)
    targets[np.flatnonzero(targets[:, 2] == 1)[1:], 2] = -1
    with pytest.raises(
        VerydeepError, match=r"Of the 1 training images of class crab 0 fell to the fifth .* or give one C, as --c 10"
    ):
        ended(train_svms(descriptors, targets, NAMES, recall))


@pytest.mark.parametrize(("only", "where"), [(-1, "on no training image"), (1, "on every training image")])
def test_a_class_without_contrast_is_named(only: int, where: str) -> None:
    descriptors, targets = photographs(60)
    targets[:, 3] = only
    targets[5, 3] = 0
    for steps in (fit_svms(descriptors, targets, 1.0, NAMES), train_svms(descriptors, targets, NAMES, recall)):
        with pytest.raises(VerydeepError, match=f"Class drum is {where}"):
            ended(steps)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_descriptor_that_is_not_finite_is_told(value: float, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(svm, "CHUNK", 16)
    descriptors, targets = photographs(60)
    descriptors[41, 3] = value
    with pytest.raises(VerydeepError, match="descriptor of training image 42 of 60 is not finite"):
        ended(fit_svms(descriptors, targets, 1.0, NAMES))


@pytest.mark.parametrize("C", [0.0, -1.0, float("inf"), float("nan")])
def test_c_has_to_be_above_zero(C: float) -> None:
    descriptors, targets = photographs(60)
    for steps in (
        fit_svms(descriptors, targets, C, NAMES),
        train_svms(descriptors, targets, NAMES, recall, candidates=(1.0, C)),
    ):
        with pytest.raises(VerydeepError, match="C has to be above 0, not"):
            next(steps)


def test_more_values_than_liblinear_can_count_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    descriptors, targets = photographs(60)
    nodes = int((descriptors != 0).sum()) + 2 * 60
    assert nodes < descriptors.size + 2 * 60
    monkeypatch.setattr(svm, "MOST_NODES", nodes)
    ended(fit_svms(descriptors, targets, 1.0, NAMES))
    monkeypatch.setattr(svm, "MOST_NODES", nodes - 1)
    with pytest.raises(VerydeepError, match="60 descriptors of 12 dimensions are more than LIBLINEAR can count"):
        ended(fit_svms(descriptors, targets, 1.0, NAMES))


def test_training_that_does_not_converge_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    descriptors, targets = photographs(120, 60, noise=2.0)
    assert ended(fit_svms(descriptors, targets, 100.0, NAMES)).unconverged == ()
    monkeypatch.setattr(svm, "MAX_PASSES", 3)
    assert ended(fit_svms(descriptors, targets, 100.0, NAMES)).unconverged == (0, 1, 2, 3)


@pytest.mark.parametrize("module", ["sklearn.svm", "joblib"])
def test_what_has_to_be_installed_is_named(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    descriptors, targets = photographs(60)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(VerydeepError, match=r"needs scikit-learn: pip install 'verydeep\[transfer\]'"):
        ended(fit_svms(descriptors, targets, 1.0, NAMES))


def test_processes_are_as_many_as_memory_allows() -> None:
    """100,000 x 4096: two copies in float64 are 6.6 GB, each of LIBLINEAR's 6.6 GB."""
    large = (100_000, 4096)
    assert affordable_processes(large, 200, free_memory=14 * 2**30, cores=8) == 1
    assert affordable_processes(large, 200, free_memory=20 * 10**9, cores=8) == 2
    assert affordable_processes(large, 200, free_memory=10**12, cores=8) == 8
    assert affordable_processes(large, 200, free_memory=0, cores=8) == 1
    assert affordable_processes((300, 4096), 30, free_memory=10**12, cores=8) == 1  # done before they had started
