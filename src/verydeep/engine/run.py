"""A training run from its settings to its errors: set up or resumed, trained, saved, tested."""

import math
import time
from collections import deque
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from verydeep.configs.networks import NETWORKS
from verydeep.configs.recipes import Recipe
from verydeep.data.layout import split_names
from verydeep.data.loading import BadImages
from verydeep.data.sampling import steps_after
from verydeep.data.split import Split
from verydeep.data.statistics import PixelSums, pixel_sums, sampled
from verydeep.engine.checkpoint import (
    RunFolder,
    checkpoint_bytes,
    last_checkpoint,
    load_checkpoint,
    model_folder,
    save_checkpoint,
)
from verydeep.engine.evaluation import Evaluation, evaluate_split
from verydeep.engine.progress import progress_bar, track
from verydeep.engine.report import Journal, MetricsLog, draw_curves, leave_evaluation, read_metrics
from verydeep.engine.runtime import Runtime, StopRequest
from verydeep.engine.source import GENERATED, fingerprint, locate, open_part
from verydeep.engine.training import (
    Job,
    LossNotFiniteError,
    Report,
    TrainState,
    fit,
    fitting_micro_batch,
    new_state,
)
from verydeep.errors import VerydeepError
from verydeep.files import read_json, write_json
from verydeep.models.initialization import LayerOrigin, Source, initialize, initialize_from
from verydeep.models.vgg import VGG
from verydeep.models.weights.native import ModelConfig, load_config, load_tensors, save_config, save_weights

CHECKPOINT_SECONDS = 600
FEW_IMAGES = 500
"""Photographs a class below which a net from random weights disappoints."""


@dataclass(frozen=True)
class Settings:
    """What a run was asked for; run.json."""

    data: str
    network: str
    crop: int
    width: float
    fc_width: int
    recipe: Recipe
    seed: int
    bf16: bool
    init_from: str | None = None
    bad_images: BadImages = "error"
    fast_decode: bool = False
    deterministic: bool = False
    val_fraction: float = 0.2
    micro_batch: int | None = None
    mean_rgb: tuple[float, float, float] | None = None
    """Measured on the training set, or kept from the net it starts from."""
    covariance: tuple[tuple[float, ...], ...] | None = None

    @classmethod
    def load(cls, run: RunFolder) -> "Settings":
        """Read run.json.

        Raises:
            VerydeepError: it is missing or damaged.
        """
        values = read_json(run.settings)
        try:
            recipe = Recipe.from_json(values["recipe"])
            covariance = tuple(tuple(row) for row in values["covariance"])
            mean_rgb: Any = tuple(values["mean_rgb"])
            known = {name: values[name] for name in cls.__dataclass_fields__ if name in values}
            return cls(**{**known, "recipe": recipe, "covariance": covariance, "mean_rgb": mean_rgb})
        except (KeyError, TypeError, ValueError) as error:
            raise VerydeepError(f"{run.settings} is not the settings of a run ({error!r}).") from None

    def save(self, run: RunFolder) -> None:
        """Write run.json."""
        write_json(run.settings, {**asdict(self), "recipe": self.recipe.to_json()})


