"""A training that is asked for, with what was left open, and how that is decided.

``verydeep train`` makes a request of its options, ``verydeep reproduce`` one for each net of the ladder.
"""

from dataclasses import dataclass, field, replace
from pathlib import Path

from verydeep.configs.networks import NETWORKS, PAPER_CROP, PAPER_FC_WIDTH, SHALLOW, scaled_channels
from verydeep.configs.protocols import PaperNet, Regression
from verydeep.configs.recipes import (
    RECIPES,
    ColorShift,
    FineTuned,
    Initialization,
    Recipe,
    batch_for,
    localization_rate,
    rate_for,
    with_options,
    without_plateau,
)
from verydeep.configs.scales import TrainScale
from verydeep.data.decoding import BadImages
from verydeep.data.split import Split
from verydeep.data.truth import BadBoxes
from verydeep.engine.datasets import GENERATED, VAL_FRACTION, check_outside_data, data_folder, data_name
from verydeep.engine.launching import in_group
from verydeep.engine.nets.collection import Collection
from verydeep.engine.nets.folders import RunFolder, find_model_folder
from verydeep.engine.runtime import Precision, wants_bf16
from verydeep.engine.training.checkpoint import find_checkpoint
from verydeep.engine.training.settings import RunSettings
from verydeep.engine.training.setup import open_training_splits
from verydeep.errors import VerydeepError
from verydeep.models.weights.native import CLASSIFIER, ModelConfig, load_config


@dataclass(frozen=True)
class TrainRequest:
    """What a training may be asked for; None is left open, and depends on the data and on the net it starts from."""

    data: str
    network: str | None = None
    crop: int | None = None
    scale: TrainScale | None = None
    width: float | None = None
    fc_width: int | None = None
    initialization: Initialization = "glorot"
    init_from: Path | None = None
    """The net to take layers from."""
    fine_tuned: FineTuned = "all"
    regression: Regression | None = None
    """Boxes are to be learned, starting from a net that knows the classes; None: classes."""
    bad_boxes: BadBoxes = "error"
    epochs: int | None = None
    milestones: tuple[float, ...] | None = None
    batch_size: int | None = None
    micro_batch: int | None = None
    learning_rate: float | None = None
    dropout: float | None = None
    dropout_after: int | None = None
    color_shift: ColorShift = "std"
    seed: int = 0
    split_seed: int | None = None
    """Of the division of a folder without val/; None: the seed."""
    val_fraction: float = VAL_FRACTION
    precision: Precision = "auto"
    device: str = "auto"
    bad_images: BadImages = "error"
    fast_decode: bool = False
    deterministic: bool = False
    out: Path | None = None
    """The run's folder; None: one in ``runs`` that ``run_name`` names."""
    runs: Collection = field(default_factory=Collection)


@dataclass(frozen=True)
class TrainingPlan:
    """A training with nothing left open."""

    settings: RunSettings
    train: Split
    val: Split | None
    run: RunFolder
    source: ModelConfig | None
    """Of the net it starts from."""
    request: TrainRequest | None = None
    """What was asked for; None of a run that is resumed, whose own settings hold."""

    @property
    def resume(self) -> bool:
        """Whether the run was begun before."""
        return self.request is None

    def on(self, train: Split, val: Split | None) -> "TrainingPlan":
        """The same on those of its images that have boxes; batch and rate go by their number where they were open."""
        settings = self.settings
        if self.request is not None:
            recipe = decide_recipe(self.request, settings.network, self.source, len(train))
            settings = replace(settings, recipe=recipe if val is not None else without_plateau(recipe))
        return replace(self, settings=settings, train=train, val=val)


