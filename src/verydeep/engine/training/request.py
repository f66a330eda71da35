"""A request for a training, and how its open values are chosen.

``verydeep train`` makes one of its parameters, ``verydeep reproduce`` one for each net of the ladder.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

from verydeep.configs.networks import NETWORKS, SHALLOW, NetSizes
from verydeep.configs.protocols import Regression
from verydeep.configs.recipes import (
    RECIPES,
    Balance,
    ColorShift,
    FineTuned,
    Initialization,
    Recipe,
    batch_size_for,
    localization_rate,
    scale_rate,
    with_options,
)
from verydeep.configs.scales import TrainScale
from verydeep.data.box_checks import BadBoxes
from verydeep.data.pixels.decoding import STRICT, Decoding
from verydeep.engine.datasets import GENERATED, VAL_FRACTION, Division, data_folder, find_division
from verydeep.engine.nets.collection import Collection
from verydeep.engine.runtime import Precision
from verydeep.errors import OptionError
from verydeep.models.weights.model_folder import CLASSIFIER, ModelConfig
from verydeep.paths import real_path
from verydeep.wording import count_of, join_choices

GENERATED_SIZES = NetSizes(64, 0.25, 512)
"""Default for the generated set, whose pictures are small and easy."""


def default_sizes(data: str) -> NetSizes:
    """Return the sizes of a net where neither a request nor a source net gives others."""
    return GENERATED_SIZES if data == GENERATED else NetSizes()


@dataclass(frozen=True)
class TrainRequest:
    """A user's request for a training; None is open, and depends on the data and on the source net."""

    data: str
    """Folder of the data set, or "generated"."""
    network: str | None = None
    crop: int | None = None
    scale: TrainScale | None = None
    width: float | None = None
    fc_width: int | None = None
    initialization: Initialization = "glorot"
    init_from: Path | None = None
    """Source net; None: random weights."""
    fine_tuned: FineTuned = "all"
    """Layers that learn."""
    regression: Regression | None = None
    """Boxes that the net learns, starting from a classification net; None: classes."""
    bad_boxes: BadBoxes = "error"
    epochs: int | None = None
    batch_size: int | None = None
    micro_batch: int | None = None
    learning_rate: float | None = None
    dropout: float | None = None
    dropout_after: int | None = None
    color_shift: ColorShift = "std"
    balance: Balance = "none"
    seed: int = 0
    split_seed: int | None = None
    """Seed of the division of a folder without val/; None: ``seed``."""
    val_fraction: float = VAL_FRACTION
    """Share of the images of such a folder that become validation images."""
    group_by: str | None = None
    """Groups of images that stay together in such a division, as ``groups.resolve_group_by`` returns it."""
    precision: Precision = "auto"
    device: str = "auto"
    decoding: Decoding = STRICT
    deterministic: bool = False
    out: Path | None = None
    """Folder of the run; None: one in ``runs`` with a name by ``run_name``."""
    runs: Collection = field(default_factory=Collection)


def choose_network(request: TrainRequest, source: ModelConfig | None) -> str:
    """Return the requested network; an open one is that of the source net, or A.

    Raises:
        OptionError: there is no such network.
    """
    network = request.network or ("A" if source is None else source.network)
    if network not in NETWORKS:
        raise OptionError(
            f"`network={network}` is unknown: choose {join_choices(list(NETWORKS))}.",
            "network",
        )
    return network


def choose_sizes(request: TrainRequest, source: ModelConfig | None = None) -> NetSizes:
    """Return the requested sizes; open ones are those of the source net, or the default for the data."""
    crop, width, fc_width = default_sizes(request.data) if source is None else source.sizes
    return NetSizes(request.crop or crop, request.width or width, request.fc_width or fc_width)


