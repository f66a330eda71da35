"""From the settings of a run to its data, its net and its first weights."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from verydeep.configs.networks import NETWORKS, scaled_channels
from verydeep.configs.recipes import FineTuned
from verydeep.data.folders.division import find_last_ranks
from verydeep.data.layout import split_names
from verydeep.data.loading.bad_images import bad_image_error
from verydeep.data.loading.statistics import PixelSums, pixel_sums, sample_indices
from verydeep.data.sets.generated_set import COUNTS
from verydeep.data.split import Split, all_skipped_error, describe_single_class
from verydeep.engine.datasets import GENERATED, VAL_FRACTION, Division, data_folder, fingerprint, open_data_split
from verydeep.engine.log import Log
from verydeep.engine.nets.folders import find_model_folder
from verydeep.engine.progress import track
from verydeep.engine.reporting.remarks import copies_remark, find_training_copies, list_copies
from verydeep.engine.runtime import Runtime
from verydeep.engine.training.settings import RunSettings
from verydeep.errors import DataError, OptionError, ResourceError, WeightsError
from verydeep.models.initialization import LayerOrigin, WeightSource, draw_layer, initialize, initialize_from
from verydeep.models.vgg import VGG, FullyConnected
from verydeep.models.weights.model_folder import ModelConfig, Provenance, SplitRecord, load_tensors
from verydeep.ops.boxes import encode_boxes
from verydeep.paths import real_path
from verydeep.wording import count_of, name_given


def open_training_splits(data: str, division: Division) -> tuple[Split, Split | None]:
    """Open the training split, and the validation split if there is one.

    Raises:
        DataError: the data set has no labeled training images, or cannot be read.
        OptionError: groups or a share to hold out are given, and the data set has validation images of its own.
    """
    names = tuple(COUNTS) if data == GENERATED else split_names(data_folder(data))
    is_given = {"group_by": division.group_by is not None, "val_fraction": division.val_fraction != VAL_FRACTION}
    if "all" not in names and (given := name_given(is_given)):  # said before the generated set is made
        raise OptionError(
            f"{data} has validation photographs of its own, so none are held out: omit {given}.",
            next(name for name, value in is_given.items() if value),
        )
    train = open_data_split(data, "train", division)
    if train.labels is None or len(train) == 0:
        raise DataError(f"{train.root} has no labeled images to train on: put them into one folder per class.")
    if problem := describe_single_class(train):
        raise DataError(problem)
    if "test" in names:
        open_data_split(data, "test", division)  # a split that cannot be read fails now, not after the training
    val = open_data_split(data, "val", division) if "val" in names else None
    return train, (val if val is not None and val.labels is not None and len(val) else None)


def open_test_split(data: str, division: Division) -> Split | None:
    """Open the test split, or else the validation split; None if neither has labels."""
    names = split_names(data_folder(data))
    splits = (open_data_split(data, name, division) for name in ("test", "val") if name in names)
    return next((split for split in splits if split.labels is not None and len(split)), None)


def log_copies(train: Split, others: Iterable[Split], runtime: Runtime, log: Log) -> None:
    """Log the validation and test images that are copies of training images, among people's own photographs."""
    if runtime.is_main and train.camera_rotation:
        copies = {one: other for split in others for one, other in list_copies(split, train).items()}
        if copies:
            log.info(copies_remark(copies, figure="error"))


def log_source_copies(
    splits: Iterable[Split], source: ModelConfig | None, init_from: str | None, runtime: Runtime, log: Log
) -> None:
    """Log the validation and test images that are copies of training images of the source net."""
    if source is not None and source.split is not None and runtime.is_main:
        copies = {one: other for split in splits for one, other in find_training_copies(split, [source.split]).items()}
        if copies:
            one, other = next(iter(copies.items()))
            photographs = count_of(len(copies), "validation or test photograph")
            log.info(
                f"{init_from} was trained on copies of {photographs} ({one} is a copy of {other}), so the "
                f"measured error will be too low: "
                f"train on the folder that {init_from} was trained on."
            )