def plan_training(request: TrainRequest) -> TrainingPlan:
    """Decide what the request leaves open.

    Raises:
        VerydeepError: the network is not known, the FC layers alone are to learn and no net is given to start from,
            the data or that net cannot be read, or the run exists.
    """
    generated = request.data == GENERATED
    if request.fine_tuned == "fc" and request.init_from is None:
        raise VerydeepError("--fine-tune fc needs the convolutions of a trained net: give it with --init-from RUN.")
    source = None if request.init_from is None else load_config(find_model_folder(request.init_from))
    if request.regression is not None:
        request = with_classifier_shape(request, source)
    elif source is not None:
        request = with_source_shape(request, source)
    network = request.network or "A"
    if network not in NETWORKS:
        raise VerydeepError(f"--network {network} is not known: choose one of {', '.join(NETWORKS)}.")
    split_seed, val_fraction = choose_split(source, request)
    # As a resumed run opens them; boxes are looked for in this folder, by their files' places below it.
    data = request.data if generated else str(Path(request.data).resolve())
    train, val = open_training_splits(data, split_seed, val_fraction)
    if request.regression is not None and source is not None and source.class_names != train.class_names:
        raise VerydeepError(
            f"{request.init_from} knows other classes than {train.root} ({len(source.class_names)} there, "
            f"{len(train.class_names)} here): give --init-from a net that was trained to tell these apart."
        )
    recipe = decide_recipe(request, network, source, len(train))
    settings = RunSettings(
        data=data,
        network=network,
        crop=request.crop or (64 if generated else PAPER_CROP),
        width=request.width or (0.25 if generated else 1.0),
        fc_width=request.fc_width or (512 if generated else PAPER_FC_WIDTH),
        recipe=recipe if val is not None else without_plateau(recipe),
        seed=request.seed,
        bf16=wants_bf16(request.precision, request.device),
        init_from=None if request.init_from is None else str(request.init_from),
        fine_tuned=request.fine_tuned,
        regression=request.regression,
        bad_boxes=request.bad_boxes,
        bad_images=request.bad_images,
        fast_decode=request.fast_decode,
        deterministic=request.deterministic,
        split_seed=split_seed,
        val_fraction=val_fraction,
        micro_batch=request.micro_batch,
    )
    if source is not None:
        settings = with_source_conventions(settings, source)
    last_scale = settings.recipe.stages[-1].scale
    trained = PaperNet(network, last_scale, settings.fine_tuned, settings.regression)
    name = run_name(request.data, trained, settings.crop, settings.seed)
    run = RunFolder(request.out or request.runs.folder / name)
    if run.settings.exists() and not in_group():  # a process of the same job may have come first
        raise VerydeepError(
            f"{run.path} already holds a run: go on with --resume {run.path}, or choose another --out or --seed."
        )
    check_outside_data(run.path, train)
    return TrainingPlan(settings, train, val, run, source, request)


def plan_resumed(path: Path) -> TrainingPlan:
    """The training of a run that was begun; its own settings hold.

    Raises:
        VerydeepError: its settings or its data cannot be read.
    """
    run = RunFolder(path)
    settings = RunSettings.load(run)
    train, val = open_training_splits(settings.data, settings.split_seed, settings.val_fraction)
    # Once there is a checkpoint, the net that it started from may be gone.
    anew = settings.init_from if find_checkpoint(run.checkpoints) is None else None
    source = None if anew is None else load_config(find_model_folder(Path(anew)))
    return TrainingPlan(settings, train, val, run, source)


def with_source_shape(request: TrainRequest, source: ModelConfig) -> TrainRequest:
    """The request with what it leaves open of the net's shape taken from the net that it starts from."""
    return replace(
        request,
        network=request.network or source.network,
        crop=request.crop or source.crop,
        width=request.width or source.width,
        fc_width=request.fc_width or source.fc_width,
    )


def with_source_conventions(settings: RunSettings, source: ModelConfig) -> RunSettings:
    """The settings with what a net keeps of the one it starts from: mean, rounding, and the scale of its first weights.

    That scale belongs to the weights: a first layer of another shape is drawn, and has none.
    """
    about = source.provenance
    first, theirs = (NETWORKS[name].blocks[0][0] for name in (settings.network, source.network))
    is_taken = first.kernel == theirs.kernel and scaled_channels(first.channels, settings.width) == scaled_channels(
        theirs.channels, source.width
    )
    return replace(
        settings,
        mean_rgb=source.mean_rgb,
        pooling=source.pooling,
        input_scale=source.input_scale if is_taken else None,
        license=about.license,
        foreign_source=about.foreign_source or about.published_net or about.imported_from,
    )


