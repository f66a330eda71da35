"""The generated set: small pictures of ten outlines, the embedded default data of the main job.

Each picture holds one object whose outline is its class. All else (hue, brightness, place, size, the shape
of the picture, clutter) is drawn without regard to the class, and 8x8 thumbnails do not tell the classes
apart. The object is brighter than its background, since with random polarity no net learned. Objects span a
factor of four in size, so training and testing at several scales (the paper's sections 3.1 and 3.2) have
something to show.

A picture is a function of (seed, split, index) alone. The set is made by any number of processes, in chunks
that a later call goes on from, in a folder beside the set that takes the set's name once all is there.
"""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import NormalDist
from subprocess import PIPE
from types import MappingProxyType

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFilter

from verydeep.data.split import Split
from verydeep.errors import VerydeepError

VERSION = 2
"""Counts up with any change of the pictures; written into the set, so that no older set is taken for it."""
COUNTS: Mapping[str, int] = MappingProxyType({"train": 10_000, "val": 1_000, "test": 2_000})
SMALLEST, LARGEST = 0.15, 0.60
"""The longer side of the object's box as a share of the picture's short side is log-uniform in between."""
LAYOUT = "the generated set, 10 outlines"

Points = npt.NDArray[np.float64]  # (n, 2), x to the right, y downwards
Floats = npt.NDArray[np.float32]
Box = tuple[int, int, int, int]  # inclusive xyxy
Plan = Mapping[str, object]
Chunk = tuple[str, int, int]  # split, first index, index after the last

_MARKER = "generated.json"
_HEADER = ("path", "label", "xmin", "ymin", "xmax", "ymax")
_STREAM = int.from_bytes(b"outlines", "big")
_SPLITS = tuple(COUNTS)
_CHUNK = 100
_SUPERSAMPLING = 4
_NORMAL_QUANTILES = np.array([NormalDist().inv_cdf((i + 0.5) / 256) for i in range(256)], np.float32)


def _corners(count: int, *radii: float) -> Points:
    """Corners around the origin, the first on top, at radii taken in turn."""
    angles = 2 * np.pi * np.arange(count) / count - np.pi / 2
    points: Points = np.resize(radii, count)[:, None] * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return points


def _open_ring() -> Points:
    angles = np.linspace(0.2 * np.pi, 1.8 * np.pi, 48)
    arc = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    return np.concatenate([arc, 0.72 * arc[::-1]])


def _heart() -> Points:
    t = np.linspace(0, 2 * np.pi, 48, endpoint=False)
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([16 * np.sin(t) ** 3, -y], axis=1)


_ARROW = np.array([(-1, -0.18), (0.1, -0.18), (0.1, -0.7), (1, 0), (0.1, 0.7), (0.1, 0.18), (-1, 0.18)])
_CROSS_QUARTER = np.array([(0.2, -1), (0.2, -0.2), (1, -0.2)])
_QUARTER_TURN = np.array([(0, 1), (-1, 0)])

_OUTLINES: Mapping[str, tuple[Points, ...]] = {  # a polygon, and where there is one, the hole in it
    "arrow": (_ARROW,),
    "cross": (np.concatenate([_CROSS_QUARTER @ np.linalg.matrix_power(_QUARTER_TURN, n) for n in range(4)]),),
    "disc": (_corners(60, 1),),
    "heart": (_heart(),),
    "hexagon": (_corners(6, 1),),
    "open_ring": (_open_ring(),),
    "ring": (_corners(60, 1), _corners(60, 0.72)),
    "square": (np.array([(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)]),),
    "star": (_corners(10, 1, 0.38),),
    "triangle": (_corners(3, 1),),
}
CLASS_NAMES = tuple(sorted(_OUTLINES))
"""No outline is another's mirror image, since training flips."""


@dataclass(frozen=True, eq=False)
class Picture:
    """One rendered picture, before it is written as a JPEG."""

    pixels: npt.NDArray[np.uint8]
    """(h, w, 3) RGB."""
    mask: npt.NDArray[np.bool_]
    """(h, w), true where the object covers at least half a pixel."""
    box: Box
    """Inclusive xyxy of the mask."""
    label: int


