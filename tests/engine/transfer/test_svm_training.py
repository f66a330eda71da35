"""Linear SVMs against solvers that know nothing of LIBLINEAR, and what they may and may not see."""

import sys
import tracemalloc
from collections.abc import Generator
from typing import TypeVar

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn comes with verydeep[transfer]")

from scipy.optimize import lsq_linear, minimize
from sklearn.metrics import average_precision_score
from sklearn.svm import SVC, LinearSVC

from verydeep.engine.progress import run_with_progress
from verydeep.engine.transfer.linear_svms import ROWS_AT_ONCE, LinearSVMs
from verydeep.engine.transfer.svm_training import (
    COSTS,
    MAX_NODES,
    Trial,
    check_countable,
    choose_cost,
    choose_num_processes,
    find_single,
    fit_svms,
    train_svms,
)
from verydeep.errors import DataError, ResourceError, WeightsError
from verydeep.ops.arrays import Float32Array, Float64Array, Int8Array
from verydeep.ops.targets import hold_out_samples, one_vs_rest

Result = TypeVar("Result")

NAMES = ["ant", "bell", "crab", "drum"]


def finish(steps: Generator[float, None, Result]) -> Result:
    return run_with_progress(steps, "", 1)


def photographs(
    num_images: int, dimensions: int = 12, noise: float = 1.0, seed: int = 0
) -> tuple[Float32Array, Int8Array]:
    """Return descriptors of norm 1, some values 0, as relu7's are, and targets of four unequal classes."""
    rng = np.random.default_rng(seed)
    labels = np.arange(num_images) % 9 % 4
    of_class = np.random.default_rng(99).normal(size=(4, dimensions))
    descriptors = np.maximum(of_class[labels] + noise * rng.normal(size=(num_images, dimensions)) + 0.3, 0)
    descriptors[:, -1] += 0.01  # never all 0
    return (descriptors / np.linalg.norm(descriptors, axis=1, keepdims=True)).astype(np.float32), one_vs_rest(labels, 4)


def several_labels(num_images: int, dimensions: int = 12, noise: float = 1.0) -> tuple[Float32Array, Int8Array]:
    """Return the descriptors of ``photographs``, with second classes on some images and others left out."""
    descriptors, targets = photographs(num_images, dimensions, noise)
    rng = np.random.default_rng(5)
    targets[rng.random(targets.shape) < 0.1] = 1
    targets[rng.random(targets.shape) < 0.15] = 0
    return descriptors, targets


def recall(margins: Float32Array, targets: Int8Array) -> float:
    right = margins.argmax(axis=1) == targets.argmax(axis=1)
    return float(np.mean([right[targets[:, k] == 1].mean() for k in range(targets.shape[1])]))


def mean_average_precision(margins: Float32Array, targets: Int8Array) -> float:
    counted = [targets[:, k] != 0 for k in range(targets.shape[1])]
    return float(np.mean([average_precision_score(targets[c, k] == 1, margins[c, k]) for k, c in enumerate(counted)]))


def with_bias_feature(descriptors: Float32Array) -> Float64Array:
    return np.hstack([descriptors.astype(np.float64), np.ones((len(descriptors), 1))])


def rows(svms: LinearSVMs) -> Float64Array:
    """Return (K, D + 1) weights, the bias last."""
    return np.hstack([svms.weights, svms.biases[:, None]]).astype(np.float64)


def primal(row: Float64Array, features: Float64Array, target: Int8Array, cost: float) -> float:
    return float(row @ row / 2 + cost * np.maximum(0, 1 - target * (features @ row)).sum())


def solve_slowly(features: Float64Array, target: Int8Array, cost: float) -> tuple[Float64Array, float]:
    """Minimize the dual with bounds; return the weights, and the dual's value, which no primal falls below."""
    signed = features * target[:, None]
    result = minimize(
        lambda a: ((a @ signed) @ (a @ signed) / 2 - a.sum(), signed @ (a @ signed) - 1),
        np.zeros(len(target)),
        jac=True,
        bounds=[(0, cost)] * len(target),
        method="L-BFGS-B",
        options={"maxiter": 10_000, "maxfun": 100_000, "ftol": 1e-15, "gtol": 1e-9},
    )
    return result.x @ signed, -float(result.fun)


