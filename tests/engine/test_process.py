"""Settings of the whole process: changed within ``own_process`` alone."""

import platform
import subprocess
import sys

import pytest
import torch

from verydeep.engine.process import own_process, owns_process, require_determinism
from verydeep.errors import OptionError


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's allocator can keep memory")
def test_freed_memory_is_kept_until_it_is_released() -> None:
    """In a process of its own; what is kept would be copied, page by page, once a worker has been forked."""
    script = """
import torch
from pathlib import Path
from verydeep.engine.process import own_process, release_freed_memory

def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 1e6

with own_process():
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


def test_starting_a_runtime_changes_nothing_for_the_process() -> None:
    script = """
import os, signal, threading
import torch
from verydeep.engine.runtime import start

def settings():
    return [
        torch.get_num_threads(), torch.backends.cudnn.allow_tf32, torch.backends.cudnn.benchmark,
        torch.are_deterministic_algorithms_enabled(), signal.getsignal(signal.SIGINT), dict(os.environ),
    ]

def use():
    with start(device="cpu") as runtime, runtime.tuned():
        pass
    done.append(True)

done, before = [], settings()
use()
thread = threading.Thread(target=use)
thread.start()
thread.join()
assert done == [True, True]
assert settings() == before
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_a_process_is_ours_only_within_a_command() -> None:
    assert not owns_process()
    with own_process():
        assert owns_process()
    assert not owns_process()


def test_a_caller_chooses_determinism_for_its_own_process() -> None:
    with pytest.raises(OptionError, match="`deterministic=True` concerns the whole process") as caught:
        require_determinism()
    assert caught.value.parameter == "deterministic"
    torch.use_deterministic_algorithms(True)
    try:
        require_determinism()
    finally:
        torch.use_deterministic_algorithms(False)
