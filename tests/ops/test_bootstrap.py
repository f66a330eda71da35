"""Intervals over images and runs: by hand, against scipy, and by simulation with a known truth."""

import math

import numpy as np
import pytest
from scipy.stats import binomtest, norm, t, ttest_1samp, ttest_ind

from verydeep.ops.arrays import BoolArray
from verydeep.ops.bootstrap import T95, Difference, error_over_runs, mean_over_runs, paired_difference, student_quantile
from verydeep.ops.metrics import wilson_interval


class World:
    """Draws of what nets get wrong: an image is missed where its difficulty, the run's luck and noise exceed a limit.

    All are normal; ``images`` and ``runs`` are their standard deviations in units of the noise's. The true error over
    all images and all runs is exactly what was asked for.
    """

    def __init__(self, images: float, runs: float, seed: int = 0) -> None:
        self.images, self.runs = images, runs
        self.rng = np.random.default_rng(seed)

    def draw(self, errors: tuple[float, ...], num_runs: int, num_images: int) -> list[BoolArray]:
        """For each error (num_runs, num_images): the difficulties shared by all, half of a run's luck by its seed."""
        difficulty = self.images * self.rng.normal(size=num_images)
        by_seed = self.rng.normal(size=(num_runs, 1))
        drawn = []
        for error in errors:
            luck = self.runs * (by_seed + self.rng.normal(size=(num_runs, 1))) / math.sqrt(2)
            limit = norm.isf(error) * math.sqrt(1 + self.images**2 + self.runs**2)
            drawn.append(difficulty + luck + self.rng.normal(size=(num_runs, num_images)) > limit)
        return drawn


def test_students_quantiles_are_scipys() -> None:
    scipys = [t.ppf(0.975, freedom) for freedom in range(1, len(T95) + 1)]
    assert np.allclose(T95, scipys, rtol=0, atol=6e-5)
    for freedom in (1, 20, 21, 38, 100, 10_000):
        assert student_quantile(freedom) == pytest.approx(t.ppf(0.975, freedom), abs=1e-4)


def test_the_interval_of_one_run_is_wilsons() -> None:
    for wrong, count in ((0, 40), (13, 40), (40, 40)):
        share, expected = error_over_runs(np.arange(count)[None] < wrong), wilson_interval(wrong, count)
        assert (share.percent, share.low, share.high) == pytest.approx((expected.percent, expected.low, expected.high))


def test_runs_that_err_on_the_same_images_are_one_run() -> None:
    wrong = np.tile(np.arange(50) % 7 == 3, (3, 1))
    share, expected = error_over_runs(wrong), wilson_interval(7, 50)
    assert (share.percent, share.low, share.high) == pytest.approx((expected.percent, expected.low, expected.high))


def test_runs_that_never_err_together_are_as_good_as_more_images() -> None:
    """Ten images of 100 each, no image twice: of 200 images 20."""
    images = np.arange(100)
    share = error_over_runs(np.stack([images < 10, images >= 90]))
    expected = wilson_interval(20, 200)
    assert (share.percent, share.low, share.high) == pytest.approx((expected.percent, expected.low, expected.high))


def test_the_interval_of_two_runs_by_hand() -> None:
    """Errors of 10 and 12% with all of the 10% in common: the mean is 11%, the runs' distance 12.7062 x 1%.

    Over the images the means are 1 (10 times), 1/2 (twice), 0: variance 0.105 - 0.0121 = 0.0929 where one run of 11%
    has 0.0979, so 100 images are worth 105.38.
    """
    images = np.arange(100)
    share = error_over_runs(np.stack([images < 10, images < 12]))
    over_images = wilson_interval(0.11 * 105.3821, 105.3821)
    assert share.percent == pytest.approx(11)
    assert share.low == max(0, 11 - math.hypot(11 - over_images.low, 12.7062))
    assert share.high == pytest.approx(11 + math.hypot(over_images.high - 11, 12.7062), abs=1e-4)


@pytest.mark.parametrize(("error", "num_images"), [(0.3, 1500), (0.08, 1000), (0.02, 4000)])
def test_wilson_covers(error: float, num_images: int) -> None:
    rng = np.random.default_rng(1)
    shares = [error_over_runs(rng.random((1, num_images)) < error) for _ in range(2500)]
    assert 0.93 <= np.mean([share.low <= 100 * error <= share.high for share in shares]) <= 0.97


@pytest.mark.parametrize("num_runs", [2, 3, 5])
@pytest.mark.parametrize(("images", "runs"), [(1.5, 0.0), (1.0, 0.05), (1.0, 0.3), (0.0, 0.1)])
def test_the_interval_over_few_runs_covers(num_runs: int, images: float, runs: float) -> None:
    """Where the runs hardly differ, where images and runs weigh the same, and where the runs decide."""
    world = World(images, runs, seed=num_runs)
    shares = [error_over_runs(world.draw((0.2,), num_runs, 800)[0]) for _ in range(1000)]
    assert np.mean([share.low <= 20 <= share.high for share in shares]) >= 0.93


