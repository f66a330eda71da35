"""The step of training against one written out by hand; micro-batches, processes, kills."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from tests.kills import Forker
from tests.runs import SHORT_TRAINING, SMALL_NET, Cli, losses_of, make_photographs, metrics_of
from verydeep.configs.networks import NETWORKS
from verydeep.configs.recipes import FineTuned, Recipe, Stage
from verydeep.configs.scales import TrainScale
from verydeep.data.layout import open_split
from verydeep.data.loading.sampling import global_batch
from verydeep.data.loading.training_images import TrainSamples, load_train_batches
from verydeep.engine.runtime import Runtime
from verydeep.engine.training.fit import fit
from verydeep.engine.training.gradients import dropout_masks
from verydeep.engine.training.setup import set_learning_layers
from verydeep.engine.training.state import TrainState, make_optimizer, new_state
from verydeep.engine.training.stopping import StopRequest
from verydeep.engine.training.task import TrainingTask
from verydeep.models.initialization import initialize
from verydeep.models.vgg import VGG, Dropout
from verydeep.models.weights.folding import fold_input, unfold_input
from verydeep.models.weights.weight_file import TORCHVISION_INPUT

CPU = Runtime(torch.device("cpu"), bf16=False)


def small_task(
    photographs: Path, *, batch: int = 12, micro: int = 12, dropout: float = 0.5, epochs: int = 2
) -> TrainingTask:
    stage = Stage(TrainScale(256, 512), dropout=dropout, epochs=epochs, milestones=(0.7,))
    return TrainingTask(
        train=open_split(photographs, "train"),
        val=open_split(photographs, "val"),
        recipe=Recipe(stages=(stage,), batch_size=batch),
        covariance=np.diag([900.0, 400.0, 100.0]) + 50.0,
        seed=3,
        micro_batch=micro,
    )


def small_state(task: TrainingTask, fine_tuned: FineTuned = "all") -> TrainState:
    model = VGG(NETWORKS["A"], 3, crop=32, width=1 / 16, fc_width=16, mean_rgb=(100.0, 110.0, 90.0))
    initialize(model, "glorot", seed=1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.fill_(0.1)  # so that a decay of biases would show
    set_learning_layers(model, fine_tuned)
    return new_state(CPU.place(model), task)


@pytest.mark.parametrize("fine_tuned", ["all", "fc"])
def test_a_step_is_the_papers(photographs: Path, fine_tuned: FineTuned) -> None:
    """Momentum 0.9; decay 5e-4 on weights and none on biases; biases at twice the rate: two steps by hand.

    Where the FC layers alone learn, they take the same steps and the convolutions stay as they are, bit for bit.
    """
    task = small_task(photographs, dropout=0.0)
    task = replace(task, recipe=replace(task.recipe, color_shift="none"))
    state = small_state(task, fine_tuned)
    reference = small_state(task).model
    reference.set_dropout(0)
    velocity = {name: torch.zeros_like(parameter) for name, parameter in reference.named_parameters()}
    steps = fit(state, task, CPU, StopRequest())
    for step in range(2):
        report = next(steps)
        samples = TrainSamples(task.train, task.recipe.stages[0].scale.in_pixels(32), 32, task.seed)
        (batch,) = load_train_batches(samples, [global_batch(task.seed, step, len(task.train), 12)], 0)
        images = batch.images.permute(0, 3, 1, 2).float()
        images[batch.flip] = images[batch.flip].flip(3)
        reference.zero_grad()
        loss = F.cross_entropy(reference(images).flatten(1), batch.targets)
        loss.backward()
        assert report.loss == pytest.approx(loss.item(), rel=1e-5), step
        with torch.no_grad():
            for name, parameter in reference.named_parameters():
                if fine_tuned == "fc" and name.startswith("conv"):
                    continue
                assert parameter.grad is not None
                is_bias = name.endswith("bias")
                velocity[name] = 0.9 * velocity[name] + parameter.grad + (0 if is_bias else 5e-4) * parameter
                parameter.sub_((0.02 if is_bias else 0.01) * velocity[name])
    for (name, parameter), expected in zip(state.model.named_parameters(), reference.parameters(), strict=True):
        if fine_tuned == "fc" and name.startswith("conv"):
            assert torch.equal(parameter, expected), name
        else:
            torch.testing.assert_close(parameter, expected, rtol=1e-4, atol=1e-6, msg=name)


def test_ten_steps_of_an_imported_net_are_those_of_its_source(photographs: Path) -> None:
    """The source's net on the source's preprocessing, by torch's own SGD, against ours on plain RGB.

    Without the division of the gradient the first layer would move some 3,000 times as far.
    """
    divisor = torch.tensor(TORCHVISION_INPUT.divisor_rgb)
    task = small_task(photographs, dropout=0.0, epochs=20)
    task = replace(task, recipe=replace(task.recipe, color_shift="none"), input_scale=TORCHVISION_INPUT.divisor_rgb)
    state = small_state(task)
    source_net = nn.Sequential(*list(small_state(task).model.children()))
    for layer in source_net:
        if isinstance(layer, Dropout):
            layer.p = 0.0
    first = source_net[0]
    assert isinstance(first, nn.Conv2d)
    with torch.no_grad():  # at the size that a net has that was trained on such inputs
        state.model.conv1_1.weight.copy_(fold_input(first.weight, TORCHVISION_INPUT))
    before = first.weight.detach().clone()
    weights = [parameter for name, parameter in source_net.named_parameters() if name.endswith("weight")]
    biases = [parameter for name, parameter in source_net.named_parameters() if name.endswith("bias")]
    optimizer = torch.optim.SGD(
        [{"params": weights, "weight_decay": 5e-4, "lr": 0.01}, {"params": biases, "weight_decay": 0, "lr": 0.02}],
        momentum=0.9,
    )
    steps = fit(state, task, CPU, StopRequest())
    for step in range(10):
        next(steps)
        samples = TrainSamples(task.train, task.recipe.stages[0].scale.in_pixels(32), 32, task.seed)
        (batch,) = load_train_batches(samples, [global_batch(task.seed, step, len(task.train), 12)], 0)
        images = batch.images.permute(0, 3, 1, 2).float()
        images = torch.stack([x.flip(2) if f else x for x, f in zip(images, batch.flip, strict=True)])
        seen = (images - state.model.mean_rgb[:, None, None]) / divisor[:, None, None]
        optimizer.zero_grad()
        F.cross_entropy(source_net(seen).flatten(1), batch.targets).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    moved = (first.weight.detach() - before).abs().mean()
    unfolded_now = unfold_input(state.model.conv1_1.weight.detach(), TORCHVISION_INPUT)
    assert (unfolded_now - first.weight.detach()).abs().max() < 0.01 * moved
    for parameter, other in zip(state.model.parameters(), source_net.parameters(), strict=True):
        if parameter is not state.model.conv1_1.weight:
            assert torch.allclose(parameter, other, rtol=1e-3, atol=1e-5)


def test_the_backward_pass_ends_above_frozen_layers(photographs: Path) -> None:
    task = small_task(photographs, epochs=1)
    state = small_state(task, "fc")
    counts = dict.fromkeys(("pool5", "fc6"), 0)

    def count(name: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _inputs: object, output: Tensor) -> None:
            counts[name] += output.requires_grad

        return hook

    for name in counts:
        state.model.get_submodule(name).register_forward_hook(count(name))
    next(fit(state, task, CPU, StopRequest()))
    assert counts == {"pool5": 0, "fc6": 1}
    with_momentum = {name for name, p in state.model.named_parameters() if p in state.optimizer.state}
    assert with_momentum == {f"fc{i}.{part}" for i in (6, 7, 8) for part in ("weight", "bias")}


@pytest.mark.parametrize(("fine_tuned", "layers"), [("all", 11), ("fc", 3)])
def test_biases_do_not_decay(photographs: Path, fine_tuned: FineTuned, layers: int) -> None:
    groups = make_optimizer(small_state(small_task(photographs), fine_tuned).model, Recipe(stages=())).param_groups
    decays = {group["weight_decay"]: (group["rate_factor"], len(group["params"])) for group in groups}
    assert decays == {5e-4: (1.0, layers), 0.0: (2.0, layers)}


@pytest.mark.parametrize("fine_tuned", ["all", "fc"])
def test_micro_batches_do_not_change_the_step(photographs: Path, fine_tuned: FineTuned) -> None:
    whole, parts = small_task(photographs), small_task(photographs, micro=3)
    losses = [report.loss for report in fit(small_state(parts, fine_tuned), parts, CPU, StopRequest())]
    expected = [report.loss for report in fit(small_state(whole, fine_tuned), whole, CPU, StopRequest())]
    assert len(losses) == 10
    assert losses == pytest.approx(expected, rel=1e-4)
    assert len(set(expected)) == 10


def test_processes_take_their_rows_of_the_same_masks(photographs: Path) -> None:
    task = small_task(photographs)
    model = small_state(task).model
    model.set_dropout(0.5)
    whole = dropout_masks(model, task, 7, CPU)
    halves = [dropout_masks(model, task, 7, replace(CPU, rank=rank, world_size=2)) for rank in (0, 1)]
    for name, mask in whole.items():
        assert torch.equal(mask, torch.cat([half[name] for half in halves]))
        assert 0.3 < mask.float().mean() < 0.7
    assert not torch.equal(whole["drop6"], whole["drop7"])
    assert not torch.equal(whole["drop6"], dropout_masks(model, task, 8, CPU)["drop6"])


def test_stages_follow_each_other(photographs: Path) -> None:
    task = small_task(photographs)
    first = Stage(TrainScale(256, 256), dropout=0.0, epochs=1, milestones=())
    second = Stage(TrainScale(256, 512), dropout=0.5, epochs=2, milestones=(0.5,))
    task = replace(task, recipe=replace(task.recipe, stages=(first, second)))
    state = small_state(task)
    seen = [
        (r.step, r.learning_rate, state.model.drop6.p, r.epoch is not None)
        for r in fit(state, task, CPU, StopRequest())
    ]
    assert [(step, dropout) for step, _, dropout, _ in seen] == [(s, 0.0 if s <= 5 else 0.5) for s in range(1, 16)]
    assert [rate for _, rate, _, _ in seen] == pytest.approx([0.01] * 10 + [0.001] * 5)
    assert [step for step, _, _, ends in seen if ends] == [5, 10, 15]


def test_a_bad_image_is_named_or_counted(tmp_path: Path, cli: Cli) -> None:
    data = make_photographs(tmp_path / "data", {"train": 8, "val": 2})
    (data / "train" / "bee" / "003.jpg").write_bytes(b"no picture at all")
    refused = cli("train", data, *SMALL_NET, "--epochs", 1, "--out", "strict", check=False)
    assert refused.returncode == 1
    assert "bee/003.jpg" in refused.stderr and "Traceback" not in refused.stderr
    cli("train", data, *SMALL_NET, "--epochs", 1, "--out", "run", "--bad-images", "skip")
    assert "bee/003.jpg" in (tmp_path / "run" / "skipped.json").read_text()


def test_a_loss_that_overflows_is_an_error(photographs: Path, cli: Cli) -> None:
    done = cli("train", photographs, *SMALL_NET, "--epochs", 3, "--learning-rate", 1e20, "--out", "run", check=False)
    assert done.returncode == 1
    assert "not finite at step" in done.stderr and "learning rate 1e+20" in done.stderr
    assert "Traceback" not in done.stderr


def assert_same_run(run: Path, other: Path) -> None:
    assert metrics_of(run) == metrics_of(other)
    for part in ("model", "best"):
        files = [folder / part / "model.safetensors" for folder in (run, other)]
        assert files[0].read_bytes() == files[1].read_bytes()


def start_training(photographs: Path, run: Path) -> subprocess.Popen[bytes]:
    """The run of the fixture ``trained`` in a process that the test will stop."""
    arguments = ["train", photographs, *SMALL_NET, *SHORT_TRAINING, "--out", run]
    command = [sys.executable, "-m", "verydeep", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def test_a_killed_run_continues_bit_equal(photographs: Path, cli: Cli, tmp_path: Path, trained: Path) -> None:
    with start_training(photographs, tmp_path / "run") as process:
        log = tmp_path / "run" / "metrics.jsonl"
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and process.poll() is None:
            if log.exists() and log.read_bytes().count(b"\n") >= 9:
                break
            time.sleep(0.002)
        process.kill()
    cli("train", "--resume", tmp_path / "run")
    assert_same_run(tmp_path / "run", trained)


KILLED_WHILE_WRITING = """
import os, signal, sys
from pathlib import Path
from verydeep.cli import main
from verydeep.models.weights import model_folder
whole, calls = model_folder.save_file, []

