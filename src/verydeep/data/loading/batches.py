"""Batches of images that worker processes decode; they hold uint8 values, and the device does the rest."""

import logging
import multiprocessing
import os
import pickle
import shutil
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from functools import cache
from multiprocessing.reduction import ForkingPickler
from types import FrameType
from typing import Any

from torch.utils.data import DataLoader

from verydeep.data.loading.bad_images import bad_image_error
from verydeep.data.pixels.decoding import BadImages
from verydeep.data.pixels.workers import WorkerSetup, held_signals, name_ended_workers

ROOM = 2**30
"""Bytes of /dev/shm in which the batches of all workers fit."""


def load_batches(
    dataset: Any, batches: Any, collate: Callable[[Any], Any], num_workers: int, bad_images: BadImages, pin_memory: bool
) -> Iterator[Any]:
    """Yield batches in order while worker processes decode the next ones.

    Args:
        dataset: a data set of PyTorch, with an attribute ``split``.
        batches: the keys of the samples of each batch.
        collate: makes a batch of samples, with an attribute ``skipped``, file -> reason.
        num_workers: 0 decodes in this process.
        bad_images: whether a file that cannot be decoded is an error.
        pin_memory: whether batches lie in page-locked memory, for a GPU.

    Raises:
        DataError: a file cannot be decoded and bad images are errors.
    """
    with closing(_load(dataset, batches, collate, num_workers, pin_memory)) as loaded:
        for batch in loaded:
            # Workers report bad files instead of raising: PyTorch would wrap the message in a traceback.
            if bad_images == "error" and batch.skipped:
                raise bad_image_error(dataset.split, batch.skipped)
            yield batch


def load_items(dataset: Any, batch_size: int, num_workers: int) -> Iterator[Any]:
    """Yield the items of a data set in order; worker processes read ``batch_size`` of them at once."""
    batches = [range(start, min(start + batch_size, len(dataset))) for start in range(0, len(dataset), batch_size)]
    for batch in _load(dataset, batches, list, num_workers):
        yield from batch


def _load(
    dataset: Any, batches: Any, collate: Callable[[Any], Any], num_workers: int, pin_memory: bool = False
) -> Generator[Any, None, None]:
    """Yield batches of any kind in order, as ``load_batches`` does.

    Where the system has no room for semaphores (in /dev/shm) or for more processes, this process decodes.
    """
    setup, loader = None, None
    if num_workers:
        setup, loader = _start_workers(dataset, batches, collate, num_workers, pin_memory)
    if setup is None or loader is None:
        yield from DataLoader(dataset, batch_sampler=batches, collate_fn=collate, pin_memory=pin_memory)
        return
    try:
        yield from loader
    except GeneratorExit:
        raise
    except BaseException as error:
        setup.end_all()
        if isinstance(error, ConnectionError | EOFError):
            raise name_ended_workers(error) from error
        raise


def is_waiting(frame: FrameType | None) -> bool:
    """Whether a thread that stands at this frame waits for a batch."""
    while frame is not None and frame.f_code is not _load.__code__:
        frame = frame.f_back
    return frame is not None


def _start_workers(
    dataset: Any, batches: Any, collate: Callable[[Any], Any], num_workers: int, pin_memory: bool
) -> tuple[WorkerSetup, Iterator[Any]] | tuple[None, None]:
    """Return workers and an iterator over the batches that they decode; nothing if no process can be started."""
    try:
        multiprocessing.Queue()  # the loader would fail with it, and again when it is removed
        setup = WorkerSetup.of(num_workers)
        loader = DataLoader(
            dataset,
            batch_sampler=batches,
            num_workers=num_workers,
            collate_fn=_Packer(collate),
            pin_memory=pin_memory and _has_shared_memory(),
            worker_init_fn=setup,
        )
        with held_signals():
            return setup, iter(loader)
    except OSError as error:
        _report_no_workers(error.strerror)
        return None, None


def _has_shared_memory() -> bool:
    """Whether all batches reach the main process through shared memory, as far as one can tell.

    Otherwise a killed worker may leave half a batch in a pipe, and PyTorch would wait for ever for its thread that pins
    memory.
    """
    folder = "/dev/shm"
    return not os.path.isdir(folder) or shutil.disk_usage(folder).free > ROOM  # noqa: PTH112


@cache
def _report_no_workers(reason: str) -> None:
    logging.getLogger("verydeep").info(
        "The main process decodes the images, because no other can be started (%s): give /dev/shm more room, or allow "
        "more processes.",
        reason,
    )


@dataclass(frozen=True)
class _Packer:
    """Makes a batch, and prepares its way to the main process: shared memory, or a pipe where there is no room for it.

    PyTorch does so in a thread whose errors nobody sees, and the main process would wait for ever.
    """

    collate: Callable[[Any], Any]

    def __call__(self, rows: Any) -> "_Pickled":
        batch = self.collate(rows)
        try:
            return _Pickled(bytes(ForkingPickler.dumps(batch)))
        except (RuntimeError, OSError):  # no room in /dev/shm, or too many open files
            return _Pickled(pickle.dumps(batch))


@dataclass(frozen=True)
class _Pickled:
    """A pickled batch, which arrives as the batch itself when this is pickled again and sent."""

    content: bytes

    def __reduce__(self) -> tuple[Callable[[bytes], Any], tuple[bytes]]:
        return pickle.loads, (self.content,)
