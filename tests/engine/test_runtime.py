"""What is set for the whole process follows what is done in it."""

import platform
import subprocess
import sys
from collections.abc import Iterator

import pytest
import torch

from verydeep.engine.runtime import Runtime, start


@pytest.fixture(autouse=True)
def as_it_was() -> Iterator[None]:
    yield
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.benchmark = False


def test_kernels_are_chosen_by_trial_in_training_alone() -> None:
    """The setting is the process's, so it can be read without a GPU."""
    gpu = Runtime(torch.device("cuda"), bf16=True)
    with pytest.raises(SystemExit), gpu.tuned():
        assert torch.backends.cudnn.benchmark
        raise SystemExit(130)
    assert not torch.backends.cudnn.benchmark
    with Runtime(torch.device("cpu"), bf16=False).tuned():
        assert not torch.backends.cudnn.benchmark


def test_a_deterministic_run_leaves_nothing_to_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    with start(device="cpu", deterministic=True), Runtime(torch.device("cuda"), bf16=True).tuned():
        assert not torch.backends.cudnn.benchmark


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only glibc's allocator is told to keep memory")
def test_freed_memory_is_kept_until_it_is_released() -> None:
    """In a process of its own; what is kept would be copied, page by page, once a worker has been forked."""
    script = """
import torch
from pathlib import Path
from verydeep.engine.runtime import release_freed_memory, start

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
