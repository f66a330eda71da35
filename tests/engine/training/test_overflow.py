"""Values that are not finite are caught in their step and named, and the weights stay as they were."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from tests.engine.training.test_fit import CPU, small_state, small_task
from tests.runs import SMALL_NET, Cli, make_photographs
from verydeep.engine.training.fit import fit
from verydeep.engine.training.state import TrainState
from verydeep.engine.training.stopping import StopRequest
from verydeep.engine.training.task import TrainingTask


@pytest.fixture
def task(tmp_path: Path) -> TrainingTask:
    """15 black photographs for training, of which one is white; 12 in a step."""
    root = make_photographs(tmp_path / "data", {"train": 5, "val": 1})
    for path in (root / "train").rglob("*.jpg"):
        brightness = 255 if path.parts[-2:] == ("bee", "003.jpg") else 0
        Image.fromarray(np.full((50, 60, 3), brightness, np.uint8)).save(path)
    task = small_task(root, dropout=0.0, micro=20)
    return replace(task, recipe=replace(task.recipe, color_shift="none"))


def weights_of(state: TrainState) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in state.model.named_parameters()}


def run_until_overflow(state: TrainState, task: TrainingTask) -> str:
    """Train until a value is not finite; return the message. The weights are those that this step began with."""
    before = weights_of(state)
    with pytest.raises(FloatingPointError) as raised:
        for _ in fit(state, task, CPU, StopRequest()):
            before = weights_of(state)
    assert all(torch.equal(weights, before[name]) for name, weights in weights_of(state).items())
    return str(raised.value)


@torch.no_grad()
@pytest.mark.parametrize(("seed", "report_every", "step"), [(1, 1, 1), (1, 3, 1), (2, 1, 2)])
def test_an_output_is_named_with_its_layer_step_and_file(
    task: TrainingTask, seed: int, report_every: int, step: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """27 weights of 3e36 and white pixels of 255 exceed the largest number, 3e38; black ones give 0.

    The white photograph is in the first step of one seed, but not in the next, and in the second step of the other.
    """
    monkeypatch.setattr(type(CPU), "report_every", report_every)
    task = replace(task, seed=seed)
    state = small_state(task)
    state.model.mean_rgb.zero_()
    state.model.conv1_1.weight.fill_(3e36)
    with torch.enable_grad():
        message = run_until_overflow(state, task)
    assert message == (
        f"The loss or its gradient is not finite at step {step} (learning rate 0.01), first in the output of conv1_1, "
        "for bee/003.jpg"
    )


@pytest.mark.parametrize("report_every", [1, 3])
def test_a_gradient_is_named_with_its_layer(
    task: TrainingTask, report_every: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """fc7 puts out 1e-20, so the loss is finite; back through fc8 come 3e38 / 12, and times 1e5 that is infinite."""
    monkeypatch.setattr(type(CPU), "report_every", report_every)  # a GPU is asked in every tenth step alone
    state = small_state(task)
    with torch.no_grad():
        for name in ("fc6", "fc7", "fc8"):
            for parameter in state.model.get_submodule(name).parameters():
                parameter.zero_()
        state.model.fc7.weight.fill_(1e5)
        state.model.fc7.bias.fill_(1e-20)  # type: ignore[union-attr]
        state.model.fc8.weight[:2] = torch.tensor([3e38, -3e38]).view(2, 1, 1, 1)
    message = run_until_overflow(state, task)
    assert "not finite at step 1 (learning rate 0.01), first in the gradient at drop6, for " in message


def zero_head(state: TrainState) -> None:
    """Set the FC layers to zero, but for weights of fc8 of which a difference of two logits takes the largest numbers.

    White pixels become 255, and black ones 0, as do all outputs for them.
    """
    state.model.mean_rgb.zero_()
    for layer in state.model.weight_layers().values():
        layer.bias.data.zero_()  # type: ignore[union-attr, operator]
    for name in ("fc6", "fc7", "fc8"):
        for parameter in state.model.get_submodule(name).parameters():
            parameter.data.zero_()
    state.model.fc8.weight.data[:2] = torch.tensor([3e38, -3e38]).view(2, 1, 1, 1)


def test_a_gradient_of_one_row_is_named_with_its_file(task: TrainingTask) -> None:
    """The white photograph alone makes fc6 and fc7 put out more than 0; back through fc7 come 5e37 times 1e5."""
    state = small_state(task)
    zero_head(state)
    state.model.fc6.weight.data.fill_(1e-28)
    state.model.fc7.weight.data.fill_(1e5)
    assert run_until_overflow(state, task).endswith("first in the gradient at drop6, for bee/003.jpg")


def test_a_gradient_of_weights_is_named_with_its_layer(task: TrainingTask) -> None:
    """fc6 puts out 1e3 and fc7 1e-20; the gradients of both are finite, but not 2e37 times 1e3."""
    state = small_state(task)
    zero_head(state)
    state.model.fc6.bias.data.fill_(1e3)  # type: ignore[union-attr]
    state.model.fc7.bias.data.fill_(1e-20)  # type: ignore[union-attr]
    assert run_until_overflow(state, task).endswith("first in the gradient of fc7's weights")


def test_a_gradient_that_is_too_long_is_caught(task: TrainingTask) -> None:
    """Of finite numbers: with fc8 at zero the loss is ln 3; the gradient of fc8 is some 1e30, and its square is not."""
    state = small_state(task)
    with torch.no_grad():
        state.model.fc7.weight.zero_()
        state.model.fc7.bias.fill_(1e30)  # type: ignore[union-attr]
        state.model.fc8.weight.zero_()
    assert run_until_overflow(state, task).endswith("first in the length of the gradient")


def test_an_evaluation_names_layer_and_file(trained: Path, photographs: Path, tmp_path: Path, inside: Cli) -> None:
    """Weights of 1e37 in the second convolution."""
    from safetensors.torch import load_file, save_file

    for name in ("config.json", "model.safetensors"):
        (tmp_path / "net").mkdir(exist_ok=True)
        (tmp_path / "net" / name).write_bytes((trained / "model" / name).read_bytes())
    weights = load_file(tmp_path / "net" / "model.safetensors")
    weights["conv2_1.weight"] = weights["conv2_1.weight"].sign() * 1e37
    save_file(weights, tmp_path / "net" / "model.safetensors", {"format": "pt"})
    for kernels in ("torch", "auto"):
        for words in (("evaluate", photographs, "net"), ("describe", "net", photographs / "val" / "bee" / "000.jpg")):
            done = inside(*words, "--kernels", kernels, "--precision", "fp32", check=False)
            assert done.returncode == 1 and "Traceback" not in done.stderr
            assert "net computes values that are not finite, first in conv2_1, for " in done.stderr
            assert done.stderr.endswith("; its weights are too large: train the net again.\n")


def test_a_run_keeps_its_last_good_checkpoint(photographs: Path, tmp_path: Path, inside: Cli) -> None:
    common = ("train", photographs, *SMALL_NET, "--epochs", 3, "--out", "run")
    done = inside(*common, "--learning-rate", 1e20, check=False)
    assert done.returncode == 1 and "not finite at step 2 (learning rate 1e+20), first in the output of " in done.stderr
