"""``verydeep train``: train a net and test it."""

import math
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import arg

from verydeep.configs.networks import check_crop
from verydeep.configs.protocols import Regression
from verydeep.configs.recipes import ColorShift, FineTuned, Initialization
from verydeep.configs.scales import TrainScale
from verydeep.errors import VerydeepError
from verydeep.options import (
    BadBoxes,
    BadImages,
    Data,
    Device,
    Devices,
    DropoutAfter,
    FastDecode,
    Precision,
    Workers,
    check_range,
    option,
)


def train(
    data: Data = "generated",
    /,
    *,
    network: Annotated[
        str | None, option("A, A-LRN, B, C, D, E or B-5x5.", "that of --init-from, or A", "NAME")
    ] = None,
    crop: Annotated[
        int | None,
        option(
            "Side of the net's input in pixels, a multiple of 32.",
            "that of --init-from, or 224; generated: 64",
            "PIXELS",
        ),
    ] = None,
    scale: Annotated[
        str | None,
        option(
            "Train scale S beside a crop of 224: one (256), or a range to jitter.",
            "256; generated: 256-512; localize: as --init-from; both: 256",
            "S",
        ),
    ] = None,
    width: Annotated[
        float | None,
        option("Factor on the channels of the convolutions.", "that of --init-from, or 1; generated: 0.25", "X"),
    ] = None,
    fc_width: Annotated[
        int | None, option("Channels of fc6 and fc7.", "that of --init-from, or 4096; generated: 512", "N")
    ] = None,
    init: Annotated[
        Initialization, arg(help="How layers are drawn; normal is the paper's, std 0.01, and always that of localize.")
    ] = "glorot",
    init_from: Annotated[
        Path | None,
        option("A net to take the layers from that fit: a run, a weight file, oxford-vgg16, ...", metavar="RUN"),
    ] = None,
    task: Annotated[
        Literal["classify", "localize"],
        arg(help="What is learned: classes, or boxes, from a net that knows the classes."),
    ] = "classify",
    regression: Annotated[
        Regression | None, option("localize: a box for each class, or one box whatever the class.", "per-class")
    ] = None,
    bad_boxes: BadBoxes = "error",
    fine_tune: Annotated[
        FineTuned, arg(help="fc: only fc6, fc7 and fc8 learn; the convolutions stay those of --init-from.")
    ] = "all",
    epochs: Annotated[
        int | None,
        option(
            "At most so many; below 74 the rate drops at 60, 80 and 93%, not on plateaus.",
            "74; generated: 8, localize 10",
            "N",
        ),
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
        option(
            "At the start.",
            "0.01 from random weights, for a deeper net from A, on a trunk, and of localize with fewer than 100,000 "
            "images, else 0.001; less for a smaller batch",
            "X",
        ),
    ] = None,
    dropout: Annotated[
        float | None,
        option("Share of the units of fc6 and fc7 dropped.", "0.5; generated: 0, then 0.5, localize 0", "X"),
    ] = None,
    dropout_after: DropoutAfter = None,
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
    out: Annotated[
        Path | None, option("The run's folder.", "runs/DATA-NETWORK-S[fc|pcr|scr]-cCROP-sSEED", "DIR")
    ] = None,
    resume: Annotated[
        Path | None, option("Go on with this run where it stopped; its own settings hold.", metavar="RUN")
    ] = None,
) -> None:
    """Train a net and test it; without DATA on a generated set, in about three minutes.

    DATA is a folder with one folder of photographs per class (perhaps in train/, val/ and test/), ILSVRC-2012 or
    Tiny-ImageNet, or the word "generated". Leaves a folder with the net, its curves and its errors.

    With --task localize a net learns boxes: those of the set, of DATA/boxes.csv (path,label,xmin,ymin,xmax,ymax), or of
    XML files in DATA/Annotations.

    Try:
        verydeep train
        verydeep train photos --network A --crop 64 --epochs 15
        verydeep train photos --network D --init-from runs/photos-A-256-c64-s0 --crop 64
        verydeep train photos --task localize --init-from runs/photos-D-256-c64-s0 --epochs 15
        verydeep train --resume runs/photos-A-256-c64-s0
    """
    from verydeep.data.decoding import Decoding
    from verydeep.engine import runtime as engine
    from verydeep.engine.launching import launched
    from verydeep.engine.training.plan import plan_resumed, plan_training
    from verydeep.engine.training.request import TrainRequest
    from verydeep.engine.training.run import train_run

    if crop is not None:
        check_crop(crop)
    check_range("--width", width, 1e-3)
    check_range("--fc-width", fc_width, 1)
    check_range("--epochs", epochs, 1)
    check_range("--batch-size", batch_size, 1)
    check_range("--micro-batch", micro_batch, 1)
    check_range("--learning-rate", learning_rate, 0)
    check_range("--dropout", dropout, 0, 0.99)
    check_range("--dropout-after", dropout_after, 1)
    check_range("--seed", seed, 0, 2**31 - 1)
    check_range("--val-fraction", val_fraction, 0.01, 0.99)
    check_range("--devices", devices, 1)
    check_range("--workers", workers, 0)
    if regression is not None and task != "localize":
        raise VerydeepError(f"--regression {regression} is of boxes: give --task localize with it, or leave it out.")
    request = TrainRequest(
        data=data,
        network=network,
        crop=crop,
        scale=None if scale is None else TrainScale.parse(scale),
        width=width,
        fc_width=fc_width,
        initialization=init,
        init_from=init_from,
        fine_tuned=fine_tune,
        regression=(regression or "per-class") if task == "localize" else None,
        bad_boxes=bad_boxes,
        epochs=epochs,
        milestones=None if milestones is None else parse_shares(milestones),
        batch_size=batch_size,
        micro_batch=micro_batch,
        learning_rate=learning_rate,
        dropout=dropout,
        dropout_after=dropout_after,
        color_shift=color_shift,
        seed=seed,
        val_fraction=val_fraction,
        precision=precision,
        device=device,
        decoding=Decoding(bad_images, fast_decode),
        deterministic=deterministic,
        out=out,
    )
    plan = plan_training(request) if resume is None else plan_resumed(resume)
    if launched(devices):
        return
    settings = plan.settings
    with engine.start(
        device=device,
        bf16=settings.bf16,
        num_workers=workers,
        deterministic=settings.deterministic,
    ) as runtime:
        train_run(plan, runtime)


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