@pytest.mark.parametrize("cost", [0.03, 1.0, 30.0])
def test_weights_are_those_of_a_slow_solver(cost: float) -> None:
    """And no other weights could cost less: the dual's value is within a thousandth."""
    descriptors, targets = several_labels(70, 6)
    weights, features = rows(finish(fit_svms(descriptors, targets, cost, NAMES))), with_bias_feature(descriptors)
    for row, target in zip(weights, targets.T, strict=True):
        counted = target != 0
        expected, bound = solve_slowly(features[counted], target[counted], cost)
        assert np.allclose(features @ row, features @ expected, rtol=0, atol=2e-3 * max(1, np.abs(expected).max()))
        own_cost = primal(row, features[counted], target[counted], cost)
        assert bound * (1 - 1e-6) <= own_cost <= bound * 1.001


@pytest.mark.parametrize("cost", [0.1, 10.0])
def test_optimality_conditions_hold(cost: float) -> None:
    """Weights are a sum of t_i x_i times C where the margin falls short, 0 where there is room, between on it."""
    descriptors, targets = photographs(400, 30)
    weights, features = rows(finish(fit_svms(descriptors, targets, cost, NAMES))), with_bias_feature(descriptors)
    for row, target in zip(weights, targets.T, strict=True):
        signed = features * target[:, None]
        room = signed @ row - 1
        between = np.abs(room) < 1e-3
        assert (room < -1e-3).any() and between.any() and (room > 1e-3).any()
        left = row - cost * signed[room < -1e-3].sum(axis=0)
        closest = lsq_linear(signed[between].T, left, bounds=(0, cost), tol=1e-12)
        assert np.abs(signed[between].T @ closest.x - left).max() < 2e-3 * np.linalg.norm(row)


def test_bias_is_regularized() -> None:
    """LIBSVM's is not, so it finds another; given the feature of 1, and centered, it has no use for one of its own."""
    descriptors, targets = photographs(60, 6)
    row = rows(finish(fit_svms(descriptors, targets, 1.0, NAMES)))[1]
    free = SVC(kernel="linear", C=1.0, tol=1e-6).fit(descriptors, targets[:, 1])
    assert abs(row[-1] - free.intercept_[0]) > 0.02
    features = with_bias_feature(descriptors)
    mirrored = np.vstack([features, -features])  # of which LIBSVM's bias is 0, and every weight as before at half the C
    twice = SVC(kernel="linear", C=0.5, tol=1e-6).fit(mirrored, np.concatenate([targets[:, 1], -targets[:, 1]]))
    assert np.allclose(row, twice.coef_[0], rtol=0, atol=1e-3)


def test_image_left_out_of_a_class_changes_nothing_there() -> None:
    descriptors, targets = photographs(60)
    left_out = np.array([4, 17, 33, 59])
    targets[left_out, 2] = 0
    svms = finish(fit_svms(descriptors, targets, 1.0, NAMES))
    changed = descriptors.copy()
    changed[left_out] = np.random.default_rng(1).normal(size=changed[left_out].shape)
    rest = np.delete(np.arange(60), left_out)
    for others in (
        finish(fit_svms(changed, targets, 1.0, NAMES)),
        finish(fit_svms(descriptors[rest], targets[rest], 1.0, NAMES)),
    ):
        assert np.array_equal(others.weights[2], svms.weights[2]) and others.biases[2] == svms.biases[2]
        assert not np.array_equal(others.weights[1], svms.weights[1])
    with_them = finish(fit_svms(descriptors, np.where(targets == 0, -1, targets), 1.0, NAMES))
    assert not np.array_equal(with_them.weights[2], svms.weights[2])