@pytest.mark.parametrize("count", [4, 40, 400])
def test_the_mean_of_one_run_has_students_interval(count: int) -> None:
    values = np.random.default_rng(2).random(count)
    mean = mean_over_runs(values[None])
    low, high = ttest_1samp(values, 0).confidence_interval(0.95)
    assert mean.value == values.mean() and mean.margin == pytest.approx((high - low) / 2, rel=1e-4)
    assert str(mean) == f"{values.mean():.3f} ±{(high - low) / 2:.3f}"


def test_a_mean_over_runs_knows_how_little_few_runs_say() -> None:
    """Runs that differ on no image alone: the t interval of their means, and the limit of images that are alike."""
    means = np.array([0.3, 0.5, 0.45])
    mean = mean_over_runs(np.repeat(means[:, None], 40, axis=1))
    low, high = ttest_1samp(means, 0).confidence_interval(0.95)
    others = binomtest(0, 40).proportion_ci(method="wilson").high
    assert (mean.value, mean.margin) == pytest.approx((means.mean(), math.hypot((high - low) / 2, others)), rel=1e-4)


def test_the_mean_of_one_image_says_nothing() -> None:
    assert mean_over_runs(np.array([[0.7]])).margin == 1


def test_images_that_are_alike_may_differ_from_others() -> None:
    """Of 20 images none is another one: 16% of all may be."""
    assert mean_over_runs(np.ones((1, 20))).margin == pytest.approx(
        binomtest(0, 20).proportion_ci(method="wilson").high
    )


def test_a_difference_is_reported_with_its_sign() -> None:
    assert str(Difference(-0.52, -1.26, 0.31)) == "-0.5 [-1.3,+0.3]"
    assert not Difference(-0.52, -1.26, 0.31).larger_than_chance
    assert Difference(-0.52, -1.26, -0.01).larger_than_chance
    assert Difference(0.52, 0.01, 0.9).larger_than_chance
    assert not Difference(0.52, 0.0, 0.9).larger_than_chance


def test_a_row_does_not_differ_from_itself() -> None:
    wrong = np.arange(60).reshape(2, 30) % 4 == 1
    same = paired_difference(wrong, wrong)
    half = 196 * math.sqrt(2) / 32  # the interval of Bonett and Price
    assert same.points == 0 and not same.larger_than_chance
    assert (same.low, same.high) == pytest.approx((-half, half), abs=100 / 32)


@pytest.mark.parametrize(
    ("num_images", "errors"), [(6, (0.1, 0.0)), (15, (0.1, 0.05)), (15, (0.1, 0.1)), (30, (0.1, 0))]
)
def test_a_difference_on_few_images_covers(num_images: int, errors: tuple[float, float]) -> None:
    """Where most rows agree on every image; a bootstrap of these images alone would hold 13 to 88%."""
    world, truth = World(1.0, 0.0, seed=5), 100 * (errors[0] - errors[1])
    found = [paired_difference(*world.draw(errors, 1, num_images), draws=500, seed=i) for i in range(500)]
    assert np.mean([each.low <= truth <= each.high for each in found]) >= 0.93


def test_a_small_difference_on_the_same_images_is_found() -> None:
    """15 of 1,000 images that a misses and b does not: 1.5 points, binomial with a deviation of 0.384.

    As if on different images, 30% against 28.5% would be nothing.
    """
    images = np.arange(1000)
    found = paired_difference((images < 300)[None], ((images >= 15) & (images < 300))[None])
    assert found.points == pytest.approx(1.5)
    assert (found.low, found.high) == pytest.approx((1.5 - 1.96 * 0.384, 1.5 + 1.96 * 0.384), abs=0.11)
    assert found.larger_than_chance
    swapped = paired_difference(((images >= 15) & (images < 300))[None], (images < 300)[None])
    assert (swapped.points, swapped.low, swapped.high) == pytest.approx((-1.5, -found.high, -found.low), abs=0.11)


@pytest.mark.parametrize(("runs_a", "runs_b"), [(1, 1), (1, 4)])
def test_the_draws_are_those_of_drawing_images(runs_a: int, runs_b: int) -> None:
    """Against images drawn one by one; of b's runs all err alike, so that no chance of runs is added."""
    world = World(1.0, 0.0)
    a, b = world.draw((0.3, 0.2), 1, 150)
    rng = np.random.default_rng(7)
    difference = a.mean(axis=0) - b.mean(axis=0)
    drawn = 100 * np.append(difference, [1, -1])[rng.integers(0, 152, (20_000, 152))].mean(axis=1)
    ours = paired_difference(np.tile(a, (runs_a, 1)), np.tile(b, (runs_b, 1)), same_seeds=runs_a == runs_b)
    assert ours.points == pytest.approx(100 * difference.mean())
    assert (ours.low, ours.high) == pytest.approx(tuple(np.quantile(drawn, (0.025, 0.975))), abs=0.67)  # one image