def render(seed: int, split: str, index: int) -> Picture:
    """Draw one picture: a function of its arguments alone, its label ``index % 10``."""
    counter = [0, 0, index, _SPLITS.index(split)]
    rng = np.random.Generator(np.random.Philox(key=[seed, _STREAM], counter=counter))
    label = index % len(CLASS_NAMES)
    short = int(rng.integers(100, 125))
    long = round(short * rng.uniform(1.1, 1.45))
    height, width = (short, long) if rng.random() < 0.5 else (long, short)
    brightness = rng.uniform(40, 95)
    image = _background(rng, height, width, brightness)  # (h, w, 3)

    coverage, extent = _object(rng, _OUTLINES[CLASS_NAMES[label]], short)
    box = _place(rng, extent, height, width)
    x, y = box[0] - extent[0], box[1] - extent[1]  # where the patch's pixel (0, 0) falls
    left, upper = max(x, 0), max(y, 0)
    coverage = coverage[upper - y : height - y, left - x : width - x]
    rows = slice(upper, upper + coverage.shape[0])
    columns = slice(left, left + coverage.shape[1])
    color = _color(rng, brightness + rng.uniform(80, 125))
    image[rows, columns] += coverage[..., None] * (color - image[rows, columns])
    mask = np.zeros((height, width), np.bool_)
    mask[rows, columns] = coverage >= 0.5

    _strike(rng, image, box)
    return Picture(_develop(rng, image), mask, box, label)


def _color(rng: np.random.Generator, brightness: float) -> Floats:
    """An RGB color of that mean and of any hue."""
    hue, strength = rng.uniform(0, 2 * np.pi), rng.uniform(0, 45)
    color: Floats = brightness + strength * np.cos(hue - 2 * np.pi / 3 * np.arange(3, dtype=np.float32))
    return color


def _background(rng: np.random.Generator, height: int, width: int, brightness: float) -> Floats:
    """Slow changes of color, a finer texture, and clutter: lines, and fragments smaller than any object."""

    def texture(cells_high: int, cells_wide: int, *channels: int) -> Floats:
        noise = rng.integers(0, 256, (cells_high, cells_wide, *channels), np.uint8)
        smooth = Image.fromarray(noise).resize((width, height), Image.Resampling.BICUBIC)
        field: Floats = np.asarray(smooth, np.float32) - np.float32(127.5)
        return field

    image: Floats = _color(rng, brightness) + np.float32(0.14) * texture(3, 4, 3)
    cells = rng.integers(5, 30, 2)
    texture_and_clutter = np.float32(rng.uniform(0.04, 0.16)) * texture(int(cells[0]), int(cells[1]))

    canvas = Image.new("L", (2 * width, 2 * height), 128)
    draw = ImageDraw.Draw(canvas)
    size = (2 * width, 2 * height)
    for _ in range(rng.integers(1, 4)):
        ends = rng.random((2, 2)) * size
        draw.line([*map(float, ends.ravel())], fill=_tone(rng), width=int(rng.integers(2, 6)))
    for _ in range(rng.integers(2, 6)):
        fragment = rng.random(2) * size + rng.uniform(-13, 13, (int(rng.integers(3, 5)), 2))
        draw.polygon([*map(float, fragment.ravel())], fill=_tone(rng))
    texture_and_clutter += np.asarray(canvas.reduce(2), np.float32) - 128
    image += texture_and_clutter[..., None]
    return image


def _tone(rng: np.random.Generator) -> int:
    """How clutter differs from the background, about 128: darker or brighter."""
    return 128 + int(rng.choice((-1, 1)) * rng.uniform(15, 45))