def test_same_bits_in_other_processes_and_another_order_of_classes() -> None:
    descriptors, targets = several_labels(400, 500)  # large enough for the processes to read it from a mapped file
    order = [2, 0, 3, 1]
    names = [NAMES[k] for k in order]
    svms = finish(fit_svms(descriptors, targets, 3.0, NAMES))
    again = finish(fit_svms(descriptors, targets, 3.0, NAMES))
    elsewhere = finish(fit_svms(descriptors, targets[:, order], 3.0, names, processes=2))
    assert svms.weights.dtype == svms.biases.dtype == np.float32
    assert np.array_equal(svms.weights, again.weights) and np.array_equal(svms.biases, again.biases)
    assert np.array_equal(svms.weights[order], elsewhere.weights)
    assert np.array_equal(svms.biases[order], elsewhere.biases)


def test_each_trained_class_is_counted() -> None:
    descriptors, targets = photographs(40)
    assert list(train_svms(descriptors, targets, NAMES, recall, costs=(1.0, 0.1))) == [0] + [1] * 12
    assert list(train_svms(descriptors, targets, NAMES, recall, costs=(1.0,))) == [0] + [1] * 4


def test_no_class_copies_the_descriptors() -> None:
    """Copies are of 8 bytes a value; LIBLINEAR's own, of 16, is not seen here."""
    descriptors, targets = photographs(2000, 100)
    targets[::7, 1] = 0
    finish(fit_svms(descriptors[:50], targets[:50], 0.01, NAMES))  # imports
    tracemalloc.start()
    finish(fit_svms(descriptors, targets, 0.01, NAMES))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 8 * descriptors.size < peak < 1.5 * 8 * descriptors.size


@pytest.mark.parametrize(("make", "metric"), [(photographs, recall), (several_labels, mean_average_precision)])
def test_trials_are_trained_on_the_rest_and_scored_on_those_held_out(make, metric) -> None:  # type: ignore[no-untyped-def]
    """By hand, with rows cut out rather than left out."""
    descriptors, targets = make(120, 60, noise=3.0)
    is_held_out = hold_out_samples(targets, 4)
    expected = []
    for C in (0.1, 1.0, 10.0):
        scores = []
        for target in targets.T:
            used = ~is_held_out & (target != 0)
            hand = LinearSVC(C=C, loss="hinge", tol=1e-4, max_iter=10_000, random_state=0)
            scores.append(hand.fit(descriptors[used], target[used]).decision_function(descriptors[is_held_out]))
        expected.append((C, pytest.approx(metric(np.stack(scores, axis=1), targets[is_held_out]), abs=1e-6)))
    _, trials = finish(train_svms(descriptors, targets, NAMES, metric, costs=(10.0, 0.1, 1.0), seed=4))
    assert [(trial.C, trial.score) for trial in trials] == expected
    assert len({trial.score for trial in trials}) > 1


def test_images_held_out_choose_c_and_are_trained_on_later() -> None:
    """Labels of a third of the training images are wrong: what fits them best, a large C, is not what is chosen."""
    descriptors, targets = photographs(200, 60, noise=0.7)
    wrong = np.random.default_rng(2).permutation(200)[:66]
    targets[wrong] = np.roll(targets[wrong], 1, axis=1)
    svms, trials = finish(train_svms(descriptors, targets, NAMES, recall, seed=1))
    by_fit = {
        C: recall(finish(fit_svms(descriptors, targets, C, NAMES)).compute_margins(descriptors), targets) for C in COSTS
    }
    assert [trial.C for trial in trials] == list(COSTS)
    assert svms.C == choose_cost(trials) < max(by_fit, key=lambda C: by_fit[C])
    on_all = finish(fit_svms(descriptors, targets, svms.C, NAMES))
    assert np.array_equal(svms.weights, on_all.weights)
    assert np.array_equal(svms.biases, on_all.biases)


