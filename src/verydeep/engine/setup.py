"""From the settings of a run to its data, its net and its first weights."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from verydeep.configs.networks import scaled_channels
from verydeep.data.layout import split_names
from verydeep.data.split import Split
from verydeep.data.statistics import PixelSums, pixel_sums, sampled
from verydeep.engine.checkpoint import model_folder
from verydeep.engine.progress import track
from verydeep.engine.report import Journal
from verydeep.engine.runtime import Runtime
from verydeep.engine.settings import Settings
from verydeep.engine.source import fingerprint, locate, open_part
from verydeep.errors import VerydeepError
from verydeep.models.initialization import LayerOrigin, Source, initialize, initialize_from
from verydeep.models.vgg import VGG
from verydeep.models.weights.native import ModelConfig, load_config, load_tensors


def open_training_parts(data: str, seed: int, val_fraction: float) -> tuple[Split, Split | None]:
    """The part to train on, and the one to validate on, if there is one.

    Raises:
        VerydeepError: there is no training part, or it has no labels.
    """
    how = {"seed": seed, "val_fraction": val_fraction}
    train = open_part(data, "train", how)
    if train.labels is None or len(train) == 0:
        raise VerydeepError(f"{train.root} has no labeled images to train on: put them into one folder per class.")
    if len(train.class_names) < 2:
        raise VerydeepError(f"{train.root} has a single class, {train.class_names[0]}: there is nothing to tell apart.")
    if "test" in split_names(locate(data)):
        open_part(data, "test", how)  # a test part that cannot be read is told now, not after the training
    if "val" not in split_names(locate(data)):
        return train, None
    val = open_part(data, "val", how)
    return train, (val if val.labels is not None and len(val) else None)


def measure(settings: Settings, train: Split, runtime: Runtime) -> Settings:
    """The settings with mean RGB and covariance of the training set, at the smallest S.

    A net that starts from another keeps that one's mean.
    """
    indices = sampled(len(train), settings.seed)
    short = min(stage.scale.in_pixels(settings.crop)[0] for stage in settings.recipe.stages)
    sums = PixelSums.nothing()
    each = pixel_sums(train, indices, short, skip_bad=settings.bad_images == "skip", num_workers=runtime.num_workers)
    for one in track(each, "Measuring colors", len(indices)) if runtime.is_main else each:
        sums.add(one)
    if sums.count == 0:
        raise VerydeepError(f"Not one image of {train.root} could be decoded.")
    mean: Any = tuple(sums.mean.tolist())
    if settings.init_from is not None:
        mean = load_config(model_folder(Path(settings.init_from))).mean_rgb
    covariance = tuple(tuple(row) for row in sums.covariance.tolist())
    return replace(settings, mean_rgb=mean, covariance=covariance)


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
            "seed": settings.split_seed,
            "val_fraction": settings.val_fraction,
            "train": fingerprint(train),
            "val": fingerprint(val) if val is not None else None,
            "data": str(train.root.resolve()),
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


def fitting_micro_batch(model: VGG, rows: int, runtime: Runtime) -> int:
    """The largest power of two of rows whose activations fill at most a quarter of the free memory.

    Counted are the outputs of every convolution, kept twice in fp32: before and behind the ReLU.
    """
    side, values = model.crop, 0
    for block in model.network.blocks:
        values += sum(2 * side * side * scaled_channels(conv.channels, model.width) for conv in block)
        side = -(-side // 2)
    fitting = runtime.free_memory() // 4 // (4 * values)
    mine = min(rows, 1 << max(0, fitting.bit_length() - 1))
    everyone: list[int] = runtime.gather(mine)
    return min(everyone)