def train_run(
    settings: Settings, train: Split, val: Split | None, run: RunFolder, runtime: Runtime
) -> Evaluation | None:
    """Train and test, from the run's last checkpoint if it has one.

    Returns the errors, or None where nothing with labels was left to test on.

    Raises:
        VerydeepError: the data, the source net or the checkpoint cannot be used, or the loss overflowed.
        SystemExit: 130 or 143, after saving, when SIGINT or SIGTERM asked to stop.
    """
    journal = Journal(run.path / "train.log", silent=not runtime.is_main)
    journal.say(f"Data: {train.root}: {train.layout}; {len(train):,} to train on, {len(train.class_names)} classes.")
    if settings.covariance is None:
        settings = measure(settings, train, runtime)
    model = build(settings, train)
    if settings.micro_batch is None:
        rows = -(-settings.recipe.batch_size // runtime.world_size)
        settings = replace(settings, micro_batch=fitting_micro_batch(model, rows, runtime))
    assert settings.micro_batch is not None
    job = Job(
        train,
        val,
        settings.recipe,
        np.array(settings.covariance),
        settings.seed,
        settings.micro_batch,
        settings.bad_images,
        settings.fast_decode,
    )
    config = model_config(settings, train, val)
    checkpoint = last_checkpoint(run.checkpoints)
    if checkpoint is None:
        warm_start(model, settings, config, journal)
        if runtime.is_main:
            settings.save(run)
            save_config(run.model, config)
    state = new_state(runtime.place(model), job)
    metrics_length = load_checkpoint(checkpoint, state, job) if checkpoint is not None else 0
    tell_plan(state, job, settings, run, journal)
    train_to_the_end(state, job, run, runtime, journal, metrics_length, config)
    return test(model, config, settings, run, runtime, journal)


def open_training_parts(data: str, seed: int, val_fraction: float) -> tuple[Split, Split | None]:
    """The part to train on, and the one to validate on, if there is one.

    Raises:
        VerydeepError: there is no training part, or it has no labels.
    """
    how = {"seed": seed, "val_fraction": val_fraction}
    train = open_part(data, "train", how)
    if train.labels is None or len(train) == 0:
        raise VerydeepError(f"{train.root} has no labeled images to train on: put them into one folder per class.")
    if "val" not in split_names(locate(data)):
        return train, None
    val = open_part(data, "val", how)
    return train, (val if val.labels is not None and len(val) else None)


def measure(settings: Settings, train: Split, runtime: Runtime) -> Settings:
    """The settings with mean RGB and covariance of the training set, at the smallest S."""
    indices = sampled(len(train), settings.seed)
    short = min(stage.scale.in_pixels(settings.crop)[0] for stage in settings.recipe.stages)
    sums = PixelSums.nothing()
    each = pixel_sums(train, indices, short, skip_bad=settings.bad_images == "skip", num_workers=runtime.num_workers)
    for one in track(each, "Mean and covariance of the training images", len(indices)) if runtime.is_main else each:
        sums.add(one)
    if sums.count == 0:
        raise VerydeepError(f"Not one image of {train.root} could be decoded.")
    mean: Any = tuple(sums.mean.tolist()) if settings.mean_rgb is None else settings.mean_rgb
    covariance = tuple(tuple(row) for row in sums.covariance.tolist())
    return replace(settings, mean_rgb=mean, covariance=covariance)


def build(settings: Settings, train: Split) -> VGG:
    """The net, not initialized."""
    assert settings.mean_rgb is not None
    return VGG(
        NETWORKS[settings.network],
        len(train.class_names),
        crop=settings.crop,
        width=settings.width,
        fc_width=settings.fc_width,
        mean_rgb=settings.mean_rgb,
    )


def model_config(settings: Settings, train: Split, val: Split | None) -> ModelConfig:
    """What will travel with the net."""
    assert settings.mean_rgb is not None
    return ModelConfig(
        network=settings.network,
        class_names=train.class_names,
        class_words=train.class_words,
        crop=settings.crop,
        width=settings.width,
        fc_width=settings.fc_width,
        mean_rgb=settings.mean_rgb,
        scale=str(settings.recipe.stages[-1].scale),
        seed=settings.seed,
        split={
            "seed": settings.seed,
            "val_fraction": settings.val_fraction,
            "train": fingerprint(train),
            "val": fingerprint(val) if val is not None else None,
            "data": str(train.root),
            "plateau": any(stage.milestones is None for stage in settings.recipe.stages),
        },
        provenance={
            "trained_by": "verydeep",
            "data": settings.data,
            "num_images": len(train),
            "init_from": settings.init_from,
            "precision": "bf16" if settings.bf16 else "fp32",
            "recipe": settings.recipe.to_json(),
        },
    )


def warm_start(model: VGG, settings: Settings, config: ModelConfig, journal: Journal) -> None:
    """Draw the weights, or take them from another net and say which."""
    if settings.init_from is None:
        initialize(model, settings.recipe.initialization, settings.seed)
        return
    folder = model_folder(Path(settings.init_from))
    theirs = load_config(folder)
    source = Source(settings.init_from, theirs.network, load_tensors(folder), theirs.class_names)
    origins = initialize_from(model, config.class_names, source, settings.recipe.initialization, settings.seed)
    journal.say(f"Weights from {settings.init_from} (net {theirs.network}; its mean RGB is kept):")
    for line in origins_in_words(origins):
        journal.say(line)


def origins_in_words(origins: list[LayerOrigin]) -> list[str]:
    """One line for the layers taken, one for each reason why others were drawn."""
    reasons: dict[str, list[str]] = {}
    for origin in origins:
        reasons.setdefault("taken" if origin.taken else f"drawn: {origin.reason}", []).append(origin.layer)
    return [f"  {reason}: {', '.join(layers)}" for reason, layers in reasons.items()]


def tell_plan(state: TrainState, job: Job, settings: Settings, run: RunFolder, journal: Journal) -> None:
    """What is about to happen: images, steps, disk, and what to expect of few photographs."""
    parameters = sum(parameter.numel() for parameter in state.model.parameters())
    stages = " then ".join(
        f"{stage.epochs} epochs at S={stage.scale}, dropout {stage.dropout:g}" for stage in job.recipe.stages
    )
    journal.say(
        f"Plan: net {settings.network}, {parameters / 1e6:.1f}M parameters, crop {settings.crop}; at most {stages}; "
        f"{last_step(state, job):,} steps of {job.recipe.batch_size} images "
        f"({job.micro_batch} at once, {'bf16' if settings.bf16 else 'fp32'}); "
        f"about {4 * checkpoint_bytes(parameters) / 2**30:.1f} GB on the disk in {run.path}."
    )
    if state.step:
        journal.say(f"Resumed at step {state.step:,}.")
    per_class = len(job.train) / len(job.train.class_names)
    if settings.data != GENERATED and settings.init_from is None and per_class < FEW_IMAGES:
        journal.say(
            f"Note: {per_class:.0f} photographs a class are few for a net from random weights; expect it to err far "
            "more often than the paper's. Give --init-from a trained net, or let a linear SVM on a trained net's "
            "descriptors learn from few (`transfer`, in a later release)."
        )


def last_step(state: TrainState, job: Job) -> int:
    """The most steps that the run may still reach."""
    end = state.schedule.first_step + state.schedule.num_steps
    later = sum(stage.epochs for stage in job.recipe.stages[state.stage + 1 :])
    return end + steps_after(later, len(job.train), job.recipe.batch_size)


def train_to_the_end(
    state: TrainState,
    job: Job,
    run: RunFolder,
    runtime: Runtime,
    journal: Journal,
    length: int,
    config: ModelConfig,
) -> None:
    """The loop around ``fit``: log, bar, advice, checkpoints."""
    metrics = MetricsLog(run.metrics, length) if runtime.is_main else None
    recent: deque[float] = deque(maxlen=100)
    begin = saved = time.perf_counter()
    first, told_time, alarm = state.step, False, StuckAlarm(job)
    with StopRequest() as stop, progress_bar("steps", visible=runtime.is_main) as progress:
        task = progress.add_task("Training", total=last_step(state, job), completed=state.step, note="")
        try:
            for report in fit(state, job, runtime, stop):
                now = time.perf_counter()
                recent.append(report.loss)
                progress.update(task, completed=report.step, total=last_step(state, job), note=_note(report, recent))
                if metrics is not None:
                    metrics.write(report, now - begin)
                    due = report.epoch is not None or report.stopped or now - saved > CHECKPOINT_SECONDS
                    if due:
                        save(state, report, run, metrics, config)
                        saved = now
                advice = alarm.check(report.step, sum(recent) / len(recent))
                if advice is not None:
                    journal.say(advice)
                if not told_time and report.step - first >= 5:
                    told_time = _tell_time(first, report.step, now - begin, last_step(state, job), journal)
                if report.stopped:
                    journal.say(
                        f"Stopped at step {report.step:,}, saved; go on with: verydeep train --resume {run.path}"
                    )
                    raise SystemExit(128 + (stop.signal or 15))
        except LossNotFiniteError as error:
            kept = sorted(run.checkpoints.glob("step-*.safetensors"))
            good = f"the last good checkpoint is {kept[-1]}" if kept else "no checkpoint was written yet"
            raise VerydeepError(f"{error}; {good}. Train anew with a smaller --learning-rate.") from None
    if runtime.is_main:
        draw_curves(read_metrics(run.metrics), run.path / "curves.png", run.path.name)
        drops = state.schedule
        if not drops.complete(state.step):
            journal.say(f"The learning rate dropped {drops.drops} of {job.recipe.num_drops} times: not converged.")


def save(state: TrainState, report: Report, run: RunFolder, metrics: MetricsLog, config: ModelConfig) -> None:
    """Model folders first, so that whatever the checkpoint speaks of exists when it does."""
    if report.epoch is not None:
        tensors = state.model.state_dict()
        if report.epoch.is_best:
            save_config(run.best, config)
            save_weights(run.best, tensors)
        save_weights(run.model, tensors)
    if state.skipped:
        write_json(run.path / "skipped.json", state.skipped)
    save_checkpoint(run.checkpoints, state, metrics.length())


def test(
    model: VGG, config: ModelConfig, settings: Settings, run: RunFolder, runtime: Runtime, journal: Journal
) -> Evaluation | None:
    """Dense testing at the paper's scales for this S, on the test part or else on the validation part."""
    names = split_names(locate(settings.data))
    parts = (open_part(settings.data, name, dict(config.split)) for name in ("test", "val") if name in names)
    split = next((part for part in parts if part.labels is not None and len(part)), None)
    if split is None:
        journal.say(f"Done: {run.path} (nothing with labels to test on)")
        return None
    evaluation = evaluate_split(
        model,
        split,
        "dense",
        config.test_scales,
        runtime,
        bad_images=settings.bad_images,
        fast_decode=settings.fast_decode,
    )
    if runtime.is_main:
        about = {
            "run": str(run.path),
            "data": settings.data,
            "weights": "last",
            "precision": runtime.precision,
        }
        leave_evaluation(evaluation, split, config, run.path / "evaluations" / f"{split.name}-dense", about, journal)
        journal.say(f"Run: {run.path}")
    return evaluation


def _note(report: Report, recent: deque[float]) -> str:
    return f"loss {sum(recent) / len(recent):.3f}, rate {report.learning_rate:g}"


class StuckAlarm:
    """Tells of a loss that stays at ln K, once, with what to do."""

    def __init__(self, job: Job) -> None:
        steps = [steps_after(epochs, len(job.train), job.recipe.batch_size) for epochs in (10, job.recipe.epochs)]
        self.when = min(5000, steps[0], max(1, round(job.recipe.told_stuck_after * steps[1])))
        self.chance = math.log(len(job.train.class_names))
        self.threshold = job.recipe.told_stuck_below * self.chance
        self.told = False

    def check(self, step: int, loss: float) -> str | None:
        """What to tell at this step, if anything."""
        if self.told or step < self.when:
            return None
        self.told = True
        if loss <= self.threshold:
            return None
        return (
            f"Plateau: after {step:,} steps the loss is {loss:.2f}, still near ln K = {self.chance:.2f}. With dropout "
            "small data stay there longer: try --dropout 0; or --init-from a trained net A, --init glorot, or a "
            "larger --learning-rate (1e-2)."
        )


def _tell_time(first: int, step: int, seconds: float, last: int, journal: Journal) -> bool:
    each = seconds / (step - first)
    minutes = each * (last - step) / 60
    journal.say(
        f"Time: {each:.2f} s a step, about {minutes:.0f} minutes to go."
        if minutes >= 2
        else f"Time: {each:.2f} s a step, about {60 * minutes:.0f} seconds to go."
    )
    return True
