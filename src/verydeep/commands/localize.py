"""``verydeep localize``: what is on these photographs, and where?"""

import csv
import json
import sys
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import arg

from verydeep.configs.protocols import parse_classes
from verydeep.configs.scales import parse_test_scales
from verydeep.errors import VerydeepError
from verydeep.options import (
    BadImages,
    Device,
    Format,
    Photographs,
    Precision,
    Run,
    Runs,
    Scales,
    Weights,
    Workers,
    check_range,
    option,
)

COLUMNS = ("class", "words", "probability", "rating", "xmin", "ymin", "xmax", "ymax")


def localize(
    run: Run,
    files: Photographs,
    /,
    *,
    top: Annotated[int, arg(help="A box for each of so many classes, the most probable ones.", metavar="N")] = 1,
    scales: Scales = None,
    merge_threshold: Annotated[
        float | None, option("How far boxes of a class may lie apart to become one.", "0.5", "X")
    ] = None,
    classes: Annotated[
        str | None,
        option(
            'Who names the classes: runs in --runs, as "D/256-512/256,384,512 + E/384/384 : crops".',
            "the net that RUN started from",
            "PROTOCOL",
        ),
    ] = None,
    runs: Runs = "runs",
    format: Format = "table",  # noqa: A002
    out: Annotated[Path, arg(help="Where a picture with the boxes goes for each photograph.", metavar="DIR")] = Path(
        "boxes"
    ),
    pictures: Annotated[bool, arg(help="Whether pictures are drawn.")] = True,
    weights: Weights = "last",
    precision: Precision = "auto",
    device: Device = "auto",
    workers: Workers = None,
    bad_images: BadImages = "error",
) -> None:
    """Tell what is on photographs and where: a box for the most probable class, in words and in a picture.

    RUN is a folder that `verydeep train --task localize` left; FILES are photographs, folders of them, or patterns such
    as "photos/*.jpg". The probability is that of the class; the rating says how many of the net's views of the
    photograph agree on the box, weighted by how sure they are of the class. Boxes are the first and last pixels of the
    photograph as it is shown, after the camera's rotation, counted from 0.

    Try:
        verydeep localize runs/photos-D-384pcr-c224-s0 photo.jpg
        verydeep localize runs/photos-D-384pcr-c224-s0 holiday/ --scales 352,384 --format csv > holiday.csv
        verydeep localize runs/photos-D-384pcr-c224-s0 photo.jpg --top 5 --classes "D/384/384 + E/384/384"
    """
    from verydeep.data.decoding import Decoding, inspect_image
    from verydeep.data.photographs import find_photographs
    from verydeep.engine import runtime as engine
    from verydeep.engine.localization.box_ensemble import build_box_ensemble
    from verydeep.engine.localization.merge_threshold import DEFAULT_THRESHOLD
    from verydeep.engine.localization.objects import draw_objects, locate_objects, name_pictures
    from verydeep.engine.nets.checks import check_not_trunk
    from verydeep.engine.nets.collection import Collection
    from verydeep.engine.nets.net import EnsembleMember, Net

    check_range("--top", top, 1, 5)
    check_range("--merge-threshold", merge_threshold, 0, 2)
    check_range("--workers", workers, 0)
    net = Net.open(run, weights)
    check_not_trunk(net)
    if net.config.regression is None:
        raise VerydeepError(
            f"{run} tells classes and no boxes: train a net that does from it, by verydeep train DATA --task localize "
            f"--init-from {run}."
        )
    chosen = net.config.test_scales if scales is None else parse_test_scales(scales)
    protocol = None if classes is None else parse_classes(classes)
    if protocol == "truth":
        raise VerydeepError("--classes truth: nobody knows it of these photographs; name a protocol, or leave it out.")
    ensemble = build_box_ensemble([EnsembleMember(net, chosen)], "dense", protocol, Collection.parse(runs), weights)
    if pictures and any(Path(each).is_dir() and Path(each).resolve() == out.resolve() for each in files):
        raise VerydeepError(f"--out {out}: the pictures would lie among the photographs; choose another folder.")
    split = find_photographs(files, leave_out=out)
    threshold = DEFAULT_THRESHOLD if merge_threshold is None else merge_threshold
    with engine.start(device=device, bf16=engine.wants_bf16(precision, device), num_workers=workers) as runtime:
        found = locate_objects(ensemble, split, threshold, runtime, Decoding(bad_images), top=top)
    names, words = net.config.class_names, net.config.class_words
    results: list[dict[str, Any]] = []
    for index, objects in found.items():
        values = ((names[one.label], words[one.label], one.probability, one.rating, *one.xyxy) for one in objects)
        told = [dict(zip(COLUMNS, each, strict=True)) for each in values]
        results.append({"path": split.files[index], "objects": told})
    paths = name_pictures([split.path(index) for index in found], out) if pictures else []
    for result, path in zip(results, paths, strict=False):
        result["picture"] = path.as_posix()
    {"table": print_table, "json": print_json, "csv": print_csv}[format](results)
    if pictures:
        draw_objects(split, found, words, paths)
        print(f"Pictures written: {len(paths):,}, in {out}/", file=sys.stderr)
    for index in sorted(set(range(len(split))) - set(found)):
        print(f"skipped {split.files[index]}: {inspect_image(split.path(index)).error}", file=sys.stderr)


def print_table(results: list[dict[str, Any]]) -> None:
    """For people: one block a photograph."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False)
    for heading in ("photograph", "class"):
        table.add_column(heading, overflow="fold")
    for heading in COLUMNS[2:]:
        table.add_column(heading, justify="right", no_wrap=True)
    for result in results:
        for i, each in enumerate(result["objects"]):
            told = (result["path"] if i == 0 else "", each["words"])
            box = (str(each[side]) for side in COLUMNS[4:])
            table.add_row(*map(Text, told), f"{each['probability']:.1%}", f"{each['rating']:.2f}", *box)
    Console().print(table)


def print_json(results: list[dict[str, Any]]) -> None:
    """For machines: one object a line."""
    for result in results:
        print(json.dumps(result, ensure_ascii=False))


def print_csv(results: list[dict[str, Any]]) -> None:
    """For machines: path, rank, class, words, probability, rating, xmin, ymin, xmax, ymax."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["path", "rank", *COLUMNS])
    for result in results:
        for rank, each in enumerate(result["objects"], start=1):
            shares = (f"{each[share]:.6f}" for share in COLUMNS[2:4])
            box = (each[side] for side in COLUMNS[4:])
            writer.writerow([result["path"], rank, each["class"], each["words"], *shares, *box])
