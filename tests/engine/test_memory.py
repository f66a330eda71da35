"""The memory that was freed: kept for the next batch, released before processes are forked."""

import platform
import subprocess
import sys

import pytest


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's allocator is told to keep memory")
def test_freed_memory_is_kept_until_it_is_released() -> None:
    """In a process of its own; what is kept would be copied, page by page, once a worker has been forked."""
    script = """
import torch
from pathlib import Path
from verydeep.engine.memory import release_freed_memory
from verydeep.engine.runtime import start

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6

with start(device="cpu"):
    before = resident()
    del_me = torch.ones(50_000_000)
    del del_me
    kept = resident()
    release_freed_memory()
    print(kept - before, resident() - before)
"""
    output = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    kept, released = map(float, output.split())
    assert kept > 190
    assert released < 20
