"""`verydeep verify`: find the files that cannot be decoded before a training run does."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from verydeep.options import Data, Workers, check_range, option

if TYPE_CHECKING:
    from verydeep.data.decoding import Inspection

FILES_PER_WORKER = 500  # fewer are decoded sooner than another process has started
FILES_PER_TURN = 32  # what a process takes at once, and finishes after Ctrl-C


def verify(
    data: Data,
    /,
    *,
    out: Annotated[Path | None, option("Also write what was found to this JSON file.", metavar="FILE")] = None,
    workers: Workers = None,
) -> None:
    """Decode every photograph of a data set, and list those that cannot be used and those that are unusual.

    Ends with exit code 1 if any cannot be decoded. Training stops at such a file, or with --bad-images skip
    goes on without it.
    """
    from verydeep.data.layout import open_split, split_names
    from verydeep.engine.datasets import data_folder
    from verydeep.engine.progress import track
    from verydeep.errors import VerydeepError
    from verydeep.files import write_json

    check_range("--workers", workers, 1)
    if out is not None and (out.is_dir() or not out.absolute().parent.is_dir()):
        raise VerydeepError(f"--out {out} cannot be written; name a file in an existing folder.")
    root = data_folder(data)
    names = split_names(root)
    if "all" in names:  # train and val are made of it
        names = tuple(name for name in names if name not in {"train", "val"})
    splits = [open_split(root, name) for name in names]
    paths = [split.path(index) for split in splits for index in range(len(split))]
    print(f"{root}: {splits[0].layout}; {len(paths):,} files")
    workers = workers or min(os.cpu_count() or 1, 1 + len(paths) // FILES_PER_WORKER)
    undecodable: list[tuple[str, str]] = []
    odd: list[tuple[str, str]] = []
    with _inspector(workers) as inspect_all:
        results = track(inspect_all(paths), "decoding", len(paths))
        for path, result in zip(paths, results, strict=True):
            file = path.relative_to(root).as_posix()
            if result.error is not None:
                undecodable.append((file, result.error.removeprefix(f"{path} ")))
            odd += [(file, oddity) for oddity in result.oddities]
    _report(undecodable, odd)
    if out is not None:
        found = {
            "data": str(root),
            "files": len(paths),
            "undecodable": [{"file": file, "why": why} for file, why in undecodable],
            "odd": [{"file": file, "what": what} for file, what in odd],
        }
        write_json(out, found)
    if undecodable:
        raise VerydeepError(
            f"{len(undecodable):,} of {len(paths):,} files cannot be decoded; replace or remove them, or "
            "train with --bad-images skip."
        )
    print(f"All {len(paths):,} files can be used.")


@contextmanager
def _inspector(workers: int) -> "Iterator[Callable[[Sequence[Path]], Iterator[Inspection]]]":
    """A function that inspects files in order, with this many processes; they end with the context."""
    from verydeep.data.decoding import inspect_image

    if workers == 1:
        yield partial(map, inspect_image)
        return
    import multiprocessing
    import signal
    from concurrent.futures import ProcessPoolExecutor
    from concurrent.futures.process import BrokenProcessPool

    from verydeep.errors import VerydeepError

    executor = ProcessPoolExecutor(
        workers,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=signal.signal,  # Ctrl-C reaches every process; only this one is to act
        initargs=(signal.SIGINT, signal.SIG_IGN),
    )
    try:
        yield partial(executor.map, inspect_image, chunksize=FILES_PER_TURN)
    except BrokenProcessPool as error:
        raise VerydeepError(
            "A process that decodes was killed, by a lack of memory or by a file that breaks the decoder; "
            "try --workers 1."
        ) from error
    finally:
        executor.shutdown(cancel_futures=True)


def _report(undecodable: list[tuple[str, str]], odd: list[tuple[str, str]]) -> None:
    """Print a table of each kind that has rows."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    for title, column, rows in (
        ("Cannot be decoded", "why", undecodable),
        ("Unusual, but used", "what", odd),
    ):
        if rows:
            table = Table("file", column, title=title, title_justify="left")
            for row in rows:
                table.add_row(*map(Text, row))
            Console().print(table)
