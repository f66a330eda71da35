"""``verydeep search``: which photographs look like this one?"""

import csv
import json
import os
import sys
from pathlib import Path
from typing import Annotated, Any

from tyro.conf import Positional, arg

from verydeep.errors import VerydeepError
from verydeep.options import Device, Format, Photographs, Workers, check_range


def search(
    folder: Annotated[Path, Positional, arg(metavar="DIR", help="What verydeep features left.")],
    files: Photographs,
    /,
    *,
    top: Annotated[int, arg(help="How many neighbors of each photograph.", metavar="N")] = 10,
    format: Format = "table",  # noqa: A002
    out: Annotated[Path, arg(help="Where a picture of them goes.", metavar="FILE")] = Path("neighbors.png"),
    pictures: Annotated[bool, arg(help="Whether it is drawn.")] = True,
    device: Device = "auto",
    workers: Workers = None,
) -> None:
    """Find the photographs that are nearest to others, and show them in one picture.

    FILES are described as those in DIR were, by the same net, and compared with all of them: the similarity is the
    inner product of two descriptors of length one, 1 for the same photograph. A photograph that is in DIR itself finds
    itself first.

    Try:
        verydeep search photos-described holiday.jpg
        verydeep search photos-described new/ --top 1 --format csv --no-pictures > copies.csv
    """
    from verydeep.data.decoding import Decoding
    from verydeep.data.photographs import find_photographs
    from verydeep.engine import runtime as engine
    from verydeep.engine.archive.manifest import Manifest
    from verydeep.engine.archive.pictures import FORMATS, MAX_QUERIES, draw_neighbors
    from verydeep.engine.archive.search import find_neighbors
    from verydeep.engine.descriptors.in_memory import describe_images

    check_range("--top", top, 1)
    check_range("--workers", workers, 0)
    if pictures and out.suffix.lower() not in FORMATS:
        raise VerydeepError(f"--out {out}: a picture ends in one of {', '.join(FORMATS)}.")
    manifest = Manifest.read(folder)
    net = manifest.open_net(folder)
    split = find_photographs(files)
    paths = [split.path(index) for index in range(len(split))]
    with engine.start(device=device, bf16=manifest.precision == "bf16", num_workers=workers) as runtime:
        decoding = Decoding(fast=manifest.fast_decode)
        queries = describe_images(manifest.representation(net), split, runtime, decoding).values
        neighbors = find_neighbors(folder, manifest, queries, top, device=runtime.device)
    results = [
        {
            "path": path.as_posix(),
            "neighbors": [
                {
                    "path": as_seen_from_here(neighbor.path),
                    "similarity": neighbor.similarity,
                    "missing": not os.path.exists(neighbor.path),  # noqa: PTH110 - False where we may not look
                }
                for neighbor in nearest
            ],
        }
        for path, nearest in zip(paths, neighbors, strict=True)
    ]
    photographs = {path.resolve() for path in (*paths, *(one.path for nearest in neighbors for one in nearest))}
    if pictures and out.resolve() in photographs:
        raise VerydeepError(f"--out {out} is one of the photographs: choose another name for the picture.")
    {"table": print_table, "json": print_json, "csv": print_csv}[format](results)
    if pictures:
        draw_neighbors(split, neighbors, out)
        left_out = f", of the first {MAX_QUERIES} photographs" if len(paths) > MAX_QUERIES else ""
        print(f"Picture written: {out}{left_out}", file=sys.stderr)


def as_seen_from_here(path: Path) -> str:
    """Relative to the working folder if it lies below, as one would type it."""
    here = Path.cwd()
    return (path.relative_to(here) if path.is_relative_to(here) else path).as_posix()


def print_table(results: list[dict[str, Any]]) -> None:
    """For people: one block a photograph, its lines not folded, so that paths can be copied."""
    for number, result in enumerate(results):
        print("\n" * (number > 0) + result["path"])
        for each in result["neighbors"]:
            print(f"  {each['similarity']:.3f}  {each['path']}{' (missing)' if each['missing'] else ''}")


def print_json(results: list[dict[str, Any]]) -> None:
    """For machines: one object a line."""
    for result in results:
        print(json.dumps(result, ensure_ascii=False))


def print_csv(results: list[dict[str, Any]]) -> None:
    """For machines: path, rank, neighbor, similarity, whether the neighbor is missing (0 or 1)."""
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(["path", "rank", "neighbor", "similarity", "missing"])
    for result in results:
        for rank, each in enumerate(result["neighbors"], start=1):
            similarity, missing = f"{each['similarity']:.6f}", int(each["missing"])
            writer.writerow([result["path"], rank, each["path"], similarity, missing])
