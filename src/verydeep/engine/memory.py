"""The machine's free memory, and what it means when there is none."""

import re
from pathlib import Path

from verydeep.errors import ResourceError

MEMINFO = Path("/proc/meminfo")

_OUT_OF_MEMORY = re.compile(r"out of memory|can't allocate memory|std::bad_alloc")


def host_memory() -> int:
    """Return the bytes that are free in the machine's own memory; 8 GB where the system does not say."""
    lines = MEMINFO.read_text().splitlines() if MEMINFO.exists() else []  # only Linux says
    kibibytes = [int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    return 1024 * kibibytes[0] if kibibytes else 8 * 2**30


def explain_lack_of_memory(error: Exception, device: str) -> ResourceError | None:
    """Return what an error of PyTorch or Python means to a user; None if it is not about memory."""
    if not isinstance(error, MemoryError) and not _OUT_OF_MEMORY.search(str(error)):
        return None
    return ResourceError(
        f"The memory of {device} ran out: free some of it, or give smaller `scales`, fewer `workers` or, in training, "
        "a smaller `micro_batch`."
    )
