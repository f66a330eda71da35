"""Messages of a run: the plan, the time, and signs of trouble."""

import math
import time
from collections import deque
from collections.abc import Callable, Sequence

import numpy as np

from verydeep.configs.networks import PAPER_CROP
from verydeep.configs.scales import TrainScale
from verydeep.data.loading.augmentation import NUM_CROPS
from verydeep.data.loading.sampling import class_weights, steps_after
from verydeep.disk import check_room
from verydeep.engine.datasets import GENERATED
from verydeep.engine.log import Log
from verydeep.engine.nets.folders import RunFolder
from verydeep.engine.progress import duration_text
from verydeep.engine.training.checkpoint import checkpoint_bytes
from verydeep.engine.training.fit import StepReport
from verydeep.engine.training.settings import RunSettings
from verydeep.engine.training.state import TrainState
from verydeep.engine.training.task import TrainingTask
from verydeep.results.verified_data import describe_unequal
from verydeep.wording import count_of, join_choices, rate_text

FEW_IMAGES = 500
"""Photographs per class below which a net from random weights disappoints (docs/choices.md)."""

FEW_STEPS = 500
"""Steps of a whole run below which a loss near that of guessing may mean too little training."""

AVERAGED = 100
"""Last reports whose loss is averaged, as long as they belong to the second half of the steps."""

WARM_UP = 3
"""First reports, which are slower than the rest and left out of the estimate of the time."""

MIN_TIMED_SECONDS = 2
"""Seconds of training that the estimate of the time needs."""

FALLING = 0.03
"""Share of the loss of guessing by which a loss falls that is not stuck."""

WORSE_THAN_GUESSING = 1.2
"""Loss, as a multiple of the loss of guessing, above which a net is worse than guessing rather than stuck at it."""


def log_plan(state: TrainState, task: TrainingTask, settings: RunSettings, run: RunFolder, log: Log) -> None:
    """Log the net, the steps, the disk space, and what to expect of few photographs."""
    recipe, parameters = task.recipe, list(state.model.parameters())
    num_parameters = sum(parameter.numel() for parameter in parameters)
    num_learning = sum(parameter.numel() for parameter in parameters if parameter.requires_grad)
    size = f"{_parameters_text(num_parameters)} parameters learn"
    is_whole = num_learning == num_parameters
    learning = f"all {size}" if is_whole else f"{_parameters_text(num_learning)} of {size} (fc6 to fc8)"
    stages = ", then ".join(
        f"{count_of(stage.epochs, 'epoch')} at train scale {describe_scale(stage.scale, settings.crop)} with "
        f"dropout {stage.dropout:g}"
        for stage in recipe.stages
    )
    steps, batch = count_of(final_step(state, task), "step"), count_of(recipe.batch_size, "image")
    megabytes = planned_bytes(state, task) / 2**20
    disk = f"{megabytes / 1024:.1f} GB" if megabytes > 1024 else f"{megabytes:.0f} MB"
    log.info(
        f"Plan: net {settings.network} learns {describe_target(task)} from crops of {settings.crop} pixels; "
        f"{learning}. At most {steps} of {batch} ({task.micro_batch} at a time, "
        f"{'bf16' if settings.bf16 else 'fp32'}): {stages}. Disk: up to {disk} in {run.path}."
    )
    if task.val is None and not recipe.has_plateaus:
        log.info("No validation images: the learning rate drops at milestones, and there are no best weights.")
    if task.val is not None:
        log.info(
            "The validation error of each epoch is measured on central crops; the test at the end uses whole images."
        )
    log_balance(task, log)
    if state.progress.step:
        log.info(f"Resumed at step {state.progress.step:,}.")
    per_class = len(task.train) / len(task.train.class_names)
    if settings.data != GENERATED and settings.init_from is None and per_class < FEW_IMAGES:
        photographs = count_of(round(per_class), "photograph")
        log.info(
            f"There {'is' if round(per_class) == 1 else 'are'} only {photographs} per class to train a net from random "
            "weights: expect errors far above the paper's. Start from a trained net (`init_from`), or use "
            "`verydeep transfer`."
        )


def describe_scale(scale: TrainScale, crop: int) -> str:
    """Return "256", or at other crops than the paper's also the pixels: "256-512 (73 to 146 pixels at crop 64)"."""
    if crop == PAPER_CROP:
        return str(scale)
    return f"{scale} ({' to '.join(map(str, dict.fromkeys(scale.in_pixels(crop))))} pixels at crop {crop})"