def _object(rng: np.random.Generator, polygons: Sequence[Points], short: int) -> tuple[Floats, Box]:
    """Coverage (h, w) in [0, 1] of the object on a patch of its own, and the box of what is half covered."""
    angle = rng.uniform(-np.pi / 9, np.pi / 9)
    stretch = np.exp(rng.uniform(-0.13, 0.13))
    turn = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    turned = [(polygon * (stretch, 1 / stretch)) @ turn for polygon in polygons]
    low, high = turned[0].min(axis=0), turned[0].max(axis=0)
    unit = [(polygon - low) / (high - low).max() for polygon in turned]
    shift = 2 + rng.random(2)
    length = short * SMALLEST * (LARGEST / SMALLEST) ** rng.random()
    while True:
        coverage = _rasterize([shift + length * polygon for polygon in unit])
        solid = coverage >= 0.5
        xs, ys = np.flatnonzero(solid.any(axis=0)), np.flatnonzero(solid.any(axis=1))
        box = (int(xs[0]), int(ys[0]), int(xs[-1]), int(ys[-1]))
        longer = max(box[2] - box[0], box[3] - box[1]) + 1
        if SMALLEST * short <= longer <= LARGEST * short:
            return coverage, box
        length += 0.5 if longer < SMALLEST * short else -0.5  # whole pixels, thin tips: at the range's ends only


def _rasterize(polygons: Sequence[Points]) -> Floats:
    """Coverage (h, w) of the first polygon less the others."""
    extent = np.ceil(polygons[0].max(axis=0)).astype(int) + 2
    canvas = Image.new("L", (int(extent[0]) * _SUPERSAMPLING, int(extent[1]) * _SUPERSAMPLING))
    draw = ImageDraw.Draw(canvas)
    for polygon, fill in zip(polygons, (255, 0), strict=False):
        draw.polygon([*map(float, (polygon * _SUPERSAMPLING - 0.5).ravel())], fill=fill)
    coverage: Floats = np.asarray(canvas.reduce(_SUPERSAMPLING), np.float32) / np.float32(255)
    return coverage


def _place(rng: np.random.Generator, extent: Box, height: int, width: int) -> Box:
    """A place wholly inside, more often near the middle: a crop is to hold most of the object."""
    sides = extent[2] - extent[0] + 1, extent[3] - extent[1] + 1
    left, top = (
        int((room - side + 1) * rng.random(3).mean()) for room, side in zip((width, height), sides, strict=True)
    )
    return left, top, left + sides[0] - 1, top + sides[1] - 1


def _strike(rng: np.random.Generator, image: Floats, box: Box) -> None:
    """Draw one thin line across the object, in place."""
    height, width = image.shape[:2]
    corner, side = np.array(box[:2]), np.array([box[2] - box[0] + 1, box[3] - box[1] + 1])
    middle = corner + side * rng.uniform(0.3, 0.7, 2)
    angle, reach = rng.uniform(0, np.pi), side.max() * rng.uniform(0.7, 1.3)
    arm = reach * np.array([np.cos(angle), np.sin(angle)])
    canvas = Image.new("L", (2 * width, 2 * height))
    ends = 2 * np.stack([middle - arm, middle + arm])
    ImageDraw.Draw(canvas).line([*map(float, ends.ravel())], fill=255, width=int(rng.integers(2, 4)))
    coverage = np.asarray(canvas.reduce(2), np.float32)[..., None] / 255
    image += coverage * (_color(rng, rng.uniform(40, 190)) - image)


def _develop(rng: np.random.Generator, image: Floats) -> npt.NDArray[np.uint8]:
    """Blur, noise and rounding: (h, w, 3) of bytes."""
    sharp = Image.fromarray(image.clip(0, 255).astype(np.uint8))
    blurred = np.asarray(sharp.filter(ImageFilter.BoxBlur(rng.uniform(0, 1))), np.int16)
    grain = (rng.uniform(3, 12) * _NORMAL_QUANTILES).round().astype(np.int16)
    noise = grain[np.frombuffer(rng.bytes(image.size), np.uint8)].reshape(image.shape)
    return (blurred + noise).clip(0, 255).astype(np.uint8)


