"""Worker processes that decode images: they hand over uint8, everything else happens on the device."""

import atexit
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

from torch.utils.data import DataLoader

from verydeep.data.decoding import BadImages
from verydeep.errors import VerydeepError


def load_batches(
    samples: Any,
    batches: Any,
    collate: Callable[[Any], Any],
    num_workers: int,
    bad_images: BadImages,
    pin_memory: bool,
) -> Iterator[Any]:
    """The batches in order, decoded ahead by worker processes.

    Args:
        samples: a data set.
        batches: the keys of each batch's samples.
        collate: makes a batch of samples; it has ``skipped``, file -> reason.
        num_workers: 0 decodes in this process.
        bad_images: what a file that cannot be decoded means.
        pin_memory: for a GPU.

    Raises:
        VerydeepError: a file cannot be decoded and bad images are errors.
    """
    loader = DataLoader(
        samples,
        batch_sampler=batches,
        num_workers=num_workers,
        collate_fn=collate,
        pin_memory=pin_memory,
        worker_init_fn=_serve_the_main_process,
    )
    for batch in loader:
        # Workers report bad files rather than raise: PyTorch would wrap the sentence into their traceback.
        if bad_images == "error" and batch.skipped:
            raise VerydeepError(next(iter(batch.skipped.values())))
        yield batch


@atexit.register
def _end_workers() -> None:
    """At the end of the main process: multiprocessing would send them the SIGTERM that they ignore, and wait."""
    for child in multiprocessing.active_children():
        if child.daemon:
            child.kill()


def _serve_the_main_process(_worker: int) -> None:
    """Set up a process that decodes.

    Ctrl-C and a scheduler's SIGTERM reach the whole group: workers go on until the main process has saved. And they
    give way to its compute threads, which all wait for the one that is preempted.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if hasattr(os, "nice"):
        os.nice(10)