def log_balance(task: TrainingTask, log: Log) -> None:
    """Log what is done about unequal classes, or that they are unequal."""
    names, labels = task.train.class_names, task.train.labels
    assert labels is not None
    counts = {names[label]: int(count) for label, count in enumerate(np.bincount(labels)) if count}
    if task.recipe.balance == "sampling":
        log.info(f"Balance: an epoch has about {len(labels) / len(counts):,.0f} samples of each class.")
    elif task.recipe.balance == "weights":
        factors = class_weights(labels, len(names))[np.unique(labels)]
        log.info(f"Balance: the loss of a class has a weight of {factors.min():.2g} to {factors.max():.2g}.")
    elif unequal := describe_unequal(counts):
        log.info(f"{unequal} Small classes may be learned badly: try `balance=weights` or `balance=sampling`.")


def _parameters_text(count: int) -> str:
    """Return "138.4M", or "33,482" of fewer than 100,000."""
    return f"{count:,}" if count < 100_000 else f"{count / 1e6:.1f}M"


def describe_target(task: TrainingTask) -> str:
    """Return what the net learns, in words."""
    num_classes = len(task.train.class_names)
    if task.regression is None:
        return f"{num_classes} classes"
    return f"one box for each of {num_classes} classes" if task.regression == "per-class" else "one box for all classes"


def final_step(state: TrainState, task: TrainingTask) -> int:
    """Return the largest number of steps that the run may still reach."""
    later_epochs = sum(stage.epochs for stage in task.recipe.stages[state.progress.stage + 1 :])
    return state.schedule.last_step + steps_after(later_epochs, len(task.train), task.recipe.batch_size)


def estimate_test_cost(num_images: int, scales: Sequence[int], *, fc_alone: bool, boxes: bool) -> float:
    """Estimate how many training images cost as much as the test at the end, for photographs of 4:3.

    At each scale, the whole image, its mirror image and the central crop go forward; for boxes they do so twice, as
    the classification net rates them. A training image is a crop that goes forward and, at twice the cost, backward.

    Args:
        num_images: number of test images.
        scales: test scales Q.
        fc_alone: whether the FC layers learn alone, so that nothing goes backward through the convolutions.
        boxes: whether the net predicts boxes.
    """
    crops_per_image = sum(2 * 4 / 3 * (scale / PAPER_CROP) ** 2 + 1 for scale in scales)
    return num_images * crops_per_image * (2 if boxes else 1) / (1 if fc_alone else 3)