def generate(
    root: Path, *, seed: int = 0, counts: Mapping[str, int] = COUNTS, processes: int | None = None
) -> Iterator[int]:
    """Make the set in the folder ``root``, or go on where an earlier call stopped; yield how many are done.

    The folder appears complete or not at all: ``{train,val,test}/<class>/<index>.jpg``, ``<split>_boxes.csv``
    (path, label, inclusive xyxy) and ``generated.json``. Where it is complete nothing is done and nothing
    yielded. The bytes do not depend on ``processes`` (None: one for each core).

    Raises:
        VerydeepError: if ``root`` holds something else, or cannot be written.
    """
    plan: Plan = {"generator": __name__, "version": VERSION, "seed": seed, "counts": dict(counts)}
    work = root.with_name(f".{root.name}.partial")
    try:
        if _is_missing(root, plan):
            yield from _make(work, plan, seed, counts, processes or _num_cores())
            _finish(work, root, plan, counts)
        shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        if _read_plan(root / _MARKER) != plan:  # else another process was making the same set and was first
            raise VerydeepError(
                f"The generated set cannot be written to {root} ({error}): make room there or choose another "
                "folder, and start again; what is done is kept."
            ) from error


def is_generated(root: Path) -> bool:
    """Whether the folder is a generated set, of this version or another."""
    plan = _read_plan(root / _MARKER)
    return plan is not None and plan.get("generator") == __name__


def open_generated(root: Path, split_name: str) -> Split:
    """One part of the generated set, with its boxes.

    Raises:
        VerydeepError: if the folder is no generated set, is of another version, is damaged, or lacks that part.
    """
    plan = _read_plan(root / _MARKER)
    if plan is None or not is_generated(root) or plan.get("version") != VERSION:
        raise VerydeepError(
            f"{root} is not the generated set of this version of the generator ({VERSION}): delete it, so "
            "that it is made anew, or choose another folder."
        )
    try:
        with _boxes_file(root, split_name).open(newline="") as lines:
            rows = list(csv.DictReader(lines))
        labels = np.array([CLASS_NAMES.index(row["label"]) for row in rows], np.int64)
        boxes = tuple(np.array([[float(row[side]) for side in _HEADER[2:]]], np.float32) for row in rows)
    except FileNotFoundError as error:
        raise VerydeepError(f"{root} has no part {split_name!r}: name one of {', '.join(_SPLITS)}.") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise VerydeepError(
            f"{_boxes_file(root, split_name)} is damaged: delete {root}, so that the set is made anew."
        ) from error
    return Split(
        name=split_name,
        root=root,
        files=tuple(row["path"] for row in rows),
        labels=labels,
        class_names=CLASS_NAMES,
        class_words=tuple(name.replace("_", " ") for name in CLASS_NAMES),
        layout=LAYOUT,
        camera_rotation=False,
        boxes=boxes,
    )


def _is_missing(root: Path, plan: Plan) -> bool:
    """Whether the set is still to be made."""
    if _read_plan(root / _MARKER) == plan:
        return False
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise VerydeepError(
            f"{root} is in the way: it is not the generated set of version {VERSION} with seed {plan['seed']} and "
            f"{plan['counts']}; delete it or choose another folder."
        )
    return True


def _read_plan(file: Path) -> Plan | None:
    """What a set was made from, or None."""
    try:
        plan = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return None
    return plan if isinstance(plan, dict) else None


def _boxes_file(root: Path, split: str) -> Path:
    return root / f"{split}_boxes.csv"


def _num_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _make(work: Path, plan: Plan, seed: int, counts: Mapping[str, int], processes: int) -> Iterator[int]:
    """Write the chunks that are missing under ``work``; yield how many pictures are done."""
    if _read_plan(work / "plan.json") != plan:
        shutil.rmtree(work, ignore_errors=True)
    (work / "parts").mkdir(parents=True, exist_ok=True)
    for split in counts:
        for name in CLASS_NAMES:
            (work / "set" / split / name).mkdir(parents=True, exist_ok=True)
    _put(work, work / "plan.json", json.dumps(plan).encode())
    chunks = [
        (split, start, min(start + _CHUNK, count))
        for split, count in counts.items()
        for start in range(0, count, _CHUNK)
    ]
    missing = [chunk for chunk in chunks if not _part(work, chunk).exists()]
    done = sum(counts.values()) - sum(stop - start for _, start, stop in missing)
    yield done
    for more in _write_chunks(work, seed, missing, processes):
        done += more
        yield done


