"""``verydeep train``: train a net and test it."""

import math
import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from verydeep.configs.networks import NETWORKS, PAPER_CROP, PAPER_FC_WIDTH, SHALLOW, check_crop
from verydeep.configs.recipes import (
    RECIPES,
    ColorShift,
    Initialization,
    Recipe,
    batch_for,
    rate_for,
    with_options,
    without_plateau,
)
from verydeep.configs.scales import TrainScale
from verydeep.errors import VerydeepError
from verydeep.options import BadImages, Data, Device, Devices, FastDecode, Precision, Workers, check_range, option


def train(
    data: Data = "generated",
    /,
    *,
    network: Annotated[str | None, option("A, A-LRN, B, C, D, E or B-5x5.", "A", "NAME")] = None,
    crop: Annotated[
        int | None, option("Side of the net's input in pixels, a multiple of 32.", "224; generated: 64", "PIXELS")
    ] = None,
    scale: Annotated[
        str | None,
        option("Train scale S beside a crop of 224: one (256), or a range to jitter.", "256; generated: 256-512", "S"),
    ] = None,
    width: Annotated[
        float | None, option("Factor on the channels of the convolutions.", "1, the paper's; generated: 0.25", "X")
    ] = None,
    fc_width: Annotated[int | None, option("Channels of fc6 and fc7.", "4096; generated: 512", "N")] = None,
    init: Annotated[Initialization, arg(help="How layers are drawn; normal is the paper's, std 0.01.")] = "glorot",
    init_from: Annotated[
        Path | None, option("A run or model folder to take the layers from that fit; says which.", metavar="RUN")
    ] = None,
    epochs: Annotated[
        int | None,
        option("At most so many; below 74 the rate drops at 60, 80 and 93%, not on plateaus.", "74; generated: 8", "N"),
    ] = None,
    milestones: Annotated[
        str | None, option("Where the rate drops tenfold: shares of each stage, as 0.6,0.8,0.93.", metavar="A,B,..")
    ] = None,
    batch_size: Annotated[
        int | None, option("Images a step.", "256, or a 20th of the images if that is less; generated: 32", "N")
    ] = None,
    micro_batch: Annotated[
        int | None, option("Images that go through the net at once: memory, not result.", "what fits", "N")
    ] = None,
    learning_rate: Annotated[
        float | None,
        option("At the start.", "0.01 from random weights or from A, else 0.001; less for a smaller batch", "X"),
    ] = None,
    dropout: Annotated[
        float | None, option("Share of the units of fc6 and fc7 dropped.", "0.5; generated: 0, then 0.5", "X")
    ] = None,
    color_shift: Annotated[ColorShift, arg(help="RGB shift, scaled by deviations or eigenvalues, or none.")] = "std",
    seed: int = 0,
    val_fraction: Annotated[
        float, arg(help="Share of a folder without val/ that is kept for validation.", metavar="X")
    ] = 0.2,
    precision: Precision = "auto",
    device: Device = "auto",
    devices: Devices = 1,
    workers: Workers = None,
    bad_images: BadImages = "error",
    fast_decode: FastDecode = False,
    deterministic: Annotated[bool, arg(help="Bit-equal repetition on GPUs too, at some cost.")] = False,
    out: Annotated[Path | None, option("The run's folder.", "runs/DATA-NETWORK-S-cCROP-sSEED", "DIR")] = None,
    resume: Annotated[
        Path | None, option("Go on with this run where it stopped; its own settings hold.", metavar="RUN")
    ] = None,
) -> None:
    """Train a net and test it; without DATA on a generated set, in about three minutes.

    DATA is a folder with one folder of photographs per class (perhaps in train/, val/ and test/), ILSVRC-2012 or
    Tiny-ImageNet, or the word "generated". Leaves a folder with the net, its curves and its errors.

    Try:
        verydeep train
        verydeep train photos --network A --crop 64 --epochs 15
        verydeep train photos --network D --init-from runs/photos-A-256-c64-s0 --crop 64
        verydeep train --resume runs/photos-A-256-c64-s0
    """
    from verydeep.engine import runtime as engine
    from verydeep.engine.checkpoint import RunFolder
    from verydeep.engine.run import train_run
    from verydeep.engine.settings import Settings
    from verydeep.engine.setup import open_training_parts
    from verydeep.engine.source import GENERATED, short_name

    if crop is not None:
        check_crop(crop)
    check_range("--width", width, 1e-3)
    check_range("--fc-width", fc_width, 1)
    check_range("--epochs", epochs, 1)
    check_range("--batch-size", batch_size, 1)
    check_range("--micro-batch", micro_batch, 1)
    check_range("--learning-rate", learning_rate, 0)
    check_range("--dropout", dropout, 0, 0.99)
    check_range("--seed", seed, 0, 2**31 - 1)
    check_range("--val-fraction", val_fraction, 0.01, 0.99)
    check_range("--devices", devices, 1)
    check_range("--workers", workers, 0)
    if resume is not None:
        run = RunFolder(resume)
        settings = Settings.load(run)
        parts = open_training_parts(settings.data, settings.split_seed, settings.val_fraction)
    else:
        generated = data == GENERATED
        name = network or "A"
        if name not in NETWORKS:
            raise VerydeepError(f"--network {name} is not known: choose one of {', '.join(NETWORKS)}.")
        split_seed, val_fraction = split_like(init_from, data, seed, val_fraction)
        parts = open_training_parts(data, split_seed, val_fraction)
        base = base_recipe(generated, scale)
        if batch_size is None:
            batch_size = batch_for(len(parts[0]), most=base.batch_size)
        if learning_rate is None and not generated:
            learning_rate = rate_for(default_rate(name, init_from), batch_size)
        recipe = with_options(
            base,
            scale=None if scale is None else TrainScale.parse(scale),
            epochs=epochs,
            milestones=None if milestones is None else parse_shares(milestones),
            batch_size=batch_size,
            learning_rate=learning_rate,
            dropout=dropout,
        )
        if parts[1] is None:
            recipe = without_plateau(recipe)
        settings = Settings(
            data=data if generated else str(Path(data).resolve()),
            network=name,
            crop=crop or (64 if generated else PAPER_CROP),
            width=width or (0.25 if generated else 1.0),
            fc_width=fc_width or (512 if generated else PAPER_FC_WIDTH),
            recipe=replace(recipe, initialization=init, color_shift=color_shift),
            seed=seed,
            bf16=engine.wants_bf16(precision, device),
            init_from=None if init_from is None else str(init_from),
            bad_images=bad_images,
            fast_decode=fast_decode,
            deterministic=deterministic,
            split_seed=split_seed,
            val_fraction=val_fraction,
            micro_batch=micro_batch,
        )
        last_scale = settings.recipe.stages[-1].scale
        default = Path("runs") / f"{short_name(data)}-{name}-{last_scale}-c{settings.crop}-s{seed}"
        run = RunFolder(out or default)
        if run.settings.exists() and not engine.in_group():
            raise VerydeepError(
                f"{run.path} already holds a run: go on with --resume {run.path}, or choose another --out or --seed."
            )
    if devices > 1 and not engine.in_group():
        engine.launch(devices, sys.argv[1:])
        return
    run.path.mkdir(parents=True, exist_ok=True)
    with engine.start(
        device=device,
        bf16=settings.bf16,
        num_workers=workers,
        training=True,
        deterministic=settings.deterministic,
    ) as runtime:
        train_run(settings, *parts, run, runtime, resume=resume is not None)


