"""When the learning rate drops: three times and never a fourth, at plateaus or at milestones."""

import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verydeep.configs.recipes import RECIPES
from verydeep.engine.training.schedule import Schedule, new_schedule

EPOCH = 10
"""Steps."""
LEARNING, STUCK = 1.0, math.log(10)
"""Losses of a net of ten classes that has left ln K, and of one that has not."""


def plateau(patience: int = 3 * EPOCH, first_step: int = 0) -> Schedule:
    return Schedule(1e-2, None, first_step, num_steps=10_000, patience=patience, min_gain=0.1, num_drops=3)


def feed(schedule: Schedule, errors: list[float], loss: float = LEARNING, start: int = 0) -> list[tuple[int, bool]]:
    """(drops so far, whether over) after each epoch."""
    seen = []
    for i, error in enumerate(errors, start=start + 1):
        over = schedule.update(i * EPOCH, error, loss, 10)
        seen.append((schedule.drops, over))
        if over:
            break
    return seen


def test_three_drops_and_then_the_end() -> None:
    """The error stands still from the first epoch on: a drop every three epochs; where a fourth would be, the end."""
    schedule = plateau()
    seen = feed(schedule, [50.0] * 100)
    assert [drops for drops, _ in seen] == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3, 3]
    assert [over for _, over in seen] == [False] * 12 + [True]
    assert schedule.drops == 3
    assert schedule.rate_at(13 * EPOCH) == pytest.approx(1e-5)


def test_the_rate_is_divided_by_ten_at_each_drop() -> None:
    schedule, rates = plateau(), []
    for epoch in range(1, 13):
        schedule.update(epoch * EPOCH, 50.0, LEARNING, 10)
        rates.append(schedule.rate_at(epoch * EPOCH))
    assert rates == pytest.approx([1e-2] * 3 + [1e-3] * 3 + [1e-4] * 3 + [1e-5] * 3)


@given(
    errors=st.lists(st.floats(0, 100), min_size=1, max_size=300),
    losses=st.lists(st.floats(0, 5), min_size=300, max_size=300),
    patience=st.integers(1, 100),
)
def test_a_fourth_drop_never_happens(errors: list[float], losses: list[float], patience: int) -> None:
    """Whatever the errors: drops come one at a time, at most three, no two closer than the patience."""
    schedule, last, at = plateau(patience), 0, -(10**9)
    for i, (error, loss) in enumerate(zip(errors, losses, strict=False), start=1):
        over = schedule.update(i * EPOCH, error, loss, 10)
        assert schedule.drops in (last, last + 1)
        assert schedule.drops <= 3
        if schedule.drops > last or over:
            assert i * EPOCH - at >= patience
            last, at = schedule.drops, i * EPOCH
        if over:
            assert schedule.drops == 3
            break


def test_a_gain_restarts_the_patience() -> None:
    seen = feed(plateau(), [50, 49, 48, 47, 46, 45, 46, 46, 44, 45, 45, 45])
    assert [drops for drops, _ in seen] == [0] * 11 + [1]


def test_a_gain_of_less_than_a_tenth_of_a_point_is_none() -> None:
    """0.05 points in all: a drop after three epochs. 0.05 points an epoch: a gain at every second, so no drop."""
    assert [drops for drops, _ in feed(plateau(), [50, 49.95, 49.95, 49.95])] == [0, 0, 0, 1]
    creeping = [50 - 0.0501 * i for i in range(30)]
    assert feed(plateau(), creeping)[-1] == (0, False)


def test_patience_counts_from_the_drop() -> None:
    """The best error stays the best: the epochs after a drop have to beat it, and have the whole patience to do so."""
    seen = feed(plateau(), [50, 50, 50, 50, 55, 52, 50])
    assert [drops for drops, _ in seen] == [0, 0, 0, 1, 1, 1, 2]
    seen = feed(plateau(), [50, 50, 50, 50, 49, 49, 49, 49])
    assert [drops for drops, _ in seen] == [0, 0, 0, 1, 1, 1, 1, 2]


def test_patience_is_not_used_up_while_the_net_guesses() -> None:
    """Counted only once the loss is below 0.95 ln K, and then from that epoch on."""
    schedule = plateau()
    assert feed(schedule, [90.0] * 50, loss=0.96 * STUCK)[-1] == (0, False)
    seen = feed(schedule, [90.0] * 4, loss=0.94 * STUCK, start=50)
    assert [drops for drops, _ in seen] == [0, 0, 0, 1]


def test_patience_counts_from_the_start_for_boxes() -> None:
    """Their loss may be of any size from the first epoch on; patience counts all the same."""
    schedule, seen = plateau(), []
    for epoch in range(1, 5):
        schedule.update(epoch * EPOCH, 90.0, 100.0, None)
        seen.append(schedule.drops)
    assert seen == [0, 0, 0, 1]


def test_a_net_that_has_learned_uses_up_patience_at_any_loss() -> None:
    schedule = plateau()
    seen = feed(schedule, [50.0]) + feed(schedule, [50.0] * 3, loss=STUCK, start=1)
    assert [drops for drops, _ in seen] == [0, 0, 0, 1]


@pytest.mark.parametrize(("classes", "loss", "drops"), [(10, 2.1, 1), (10, 2.25, 0), (1000, 6.5, 1), (1000, 6.6, 0)])
def test_patience_counts_below_095_ln_k(classes: int, loss: float, drops: int) -> None:
    """0.95 ln 10 = 2.187; 0.95 ln 1000 = 6.562."""
    schedule = plateau()
    for epoch in range(1, 5):
        schedule.update(epoch * EPOCH, 50.0, loss, classes)
    assert schedule.drops == drops


def with_milestones(first_step: int = 0) -> Schedule:
    return Schedule(1e-2, (0.60, 0.80, 0.93), first_step, num_steps=1000, patience=10, min_gain=0.1, num_drops=3)


@pytest.mark.parametrize("first_step", [0, 321])
def test_milestones_are_shares_of_the_stage(first_step: int) -> None:
    schedule = with_milestones(first_step)
    for steps, rate in (((0, 599), 1e-2), ((600, 799), 1e-3), ((800, 929), 1e-4), ((930, 999), 1e-5)):
        assert [schedule.rate_at(first_step + step) for step in steps] == pytest.approx([rate, rate])
    assert not schedule.is_complete(first_step + 929)
    assert schedule.is_complete(first_step + 930)


def test_with_milestones_the_error_changes_nothing() -> None:
    schedule = with_milestones()
    assert feed(schedule, [50.0] * 60) == [(0, False)] * 60
    assert schedule.rate_at(5) == 1e-2


def test_without_validation_there_is_no_plateau() -> None:
    schedule = plateau()
    assert not any(schedule.update(epoch * EPOCH, None, LEARNING, 10) for epoch in range(1, 50))
    assert schedule.drops == 0
    assert not schedule.is_complete(500)


@pytest.mark.parametrize(
    ("images", "batch", "patience"), [(1_281_167, 256, 25_022), (5_000, 250, 500), (30_000, 256, 585), (100, 5, 500)]
)
def test_patience_is_the_longer_of_5_epochs_and_500_iterations(images: int, batch: int, patience: int) -> None:
    """5 * 1,281,167 / 256 = 25,022.8 steps, rounded down: an epoch is never more, so the fifth is always enough."""
    recipe = replace(RECIPES["256"], batch_size=batch)
    assert new_schedule(recipe, 0, 0, images).patience == patience
