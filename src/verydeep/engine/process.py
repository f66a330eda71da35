"""Settings of the whole process, which the command line alone changes: a caller in Python keeps its own."""

import ctypes
import faulthandler
import logging
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

from verydeep.errors import OptionError
from verydeep.machine import available_cores

_owned = False

_handlers: list[Any] = []
"""Handlers of signals that the system calls."""


class Terminated(KeyboardInterrupt):
    """SIGTERM ended the command; it is handled like Ctrl-C, which differs in the exit code."""


def owns_process() -> bool:
    """Whether this process runs one command and nothing else, so that signals and global settings are ours."""
    return _owned


@contextmanager
def interrupted_by_signals() -> Iterator[None]:
    """Raise KeyboardInterrupt at Ctrl-C and Terminated at SIGTERM, so that workers end and temporary files are removed.

    A signal that the process was started to ignore, as by `nohup`, stays ignored. For the main thread alone.
    """

    def stop(number: int, _frame: FrameType | None) -> NoReturn:
        sys.unraisablehook = lambda _: None  # a worker that the same signal has ended is no news
        if hasattr(signal, "SIGCHLD"):
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # PyTorch's handler would raise an error about it
        raise Terminated if number == signal.SIGTERM else KeyboardInterrupt

    hook, numbers = sys.unraisablehook, (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.getsignal(number) for number in numbers}
    for number in numbers:
        if before[number] != signal.SIG_IGN:
            signal.signal(number, stop)
    try:
        yield
    finally:
        sys.unraisablehook = hook
        for number, old in before.items():
            signal.signal(number, old)


@contextmanager
def own_process() -> Iterator[None]:
    """Set this process up for one command; only the command line and benchmarks call this."""
    global _owned  # noqa: PLW0603
    tune_allocator()
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


def reservable_bytes() -> int | None:
    """Return the bytes of address space that this process may still reserve; None where `ulimit -v` sets no limit."""
    if sys.platform != "linux":
        return None
    import resource  # noqa: PLC0415 - only Unix has it

    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if limit == resource.RLIM_INFINITY:
        return None
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    return limit - pages * resource.getpagesize()


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


def tune_allocator() -> None:
    """Make glibc keep large freed blocks: this nearly doubles the speed of convolutions on CPUs (measured).

    Where `ulimit -v` limits the address space, make it return them at once, as parts of PyTorch reserve their own.
    """
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        mmap_threshold, top_pad, trim_threshold, mmap_max = -3, -2, -1, -4
        keep = {mmap_max: 0, trim_threshold: 2**31 - 1, top_pad: 256 << 20}
        for option, value in (keep if reservable_bytes() is None else {mmap_threshold: 128 << 10}).items():
            if mallopt is not None:
                mallopt(option, value)


def release_freed_memory() -> None:
    """Return freed memory to the system: before processes are forked, now and then in long jobs, and when it runs out.

    While a child lives, every page that its parent writes anew is copied first. With the memory of D's activations at
    Q=512 kept, that made the batch after the start of a decoding worker twice as slow (10.3 s in place of 5.3).
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)