def base_recipe(generated: bool, scale: str | None) -> Recipe:
    """The paper's recipe for this S, or the generated set's own."""
    return RECIPES["generated"] if generated else RECIPES.get(scale or "256", RECIPES["256"])


def default_rate(network: str, init_from: Path | None) -> float:
    """With the paper's batch: 0.01 from random weights and for a deeper net from A, 0.001 from any other net."""
    if init_from is None:
        return 1e-2
    from verydeep.engine.checkpoint import model_folder
    from verydeep.models.weights.native import load_config

    source = load_config(model_folder(init_from)).network
    return 1e-2 if source in SHALLOW and network not in SHALLOW else 1e-3


def split_like(init_from: Path | None, data: str, seed: int, val_fraction: float) -> tuple[int, float]:
    """Seed and fraction of the split: those of the source where it was trained on a part of the same folder.

    Otherwise the new net would be validated on what the old one was trained on.
    """
    from verydeep.engine.checkpoint import model_folder
    from verydeep.engine.source import locate
    from verydeep.models.weights.native import load_config

    split = {} if init_from is None else load_config(model_folder(init_from)).split
    if split.get("data") != str(locate(data).resolve()):
        return seed, val_fraction
    return int(split["seed"]), float(split["val_fraction"])


def parse_shares(text: str) -> tuple[float, ...]:
    """Read "0.6,0.8,0.93".

    Raises:
        VerydeepError: these are not rising numbers between 0 and 1.
    """
    try:
        shares = tuple(float(part) for part in text.split(","))
    except ValueError:
        shares = (math.nan,)
    if not all(0 < share < 1 for share in shares) or list(shares) != sorted(set(shares)):
        raise VerydeepError(f"--milestones {text!r}: write rising shares of the run between 0 and 1, as 0.6,0.8,0.93.")
    return shares