def measure_constant_box(split: Split, settings: RunSettings, runtime: Runtime) -> tuple[float, float, float, float]:
    """Return the constant box of a split whose images all have boxes; half a million headers take a minute.

    Raises:
        DataError: a file has no readable header, and bad images are errors.
    """
    assert split.boxes is not None
    total, count = np.zeros(4), 0
    boxes_by_image = track(split.boxes, "Measuring boxes", len(split)) if runtime.is_main else split.boxes
    for index, boxes in enumerate(boxes_by_image):
        try:
            width, height = split.image_size(index)
        except DataError as error:
            if settings.decoding.bad_images == "error":
                raise bad_image_error(split, {split.files[index]: str(error)}) from error
            continue
        total += encode_boxes(boxes, (0, 0, width, height)).mean(axis=0)
        count += 1
    x, y, width_share, height_share = (total / max(1, count)).tolist()
    return x, y, width_share, height_share


def measure_colors(settings: RunSettings, train: Split, runtime: Runtime) -> RunSettings:
    """Return the settings with the mean RGB and the covariance of the training images, at the smallest S.

    A mean that the settings already have, which is that of the source net, stays.
    """
    indices = sample_indices(len(train), settings.seed)
    short = min(stage.scale.in_pixels(settings.crop)[0] for stage in settings.recipe.stages)
    sums = PixelSums.zeros()
    images = pixel_sums(train, indices, short, settings.decoding.bad_images, runtime.num_workers)
    for image in track(images, "Measuring colors", len(indices)) if runtime.is_main else images:
        sums.add(image)
    if sums.count == 0:
        raise all_skipped_error(train.subset(indices.tolist()))
    red, green, blue = sums.mean.tolist()
    covariance = tuple(tuple(row) for row in sums.covariance.tolist())
    return replace(settings, mean_rgb=settings.mean_rgb or (red, green, blue), covariance=covariance)


def make_config(settings: RunSettings, train: Split, val: Split | None, num_images: int) -> ModelConfig:
    """Return the config of the net.

    Args:
        settings: settings of the run.
        train: training split as it was opened.
        val: validation split as it was opened.
        num_images: number of training images; for localization, of those that have a box.
    """
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
        train_scale=str(settings.net.scale),
        fine_tuned=settings.fine_tuned,
        pooling=settings.pooling,
        value_ranges=settings.value_ranges or {},
        regression=settings.regression,
        seed=settings.seed,
        split=SplitRecord(
            data=str(real_path(train.root)),
            seed=settings.split_seed,
            val_fraction=settings.val_fraction,
            group_by=settings.group_by,
            train=fingerprint(train),
            val=None if val is None else fingerprint(val),
            plateau=settings.recipe.has_plateaus,
            last_ranks=None if val is None else find_last_ranks(train, val, settings.split_seed),
        ),
        provenance=Provenance(
            license=settings.license,
            data=settings.data,
            num_images=num_images,
            class_images=count_class_images(train) if num_images == len(train) else None,
            epochs=settings.recipe.epochs,
            precision="bf16" if settings.bf16 else "fp32",
            recipe=settings.recipe,
            source_net=settings.init_from,
            imported_source=settings.imported_source,
        ),
    )


def count_class_images(train: Split) -> tuple[int, ...]:
    """Return the number of images of each class."""
    assert train.labels is not None
    return tuple(np.bincount(train.labels, minlength=len(train.class_names)).tolist())