def _part(work: Path, chunk: Chunk) -> Path:
    """The rows of one chunk; once the file is there, the chunk is done."""
    return work / "parts" / f"{chunk[0]}-{chunk[1]:08d}.csv"


def _write_chunks(work: Path, seed: int, chunks: Sequence[Chunk], processes: int) -> Iterator[int]:
    """Write chunks, here or in processes of their own; yield each one's number of pictures as it is done.

    Plain interpreters rather than ``multiprocessing``: forking is unsafe beside torch's threads, and spawning
    runs the caller's main script again, which a script read from a pipe or without a guard does not survive.
    A killed parent leaves no process behind, since a worker ends when nobody reads what it reports.
    """
    if processes == 1 or len(chunks) < 2:
        for chunk in chunks:
            _write_chunk(work, seed, chunk)
            yield chunk[2] - chunk[1]
        return
    num_workers = min(processes, len(chunks))
    command = [sys.executable, "-P", "-c", f"from {__name__} import _serve; _serve()"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with ExitStack() as stack:
        workers = []
        for first in range(num_workers):
            # A session of its own, so that Ctrl-C reaches the parent alone, which then ends its workers.
            worker = subprocess.Popen(
                command, stdin=PIPE, stdout=PIPE, env=environment, text=True, start_new_session=True
            )
            workers.append(stack.enter_context(worker))
            stack.callback(worker.kill)
            assert worker.stdin is not None
            json.dump([str(work), seed, chunks[first::num_workers]], worker.stdin)
            worker.stdin.close()
        for i, (_, start, stop) in enumerate(chunks):
            reports = workers[i % num_workers].stdout
            assert reports is not None
            report = reports.readline().strip()
            if report != "done":
                raise OSError(report or "a worker process ended early")
            yield stop - start


def _serve() -> None:
    """A worker process: write the chunks named on stdin, and report each on stdout."""
    folder, seed, chunks = json.load(sys.stdin)
    for chunk in chunks:
        try:
            _write_chunk(Path(folder), seed, chunk)
            report = "done"
        except OSError as error:
            report = str(error)
        try:
            print(report, flush=True)
        except BrokenPipeError:
            os._exit(1)  # the parent was killed


def _write_chunk(work: Path, seed: int, chunk: Chunk) -> None:
    """Render and write the pictures of one chunk, then its rows."""
    split, start, stop = chunk
    rows = io.StringIO()
    writer = csv.writer(rows)
    for index in range(start, stop):
        picture = render(seed, split, index)
        name = CLASS_NAMES[picture.label]
        path = f"{split}/{name}/{index:05d}.jpg"
        encoded = io.BytesIO()
        Image.fromarray(picture.pixels).save(encoded, "JPEG", quality=88)
        _put(work, work / "set" / path, encoded.getvalue())
        writer.writerow((path, name, *picture.box))
    _put(work, _part(work, chunk), rows.getvalue().encode())


def _put(work: Path, file: Path, content: bytes) -> None:
    """Write a file that is there either whole or not at all."""
    beside = work / "parts" / f"{file.name}.{os.getpid()}"
    beside.write_bytes(content)
    beside.replace(file)


def _finish(work: Path, root: Path, plan: Plan, counts: Mapping[str, int]) -> None:
    """Join the rows of the chunks, in the order of the paths, and let the folder take its name."""
    for split in counts:
        parts = (work / "parts").glob(f"{split}-*.csv")
        rows = sorted(line for part in parts for line in part.read_text().splitlines())
        _put(work, _boxes_file(work / "set", split), "\n".join([",".join(_HEADER), *rows, ""]).encode())
    _put(work, work / "set" / _MARKER, json.dumps(plan, indent=2).encode())
    if root.exists():
        root.rmdir()  # empty: not every system renames onto an empty folder
    (work / "set").rename(root)
