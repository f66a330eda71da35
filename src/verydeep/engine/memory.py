"""The machine's free memory, and what to do when it, or the number of open files, runs out."""

import logging
import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from errno import EMFILE, ENFILE
from pathlib import Path
from typing import TypeVar

from verydeep.engine.process import release_freed_memory, reservable_bytes
from verydeep.errors import ResourceError

LOGGER = logging.getLogger("verydeep")

MEMINFO = Path("/proc/meminfo")
OWN_GROUPS = Path("/proc/self/cgroup")
GROUPS = Path("/sys/fs/cgroup")

Value = TypeVar("Value")

_OUT_OF_MEMORY = re.compile(
    r"out of memory|can(?:'t|not) allocate memory|std::bad_alloc|failed to map segment|can't start new thread|"
    r"could not (create|execute) a (memory|primitive)",
    re.I,
)


def host_memory() -> int:
    """Return the bytes that are free in the machine's own memory, or within the limit of a container, a job or a shell.

    Where the system does not say, they are 8 GB.
    """
    lines = MEMINFO.read_text().splitlines() if MEMINFO.exists() else []  # only Linux says
    kibibytes = [int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    free = 1024 * kibibytes[0] if kibibytes else 8 * 2**30
    reservable = reservable_bytes()
    return max(0, min([free, *_free_of_groups(OWN_GROUPS, GROUPS), *([] if reservable is None else [reservable])]))


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


def is_lack_of_memory(error: Exception) -> bool:
    """Whether an error of PyTorch, the CPU engine or Python says that memory ran out."""
    return isinstance(error, MemoryError) or bool(_OUT_OF_MEMORY.search(str(error)))


def explain_lack_of_memory(error: Exception, device: str) -> ResourceError | None:
    """Return what an error of PyTorch or Python means to a user; None if it is not about memory."""
    if not is_lack_of_memory(error):
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
        "This process needs to open more files than its limit allows: give fewer `workers`, or raise the limit, such "
        "as with `ulimit -n 1024`."
    )


class BatchLimit:
    """Lets a batch go through a net in parts: half as many images at once each time memory runs out."""

    def __init__(self, device: str, report: Callable[[str], None] = LOGGER.info) -> None:
        """``device`` is named in the message, which goes to ``report``."""
        self.device, self.report = device, report
        self.divisor = 1
        """How many times fewer images than planned go through the net at once."""

    def run(self, compute: Callable[[int], Value], planned: int) -> Value:
        """Return what ``compute`` returns for a number of images at once: ``planned``, or fewer.

        It is called anew, from the start of the batch, each time memory runs out. With one image at once, that is an
        error of PyTorch or Python.
        """
        while True:
            at_once = -(-planned // self.divisor)
            try:
                return compute(at_once)
            except (RuntimeError, MemoryError) as error:
                if at_once == 1 or not is_lack_of_memory(error):
                    raise
            # Not in the handler, where the traceback still holds what was computed.
            release_freed_memory()
            self.divisor *= 2
            fewer = -(-planned // self.divisor)
            self.report(f"The memory of {self.device} ran out with {at_once} images at a time; now it is {fewer}.")
