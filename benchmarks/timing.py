"""How every benchmark times and reports: all sides interleaved in one process, medians, ratios within a repeat."""

import os
import platform
import re
import statistics
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

import torch

from verydeep.engine.environment import describe_hardware

RESULTS = Path(__file__).parent / "results"


def interleave(
    sides: Mapping[str, Callable[[], object]], repeats: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Seconds of each side in each repeat, after one untimed call; the sides take turns in being first."""
    for side in sides.values():
        side()
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    names = list(sides)
    for repeat in range(repeats):
        first = repeat % len(names)
        for name in names[first:] + names[:first]:
            begin = clock()
            sides[name]()
            seconds[name].append(clock() - begin)
    return seconds


def rate(seconds: Sequence[float], images: int) -> str:
    """The median images per second."""
    per_second = images / statistics.median(seconds)
    return f"{per_second:,.0f}" if per_second >= 100 else f"{per_second:.3g}"


def speedup(peer: Sequence[float], ours: Sequence[float]) -> str:
    """How many times as fast ours is: the median over repeats, the smallest and the largest."""
    ratios = [theirs / mine for theirs, mine in zip(peer, ours, strict=True)]
    return f"{statistics.median(ratios):.2f} [{min(ratios):.2f}, {max(ratios):.2f}]"


def peak() -> int:
    """Bytes that this process had in memory at most (Linux); a parent's, unlike with getrusage, do not count."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return 1024 * int(line.split()[1])


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def report(what: str, title: str, body: str, device: torch.device, packages: Sequence[str], *, write: bool) -> None:
    """Print the result with all that it depends on, and write it to results/ if asked to."""
    today, where = datetime.now(UTC).date(), describe_hardware(device)
    versions = ", ".join(f"{package} {version(package)}" for package in packages)
    command = f"python -m benchmarks.{what} {' '.join(sys.argv[1:])}".strip()
    load = f"load average {os.getloadavg()[0]:.1f} at the end" if hasattr(os, "getloadavg") else ""
    about = f"`{command}` on {where}, {today}; Python {platform.python_version()}, {versions}; {load}."
    text = f"# {title}\n\n{about}\n\n{body}\n"
    print(text)
    if write:
        name = re.sub(r"[^a-z0-9]+", "-", where.lower()).strip("-")
        path = RESULTS / f"{what}_{name}_{today}.md"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
        print(f"Written to {path}", file=sys.stderr)
