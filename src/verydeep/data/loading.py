"""Worker processes that decode images; they return uint8 values, and the device does the rest."""

import atexit
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

from torch.utils.data import DataLoader

from verydeep.data.decoding import BadImages
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
    loader = DataLoader(
        dataset,
        batch_sampler=batches,
        num_workers=num_workers,
        collate_fn=collate,
        pin_memory=pin_memory,
        worker_init_fn=_set_up_worker,
    )
    for batch in loader:
        # Workers report bad files instead of raising: PyTorch would wrap the message in a traceback.
        if bad_images == "error" and batch.skipped:
            raise DataError(next(iter(batch.skipped.values())))
        yield batch


@atexit.register
def _end_workers() -> None:
    """End the workers with the main process: multiprocessing would send the SIGTERM that they ignore, and wait."""
    for child in multiprocessing.active_children():
        if child.daemon:
            child.kill()


def _set_up_worker(_worker: int) -> None:
    """Ignore signals, and run at a lower priority than the main process.

    Ctrl-C and a scheduler's SIGTERM reach all processes of a job, and workers must go on until the main process has
    saved. Its compute threads all wait for the slowest of them, so they need the cores more than a worker does.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if hasattr(os, "nice"):
        os.nice(10)
