"""``verydeep evaluate``: the errors of a net on a data set."""

import sys
from pathlib import Path
from typing import Annotated

from tyro.conf import arg

from verydeep.configs.scales import parse_test_scales
from verydeep.options import (
    BadImages,
    Data,
    Device,
    Devices,
    FastDecode,
    Precision,
    Run,
    Scales,
    Views,
    Weights,
    Workers,
    check_range,
    option,
)


def evaluate(
    data: Data,
    run: Run,
    /,
    *,
    scales: Scales = None,
    views: Views = "dense",
    split: Annotated[str, arg(help="Which part of DATA: train, val, test, or all of a flat folder.")] = "val",
    weights: Weights = "last",
    precision: Precision = "auto",
    device: Device = "auto",
    devices: Devices = 1,
    workers: Workers = None,
    bad_images: BadImages = "error",
    fast_decode: FastDecode = False,
    out: Annotated[
        Path | None, option("Where errors.json, predictions.csv and examples.png go.", "RUN/evaluations/...", "DIR")
    ] = None,
) -> None:
    """Test a net on photographs with labels: top-1 and top-5 error, mean class recall, 95% intervals.

    DATA is what `verydeep train` takes; RUN a folder that it left, or a model folder. Images are rescaled to the short
    side Q and seen whole, the soft-max is averaged over the image and its mirror image, and over the scales.

    Try:
        verydeep evaluate photos runs/photos-A-256-c64-s0
        verydeep evaluate photos runs/photos-D-256-512-c224-s0 --scales 256,384,512
    """
    from verydeep.engine import runtime as engine
    from verydeep.engine.checkpoint import model_folder
    from verydeep.engine.evaluation import check_classes, evaluate_split
    from verydeep.engine.report import Journal, leave_evaluation
    from verydeep.engine.source import open_part
    from verydeep.models.weights.native import load_model

    check_range("--devices", devices, 1)
    check_range("--workers", workers, 0)
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
