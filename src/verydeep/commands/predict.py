"""``verydeep predict``: what is on these photographs?"""

import csv
import json
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from tyro.conf import arg

from verydeep.configs.protocols import View
from verydeep.configs.scales import parse_test_scales
from verydeep.errors import VerydeepError
from verydeep.options import (
    VIEWS_HELP,
    BadImages,
    Device,
    Format,
    Photographs,
    Precision,
    Run,
    Scales,
    Weights,
    Workers,
    check_range,
    option,
)

if TYPE_CHECKING:
    from verydeep.data.decoding import Decoding
    from verydeep.data.split import Split
    from verydeep.engine.runtime import Runtime
    from verydeep.ops.arrays import Float32Array


def predict(
    run: Run,
    files: Photographs,
    /,
    *,
    scales: Scales = None,
    views: Annotated[View | None, option(VIEWS_HELP, "dense")] = None,
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
    them, or patterns such as "photos/*.jpg". Of a folder that `verydeep transfer` left the margins of its linear
    classifiers are told: above 0 for the class, and no probabilities.

    Try:
        verydeep predict runs/generated-A-256-512-c64-s0 photo.jpg
        verydeep predict oxford-vgg16 holiday/ --format csv > holiday.csv
    """
    from verydeep.data.decoding import Decoding
    from verydeep.data.photographs import find_photographs
    from verydeep.engine import runtime as engine
    from verydeep.engine.transfer.classifier import is_classifier

    check_range("--top", top, 1)
    check_range("--workers", workers, 0)
    if is_classifier(run):
        if scales is not None or views is not None or weights != "last":
            raise VerydeepError(
                f"{run} says itself how images are described: leave --scales, --views and --weights out."
            )
        ask, kind = classifier_at(run), "margin"
    else:
        ask, kind = net_at(run, weights, scales, views or "dense"), "probability"
    split = find_photographs(files)
    with engine.start(device=device, bf16=engine.wants_bf16(precision, device), num_workers=workers) as runtime:
        said = ask(split, runtime, Decoding(bad_images))
    results = []
    for index, scores in zip(said.indices, said.scores, strict=True):
        best = (-scores).argsort(kind="stable")[:top]
        classes = [
            {"class": said.class_names[k], "words": said.class_words[k], kind: float(scores[k])} for k in best.tolist()
        ]
        results.append({"path": split.files[index], "classes": classes})
    {"table": print_table, "json": print_json, "csv": print_csv}[format](results, kind)
    for file, reason in said.skipped.items():
        print(f"skipped {file}: {reason}", file=sys.stderr)


class PhotographScores(NamedTuple):
    """What was said of photographs."""

    indices: Sequence[int]
    scores: "Float32Array"
    """(n, K) posteriors, or margins."""
    class_names: tuple[str, ...]
    class_words: tuple[str, ...]
    skipped: dict[str, str]


Ask = Callable[["Split", "Runtime", "Decoding"], PhotographScores]


def net_at(run: Any, weights: Any, scales: str | None, views: View) -> Ask:
    """The posteriors of a net.

    Raises:
        VerydeepError: there is none, or it names no classes.
    """
    from verydeep.engine.inference import SINGLE_VIEWS, ViewAtScale
    from verydeep.engine.nets.checks import check_not_trunk
    from verydeep.engine.nets.net import load
    from verydeep.engine.predictions import predict_split
    from verydeep.engine.progress import run_with_progress

    net = load(run, weights)
    config = net.config
    if config.regression is not None:
        raise VerydeepError(f"{run} predicts boxes: verydeep localize tells them, and the classes with them.")
    check_not_trunk(net)
    chosen = config.test_scales if scales is None else parse_test_scales(scales)
    wanted = [ViewAtScale(view, scale) for view in SINGLE_VIEWS[views] for scale in chosen]

    def ask(split: "Split", runtime: "Runtime", decoding: "Decoding") -> PhotographScores:
        said = run_with_progress(
            predict_split(net.prepare(runtime), split, wanted, runtime, decoding), "Predicting", len(split)
        )
        assert said is not None
        scores = said.mean(views, chosen)
        return PhotographScores(said.indices.tolist(), scores, config.class_names, config.class_words, said.skipped)

    return ask


def classifier_at(run: Any) -> Ask:
    """The margins of linear classifiers.

    Raises:
        VerydeepError: they are damaged, or their nets are not there.
    """
    from verydeep.engine.transfer.classifier import load_classifier

    classifier = load_classifier(run)

    def ask(split: "Split", runtime: "Runtime", decoding: "Decoding") -> PhotographScores:
        found = classifier.says(split, runtime, decoding)
        assert found is not None
        indices, scores, skipped = found
        return PhotographScores(indices, scores, classifier.class_names, classifier.class_words, skipped)

    return ask


def print_table(results: list[dict[str, Any]], kind: str) -> None:
    """For people: one block a photograph."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for heading in ("photograph", "class"):
        table.add_column(heading, overflow="fold")
    table.add_column(kind, justify="right")
    for result in results:
        for i, guess in enumerate(result["classes"]):
            score = f"{guess[kind]:.1%}" if kind == "probability" else f"{guess[kind]:+.2f}"
            table.add_row(Text(result["path"] if i == 0 else ""), Text(guess["words"]), score)
    Console().print(table)


def print_json(results: list[dict[str, Any]], _kind: str) -> None:
    """For machines: one object a line."""
    for result in results:
        print(json.dumps(result, ensure_ascii=False))


def print_csv(results: list[dict[str, Any]], kind: str) -> None:
    """For machines: path, rank, class, words, probability or margin."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["path", "rank", "class", "words", kind])
    for result in results:
        for rank, guess in enumerate(result["classes"], start=1):
            writer.writerow([result["path"], rank, guess["class"], guess["words"], f"{guess[kind]:.6f}"])
