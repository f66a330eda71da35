"""Settings that hold while something is done, and devices."""

from collections.abc import Iterator

import pytest
import torch

from verydeep.engine.process import own_process
from verydeep.engine.runtime import Runtime, choose_device, start
from verydeep.errors import OptionError


@pytest.fixture(autouse=True)
def settings_restored() -> Iterator[None]:
    yield
    torch.use_deterministic_algorithms(False)
    torch.backends.cudnn.benchmark = False


def test_kernels_are_chosen_by_trial_in_training_alone() -> None:
    """The setting is the process's, so it can be read without a GPU."""
    gpu = Runtime(torch.device("cuda"), bf16=True)
    with pytest.raises(SystemExit), own_process(), gpu.tuned():
        assert torch.backends.cudnn.benchmark
        raise SystemExit(130)
    assert not torch.backends.cudnn.benchmark
    with own_process(), Runtime(torch.device("cpu"), bf16=False).tuned():
        assert not torch.backends.cudnn.benchmark


def test_kernels_are_not_chosen_by_trial_in_a_process_of_a_caller() -> None:
    with Runtime(torch.device("cuda"), bf16=True).tuned():
        assert not torch.backends.cudnn.benchmark


def test_a_deterministic_run_chooses_no_kernels_by_trial(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    gpu = Runtime(torch.device("cuda"), bf16=True)
    with own_process(), start(device="cpu", deterministic=True), gpu.tuned():
        assert not torch.backends.cudnn.benchmark


def test_an_unknown_device_is_an_error_that_names_the_parameter() -> None:
    with pytest.raises(OptionError, match="`device=gpu` is unknown: choose auto, cpu, cuda or cuda:N") as caught:
        choose_device("gpu")
    assert caught.value.parameter == "device"