def with_classifier_shape(request: TrainRequest, source: ModelConfig | None) -> TrainRequest:
    """The request for a localization net, with what it leaves open taken from the classification net it starts from.

    Raises:
        VerydeepError: there is none, or it is a localization net itself, another network, or of another train scale.
    """
    if source is None:
        raise VerydeepError("--task localize starts from a net that knows the classes: give it with --init-from RUN.")
    if source.regression is not None:
        raise VerydeepError(
            f"{request.init_from} predicts boxes itself: give --init-from the net that it started from, a copy of "
            f"which is model/{CLASSIFIER} in its run."
        )
    for name, asked, there in (
        ("--network", request.network, source.network),
        ("--crop", request.crop, source.crop),
        ("--width", request.width, source.width),
        ("--fc-width", request.fc_width, source.fc_width),
    ):
        if asked not in (None, there):
            raise VerydeepError(f"{name} {asked} is not that of {request.init_from}, {there}: leave it out.")
    scale = request.scale
    if source.train_scale is not None and request.data != GENERATED:  # whose recipe has an S of its own
        scale = TrainScale.parse(source.train_scale)
        if request.scale not in (None, scale):
            raise VerydeepError(
                f"--scale {request.scale} is not that of {request.init_from}, {scale}, which rates the boxes: leave "
                "it out, or start from a net of that scale."
            )
    return replace(with_source_shape(request, source), scale=scale, initialization="normal")


def run_name(data: str, net: PaperNet, crop: int, seed: int) -> str:
    """What a run is called unless the user names it: <data>-<network>-<S>[fc|pcr|scr][-fc]-c<crop>-s<seed>."""
    return f"{data_name(data)}-{str(net).replace('/', '-')}-c{crop}-s{seed}"


def choose_split(source: ModelConfig | None, request: TrainRequest) -> tuple[int, float]:
    """Seed and fraction of the split: those of the source where it was trained on a part of the same folder.

    Otherwise the new net would be validated on what the old one was trained on.
    """
    here = data_folder(request.data).resolve()
    # Of a folder with train/ and no val/ beside it, the part that was divided is train/.
    if source is None or source.split.get("data") not in (str(here), str(here / "train")):
        return request.seed if request.split_seed is None else request.split_seed, request.val_fraction
    return int(source.split["seed"]), float(source.split["val_fraction"])


def decide_recipe(request: TrainRequest, network: str, source: ModelConfig | None, num_images: int) -> Recipe:
    """The paper's recipe for this S, or the generated set's own, with what the request asks for."""
    generated = request.data == GENERATED
    if request.regression is not None:
        base = RECIPES["localize-generated" if generated else "localize"]
    else:
        base = RECIPES["generated"] if generated else RECIPES.get(str(request.scale), RECIPES["256"])
    batch_size, learning_rate = request.batch_size, request.learning_rate
    if batch_size is None:
        batch_size = batch_for(num_images, most=base.batch_size)
    if learning_rate is None:
        boxes = request.regression is not None
        learning_rate = localization_rate(num_images) if boxes else default_rate(network, source)
        if not generated:  # there they are the rates of its own batch of 32
            learning_rate = rate_for(learning_rate, batch_size)
    recipe = with_options(
        base,
        scale=request.scale,
        epochs=request.epochs,
        milestones=request.milestones,
        batch_size=batch_size,
        learning_rate=learning_rate,
        dropout=request.dropout,
        dropout_after=request.dropout_after,
    )
    return replace(recipe, initialization=request.initialization, color_shift=request.color_shift)


def default_rate(network: str, source: ModelConfig | None) -> float:
    """With the paper's batch: 0.01 from random weights, for a deeper net from A, and on a trunk, else 0.001.

    A trunk's FC layers are drawn: on VGG-16's convolutions they learned three times as fast at 0.007 as at 0.0007
    (measured).
    """
    deeper_than_a = source is not None and source.network in SHALLOW and network not in SHALLOW
    return 1e-2 if source is None or deeper_than_a or source.is_trunk else 1e-3
