"""What a run tells the person who waits for it: the plan, the time, and signs of trouble."""

import math
import time
from collections import deque
from collections.abc import Sequence

from verydeep.configs.networks import PAPER_CROP
from verydeep.data.augmentation import NUM_CROPS
from verydeep.data.sampling import steps_after
from verydeep.engine.datasets import GENERATED
from verydeep.engine.log import Log
from verydeep.engine.nets.folders import RunFolder
from verydeep.engine.training.checkpoint import checkpoint_bytes
from verydeep.engine.training.fit import StepReport
from verydeep.engine.training.settings import RunSettings
from verydeep.engine.training.state import TrainState
from verydeep.engine.training.task import TrainingTask

FEW_IMAGES = 500
"""Photographs a class below which a net from random weights disappoints (docs/choices.md)."""

WARM_UP = 3
"""Reports that are slower than the rest and tell nothing of the time to come."""


def log_plan(state: TrainState, task: TrainingTask, settings: RunSettings, run: RunFolder, log: Log) -> None:
    """What is about to happen: images, steps, disk, and what to expect of few photographs."""
    recipe, parameters = task.recipe, sum(parameter.numel() for parameter in state.model.parameters())
    learning = sum(parameter.numel() for parameter in state.model.parameters() if parameter.requires_grad)
    of_them = f"only the {learning / 1e6:.1f}M of fc6, fc7 and fc8 learn" if learning < parameters else "all learn"
    stages = ", then ".join(
        f"{stage.epochs} epochs at S={stage.scale} with dropout {stage.dropout:g}" for stage in recipe.stages
    )
    # The checkpoint, the one that replaces it, last and best net, and of a localization net the one it started from.
    num_nets = 2 if task.regression is None else 3
    small = (2 * checkpoint_bytes(state.model) + num_nets * 4 * parameters) / 2**20
    disk = f"{small / 1024:.1f} GB" if small > 1024 else f"{small:.0f} MB"
    log.info(
        f"Plan: net {settings.network} learns {learning_target(task)}; {parameters / 1e6:.1f}M parameters ({of_them}), "
        f"crop {settings.crop}; at most {stages}; {last_step(state, task):,} steps of {recipe.batch_size} images "
        f"({task.micro_batch} at once, {'bf16' if settings.bf16 else 'fp32'}); up to {disk} in {run.path}."
    )
    if task.val is None and all(stage.milestones is not None for stage in recipe.stages):
        log.info("No validation part: the rate drops at fixed points, and no best weights are kept.")
    if state.progress.step:
        log.info(f"Resumed at step {state.progress.step:,}.")
    per_class = len(task.train) / len(task.train.class_names)
    if settings.data != GENERATED and settings.init_from is None and per_class < FEW_IMAGES:
        log.info(
            f"Note: {per_class:.0f} photographs a class are few for a net from random weights; expect it to err far "
            "more often than the paper's. Give --init-from a trained net, or let a linear SVM on a trained net's "
            "descriptors learn from few (verydeep transfer)."
        )


def learning_target(task: TrainingTask) -> str:
    """The outputs of the net in words."""
    classes = len(task.train.class_names)
    if task.regression is None:
        return f"{classes} classes"
    return f"a box for each of {classes} classes" if task.regression == "per-class" else "one box, whatever the class"


def last_step(state: TrainState, task: TrainingTask) -> int:
    """The most steps that the run may still reach."""
    later = sum(stage.epochs for stage in task.recipe.stages[state.progress.stage + 1 :])
    return state.schedule.last_step + steps_after(later, len(task.train), task.recipe.batch_size)


