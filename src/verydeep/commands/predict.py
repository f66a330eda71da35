"""``verydeep predict``: what is on these photographs?"""

import csv
import json
import sys
from typing import Annotated, Any

from tyro.conf import arg

from verydeep.configs.scales import parse_test_scales
from verydeep.errors import VerydeepError
from verydeep.options import (
    BadImages,
    Device,
    Format,
    Photographs,
    Precision,
    Run,
    Scales,
    Views,
    Weights,
    Workers,
    check_range,
)


def predict(
    run: Run,
    files: Photographs,
    /,
    *,
    scales: Scales = None,
    views: Views = "dense",
    top: Annotated[int, arg(help="How many classes to tell.", metavar="N")] = 5,
    format: Format = "table",  # noqa: A002
    weights: Weights = "last",
    precision: Precision = "auto",
    device: Device = "auto",
    workers: Workers = None,
    bad_images: BadImages = "error",
) -> None:
    """Tell the most probable classes of photographs.

    RUN is a folder that `verydeep train` left, a weight file, or a published net; FILES are photographs, folders of
    them, or patterns such as "photos/*.jpg".

    Try:
        verydeep predict runs/generated-A-256-512-c64-s0 photo.jpg
        verydeep predict oxford-vgg16 holiday/ --format csv > holiday.csv
    """
    from verydeep.data.decoding import Decoding
    from verydeep.data.photographs import find_photographs
    from verydeep.data.split import Split
    from verydeep.engine import runtime as engine
    from verydeep.engine.checkpoint import model_folder
    from verydeep.engine.inference import SINGLE_VIEWS, Predictions, ViewAtScale, predict_split
    from verydeep.engine.progress import progress_bar
    from verydeep.models.weights.native import load_model

    check_range("--top", top, 1)
    check_range("--workers", workers, 0)
    model, config = load_model(model_folder(run, weights))
    if config.regression is not None:
        raise VerydeepError(f"{run} predicts boxes: verydeep localize tells them, and the classes with them.")
    if config.is_trunk:
        raise VerydeepError(f"{run} has convolutions alone and names no classes: train a net from it with --init-from.")
    split = Split.of_photographs(find_photographs(files))
    chosen = config.test_scales if scales is None else parse_test_scales(scales)
    wanted = [ViewAtScale(view, scale) for view in SINGLE_VIEWS[views] for scale in chosen]
    with (
        engine.start(device=device, bf16=engine.wants_bf16(precision, device), num_workers=workers) as runtime,
        progress_bar(visible=len(split) > 1) as progress,
    ):
        task = progress.add_task("Predicting", total=len(split), note="")
        for done in predict_split(model, split, wanted, runtime, Decoding(bad_images)):
            if isinstance(done, Predictions):
                predictions = done
            else:
                progress.advance(task, done)
    results = []
    for index, posterior in zip(predictions.indices, predictions.mean(views, chosen), strict=True):
        best = (-posterior).argsort(kind="stable")[:top]
        classes = [
            {
                "class": config.class_names[k],
                "words": config.class_words[k],
                "probability": float(posterior[k]),
            }
            for k in best
        ]
        results.append({"path": split.files[index], "classes": classes})
    {"table": print_table, "json": print_json, "csv": print_csv}[format](results)
    for file, reason in predictions.skipped.items():
        print(f"skipped {file}: {reason}", file=sys.stderr)


def print_table(results: list[dict[str, Any]]) -> None:
    """For people: one block a photograph."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for heading in ("photograph", "class"):
        table.add_column(heading, overflow="fold")
    table.add_column("probability", justify="right")
    for result in results:
        for i, guess in enumerate(result["classes"]):
            table.add_row(Text(result["path"] if i == 0 else ""), Text(guess["words"]), f"{guess['probability']:.1%}")
    Console().print(table)


def print_json(results: list[dict[str, Any]]) -> None:
    """For machines: one object a line."""
    for result in results:
        print(json.dumps(result, ensure_ascii=False))


def print_csv(results: list[dict[str, Any]]) -> None:
    """For machines: path, rank, class, words, probability."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["path", "rank", "class", "words", "probability"])
    for result in results:
        for rank, guess in enumerate(result["classes"], start=1):
            writer.writerow([result["path"], rank, guess["class"], guess["words"], f"{guess['probability']:.6f}"])
