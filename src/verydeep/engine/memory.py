"""The machine's free memory, and the errors to report when it, or the number of open files, runs out."""

import re
from collections.abc import Iterator
from contextlib import suppress
from errno import EMFILE, ENFILE
from pathlib import Path

from verydeep.errors import ResourceError

MEMINFO = Path("/proc/meminfo")
OWN_GROUPS = Path("/proc/self/cgroup")
GROUPS = Path("/sys/fs/cgroup")

_OUT_OF_MEMORY = re.compile(r"out of memory|can(?:'t|not) allocate memory|std::bad_alloc|failed to map segment", re.I)


def host_memory() -> int:
    """Return the bytes that are free in the machine's own memory, or within the limit of a container or a job.

    Where the system does not say, they are 8 GB.
    """
    lines = MEMINFO.read_text().splitlines() if MEMINFO.exists() else []  # only Linux says
    kibibytes = [int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    free = 1024 * kibibytes[0] if kibibytes else 8 * 2**30
    return max(0, min([free, *_free_of_groups(OWN_GROUPS, GROUPS)]))


def _free_of_groups(own: Path, root: Path) -> Iterator[int]:
    """Yield the bytes that each control group around this process may still take, where it has a limit."""
    for line in own.read_text().splitlines() if own.exists() else []:
        _, controllers, place = line.split(":", maxsplit=2)
        if controllers in ("", "memory"):
            names = _NAMES_V1 if controllers else _NAMES_V2
            folder = root / controllers
            for group in (folder / place.lstrip("/"), *(folder / place.lstrip("/")).parents):
                if not group.is_relative_to(folder):
                    break
                with suppress(OSError, ValueError):  # no limit there, or "max"
                    yield _free_of_group(group, *names)


_NAMES_V1 = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
_NAMES_V2 = ("memory.max", "memory.current", "inactive_file")


def _free_of_group(group: Path, limit: str, usage: str, cached: str) -> int:
    """Return the bytes that a control group may still take; files in the page cache make room."""
    values = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
    return int((group / limit).read_text()) - int((group / usage).read_text()) + int(values.get(cached, 0))


def explain_lack_of_memory(error: Exception, device: str) -> ResourceError | None:
    """Return what an error of PyTorch or Python means to a user; None if it is not about memory."""
    if not isinstance(error, MemoryError) and not _OUT_OF_MEMORY.search(str(error)):
        return None
    return ResourceError(
        f"The memory of {device} ran out: free some of it, or give smaller `scales`, fewer `workers` or, in training, "
        "a smaller `micro_batch`."
    )


def explain_lack_of_files(error: Exception) -> ResourceError | None:
    """Return what an error of PyTorch or the system means to a user; None if it is not about too many open files."""
    if getattr(error, "errno", None) not in {EMFILE, ENFILE} and "Too many open files" not in str(error):
        return None
    return ResourceError(
        "This process may not open as many files as it needs: give fewer `workers`, or a larger limit, as `ulimit -n "
        "1024` does."
    )