def test_metric_never_sees_an_image_that_was_trained_on() -> None:
    descriptors, targets = photographs(100)
    calls: list[tuple[Float32Array, Int8Array]] = []

    def record(margins: Float32Array, held_out_targets: Int8Array) -> float:
        calls.append((margins, held_out_targets))
        return 0.5

    finish(train_svms(descriptors, targets, NAMES, record, costs=(0.1, 1.0), seed=6))
    is_held_out = hold_out_samples(targets, 6)
    rest = finish(fit_svms(descriptors[~is_held_out], targets[~is_held_out], 1.0, NAMES))
    assert len(calls) == 2
    assert np.array_equal(calls[1][0], rest.compute_margins(descriptors[is_held_out]))
    assert np.array_equal(calls[1][1], targets[is_held_out])


def test_of_equal_scores_the_c_nearest_to_the_usual_is_chosen() -> None:
    descriptors, targets = photographs(60)
    svms, trials = finish(train_svms(descriptors, targets, NAMES, lambda *_: 0.25, costs=(3.0, 0.3, 100.0, 0.3)))
    assert trials == (Trial(0.3, 0.25), Trial(3.0, 0.25), Trial(100.0, 0.25))
    assert svms.C == 3.0
    assert choose_cost([Trial(0.1, 0.5), Trial(1.0, 0.75), Trial(3.0, 0.75)]) == 3.0
    assert choose_cost([Trial(1.0, 0.75), Trial(10.0, 0.5), Trial(100.0, 0.75)]) == 1.0
    assert choose_cost([Trial(0.01, 0.9), Trial(10.0, 0.8)]) == 0.01


def test_with_one_c_nothing_is_held_out() -> None:
    """One image of a class is enough then."""
    descriptors, targets = photographs(4)
    svms, trials = finish(train_svms(descriptors, targets, NAMES, recall, costs=(3.0,)))
    assert trials == () and svms.C == 3.0
    assert (svms.compute_margins(descriptors).argmax(axis=1) == np.arange(4)).all()


def test_class_of_one_image_takes_no_part_in_the_choice_of_c() -> None:
    """Its image is trained on; the score is that of the others. Images of one photograph or group count as one."""
    descriptors, targets = photographs(60)
    targets[np.flatnonzero(targets[:, 2] == 1)[1:], 2] = -1

    def record(margins: Float32Array, held_out: Int8Array) -> float:
        assert (held_out == 1).sum(axis=0).tolist()[2] == 0 and (held_out[:, [0, 1, 3]] == 1).any(axis=0).all()
        return float((margins.argmax(axis=1) == held_out.argmax(axis=1)).mean())

    _, trials = finish(train_svms(descriptors, targets, NAMES, record, costs=(0.1, 1.0)))
    assert [trial.C for trial in trials] == [0.1, 1.0]
    assert find_single(targets) == [2]
    assert find_single(targets, np.where(targets[:, 0] == 1, 0, np.arange(60))) == [0, 2]


@pytest.mark.parametrize(("costs", "chosen"), [(COSTS, 10.0), ((0.1, 3.0, 1.0), 3.0)])
def test_one_image_of_each_class_leaves_the_usual_c(costs: tuple[float, ...], chosen: float) -> None:
    descriptors, targets = photographs(4)
    svms, trials = finish(train_svms(descriptors, targets, NAMES, recall, costs=costs))
    assert (svms.C, trials) == (chosen, ())
    assert (svms.compute_margins(descriptors).argmax(axis=1) == np.arange(4)).all()


def test_class_that_is_held_out_as_a_whole_is_reported() -> None:
    """Three images of two classes each, of which one is trained on."""
    descriptors, targets = photographs(3)[0], np.array([[1, 1, -1], [-1, 1, 1], [1, -1, 1]], np.int8)
    with pytest.raises(
        DataError,
        match=r"for class crab: 2 of its 2 training images are held out, .* or give one value, such as `c=10`",
    ):
        finish(train_svms(descriptors, targets, NAMES[:3], recall))


