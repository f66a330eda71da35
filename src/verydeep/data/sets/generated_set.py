"""The generated set: small pictures of ten outlines, which verydeep draws itself for a first run without data.

Any number of processes draw it in chunks. A later call continues with the chunks that are missing. They are collected
in a folder next to the set, which gets the set's name once everything is there.
"""

import csv
import io
import json
import multiprocessing
import os
import shutil
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, ProcessPoolExecutor
from functools import partial
from pathlib import Path
from types import MappingProxyType

import numpy as np
from PIL import Image

from verydeep.data.annotations import SIDES
from verydeep.data.pixels.workers import held_signals, release_signals
from verydeep.data.sets.outlines import CLASS_NAMES, SPLITS, render
from verydeep.data.split import Split
from verydeep.errors import DataError
from verydeep.machine import available_cores
from verydeep.ops.arrays import Float32Array, Int64Array

VERSION = 3
"""Grows with any change of the set; it is written into the set, so that older sets are recognized."""
COUNTS: Mapping[str, int] = MappingProxyType(dict(zip(SPLITS, (10_000, 1_000, 2_000), strict=True)))
"""Number of pictures of each split."""

Plan = Mapping[str, object]
"""Parameters of a set: generator, version, seed and counts."""
Chunk = tuple[str, int, int]
"""Split, first index, index after the last."""

_GENERATOR = "verydeep"
_MARKER = "generated.json"
_HEADER = ("path", "label", *SIDES)
_CHUNK_SIZE = 100


def generate(
    root: Path, *, seed: int = 0, counts: Mapping[str, int] = COUNTS, processes: int | None = None
) -> Iterator[int]:
    """Draw the set in the folder ``root``, or continue where an earlier call stopped; yield the number of pictures.

    The folder appears complete or not at all: ``{train,val,test}/<class>/<index>.jpg``, ``<split>_boxes.csv``
    (path, label, inclusive xyxy) and ``generated.json``. If it is complete, nothing is done and nothing yielded.

    Args:
        root: the folder of the set.
        seed: of the drawing.
        counts: number of pictures of each split.
        processes: how many draw; None: one for each core. The pictures do not depend on it.

    Raises:
        DataError: ``root`` holds something else, or cannot be written.
    """
    plan: Plan = {"generator": _GENERATOR, "version": VERSION, "seed": seed, "counts": dict(counts)}
    work = root.with_name(f".{root.name}.partial")
    try:
        if _is_missing(root, plan):
            yield from _draw_set(work, plan, seed, counts, processes or available_cores())
            _publish(work, root, plan, counts)
        shutil.rmtree(work, ignore_errors=True)
    except (OSError, BrokenExecutor) as error:
        if _read_plan(root / _MARKER) != plan:  # otherwise another process has drawn the same set and was first
            raise DataError(
                f"The generated set cannot be written to {root} ({error}); make room or choose another folder, and "
                "start again. Pictures drawn so far are kept."
            ) from error


def is_generated(root: Path) -> bool:
    """Whether the folder is a generated set, of this version or another."""
    plan = _read_plan(root / _MARKER)
    return plan is not None and plan.get("generator") == _GENERATOR


def open_generated(root: Path, name: str) -> Split:
    """Read one split of the generated set, with its boxes.

    Raises:
        DataError: the folder is not a generated set, is of another version, is damaged, or has no such split.
    """
    plan = _read_plan(root / _MARKER)
    if plan is None or not is_generated(root) or plan.get("version") != VERSION:
        raise DataError(
            f"{root} is not version {VERSION} of the generated set; delete it, so that it is drawn again, or choose "
            "another folder."
        )
    files, labels, boxes = _read_rows(root, name)
    return Split(
        name=name,
        root=root,
        files=files,
        labels=labels,
        class_names=CLASS_NAMES,
        class_words=tuple(class_name.replace("_", " ") for class_name in CLASS_NAMES),
        layout="the generated set",
        camera_rotation=False,
        boxes=boxes,
    )


def _read_rows(root: Path, split: str) -> tuple[tuple[str, ...], Int64Array, tuple[Float32Array, ...]]:
    """Return files, labels and boxes of a split."""
    path = _boxes_file(root, split)
    try:
        with path.open(newline="") as lines:
            rows = list(csv.DictReader(lines))
        labels = np.array([CLASS_NAMES.index(row["label"]) for row in rows], np.int64)
        boxes = tuple(np.array([[float(row[side]) for side in _HEADER[2:]]], np.float32) for row in rows)
    except FileNotFoundError as error:
        raise DataError(f"{root} has no split {split!r}; choose one of {', '.join(SPLITS)}.") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} is damaged; delete {root}, so that the set is drawn again.") from error
    return tuple(row["path"] for row in rows), labels, boxes