def complete_localization(request: TrainRequest, source: ModelConfig | None) -> TrainRequest:
    """Return the request for a localization net with its train scale and initialization (section A.1).

    Raises:
        OptionError: there is no source net, it predicts boxes itself, or the request asks for another network,
            size or train scale than the source net's.
    """
    if source is None:
        raise OptionError("`task=localize` starts from a classification net: give it as `init_from`.", "init_from")
    if source.regression is not None:
        raise OptionError(
            f"{request.init_from} is a localization net: give the classification net it started from as `init_from`; "
            f"its run has a copy in model/{CLASSIFIER}.",
            "init_from",
        )
    for name in ("network", "crop", "width", "fc_width"):
        requested, actual = getattr(request, name), getattr(source, name)
        if requested not in (None, actual):
            raise OptionError(
                f"`{name}={requested}` differs from {request.init_from}, which has {actual}: omit `{name}`.", name
            )
    scale = request.scale
    if source.train_scale is not None and request.data != GENERATED:  # the generated set's recipe has its own S
        scale = TrainScale.parse(source.train_scale)
        if request.scale not in (None, scale):
            raise OptionError(
                f"`scale={request.scale}` differs from {request.init_from}, which rates the boxes and has {scale}: "
                "omit `scale`, or start from a net of that scale.",
                "scale",
            )
    return replace(request, scale=scale, initialization="normal")


def choose_division(request: TrainRequest, source: ModelConfig | None) -> Division:
    """Return the division of a folder without val/.

    It is that of the source net if it was trained on the same images; otherwise the new net would be validated on
    training images of the source net.

    Raises:
        OptionError: the request divides the images in another way than that source net.
    """
    record = None if source is None else source.split
    # If a folder has train/ and no val/, then train/ was divided.
    if record is not None and (
        Path(record.data).is_relative_to(real_path(data_folder(request.data))) or find_division(request.data, [record])
    ):
        if request.group_by not in (None, record.group_by):
            raise OptionError(
                f"{request.init_from} was trained on {request.data} with other groups, so its training images would be "
                "among the validation images: omit `group_by`, or train that net with it again.",
                "group_by",
            )
        if request.val_fraction not in (VAL_FRACTION, record.val_fraction):
            raise OptionError(
                f"{request.init_from} was trained on {request.data}, so the photographs that it held out are held out "
                "again: omit `val_fraction`.",
                "val_fraction",
            )
        return Division(record.seed, record.val_fraction, record.group_by)
    seed = request.seed if request.split_seed is None else request.split_seed
    return Division(seed, request.val_fraction, request.group_by)


def choose_recipe(request: TrainRequest, network: str, source: ModelConfig | None, num_images: int) -> Recipe:
    """Return the paper's recipe for the train scale, or that of the generated set, with the requested changes.

    Raises:
        OptionError: a requested value makes no sense.
    """
    is_generated, is_localization = request.data == GENERATED, request.regression is not None
    if is_localization:
        base = RECIPES["localize-generated" if is_generated else "localize"]
    else:
        base = RECIPES["generated"] if is_generated else RECIPES.get(str(request.scale), RECIPES["256"])
    batch_size, learning_rate = request.batch_size, request.learning_rate
    if batch_size is not None and batch_size > num_images:
        raise OptionError(
            f"`batch_size={batch_size}` is more than the {count_of(num_images, 'training photograph')}: give "
            f"{num_images} or less.",
            "batch_size",
        )
    if batch_size is None:
        batch_size = batch_size_for(num_images, largest=base.batch_size)
    if learning_rate is None:
        learning_rate = localization_rate(num_images) if is_localization else default_rate(network, source)
        if not is_generated:  # there, the rates are those of its own batch of 32
            learning_rate = scale_rate(learning_rate, batch_size)
    recipe = with_options(
        base,
        scale=request.scale,
        epochs=request.epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        dropout=request.dropout,
        dropout_after=request.dropout_after,
    )
    return replace(
        recipe,
        initialization=request.initialization,
        color_shift=request.color_shift,
        balance=request.balance,
    )


def default_rate(network: str, source: ModelConfig | None) -> float:
    """Return the learning rate for the paper's batch.

    It is 0.01 from random weights, for a deeper net from A, and on a trunk; else 0.001. The FC layers on a trunk are
    drawn: on VGG-16's convolutions they learned three times as fast at 0.007 as at 0.0007 (measured).
    """
    is_deeper_than_a = source is not None and source.network in SHALLOW and network not in SHALLOW
    return 1e-2 if source is None or is_deeper_than_a or source.is_trunk else 1e-3
