"""The machine's free memory."""

from pathlib import Path

MEMINFO = Path("/proc/meminfo")


def host_memory() -> int:
    """Return the bytes that are free in the machine's own memory; 8 GB where the system does not say."""
    lines = MEMINFO.read_text().splitlines() if MEMINFO.exists() else []  # only Linux says
    kibibytes = [int(line.split()[1]) for line in lines if line.startswith("MemAvailable:")]
    return 1024 * kibibytes[0] if kibibytes else 8 * 2**30
