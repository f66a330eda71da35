"""`verydeep verify`: find the files that cannot be decoded before a training does."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Unpack

from verydeep.options import DataOption, ProgressOptions
from verydeep.parameters import Option, command

if TYPE_CHECKING:
    from verydeep.data.decoding import Inspection
    from verydeep.data.split import Split
    from verydeep.ops.value_ranges import ValueRanges
    from verydeep.results.data import VerifiedData

FILES_PER_WORKER = 500
"""Fewer files are decoded sooner than another process has started."""
FILES_PER_TURN = 32
"""Files that a process takes at once, and finishes after Ctrl-C."""


@command
def verify(
    data: DataOption,
    *,
    workers: Annotated[
        int | None, Option("Processes that decode images.", "from the cores", "N", "compute", smallest=1)
    ] = None,
    **_options: Unpack[ProgressOptions],
) -> "VerifiedData":
    """Decode every photograph of a data set, and list those that cannot be decoded or have an unusual format.

    The exit code is 1 if any cannot be decoded. Training stops at such a file, or leaves it out with `bad_images=skip`.

    Try:
        verydeep verify photos

    Raises:
        DataError: The folder holds no data set.
        ResourceError: A process that decodes was killed.
    """
    from verydeep.data.value_survey import survey_values
    from verydeep.engine.datasets import data_folder
    from verydeep.engine.log import Log
    from verydeep.engine.progress import run_with_progress, track
    from verydeep.machine import available_cores
    from verydeep.results.data import VerifiedData

    root = data_folder(str(data))
    splits, problems = open_all_splits(root)
    paths = [split.path(index) for split in splits for index in range(len(split))]
    Log().info(f"{root}: {splits[0].layout}; {len(paths):,} files")
    surveyed = run_with_progress(survey_values(splits, {}), "Reading headers", len(paths))
    ranges = {values.value_type: values.value_range for values in surveyed}
    notes = [note for split in splits for note in split.notes if note not in problems]
    notes = list(dict.fromkeys([*notes, *map(str, surveyed)]))
    workers = workers or min(available_cores(), 1 + len(paths) // FILES_PER_WORKER)
    undecodable: dict[str, str] = {}
    unusual: list[tuple[str, str]] = []
    with open_inspector(workers, ranges) as inspect_all:
        for path, result in zip(paths, track(inspect_all(paths), "Decoding", len(paths)), strict=True):
            file = path.relative_to(root).as_posix()
            if result.error is not None:
                undecodable[file] = result.error.removeprefix(f"{path} ")
            unusual += [(file, oddity) for oddity in result.oddities]
    return VerifiedData(root, splits[0].layout, len(paths), undecodable, tuple(unusual), tuple(notes), problems)


def open_all_splits(root: Path) -> "tuple[list[Split], tuple[str, ...]]":
    """Open each part of a data set once, also what cannot be trained on, and return what stops a training.

    Raises:
        DataError: The folder cannot be read, or holds no photographs.
    """
    from verydeep.data.layout import open_split, split_names
    from verydeep.data.photographs import find_photographs
    from verydeep.errors import DataError

    names = split_names(root)
    if "all" in names:  # train and val are made of it
        names = tuple(name for name in names if name not in {"train", "val"})
    splits: list[Split] = []
    problems: dict[str, None] = {}
    for name in names:
        for strict in (True, False):
            try:
                splits.append(open_split(root, name, strict=strict))
                break
            except DataError as error:
                problems[str(error)] = None
    return splits or [find_photographs(root)], tuple(problems)


@contextmanager
def open_inspector(
    workers: int, value_ranges: "ValueRanges"
) -> "Iterator[Callable[[Sequence[Path]], Iterator[Inspection]]]":
    """Yield a function that inspects files in order, in several processes that end with the context."""
    from verydeep.data.decoding import inspect_image

    inspect = partial(inspect_image, value_ranges=value_ranges)
    if workers == 1:
        yield partial(map, inspect)
        return
    import multiprocessing
    import signal
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool

    from verydeep.errors import ResourceError

    executor = ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=signal.signal,  # Ctrl-C reaches every process; only this one is to act
        initargs=(signal.SIGINT, signal.SIG_IGN),
    )
    try:
        yield partial(executor.map, inspect, chunksize=FILES_PER_TURN)
    except BrokenProcessPool as error:
        raise ResourceError(
            "A process that decodes was killed, by a lack of memory or by a file that crashes the decoder: try "
            "`workers=1`."
        ) from error
    finally:
        executor.shutdown(cancel_futures=True)
