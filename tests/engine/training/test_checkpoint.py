"""A training that is saved, thrown away and loaded goes on as if nothing had been."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open

from tests.engine.training.test_fit import CPU, small_state, small_task
from verydeep.configs.recipes import FineTuned
from verydeep.engine.training.checkpoint import checkpoint_bytes, load_checkpoint, save_checkpoint
from verydeep.engine.training.fit import fit
from verydeep.engine.training.stopping import StopRequest


@pytest.mark.parametrize(("fine_tuned", "moving"), [("all", 22), ("fc", 6)])
def test_a_resumed_training_is_bit_equal(photographs: Path, tmp_path: Path, fine_tuned: FineTuned, moving: int) -> None:
    task = small_task(photographs)
    whole, begun, resumed = (small_state(task, fine_tuned) for _ in range(3))
    losses = [report.loss for report in fit(whole, task, CPU, StopRequest())]
    steps = fit(begun, task, CPU, StopRequest())
    assert [next(steps).loss for _ in range(7)] == losses[:7]  # past the end of the first epoch
    begun.progress.metrics_bytes = 123
    begun.schedule.best_error = 12.5
    path = save_checkpoint(tmp_path, begun)
    with torch.no_grad():
        for parameter in resumed.model.parameters():
            parameter.fill_(7.0)
    load_checkpoint(path, resumed)
    assert resumed.progress.metrics_bytes == 123 and resumed.schedule.best_error == 12.5
    assert [report.loss for report in fit(resumed, task, CPU, StopRequest())] == losses[7:]
    for (name, parameter), expected in zip(resumed.model.named_parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(parameter, expected), name
    with safe_open(path, framework="pt") as file:
        momentum = [name for name in file.keys() if name.startswith("momentum.")]  # noqa: SIM118 - not a dictionary
    assert len(momentum) == moving


@pytest.mark.parametrize("fine_tuned", ["all", "fc"])
def test_the_estimated_size_of_a_checkpoint_is_that_of_its_file(
    photographs: Path, tmp_path: Path, fine_tuned: FineTuned
) -> None:
    task = small_task(photographs)
    state = small_state(task, fine_tuned)
    next(fit(state, task, CPU, StopRequest()))
    size = save_checkpoint(tmp_path, state).stat().st_size
    assert 0 < size - checkpoint_bytes(state.model) < 8000  # the header: names and shapes of 44 tensors