def test_the_draws_are_those_of_drawing_images_over_several_runs() -> None:
    """Means over three runs have seven values; the t interval is taken out of ours."""
    a, b = World(1.0, 0.0, seed=3).draw((0.3, 0.2), 3, 150)
    rng = np.random.default_rng(7)
    difference = a.mean(axis=0) - b.mean(axis=0)
    drawn = 100 * np.append(difference, [1, -1])[rng.integers(0, 152, (20_000, 152))].mean(axis=1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    over_runs = ttest_1samp(100 * (a.mean(axis=1) - b.mean(axis=1)), 0).confidence_interval()
    half = (over_runs.high - over_runs.low) / 2
    ours, points = paired_difference(a, b), 100 * float(difference.mean())
    assert ours.low == pytest.approx(points - math.hypot(points - low, half), abs=0.3)
    assert ours.high == pytest.approx(points + math.hypot(high - points, half), abs=0.3)


def test_the_same_seed_draws_the_same() -> None:
    a, b = World(1.0, 0.0).draw((0.3, 0.2), 1, 150)
    few = [paired_difference(a, b, seed=seed, draws=50) for seed in (0, 0, 1, 2, 3)]
    assert few[0] == few[1]
    assert len({(each.low, each.high) for each in few}) > 1


def test_runs_of_the_same_seeds_are_compared_pair_by_pair() -> None:
    """Runs that miss all images or none leave nothing to the images: what remains is scipy's paired t interval."""
    a, b = (np.tile(np.array(values, bool)[:, None], (1, 99_999)) for values in ([1, 0, 1, 1], [0, 0, 1, 0]))
    expected = ttest_1samp(a[:, 0].astype(float) - b[:, 0], 0).confidence_interval()
    ours = paired_difference(a, b)
    assert (ours.low, ours.high) == pytest.approx((100 * expected.low, 100 * expected.high), abs=0.01)


@pytest.mark.parametrize("values", [([1, 0, 1, 1], [0, 0, 1, 0]), ([1, 0, 1], [0, 0, 1, 0, 0]), ([1], [0, 1, 1])])
def test_runs_of_other_seeds_are_compared_as_two_samples(values: tuple[list[int], list[int]]) -> None:
    a, b = (np.tile(np.array(row, bool)[:, None], (1, 99_999)) for row in values)
    ours = paired_difference(a, b, same_seeds=False)
    if min(len(a), len(b)) > 1:
        expected = ttest_ind(a[:, 0].astype(float), b[:, 0].astype(float)).confidence_interval()
        assert (ours.low, ours.high) == pytest.approx((100 * expected.low, 100 * expected.high), abs=0.01)
    else:  # one run against three of deviation 0.577: two degrees of freedom
        half = 100 * t.ppf(0.975, 2) * math.sqrt(1 / 3) * math.sqrt(1 + 1 / 3)
        assert (ours.high - ours.points, ours.points - ours.low) == pytest.approx((half, half), abs=0.01)


@pytest.mark.parametrize(
    ("images", "errors"), [(1.0, (0.3, 0.27)), (1.0, (0.1, 0.1)), (3.0, (0.09, 0.07)), (3.0, (0.3, 0.3))]
)
def test_the_paired_bootstrap_covers(images: float, errors: tuple[float, float]) -> None:
    """One run each on 1,000 images, easy and hard ones shared by both; where nothing differs, 3 to 7% seem to."""
    world, truth = World(images, 0.0, seed=11), 100 * (errors[0] - errors[1])
    found = [paired_difference(*world.draw(errors, 1, 1000), draws=1000, seed=i) for i in range(1200)]
    assert 0.93 <= np.mean([each.low <= truth <= each.high for each in found]) <= 0.97
    if truth == 0:
        assert 0.03 <= np.mean([each.larger_than_chance for each in found]) <= 0.07


@pytest.mark.parametrize("same_seeds", [True, False])
@pytest.mark.parametrize("num_runs", [2, 3, 5])
@pytest.mark.parametrize(("images", "runs"), [(1.5, 0.0), (1.0, 0.3)])
def test_the_difference_over_few_runs_covers(same_seeds: bool, num_runs: int, images: float, runs: float) -> None:
    world, covered = World(images, runs, seed=num_runs), 0
    for i in range(400):
        a, b = world.draw((0.25, 0.2), 2 * num_runs, 600)
        b = b[:num_runs] if same_seeds else b[num_runs:]
        difference = paired_difference(a[:num_runs], b, same_seeds=same_seeds, draws=500, seed=i)
        covered += difference.low <= 5 <= difference.high
    assert covered / 400 >= 0.93
