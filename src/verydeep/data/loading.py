"""Batches of images that worker processes decode; they hold uint8 values, and the device does the rest."""

import logging
import multiprocessing
import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from multiprocessing.reduction import ForkingPickler
from types import FrameType
from typing import Any

from torch.utils.data import DataLoader

from verydeep.data.decoding import BadImages
from verydeep.data.workers import WorkerSetup
from verydeep.errors import DataError


def load_batches(
    dataset: Any,
    batches: Any,
    collate: Callable[[Any], Any],
    num_workers: int,
    bad_images: BadImages,
    pin_memory: bool,
) -> Iterator[Any]:
    """Yield batches in order while worker processes decode the next ones.

    Args:
        dataset: a data set of PyTorch.
        batches: the keys of the samples of each batch.
        collate: makes a batch of samples, with an attribute ``skipped``, file -> reason.
        num_workers: 0 decodes in this process.
        bad_images: whether a file that cannot be decoded is an error.
        pin_memory: whether batches lie in page-locked memory, for a GPU.

    Raises:
        DataError: a file cannot be decoded and bad images are errors.
    """
    for batch in _load(dataset, batches, collate, num_workers, pin_memory):
        # Workers report bad files instead of raising: PyTorch would wrap the message in a traceback.
        if bad_images == "error" and batch.skipped:
            raise DataError(next(iter(batch.skipped.values())))
        yield batch


def load_items(dataset: Any, batch_size: int, num_workers: int) -> Iterator[Any]:
    """Yield the items of a data set in order; worker processes read ``batch_size`` of them at once."""
    batches = [range(start, min(start + batch_size, len(dataset))) for start in range(0, len(dataset), batch_size)]
    for batch in _load(dataset, batches, list, num_workers):
        yield from batch


def _load(
    dataset: Any,
    batches: Any,
    collate: Callable[[Any], Any],
    num_workers: int,
    pin_memory: bool = False,
) -> Iterator[Any]:
    """Yield batches of any kind in order, as ``load_batches`` does.

    Where the system has no room for semaphores (in /dev/shm) or for more processes, this process decodes.
    """
    loader = _start_workers(dataset, batches, collate, num_workers, pin_memory) if num_workers else None
    if loader is None:
        loader = iter(DataLoader(dataset, batch_sampler=batches, collate_fn=collate, pin_memory=pin_memory))
    yield from loader


def is_waiting(frame: FrameType | None) -> bool:
    """Whether a thread that stands at this frame waits for a batch."""
    while frame is not None and frame.f_code is not _load.__code__:
        frame = frame.f_back
    return frame is not None


def _start_workers(
    dataset: Any, batches: Any, collate: Callable[[Any], Any], num_workers: int, pin_memory: bool
) -> Iterator[Any] | None:
    """Return an iterator over batches that worker processes decode; None if no process can be started."""
    try:
        multiprocessing.Queue()  # the loader would fail with it, and again when it is removed
        return iter(
            DataLoader(
                dataset,
                batch_sampler=batches,
                num_workers=num_workers,
                collate_fn=_Packer(collate),
                pin_memory=pin_memory,
                worker_init_fn=WorkerSetup.of(num_workers),
            )
        )
    except OSError as error:
        _report_no_workers(error.strerror)
        return None


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
