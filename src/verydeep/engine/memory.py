"""The machine's own memory: how much is free, and what happens to what was freed."""

import ctypes
import sys
from pathlib import Path

MEMINFO = Path("/proc/meminfo")


def host_memory() -> int:
    """Bytes that are free in the machine's own memory, whatever computes; 8 GB where nobody says."""
    lines = MEMINFO.read_text().splitlines() if MEMINFO.exists() else []  # only Linux says
    kibibytes = [int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    return 1024 * kibibytes[0] if kibibytes else 8 * 2**30


def release_freed_memory() -> None:
    """Hand back what ``keep_freed_memory`` told glibc to keep, before processes are forked.

    While a child lives, every page that its parent writes anew is copied first. With the memory of D's activations at
    Q=512 kept, that made the batch after the start of a decoding worker twice as slow (10.3 s in place of 5.3).
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def keep_freed_memory() -> None:
    """Tell glibc to keep large freed blocks: nearly doubles the speed of convolutions on CPUs (measured)."""
    if sys.platform == "linux":
        mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
        if mallopt is not None:
            for option, value in ((-4, 0), (-1, 2**31 - 1), (-2, 256 << 20)):
                mallopt(option, value)
