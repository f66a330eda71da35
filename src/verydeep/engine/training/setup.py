"""From the settings of a run to its data, its net and its first weights."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from verydeep.configs.networks import scaled_channels
from verydeep.configs.recipes import FineTuned
from verydeep.data.layout import split_names
from verydeep.data.split import Split, nothing_decoded
from verydeep.data.statistics import PixelSums, pixel_sums, sample_indices
from verydeep.engine.datasets import data_folder, fingerprint, open_data_split
from verydeep.engine.log import Log
from verydeep.engine.nets.folders import find_model_folder
from verydeep.engine.progress import track
from verydeep.engine.runtime import Runtime
from verydeep.engine.training.settings import RunSettings
from verydeep.errors import VerydeepError
from verydeep.models.initialization import LayerOrigin, WeightSource, draw_layer, initialize, initialize_from
from verydeep.models.vgg import VGG, FullyConnected
from verydeep.models.weights.native import ModelConfig, Provenance, load_tensors
from verydeep.ops.boxes import encode


def open_training_splits(data: str, seed: int, val_fraction: float) -> tuple[Split, Split | None]:
    """The part to train on, and the one to validate on, if there is one.

    Raises:
        VerydeepError: there is no training part, or it has no labels.
    """
    how = {"seed": seed, "val_fraction": val_fraction}
    train = open_data_split(data, "train", how)
    if train.labels is None or len(train) == 0:
        raise VerydeepError(f"{train.root} has no labeled images to train on: put them into one folder per class.")
    if len(train.class_names) < 2:
        raise VerydeepError(f"{train.root} has a single class, {train.class_names[0]}: there is nothing to tell apart.")
    if "test" in split_names(data_folder(data)):
        open_data_split(data, "test", how)  # a test part that cannot be read is told now, not after the training
    if "val" not in split_names(data_folder(data)):
        return train, None
    val = open_data_split(data, "val", how)
    return train, (val if val.labels is not None and len(val) else None)


def open_test_split(data: str, seed: int, val_fraction: float) -> Split | None:
    """The test part, or else the validation part; None where neither has labels."""
    how, names = {"seed": seed, "val_fraction": val_fraction}, split_names(data_folder(data))
    parts = (open_data_split(data, name, how) for name in ("test", "val") if name in names)
    return next((part for part in parts if part.labels is not None and len(part)), None)


def constant_box(split: Split, settings: RunSettings, runtime: Runtime) -> tuple[float, float, float, float]:
    """Return the constant box of a split whose images all have boxes; half a million headers take a minute.

    Raises:
        VerydeepError: a file has no readable header, unless bad images are skipped.
    """
    assert split.boxes is not None
    total, count = np.zeros(4), 0
    each = track(split.boxes, "Measuring boxes", len(split)) if runtime.is_main else split.boxes
    for index, boxes in enumerate(each):
        try:
            width, height = split.image_size(index)
        except VerydeepError:
            if settings.bad_images == "error":
                raise
            continue
        total += encode(boxes, (0, 0, width, height)).mean(axis=0)
        count += 1
    x, y, width_share, height_share = (total / max(1, count)).tolist()
    return x, y, width_share, height_share


def measure_colors(settings: RunSettings, train: Split, runtime: Runtime) -> RunSettings:
    """The settings with mean RGB and covariance of the training set, at the smallest S.

    A mean that they already have, that of the net it starts from, is kept.
    """
    indices = sample_indices(len(train), settings.seed)
    short = min(stage.scale.in_pixels(settings.crop)[0] for stage in settings.recipe.stages)
    sums = PixelSums.zeros()
    each = pixel_sums(train, indices, short, settings.bad_images, runtime.num_workers)
    for one in track(each, "Measuring colors", len(indices)) if runtime.is_main else each:
        sums.add(one)
    if sums.count == 0:
        raise nothing_decoded(train.subset(indices.tolist()))
    mean: Any = settings.mean_rgb or tuple(sums.mean.tolist())
    covariance = tuple(tuple(row) for row in sums.covariance.tolist())
    return replace(settings, mean_rgb=mean, covariance=covariance)


def model_config(settings: RunSettings, train: Split, val: Split | None) -> ModelConfig:
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
        input_scale=settings.input_scale,
        train_scale=str(settings.recipe.stages[-1].scale),
        fine_tuned=settings.fine_tuned,
        pooling=settings.pooling,
        regression=settings.regression,
        seed=settings.seed,
        split={
            "seed": settings.split_seed,
            "val_fraction": settings.val_fraction,
            "train": fingerprint(train),
            "val": fingerprint(val) if val is not None else None,
            "data": str(train.root.resolve()),
            "plateau": any(stage.milestones is None for stage in settings.recipe.stages),
        },
        provenance=Provenance(
            license=settings.license,
            data=settings.data,
            num_images=len(train),
            epochs=settings.recipe.epochs,
            precision="bf16" if settings.bf16 else "fp32",
            recipe=settings.recipe,
            source_net=settings.init_from,
            foreign_source=settings.foreign_source,
        ),
    )


def initialize_weights(
    model: VGG, settings: RunSettings, theirs: ModelConfig | None, class_names: Sequence[str], log: Log
) -> None:
    """Draw the weights, or take them from another net, which ``theirs`` describes, and say which.

    Boxes are not classes: fc8 is taken from a net of the same task alone, even where the shapes agree.

    Raises:
        VerydeepError: nothing of that net fits, or not all of the convolutions where only the FC layers are to learn.
    """
    if settings.init_from is None:
        initialize(model, settings.recipe.initialization, settings.seed)
        return
    assert theirs is not None
    tensors = load_tensors(find_model_folder(Path(settings.init_from)))
    source = WeightSource(settings.init_from, theirs.network, tensors, theirs.class_names)
    origins = initialize_from(model, class_names, source, settings.recipe.initialization, settings.seed)
    for origin in origins:
        if settings.fine_tuned == "fc" and not origin.taken and origin.layer.startswith("conv"):
            raise VerydeepError(
                f"--fine-tune fc keeps the convolutions of {settings.init_from}, but {origin.layer} cannot be taken "
                f"({origin.reason}): start from a net {settings.network} of the same width."
            )
    if (settings.regression is None) != (theirs.regression is None):
        draw_layer(model, "fc8", settings.recipe.initialization, settings.seed)
        what = "classes" if settings.regression is None else "boxes"
        origins[-1] = LayerOrigin("fc8", False, f"{what} are learned from scratch")
    log.info(f"Weights from {settings.init_from} (net {theirs.network}; its mean RGB is kept):")
    for line in describe_origins(origins):
        log.info(line)


def choose_learning(model: VGG, fine_tuned: FineTuned) -> None:
    """Let all layers learn, or fc6, fc7 and fc8 alone: below those nothing is then kept for the backward pass."""
    for layer in model.weight_layers().values():
        layer.requires_grad_(fine_tuned == "all" or isinstance(layer, FullyConnected))


def describe_origins(origins: list[LayerOrigin]) -> list[str]:
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