@pytest.mark.parametrize(("only", "where"), [(-1, "on no training image"), (1, "on every training image")])
def test_class_without_contrast_is_named(only: int, where: str) -> None:
    descriptors, targets = photographs(60)
    targets[:, 3] = only
    targets[5, 3] = 0
    for steps in (fit_svms(descriptors, targets, 1.0, NAMES), train_svms(descriptors, targets, NAMES, recall)):
        with pytest.raises(DataError, match=f"Class 'drum' is {where}"):
            finish(steps)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_descriptor_that_is_not_finite_is_reported(value: float) -> None:
    """Also behind the first that are looked at."""
    number = ROWS_AT_ONCE + 41
    descriptors, targets = photographs(number + 19, dimensions=3)
    descriptors[number, 1] = value
    with pytest.raises(WeightsError, match=f"descriptor of training image {number + 1} of {number + 19} is not finite"):
        finish(fit_svms(descriptors, targets, 1.0, NAMES))


def test_more_values_than_liblinear_can_count_are_refused() -> None:
    """It counts values that are not 0, and two more for each image."""
    shape = (100_000, 40_000)
    check_countable(MAX_NODES - 200_000, shape)
    with pytest.raises(ResourceError, match="100,000 descriptors of 40,000 dimensions are more than LIBLINEAR can"):
        check_countable(MAX_NODES - 199_999, shape)


def test_classes_that_do_not_converge_are_remembered() -> None:
    descriptors, targets = photographs(120, 60, noise=2.0)
    assert finish(fit_svms(descriptors, targets, 100.0, NAMES)).unconverged == ()
    assert finish(fit_svms(descriptors, targets, 100.0, NAMES, max_passes=3)).unconverged == (0, 1, 2, 3)


@pytest.mark.parametrize("module", ["sklearn.svm", "joblib"])
def test_missing_package_is_named(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    descriptors, targets = photographs(60)
    monkeypatch.setitem(sys.modules, module, None)  # Python's own way to say that a module is not installed
    with pytest.raises(ResourceError, match=r"needs scikit-learn: pip install 'verydeep\[transfer\]'"):
        finish(fit_svms(descriptors, targets, 1.0, NAMES))


def test_processes_are_as_many_as_memory_allows() -> None:
    """100,000 x 4096: two copies in float64 are 6.6 GB, each of LIBLINEAR's 6.6 GB."""
    large = (100_000, 4096)
    assert choose_num_processes(large, 20, free_memory=14 * 2**30, cores=8) == 1
    assert choose_num_processes(large, 20, free_memory=20 * 10**9, cores=8) == 2
    assert choose_num_processes(large, 20, free_memory=10**12, cores=8) == 8
    assert choose_num_processes(large, 20, free_memory=0, cores=8) == 1
    assert choose_num_processes((300, 4096), 3, free_memory=10**12, cores=8) == 1  # done before they had started


def test_balanced_svms_are_those_of_repeated_images() -> None:
    """With weights of whole numbers: each positive counts three times as often as a negative, at a matching C."""
    rng = np.random.default_rng(8)
    descriptors = rng.normal(size=(40, 6)).astype(np.float32)
    target = np.where(np.arange(40) < 10, 1, -1).astype(np.int8)
    descriptors[:10] += 0.7
    targets = np.stack([target, -target], axis=1)
    balanced = finish(fit_svms(descriptors, targets, 0.3, NAMES[:2], balanced=True))
    repeated = np.concatenate([np.repeat(np.arange(10), 3), np.arange(10, 40)])
    plain = finish(fit_svms(descriptors[repeated], targets[repeated], 0.3 * 40 / 60, NAMES[:2]))
    np.testing.assert_allclose(balanced.weights, plain.weights, atol=2e-3)
    np.testing.assert_allclose(balanced.biases, plain.biases, atol=2e-3)