def half_of_a_file(tensors, path, metadata):
    whole(tensors, path, metadata=metadata)
    if Path(path).parent.name.startswith(".step-"):
        calls.append(path)
    if len(calls) == 2:
        os.truncate(path, Path(path).stat().st_size // 2)
        os.kill(os.getpid(), signal.SIGKILL)

model_folder.save_file = half_of_a_file
sys.argv = ["verydeep", *sys.argv[1:]]
main()
"""


def test_a_run_killed_while_it_writes_a_checkpoint_continues_bit_equal(
    photographs: Path, cli: Cli, tmp_path: Path, trained: Path
) -> None:
    command = [
        sys.executable,
        "-c",
        KILLED_WHILE_WRITING,
        "train",
        photographs,
        *SMALL_NET,
        *SHORT_TRAINING,
        "--out",
        tmp_path / "run",
    ]
    killed = subprocess.run([str(word) for word in command], capture_output=True, check=False, timeout=240)
    assert killed.returncode == -signal.SIGKILL
    assert len(list((tmp_path / "run" / "checkpoints").glob("*.safetensors"))) == 1
    cli("train", "--resume", tmp_path / "run")
    assert_same_run(tmp_path / "run", trained)
    assert [path.suffix for path in (tmp_path / "run" / "checkpoints").iterdir()] == [".safetensors"]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_saves_before_it_ends_the_run(
    number: signal.Signals, code: int, photographs: Path, cli: Cli, tmp_path: Path, trained: Path
) -> None:
    with start_training(photographs, tmp_path / "run") as process:
        log = tmp_path / "run" / "metrics.jsonl"
        while process.poll() is None and not (log.exists() and log.read_bytes().count(b"\n") >= 7):
            time.sleep(0.002)
        os.kill(process.pid, number)
        assert process.wait(60) == code
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes().count(b"\n") < 20
    cli("train", "--resume", tmp_path / "run")
    assert_same_run(tmp_path / "run", trained)


def test_two_processes_train_and_test_as_one(
    photographs: Path, inside: Cli, forker: Forker, tmp_path: Path, trained: Path
) -> None:
    """The loss curve to float tolerance, with dropout; and every test image predicted once, for an odd number.

    At the rate of 1e-3: at 1e-2 this small net is chaotic, and a rounding error grows tenfold a step.
    """
    train = ("train", photographs, *SMALL_NET, *SHORT_TRAINING, "--learning-rate", 1e-3)
    test = ("evaluate", photographs, trained, "--split", "test", "--precision", "fp32", "--workers", 0)
    inside(*train, "--out", "1")
    inside(*test, "--out", "evaluation-1")
    for words in ((*train, "--out", "2"), (*test, "--out", "evaluation-2")):
        attempts = forker.run_in_two_processes(tmp_path, *words)
        assert [each.code for each in attempts] == [0, 0], attempts
    assert losses_of(tmp_path / "2") == pytest.approx(losses_of(tmp_path / "1"), rel=1e-5)
    one, two = ((tmp_path / f"evaluation-{n}" / "predictions.csv").read_text() for n in (1, 2))
    assert one == two
    assert one.count("\n") == 1 + 9


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_a_gpu_trains_as_the_cpu(photographs: Path) -> None:
    """The first steps without dropout, whose masks are drawn on the device."""
    gpu = Runtime(torch.device("cuda"), bf16=False)
    means = []
    for runtime in (CPU, gpu):
        task = small_task(photographs, dropout=0.0, epochs=1)
        state = new_state(runtime.place(small_state(task).model), task)
        *_, last = fit(state, task, runtime, StopRequest())
        assert last.epoch is not None
        means.append(last.epoch.train_loss)
    assert means[1] == pytest.approx(means[0], rel=1e-2)


@pytest.mark.parametrize("micro_batch", [12, 5])
def test_a_balanced_loss_is_weighted_by_class(photographs: Path, micro_batch: int) -> None:
    """It is torch's weighted cross-entropy, summed and divided by the batch."""
    task = small_task(photographs, dropout=0.0)
    task = replace(task, recipe=replace(task.recipe, color_shift="none", balance="weights"), micro_batch=micro_batch)
    train = task.train.subset([i for i, label in enumerate(task.train.labels.tolist()) if label or i % 3 == 0])  # type: ignore[union-attr]
    task = replace(task, train=train)
    state, reference = small_state(task), small_state(task).model
    reference.set_dropout(0)
    report = next(fit(state, task, CPU, StopRequest()))
    samples = TrainSamples(train, task.recipe.stages[0].scale.in_pixels(32), 32, task.seed)
    (batch,) = load_train_batches(samples, [global_batch(task.seed, 0, len(train), 12)], 0)
    images = batch.images.permute(0, 3, 1, 2).float()
    images[batch.flip] = images[batch.flip].flip(3)
    assert train.labels is not None
    counts = np.bincount(train.labels)
    assert counts.min() < counts.max()
    weights = torch.tensor(len(train) / (len(counts) * counts), dtype=torch.float32)
    loss = F.cross_entropy(reference(images).flatten(1), batch.targets, weight=weights, reduction="sum") / 12
    assert report.loss == pytest.approx(loss.item(), rel=1e-5)


def test_a_balanced_epoch_trains_on_other_samples(photographs: Path) -> None:
    task = small_task(photographs, dropout=0.0)
    balanced = replace(task, recipe=replace(task.recipe, balance="sampling"))
    plain, sampled = (next(fit(small_state(each), each, CPU, StopRequest())).loss for each in (task, balanced))
    assert plain != sampled
