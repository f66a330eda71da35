"""The generated set: small pictures of ten outlines, the embedded default data of the main job.

The set is made by any number of processes, in chunks that a later call goes on from, in a folder beside the set that
takes the set's name once all is there.
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
from pathlib import Path
from subprocess import PIPE
from types import MappingProxyType

import numpy as np
from PIL import Image

from verydeep.data.outlines import CLASS_NAMES, SPLITS, render
from verydeep.data.split import Split
from verydeep.errors import VerydeepError

VERSION = 2
"""Counts up with any change of the pictures; written into the set, so that no older set is taken for it."""
COUNTS: Mapping[str, int] = MappingProxyType(dict(zip(SPLITS, (10_000, 1_000, 2_000), strict=True)))
LAYOUT = "the generated set, 10 outlines"

Plan = Mapping[str, object]
Chunk = tuple[str, int, int]  # split, first index, index after the last

_MARKER = "generated.json"
_HEADER = ("path", "label", "xmin", "ymin", "xmax", "ymax")
_CHUNK = 100


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
        raise VerydeepError(f"{root} has no part {split_name!r}: name one of {', '.join(SPLITS)}.") from error
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
