"""``verydeep evaluate``: the errors of a net on a data set."""

import sys
from pathlib import Path
from typing import Annotated, Literal

import tyro
from tyro.conf import Positional

from verydeep.configs.scales import parse_test_scales

Arg = tyro.conf.arg


def evaluate(
    data: Positional[str],
    run: Positional[Path],
    /,
    *,
    scales: Annotated[
        str | None,
        Arg(help="Test scales Q beside a crop of 224. [S; jittered: Smin, middle, Smax]", metavar="Q,Q,.."),
    ] = None,
    views: Annotated[
        Literal["dense", "center"], Arg(help="The whole image and its mirror image, or the central crop.")
    ] = "dense",
    split: Annotated[str, Arg(help="Which part of DATA: train, val, test, or all of a flat folder.")] = "val",
    weights: Annotated[
        Literal["last", "best"], Arg(help="best: by validation error, which it then has seen.")
    ] = "last",
    precision: Annotated[Literal["auto", "bf16", "fp32"], Arg(help="auto: bf16 where the hardware has it.")] = "auto",
    device: Annotated[str, Arg(help="auto, cpu, cuda or cuda:N.")] = "auto",
    devices: Annotated[int, Arg(help="Processes on this machine that share the images.")] = 1,
    workers: Annotated[int | None, Arg(help="Processes that decode images. [the number of cores]")] = None,
    bad_images: Annotated[
        Literal["error", "skip"], Arg(help="What to do with a file that cannot be decoded; skip counts it.")
    ] = "error",
    fast_decode: Annotated[bool, Arg(help="Decode large JPEGs at a lower resolution: slightly other pixels.")] = False,
    out: Annotated[Path | None, Arg(help="Where errors.json, predictions.csv, examples.png go. [in the run]")] = None,
) -> None:
    """Test a net on photographs with labels: top-1 and top-5 error, mean class recall, 95% intervals.

    DATA is what `verydeep train` takes; RUN a folder that it left, or a model folder. Images are rescaled to the short
    side Q and seen whole, the soft-max is averaged over the image and its mirror image, and over the scales.

    Examples:
        verydeep evaluate photos runs/photos-A-256-c64-s0
        verydeep evaluate photos runs/photos-D-256-512-c224-s0 --scales 256,384,512
    """
    from verydeep.engine import runtime as engine
    from verydeep.engine.checkpoint import model_folder
    from verydeep.engine.evaluation import check_classes, evaluate_split
    from verydeep.engine.report import Journal, leave_evaluation
    from verydeep.engine.source import open_part
    from verydeep.models.weights.native import load_model

    if devices > 1 and not engine.in_group():
        engine.launch(devices, sys.argv[1:])
        return
    folder = model_folder(run, weights)
    model, config = load_model(folder)
    part = open_part(data, split, dict(config.split))
    check_classes(part, config, run)
    chosen = config.test_scales if scales is None else parse_test_scales(scales)
    with engine.start(device=device, bf16=engine.wants_bf16(precision, device), num_workers=workers) as runtime:
        journal = Journal(silent=not runtime.is_main)
        journal.say(f"Data: {part.root}: {part.layout}; {len(part):,} images of {split}.")
        evaluation = evaluate_split(
            runtime.place(model), part, views, chosen, runtime, bad_images=bad_images, fast_decode=fast_decode
        )
        if runtime.is_main:
            about = {"run": str(run), "data": data, "weights": weights, "precision": runtime.precision}
            name = "-".join([split, views, ",".join(map(str, chosen)), *([weights] if weights == "best" else [])])
            target = out or (run if folder == run else folder.parent) / "evaluations" / name
            leave_evaluation(evaluation, part, config, target, {**about, "fast_decode": fast_decode}, journal)