def estimate_test_cost(num_images: int, scales: Sequence[int], *, fc_alone: bool, boxes: bool) -> float:
    """How many trained images the test at the end is about worth, of photographs of 4:3.

    At each scale the whole image, its mirror image and the central crop go forward; for boxes they do so twice, as
    another net rates them. A trained image is a crop that goes forward and, at twice the cost, backward.

    Args:
        num_images: that are tested.
        scales: test scales Q.
        fc_alone: whether the FC layers learn alone, and nothing goes back through the convolutions.
        boxes: whether the net predicts boxes.
    """
    crops_each = sum(2 * 4 / 3 * (scale / PAPER_CROP) ** 2 + 1 for scale in scales)
    return num_images * crops_each * (2 if boxes else 1) / (1 if fc_alone else 3)


WORSE_THAN_GUESSING = 1.2
"""Times the loss of guessing: a net above it is not on the plateau, but still beyond it, or again."""


class TrainingMonitor:
    """Listens to the reports of a run; tells the time once it is known, and signs of trouble.

    These are a loss that stays at ln K, where classes are learned; and where boxes are, crops that hardly see them.
    """

    def __init__(self, task: TrainingTask, log: Log, first_step: int, test_images: float = 0) -> None:
        """``test_images``: how many trained images the test at the end is worth (``estimate_test_cost``)."""
        steps = [steps_after(epochs, len(task.train), task.recipe.batch_size) for epochs in (10, task.recipe.epochs)]
        self.alarm_step = min(5000, steps[0], max(1, round(task.recipe.told_stuck_after * steps[1])))
        self.chance = math.log(len(task.train.class_names))
        self.threshold = task.recipe.told_stuck_below * self.chance
        self.test_steps = test_images / task.recipe.batch_size
        self.log, self.timed, self.counted = log, False, first_step > 0
        self.alarmed = first_step >= self.alarm_step or task.regression is not None
        self.losses: deque[float] = deque(maxlen=100)
        self.reports, self.warm_step, self.warm_time = 0, 0, 0.0

    @property
    def loss(self) -> float:
        """The mean of the last 100 reports."""
        return sum(self.losses) / len(self.losses)

    def observe(self, report: StepReport, last: int) -> None:
        """Take in one report of a run that ends at step ``last``."""
        self.losses.append(report.loss)
        self.reports += 1
        if self.reports == WARM_UP:
            self.warm_step, self.warm_time = report.step, time.perf_counter()
        elif not self.timed and self.reports >= 2 * WARM_UP and time.perf_counter() - self.warm_time > 2:
            self.timed = True
            each = (time.perf_counter() - self.warm_time) / (report.step - self.warm_step)
            then = f", then {duration_text(each * self.test_steps)} of tests" if self.test_steps else ""
            to_go = f"{duration_text(each * (last - report.step))} to go{then}"
            self.log.info(f"Time: {each:,.{0 if each >= 10 else 2}f} s a step, {to_go}.")
        if not self.counted and report.epoch is not None:
            self.counted = True
            if report.epoch.off_target:
                self.log.info(
                    f"Crops: {report.epoch.off_target:.1%} of the first epoch's see less than half of their box, "
                    f"though {NUM_CROPS} were drawn for each; they are learned from all the same."
                )
        if not self.alarmed and report.step >= self.alarm_step:
            self.alarmed = True
            if self.loss > WORSE_THAN_GUESSING * self.chance:
                self.log.info(
                    f"Worse than guessing: after {report.step:,} steps the loss is {self.loss:.2f}, above ln K = "
                    f"{self.chance:.2f}: try another --learning-rate than {report.learning_rate:g}."
                )
            elif self.loss > self.threshold:
                self.log.info(
                    f"Plateau: after {report.step:,} steps the loss is {self.loss:.2f}, still near ln K = "
                    f"{self.chance:.2f}. With dropout small data stay there longer: try --dropout-after 5; or "
                    "--init-from a trained net A, --init glorot, or another --learning-rate (0.01)."
                )


def duration_text(seconds: float) -> str:
    """A duration as people say it."""
    if seconds < 120:
        return f"about {seconds:.0f} seconds"
    return f"about {seconds / 60:.0f} minutes" if seconds < 7200 else f"about {seconds / 3600:.1f} hours"
