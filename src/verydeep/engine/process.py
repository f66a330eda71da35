"""Settings of the whole process, which the command line alone changes: a caller in Python keeps its own."""

import ctypes
import faulthandler
import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from verydeep.errors import OptionError
from verydeep.machine import available_cores

_owned = False

_handlers: list[Any] = []
"""Handlers of signals that the system calls."""


def owns_process() -> bool:
    """Whether this process runs one command and nothing else, so that signals and global settings are ours."""
    return _owned


@contextmanager
def own_process() -> Iterator[None]:
    """Set this process up for one command; only the command line and benchmarks call this."""
    global _owned  # noqa: PLW0603
    keep_freed_memory()
    name_crashes()
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it warns where its folder of settings cannot be written
    before, _owned = _owned, True
    try:
        yield
    finally:
        _owned = before


def name_crashes() -> None:
    """Make this process name the file that crashes a decoder in it; Python would never call a handler of its own."""
    if os.name != "posix" or faulthandler.is_enabled():
        return
    from verydeep.data.pixels.workers import describe_crash  # noqa: PLC0415 - not needed by all commands

    system, pid = ctypes.CDLL(None), os.getpid()

    def report(number: int) -> None:
        system.signal(number, 0)  # back to the default, which ends the process when this function returns
        system.alarm(2)  # or now, if a lock is held
        if os.getpid() == pid and (sentence := describe_crash()):
            os.write(2, f"verydeep: {sentence}\n".encode("utf-8", "surrogateescape"))

    _handlers.append(ctypes.CFUNCTYPE(None, ctypes.c_int)(report))
    for crash in (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL):
        system.signal(crash, _handlers[-1])


def set_up_torch() -> None:
    """Share the cores among the processes of this machine, and compute fp32 in fp32, if the process is ours."""
    if not owns_process():
        return
    import torch  # noqa: PLC0415 - takes a second

    num_processes = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if num_processes > 1:  # torchrun gives each process one thread
        torch.set_num_threads(max(1, available_cores() // num_processes))
    torch.backends.cudnn.allow_tf32 = False


def require_determinism() -> None:
    """Choose algorithms that repeat bit for bit; in a process of a Python caller, check that the caller chose them.

    Raises:
        OptionError: The process is the caller's, and PyTorch is not deterministic in it.
    """
    import torch  # noqa: PLC0415 - takes a second

    if torch.are_deterministic_algorithms_enabled():
        return
    if not owns_process():
        raise OptionError(
            "`deterministic=True` concerns the whole process: call torch.use_deterministic_algorithms(True) first.",
            "deterministic",
        )
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(True)


def keep_freed_memory() -> None:
    """Make glibc keep large freed blocks: this nearly doubles the speed of convolutions on CPUs (measured)."""
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            for option, value in ((-4, 0), (-1, 2**31 - 1), (-2, 256 << 20)):
                mallopt(option, value)


def release_freed_memory() -> None:
    """Return freed memory to the system: before processes are forked, and now and then in long jobs.

    While a child lives, every page that its parent writes anew is copied first. With the memory of D's activations at
    Q=512 kept, that made the batch after the start of a decoding worker twice as slow (10.3 s in place of 5.3).
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
