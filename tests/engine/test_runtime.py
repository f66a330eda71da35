"""What is set for the whole process follows what is done in it."""

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