def _is_missing(root: Path, plan: Plan) -> bool:
    """Whether the set must still be drawn."""
    if _read_plan(root / _MARKER) == plan:
        return False
    if root.exists() and (not root.is_dir() or any(root.iterdir())):
        raise DataError(
            f"{root} is in the way: it is not the complete generated set of version {VERSION} with seed "
            f"{plan['seed']}; delete it or choose another folder."
        )
    return True


def _read_plan(file: Path) -> Plan | None:
    """Return what a set was drawn from, or None."""
    try:
        plan = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return None
    return plan if isinstance(plan, dict) else None


def _boxes_file(root: Path, split: str) -> Path:
    return root / f"{split}_boxes.csv"


def _draw_set(work: Path, plan: Plan, seed: int, counts: Mapping[str, int], processes: int) -> Iterator[int]:
    """Write the missing chunks below ``work``; yield the number of pictures that are there."""
    if _read_plan(work / "plan.json") != plan:
        shutil.rmtree(work, ignore_errors=True)
    (work / "parts").mkdir(parents=True, exist_ok=True)
    for split in counts:
        for name in CLASS_NAMES:
            (work / "set" / split / name).mkdir(parents=True, exist_ok=True)
    _write_whole(work, work / "plan.json", json.dumps(plan).encode())
    chunks = [
        (split, start, min(start + _CHUNK_SIZE, count))
        for split, count in counts.items()
        for start in range(0, count, _CHUNK_SIZE)
    ]
    missing = [chunk for chunk in chunks if not _rows_file(work, chunk).exists()]
    done = sum(counts.values()) - sum(stop - start for _, start, stop in missing)
    yield done
    for count in _draw_chunks(work, seed, missing, processes):
        done += count
        yield done


def _rows_file(work: Path, chunk: Chunk) -> Path:
    """Return the file with the rows of one chunk, which is written last."""
    return work / "parts" / f"{chunk[0]}-{chunk[1]:08d}.csv"


def _draw_chunks(work: Path, seed: int, chunks: Sequence[Chunk], processes: int) -> Iterator[int]:
    """Write chunks, in this process or in several others; yield the number of pictures of each."""
    draw = partial(_draw_chunk, work, seed)
    if processes == 1 or len(chunks) < 2:
        yield from map(draw, chunks)
        return
    executor = ProcessPoolExecutor(min(processes, len(chunks)), initializer=_set_up_worker)
    try:
        with held_signals():
            counts = executor.map(draw, chunks)
        yield from counts
    finally:
        executor.shutdown(cancel_futures=True)


def _set_up_worker() -> None:
    """Leave Ctrl-C to the main process, and end with it even if it is killed."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    release_signals()
    threading.Thread(target=_end_with_main_process, daemon=True).start()


def _end_with_main_process() -> None:
    main_process = multiprocessing.parent_process()
    assert main_process is not None
    main_process.join()
    os._exit(1)


def _draw_chunk(work: Path, seed: int, chunk: Chunk) -> int:
    """Draw and write the pictures of one chunk, then their rows; return their number."""
    split, start, stop = chunk
    rows = io.StringIO()
    writer = csv.writer(rows)
    for index in range(start, stop):
        picture = render(seed, split, index)
        name = CLASS_NAMES[picture.label]
        path = f"{split}/{name}/{index:05d}.jpg"
        encoded = io.BytesIO()
        Image.fromarray(picture.pixels).save(encoded, "JPEG", quality=88)
        _write_whole(work, work / "set" / path, encoded.getvalue())
        writer.writerow((path, name, *picture.box))
    _write_whole(work, _rows_file(work, chunk), rows.getvalue().encode())
    return stop - start


def _write_whole(work: Path, file: Path, content: bytes) -> None:
    """Write a file that appears complete or not at all.

    Unlike ``files.atomic_write`` this does not wait for the disk, which would take minutes for 13,000 pictures.
    """
    partial_file = work / "parts" / f"{file.name}.{os.getpid()}"
    partial_file.unlink(missing_ok=True)
    with partial_file.open("xb") as stream:  # follows no link
        stream.write(content)
    partial_file.replace(file)


def _publish(work: Path, root: Path, plan: Plan, counts: Mapping[str, int]) -> None:
    """Join the rows of the chunks in the order of their paths, and give the folder its name."""
    for split in counts:
        parts = (work / "parts").glob(f"{split}-*.csv")
        rows = sorted(line for part in parts for line in part.read_text().splitlines())
        _write_whole(work, _boxes_file(work / "set", split), "\n".join([",".join(_HEADER), *rows, ""]).encode())
    _write_whole(work, work / "set" / _MARKER, json.dumps(plan, indent=2).encode())
    if root.exists():
        root.rmdir()  # empty: not every system renames onto an empty folder
    (work / "set").rename(root)