class TrainingMonitor:
    """Watches the reports of a run, and logs the time once it is known, and signs of trouble.

    These signs are: classes whose loss stays at that of guessing, ln K; and crops that see little of their boxes.
    """

    def __init__(
        self,
        task: TrainingTask,
        log: Log,
        first_step: int,
        test_images: float = 0,
        clock: Callable[[], float] = time.perf_counter,
        *,
        has_source: bool = False,
    ) -> None:
        """Watch a run from ``first_step`` on.

        Args:
            task: input of the training.
            log: log of the run.
            first_step: steps so far.
            test_images: cost of the test at the end, in training images (``estimate_test_cost``).
            clock: clock in seconds.
            has_source: whether the net started from a trained one.
        """
        recipe = task.recipe
        ten_epochs, all_epochs = (steps_after(n, len(task.train), recipe.batch_size) for n in (10, recipe.epochs))
        self.num_steps = all_epochs
        self.log, self.clock, self.has_source = log, clock, has_source
        self.recipe = recipe
        self.guessing_loss = math.log(len(task.train.class_names))
        self.stuck_loss = recipe.stuck_above * self.guessing_loss
        self.loss_step = min(5000, ten_epochs, max(1, round(recipe.stuck_after * all_epochs)))
        self.test_steps = test_images / recipe.batch_size
        self.losses: deque[float] = deque(maxlen=min(AVERAGED, max(1, self.loss_step // 2)))
        self.num_reports, self.warm_step, self.warm_time = 0, 0, 0.0
        self.is_timed = False
        self.crops_checked = first_step > 0
        self.loss_checked = first_step >= self.loss_step or task.regression is not None

    @property
    def loss(self) -> float:
        """The mean loss of the last reports."""
        return sum(self.losses) / len(self.losses)

    def observe(self, report: StepReport, last_step: int) -> None:
        """Take in a report of a run that ends at step ``last_step``."""
        self.losses.append(report.loss)
        self.num_reports += 1
        if not self.is_timed:
            self._estimate_time(report, last_step)
        if not self.crops_checked and report.epoch is not None:
            self.crops_checked = True
            if report.epoch.off_target:
                self.log.info(
                    f"Crops: in the first epoch, {report.epoch.off_target:.1%} of the crops showed less than half of "
                    f"their box, although each was the best of {NUM_CROPS}; they were used anyway."
                )
        if not self.loss_checked and report.step >= self.loss_step:
            self.loss_checked = True
            self._check_loss(report)

    def _is_falling(self) -> bool:
        """Return whether the mean of the newer half of the losses is well below that of the older half."""
        losses, half = list(self.losses), len(self.losses) // 2
        if not half:
            return False
        fall = sum(losses[:half]) / half - sum(losses[-half:]) / half
        return fall > FALLING * self.guessing_loss

    def _estimate_time(self, report: StepReport, last_step: int) -> None:
        now = self.clock()
        seconds = now - self.warm_time
        if self.num_reports == WARM_UP:
            self.warm_step, self.warm_time = report.step, now
        elif self.num_reports >= 2 * WARM_UP and seconds > MIN_TIMED_SECONDS:
            self.is_timed = True
            per_step = seconds / (report.step - self.warm_step)
            tests = f", then {duration_text(per_step * self.test_steps)} of tests" if self.test_steps else ""
            left = duration_text(per_step * (last_step - report.step))
            self.log.info(f"Time: {per_step:,.{0 if per_step >= 10 else 2}f} s a step; {left} left{tests}.")

    def _check_loss(self, report: StepReport) -> None:
        loss = (
            f"its average loss after {count_of(report.step, 'step')} is {self.loss:.2f}, and random guessing gives "
            f"{self.guessing_loss:.2f}"
        )
        rate = f"another `learning_rate` (now {rate_text(self.recipe.stages[0].learning_rate)})"
        epochs = (
            [f"more `epochs` (now {count_of(self.num_steps, 'step')} in all)"] if self.num_steps < FEW_STEPS else []
        )
        if self.loss > WORSE_THAN_GUESSING * self.guessing_loss:
            advice = join_choices([*epochs, rate])
            self.log.info(f"The net is worse than guessing: {loss}. Start again in a new `out` with {advice}.")
        elif self.loss > self.stuck_loss and not self._is_falling():
            choices = [
                *epochs,
                *(["`dropout_after=5` (small sets learn sooner without it)"] if self._can_delay_dropout() else []),
                *([] if self.has_source else ["a trained net as `init_from`"]),
                *(["`init=glorot`"] if self.recipe.initialization != "glorot" and not self.has_source else []),
                rate,
            ]
            advice = join_choices(choices)
            self.log.info(f"The net is still guessing: {loss}. Start again in a new `out` with {advice}.")

    def _can_delay_dropout(self) -> bool:
        """Whether dropout was on in the first epoch, and could begin after the fifth, before the rate drops."""
        first = self.recipe.stages[0]
        return first.dropout > 0 and (first.milestones or (1.0,))[0] * first.epochs > 5


def describe_epoch(report: StepReport, num_epochs: int, error_name: str, seconds_left: float) -> str:
    """Return the line of an epoch: loss, validation error, learning rate and the time left."""
    assert report.epoch is not None
    epoch = report.epoch
    error = "" if epoch.val_error is None else f", validation {error_name} {epoch.val_error:.1f}% on central crops"
    best = " (best so far)" if epoch.is_best and epoch.epoch > 1 else ""
    left = f"; {duration_text(seconds_left)} left" if seconds_left else ""
    return (
        f"Epoch {epoch.epoch} of {num_epochs}: loss {epoch.train_loss:.3f}{error}{best}, rate "
        f"{rate_text(report.learning_rate)}{left}."
    )


def planned_bytes(state: TrainState, task: TrainingTask) -> int:
    """Return the most bytes that the run takes on disk, apart from evaluations."""
    num_parameters = sum(parameter.numel() for parameter in state.model.parameters())
    # Two checkpoints, while one replaces the other; the last and the best net; for boxes also the source net.
    num_nets = 2 if task.regression is None else 3
    return 2 * checkpoint_bytes(state.model) + num_nets * 4 * num_parameters


def check_disk_space(run: RunFolder, num_bytes: int) -> None:
    """Refuse a run that its disk has no room for; what the run holds already counts as room.

    Raises:
        ResourceError: there is no room.
    """
    held = sum(path.stat().st_size for path in run.path.rglob("*.safetensors")) if run.path.exists() else 0
    check_room(run.path, num_bytes, held)