def initialize_weights(
    model: VGG, settings: RunSettings, source: ModelConfig | None, class_names: Sequence[str], log: Log
) -> None:
    """Draw the weights, or copy them from the source net, whose config is ``source``, and log which.

    fc8 is copied from a net of the same task only, even where the shapes agree: boxes are not classes.

    Raises:
        WeightsError: no layer of the source net fits, or not every convolution where only the FC layers learn.
    """
    scheme, seed = settings.recipe.initialization, settings.seed
    if settings.init_from is None:
        initialize(model, scheme, seed)
        return
    assert source is not None
    tensors = load_tensors(find_model_folder(Path(settings.init_from)))
    weights = WeightSource(settings.init_from, source.network, tensors, source.class_names)
    origins = initialize_from(model, class_names, weights, scheme, seed)
    for origin in origins:
        if settings.fine_tuned == "fc" and not origin.copied and origin.layer.startswith("conv"):
            raise WeightsError(
                f"`fine_tune=fc` keeps the convolutions of {settings.init_from}, but {origin.layer} does not fit "
                f"({origin.reason}): start from a net {settings.network} of the same width."
            )
    if (settings.regression is None) != (source.regression is None):
        draw_layer(model, "fc8", scheme, seed)
        target = "classes" if settings.regression is None else "boxes"
        origins[-1] = LayerOrigin("fc8", False, f"{target} are learned from random weights")
    log.info(f"Weights from {settings.init_from} (net {source.network}; its mean RGB is kept):")
    for line in describe_origins(origins):
        log.info(line)


def describe_origins(origins: Sequence[LayerOrigin]) -> list[str]:
    """Return one line that lists the copied layers, and for each reason one that lists the initialized layers."""
    layers: dict[str, list[str]] = {}
    for origin in origins:
        layers.setdefault("copied" if origin.copied else f"initialized at random ({origin.reason})", []).append(
            origin.layer
        )
    return [f"  {reason}: {', '.join(names)}" for reason, names in layers.items()]


def set_learning_layers(model: VGG, fine_tuned: FineTuned) -> None:
    """Let all layers learn, or fc6, fc7 and fc8 alone; the backward pass then ends above the convolutions."""
    for layer in model.weight_layers().values():
        layer.requires_grad_(fine_tuned == "all" or isinstance(layer, FullyConnected))


def choose_micro_batch(config: ModelConfig, num_rows: int, runtime: Runtime) -> int:
    """Return a power of two of images, at most ``num_rows``, whose activations fill a quarter of the free memory.

    The outputs of every convolution count twice in fp32: before and after the ReLU.
    """
    num_fitting = runtime.free_memory() // 4 // (2 * 4 * count_activations(config))
    sizes: list[int] = runtime.gather(min(num_rows, 1 << max(0, num_fitting.bit_length() - 1)))
    return min(sizes)


def count_activations(config: ModelConfig) -> int:
    """Return the number of values that all convolutions put out for an image."""
    side, num_values = config.crop, 0
    for block in NETWORKS[config.network].blocks:
        num_values += sum(side * side * scaled_channels(conv.channels, config.width) for conv in block)
        side = -(-side // 2)
    return num_values


def check_memory(config: ModelConfig, settings: RunSettings, runtime: Runtime) -> None:
    """Refuse a training on a CPU that cannot fit into its memory: there, a system may kill it long after it began.

    Weights, gradients and momentum count, and what the backward pass needs at least of a micro-batch.

    Raises:
        ResourceError: it cannot fit.
    """
    if runtime.device.type != "cpu":
        return
    with torch.device("meta"):  # without memory
        model = config.build()
    set_learning_layers(model, settings.fine_tuned)
    fixed = sum(4 * parameter.numel() * (3 if parameter.requires_grad else 1) for parameter in model.parameters())
    num_rows = -(-settings.recipe.batch_size // runtime.world_size)
    per_image = (2 if settings.bf16 else 4) * count_activations(config) if settings.fine_tuned == "all" else 0
    free = runtime.free_memory()
    needed = fixed + min(num_rows, settings.micro_batch or 1) * per_image
    if needed <= free:
        return
    remedy = "give a smaller `width`, `fc_width` or `crop`, or fewer `devices`"
    if fixed + per_image <= free:
        remedy = f"give a `micro_batch` of at most {(free - fixed) // per_image}"
    raise ResourceError(
        f"Training this net needs {needed / 2**20:,.0f} MB of memory for each process, and {free / 2**20:,.0f} MB are "
        f"free: {remedy}, or free some."
    )
