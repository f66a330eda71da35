"""Decode every file of a data set once, by several processes, and measure it."""

import multiprocessing
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from verydeep.data.pixels.decoding import Inspection, inspect_image
from verydeep.data.pixels.photograph_measures import PhotographMeasures
from verydeep.data.split import Split
from verydeep.engine.progress import track
from verydeep.errors import ResourceError
from verydeep.machine import available_cores
from verydeep.ops.value_ranges import ValueRanges

FILES_PER_WORKER = 500
"""Fewer files are decoded sooner than another process has started."""
FILES_PER_TURN = 32
"""Files that a process takes at once, and finishes after Ctrl-C."""


@dataclass(frozen=True)
class InspectedPhotograph:
    """A photograph that can be decoded."""

    file: str
    """Path relative to the folder of the data set."""
    part: str
    """Name of its split."""
    label: str | None
    """Name of its class, if that is known."""
    measures: PhotographMeasures


@dataclass(frozen=True)
class InspectedFiles:
    """All files of a data set, inspected."""

    photographs: tuple[InspectedPhotograph, ...]
    """Those that can be decoded, each file once."""
    undecodable: dict[str, str]
    """File -> reason why it cannot be decoded, or is refused."""
    unusual: tuple[tuple[str, str], ...]
    """(file, peculiarity) of files that are used."""


def list_labels(split: Split) -> list[str | None]:
    """Return the name of each image's class; None where it is not known, or several are on one image."""
    labels = split.labels
    if split.relevance is not None:
        is_shown = split.relevance == 1
        labels = np.where(is_shown.sum(axis=1) == 1, is_shown.argmax(axis=1), -1)
    if labels is None:
        return [None] * len(split)
    return [split.class_names[label] if label >= 0 else None for label in labels]


def inspect_splits(splits: Sequence[Split], root: Path, num_workers: int | None) -> InspectedFiles:
    """Inspect all files of the splits of one data set, with a progress bar.

    Args:
        splits: parts of the data set, with ranges for values that are not bytes.
        root: its folder, to which the names of files are relative.
        num_workers: processes that decode; None: by the number of files and cores.
    """
    paths = [split.path(index) for split in splits for index in range(len(split))]
    places = [(split.name, label) for split in splits for label in list_labels(split)]
    if num_workers is None:
        num_workers = min(available_cores(), 1 + len(paths) // FILES_PER_WORKER)
    inspections = inspect_all(
        paths, num_workers, splits[0].value_ranges or {}, camera_rotation=splits[0].camera_rotation
    )
    photographs: dict[str, InspectedPhotograph] = {}
    undecodable: dict[str, str] = {}
    unusual: list[tuple[str, str]] = []
    for path, place, result in zip(paths, places, track(inspections, "Decoding", len(paths)), strict=True):
        file = path.relative_to(root).as_posix()
        if result.error is not None:
            undecodable[file] = result.error.removeprefix(f"{path} ")
        if result.measures is not None:
            photographs.setdefault(file, InspectedPhotograph(file, *place, result.measures))
        unusual += [(file, oddity) for oddity in result.oddities]
    return InspectedFiles(tuple(photographs.values()), undecodable, tuple(unusual))


def inspect_all(
    paths: Sequence[Path], num_workers: int, value_ranges: ValueRanges, *, camera_rotation: bool
) -> Iterator[Inspection]:
    """Inspect files in order, in several processes; a file that ends its process counts as impossible to decode."""
    inspect = partial(inspect_image, value_ranges=value_ranges, camera_rotation=camera_rotation)
    if num_workers <= 1:
        yield from map(inspect, paths)
        return
    num_done, is_crashed = 0, False
    while num_done < len(paths):
        # After a crash one process takes one file after another, until it is known which one ends it.
        batch = paths[num_done : num_done + FILES_PER_TURN * num_workers] if is_crashed else paths[num_done:]
        with open_executor(1 if is_crashed else num_workers) as executor:
            try:
                executor.submit(int).result()
            except BrokenProcessPool:
                raise ResourceError(
                    "No decoding process can be started: give `workers=1`. A Python script needs its calls below "
                    '`if __name__ == "__main__":`.'
                ) from None
            try:
                for inspection in executor.map(inspect, batch, chunksize=1 if is_crashed else FILES_PER_TURN):
                    yield inspection
                    num_done += 1
            except BrokenProcessPool:
                if is_crashed:
                    yield Inspection(f"{paths[num_done]} crashes the decoder, or takes too much memory; remove it.")
                    num_done += 1
                is_crashed = not is_crashed
            else:
                is_crashed = False


@contextmanager
def open_executor(num_workers: int) -> Iterator[ProcessPoolExecutor]:
    """Yield an executor whose processes end with the context, and leave Ctrl-C to this one."""
    executor = ProcessPoolExecutor(
        num_workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=signal.signal,
        initargs=(signal.SIGINT, signal.SIG_IGN),
    )
    try:
        yield executor
    finally:
        executor.shutdown(cancel_futures=True)
