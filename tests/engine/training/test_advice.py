"""Messages of a run: signs of trouble, time, and cost of the test."""

from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tests.engine.steps import finish
from tests.engine.training.test_fit import small_task
from verydeep.configs.networks import NETWORKS
from verydeep.configs.protocols import Regression
from verydeep.engine.classification.ensemble_errors import list_views
from verydeep.engine.log import Log
from verydeep.engine.nets.folders import RunFolder
from verydeep.engine.posteriors import predict_split
from verydeep.engine.runtime import Runtime
from verydeep.engine.training.advice import (
    TrainingMonitor,
    check_disk_space,
    describe_epoch,
    describe_target,
    estimate_test_cost,
)
from verydeep.engine.training.fit import EpochReport, StepReport
from verydeep.errors import ResourceError
from verydeep.models.initialization import initialize
from verydeep.models.vgg import VGG


def monitor_messages(
    photographs: Path, regression: Regression | None, off_target: float | None, log: Path, loss: float = 50.0
) -> str:
    """Return the messages of ten steps of two epochs with such a loss."""
    task = replace(small_task(photographs), regression=regression)
    monitor = TrainingMonitor(task, Log(log), first_step=0)
    for step in range(1, 11):
        ends = EpochReport(step // 5, loss, 90.0, False, 1.0, 0.0, 0.0, off_target) if step % 5 == 0 else None
        monitor.observe(StepReport(step, loss, 1e-2, ends, stopped=False, stage=1), 10)
    return log.read_text() if log.exists() else ""


@pytest.mark.parametrize(("loss", "verdict"), [(1.09, "still guessing"), (50.0, "worse than guessing")])
def test_a_loss_near_or_far_above_that_of_guessing_is_reported(
    photographs: Path, tmp_path: Path, loss: float, verdict: str
) -> None:
    messages = monitor_messages(photographs, None, None, tmp_path / "log", loss)
    assert messages.count("\n") == 1
    assert (
        f"The net is {verdict}: its average loss after 10 steps is {loss:.2f}, and random guessing gives 1.10."
        in messages
    )
    assert "Start again in a new `out` with more `epochs` (now 10 steps in all)" in messages
    assert messages.endswith("or another `learning_rate` (now 0.01).\n")


def test_the_loss_of_the_first_steps_does_not_count(photographs: Path, tmp_path: Path) -> None:
    """A few steps of a high loss at the beginning are no sign of trouble: only the second half of the steps is."""
    monitor = TrainingMonitor(small_task(photographs), Log(tmp_path / "log"), first_step=0)
    for step in range(1, 11):
        monitor.observe(StepReport(step, 9.0 if step <= 5 else 0.4, 1e-2, None, stopped=False, stage=1), 10)
    assert monitor.loss == pytest.approx(0.4) and not (tmp_path / "log").exists()


@pytest.mark.parametrize(("fall", "is_reported"), [(0.028, False), (0.002, True)])
def test_a_loss_that_falls_is_not_called_stuck(
    photographs: Path, tmp_path: Path, fall: float, is_reported: bool
) -> None:
    """Both means of the last steps are above 95% of the loss of guessing, 1.10."""
    monitor = TrainingMonitor(small_task(photographs), Log(tmp_path / "log"), first_step=0)
    for step in range(1, 11):
        monitor.observe(
            StepReport(step, 1.0 + fall * (10 - step) + 0.07 * is_reported, 1e-2, None, stopped=False, stage=1), 10
        )
    assert (tmp_path / "log").exists() == is_reported


def test_advice_names_nothing_that_is_in_force(photographs: Path, tmp_path: Path) -> None:
    """With Glorot, a source net and no dropout at first, only the rate at the start is left to change."""
    task = small_task(photographs)
    first = replace(task.recipe.stages[0], dropout=0.0)
    task = replace(task, recipe=replace(task.recipe, stages=(first, *task.recipe.stages[1:])))
    for name, has_source in (("alone", False), ("from a net", True)):
        monitor = TrainingMonitor(task, Log(tmp_path / name), first_step=0, has_source=has_source)
        for step in range(1, 11):
            monitor.observe(StepReport(step, 1.09, 1e-5, None, stopped=False, stage=1), 10)
    rate = f"another `learning_rate` (now {first.learning_rate:g})."
    epochs = "Start again in a new `out` with more `epochs` (now 10 steps in all)"
    assert (tmp_path / "alone").read_text().strip().endswith(f"{epochs}, a trained net as `init_from` or {rate}")
    assert (tmp_path / "from a net").read_text().strip().endswith(f"{epochs} or {rate}")


def test_other_values_than_the_epochs_are_advised_after_many_steps(photographs: Path, tmp_path: Path) -> None:
    """60 images in batches of 12, so 100 epochs are 500 steps; dropout can then wait for five epochs."""
    task = small_task(photographs)
    for epochs, expected in ((100, True), (99, False), (6, False)):
        recipe = replace(task.recipe, stages=(replace(task.recipe.stages[0], epochs=epochs, milestones=(0.6,)),))
        monitor = TrainingMonitor(replace(task, recipe=recipe), Log(tmp_path / str(epochs)), first_step=0)
        for step in range(1, 51):
            monitor.observe(StepReport(step, 1.09, 0.00176777, None, stopped=False, stage=1), 5 * epochs)
        text = (tmp_path / str(epochs)).read_text()
        assert ("`epochs`" not in text) == expected and ("`dropout_after=5`" in text) == (epochs > 8)


def test_an_epoch_has_a_line() -> None:
    epoch = EpochReport(3, 1.2345, 34.56, True, 1.0, 0.0, 0.0, None)
    report = StepReport(30, 1.0, 0.01, epoch, stopped=False, stage=1)
    assert describe_epoch(report, 15, "top-1 error", 300) == (
        "Epoch 3 of 15: loss 1.234, validation top-1 error 34.6% on central crops (best so far), rate 0.01; about 5 "
        "minutes left."
    )
    assert "rate 0.00177; about 1 second left." in describe_epoch(
        replace(report, learning_rate=0.00176777), 15, "top-1 error", 0.2
    )
    without = replace(report, epoch=replace(epoch, val_error=None, is_best=False))
    assert describe_epoch(without, 15, "top-1 error", 0) == "Epoch 3 of 15: loss 1.234, rate 0.01."


def test_a_run_needs_room_on_its_disk(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "runs" / "new")
    check_disk_space(run, 1000)
    with pytest.raises(ResourceError, match=r"new needs 1,000,000,000\.0 GB, and its disk has .* GB free: make"):
        check_disk_space(run, 10**18)


@pytest.mark.parametrize("regression", ["per-class", "single-class"])
def test_the_loss_of_boxes_is_not_compared_with_guessing(
    photographs: Path, tmp_path: Path, regression: Regression
) -> None:
    assert monitor_messages(photographs, regression, 0.0, tmp_path / "log") == ""


def test_crops_that_see_little_of_their_box_are_reported_once(photographs: Path, tmp_path: Path) -> None:
    messages = monitor_messages(photographs, "per-class", 0.1234, tmp_path / "log")
    assert messages.count("\n") == 1
    assert messages.startswith("Crops: in the first epoch, 12.3% of the crops showed less than half of their box")


def test_the_cost_of_a_test_agrees_with_its_multiplications(photographs: Path) -> None:
    """Against the multiplications of a whole test; a training image has three times those of a crop's forward pass."""
    split, runtime = small_task(photographs).train, Runtime(torch.device("cpu"), bf16=False)
    net = VGG(NETWORKS["B"], 3, crop=64, width=1 / 8, fc_width=16).eval()
    initialize(net)
    counter = FlopCounterMode(display=False)
    with counter:
        finish(predict_split(net, split, list_views("dense", (256, 384)), runtime))
    tested = counter.get_total_flops()
    with counter:
        net(torch.zeros(1, 3, 64, 64))
    trained = 3 * counter.get_total_flops()
    cost = estimate_test_cost(len(split), (256, 384), fc_alone=False, boxes=False)
    assert cost == pytest.approx(tested / trained, rel=0.1)  # the photographs are of 4:3, 7:5 and 1:1
    # Where nothing goes back through the convolutions a trained image is one pass; boxes are rated by another net.
    assert estimate_test_cost(len(split), (256, 384), fc_alone=True, boxes=False) == pytest.approx(3 * cost)
    assert estimate_test_cost(len(split), (256, 384), fc_alone=False, boxes=True) == pytest.approx(2 * cost)


def test_the_time_of_the_test_is_estimated(photographs: Path, tmp_path: Path) -> None:
    """Each report comes 0.8 seconds after the one before."""
    task = small_task(photographs)
    monitor = TrainingMonitor(
        task,
        Log(tmp_path / "log"),
        first_step=0,
        test_images=100 * task.recipe.batch_size,
        clock=count(step=0.8).__next__,
    )
    for step in range(1, 10):
        monitor.observe(StepReport(step, 1.0, 1e-2, None, stopped=False, stage=1), 108)
    (line,) = (tmp_path / "log").read_text().splitlines()
    # Warm after 3 reports; at the sixth, 2.4 seconds of 3 steps are known.
    assert line == "Time: 0.80 s a step; about 82 seconds left, then about 80 seconds of tests."


def test_the_learning_target_is_described(photographs: Path) -> None:
    task = small_task(photographs)
    words = [describe_target(replace(task, regression=each)) for each in (None, "per-class", "single-class")]
    assert words == ["3 classes", "one box for each of 3 classes", "one box for all classes"]
