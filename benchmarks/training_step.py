"""Images per second of a training step against plain PyTorch of the same net, and where a step's time goes.

    python -m benchmarks.training_step --write      # needs scikit-learn; from the repository's root; 8 GB of memory

Ours is the step as ``engine.training.fit`` makes it. The peers are the same layers with the same weights, as everybody
writes them (torch.nn.Sequential, in-place ReLU, torch.optim.SGD): once plain, once in PyTorch's best-known form
(channels_last, fused SGD). Peers get float images, normalized beforehand; ours gets uint8 and does the rest within the
timed step. All run in one process, so the peers have the allocator's settings of our commands too. First, without
dropout, all must give the same losses over three steps.

The second table is measured inside ``fit`` on JPEGs, loader included: the share of the time of steps that is spent
outside the net's forward, backward and the optimizer; a loss counts as outside.

Goals: at least 1.0 times the peers; less than 3% outside.
"""

import argparse
import gc
import math
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.photographs import make_photographs
from benchmarks.timing import interleave, rate, report, speedup, table
from verydeep.configs.networks import NETWORKS
from verydeep.configs.recipes import Recipe, Stage
from verydeep.configs.scales import TrainScale
from verydeep.data.loading.training_images import TrainBatch
from verydeep.data.split import Split
from verydeep.engine.process import own_process
from verydeep.engine.runtime import Runtime, has_fast_bf16, start
from verydeep.engine.training.fit import fit
from verydeep.engine.training.gradients import BatchLoss, color_matrix, dropout_masks, net_input
from verydeep.engine.training.state import make_optimizer, new_state, set_learning_rate
from verydeep.engine.training.stopping import StopRequest
from verydeep.engine.training.task import TrainingTask
from verydeep.models.initialization import initialize
from verydeep.models.vgg import VGG

PLAIN, BEST = "plain PyTorch", "channels_last, fused SGD"
LEARNING_RATE = 1e-4
"""Small: at 1e-3 rounding alone grows to 2e-4 of D's loss in three steps on one batch."""
CHECKED_STEPS = 3
TOLERANCE = {"fp32": 1e-4, "bf16": 1e-2}
"""Relative, of the losses. That of fp32 shows a wrong momentum; bf16 rounds differently in each memory format."""


@dataclass(frozen=True)
class Case:
    """A net and a batch."""

    network: str
    crop: int
    batch: int
    num_classes: int
    width: float = 1.0
    fc_width: int = 4096

    def __str__(self) -> str:
        return f"{self.network}, crop {self.crop}, batch {self.batch}"

    def model(self, runtime: Runtime) -> VGG:
        """The net, drawn anew but always the same."""
        model = VGG(NETWORKS[self.network], self.num_classes, crop=self.crop, width=self.width, fc_width=self.fc_width)
        initialize(model)
        return runtime.place(model)


CASES = (Case("D", 224, 8, 1000), Case("A", 64, 64, 20))
QUICK = (Case("D", 64, 4, 7, 1 / 16, 24), Case("A", 32, 6, 5, 1 / 16, 24))


def make_task(case: Case, paths: list[Path], num_images: int) -> TrainingTask:
    """The paper's recipe on these files, each used as often as needed."""
    split = Split(
        name="train",
        root=paths[0].parent,
        files=tuple(paths[i % len(paths)].name for i in range(num_images)),
        labels=np.arange(num_images, dtype=np.int64) % case.num_classes,
        class_names=tuple(str(label) for label in range(case.num_classes)),
        class_words=tuple(str(label) for label in range(case.num_classes)),
        layout="benchmark",
        camera_rotation=False,
    )
    stage = Stage(TrainScale(256, 512), learning_rate=LEARNING_RATE, milestones=())
    recipe = Recipe(stages=(stage,), batch_size=case.batch)
    covariance = 3000 * np.eye(3) + 1500  # grey levels of ordinary photographs
    return TrainingTask(split, None, recipe, covariance, seed=0, micro_batch=case.batch)


def random_batch(case: Case) -> TrainBatch:
    """As the loader hands it over."""
    generator = torch.Generator().manual_seed(1)
    shape = (case.batch, case.crop, case.crop, 3)
    return TrainBatch(
        images=torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator),
        targets=torch.randint(0, case.num_classes, (case.batch,), generator=generator),
        flip=torch.rand(case.batch, generator=generator) < 0.5,
        color=torch.randn(case.batch, 3, generator=generator),
        valid=torch.ones(case.batch),
        skipped={},
    )


def plain_net(model: VGG) -> nn.Sequential:
    """The same layers and weights, as everybody writes them."""
    layers: list[nn.Module] = []
    for name, layer in model.named_children():
        if name == "fc6":
            layers.append(nn.Flatten())
        if name.startswith("fc"):
            assert isinstance(layer, nn.Conv2d)
            layers.append(nn.Linear(layer.weight[0].numel(), layer.out_channels))
        elif name.startswith("conv"):
            assert isinstance(layer, nn.Conv2d)
            side = layer.kernel_size[0]
            layers.append(nn.Conv2d(layer.in_channels, layer.out_channels, side, padding=side // 2))
        elif name.startswith("relu"):
            layers.append(nn.ReLU(inplace=True))
        elif name.startswith("pool"):
            layers.append(nn.MaxPool2d(2, 2))
        elif name.startswith("drop"):
            layers.append(nn.Dropout())
    net = nn.Sequential(*layers).to(model.mean_rgb.device)
    weighted = [layer for layer in layers if isinstance(layer, nn.Conv2d | nn.Linear)]
    with torch.no_grad():
        for theirs, mine in zip(weighted, model.weight_layers().values(), strict=True):
            assert theirs.bias is not None and mine.bias is not None
            theirs.weight.copy_(mine.weight.reshape(theirs.weight.shape))
            theirs.bias.copy_(mine.bias)
    return net


def plain_step(
    model: VGG, images: Tensor, targets: Tensor, recipe: Recipe, runtime: Runtime, *, best: bool
) -> tuple[nn.Sequential, Callable[[], float]]:
    """The peer's net, and its step, which returns the loss."""
    net = plain_net(model).train()
    images = images - model.mean_rgb[:, None, None]
    images = images.contiguous(memory_format=torch.channels_last if best else torch.contiguous_format)
    if best:
        net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    weights = [parameter for parameter in net.parameters() if parameter.dim() > 1]
    biases = [parameter for parameter in net.parameters() if parameter.dim() == 1]
    groups: list[dict[str, Any]] = [
        {"params": weights, "weight_decay": recipe.weight_decay},
        {"params": biases, "lr": LEARNING_RATE * recipe.bias_rate_factor},
    ]
    optimizer = torch.optim.SGD(groups, lr=LEARNING_RATE, momentum=recipe.momentum, fused=True if best else None)

    def step() -> float:
        optimizer.zero_grad()
        with runtime.autocast():
            loss = F.cross_entropy(net(images), targets)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        return loss.item()

    return net, step


def our_step(model: VGG, batch: TrainBatch, task: TrainingTask, runtime: Runtime) -> Callable[[], float]:
    """The body of ``train_stage``'s loop; returns the loss."""
    optimizer, batch_loss = make_optimizer(model, task.recipe), BatchLoss(runtime.parallel(model), task, runtime)

    def step() -> float:
        set_learning_rate(optimizer, LEARNING_RATE)
        model.train()
        masks = dropout_masks(model, task, 0, runtime)
        loss = batch_loss.backward(batch, masks, task.micro_batch)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.item()

    return step


def compare(case: Case, task: TrainingTask, runtime: Runtime, repeats: int, steps: int) -> list[list[str]]:
    """Rows of the first table."""
    model, batch = case.model(runtime), random_batch(case)
    there = batch.map(runtime.move)
    images = net_input(there, color_matrix(task, runtime.device))
    peers = {
        name: plain_step(model, images, there.targets, task.recipe, runtime, best=best)
        for name, best in ((PLAIN, False), (BEST, True))
    }
    sides = {"ours": our_step(model, batch, task, runtime)} | {name: step for name, (_, step) in peers.items()}

    def set_dropout(p: float) -> None:
        model.set_dropout(p)
        for net, _ in peers.values():
            for layer in net:
                if isinstance(layer, nn.Dropout):
                    layer.p = p

    set_dropout(0)
    losses = {name: [step() for _ in range(CHECKED_STEPS)] for name, step in sides.items()}
    for name in peers:
        pairs = zip(losses[name], losses["ours"], strict=True)
        if not all(math.isclose(*pair, rel_tol=TOLERANCE[runtime.precision]) for pair in pairs):
            raise SystemExit(f"{case}, {runtime.precision}: ours and {name} differ, nothing to compare: {losses}")
    set_dropout(0.5)

    def several(step: Callable[[], float]) -> Callable[[], None]:
        def run() -> None:
            for _ in range(steps):
                step()

        return run

    seconds = interleave({name: several(step) for name, step in sides.items()}, repeats)
    rates = {name: rate(seconds[name], case.batch * steps) for name in sides}
    ratios = {name: speedup(seconds[name], seconds["ours"]) for name in peers}
    return [[str(case), runtime.precision, name, rates[name], ratios.get(name, "-")] for name in sides]


class Pieces:
    """Adds up the seconds between ``begin`` and ``end`` by name; on a GPU both wait for it."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.seconds = device, {"forward": 0.0, "backward": 0.0, "optimizer": 0.0}

    def now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        return time.perf_counter()

    def begin(self, *_: object) -> None:
        self.begun = self.now()

    def end(self, name: str) -> Callable[..., None]:
        def add(*_: object) -> None:
            self.seconds[name] += self.now() - self.begun

        return add

    @contextmanager
    def watch(self, model: VGG, optimizer: torch.optim.Optimizer) -> Iterator[None]:
        """Time the net's forward, every backward and the optimizer's steps within this context."""
        whole = Tensor.backward

        def timed(*args: Any, **kwargs: Any) -> None:
            self.begin()
            whole(*args, **kwargs)  # type: ignore[no-untyped-call]
            self.end("backward")()

        handles = [
            model.register_forward_pre_hook(self.begin),
            model.register_forward_hook(self.end("forward")),
            optimizer.register_step_pre_hook(self.begin),
            optimizer.register_step_post_hook(self.end("optimizer")),
        ]
        with mock.patch.object(Tensor, "backward", timed):
            yield
        for handle in handles:
            handle.remove()


def profile(case: Case, task: TrainingTask, runtime: Runtime, steps: int) -> list[str]:
    """A row of the second table: milliseconds per step, from ``fit`` itself."""
    state = new_state(case.model(runtime), task)
    reports, pieces, warm = fit(state, task, runtime, StopRequest()), Pieces(runtime.device), 10
    while next(reports).step < warm:
        pass
    with pieces.watch(state.model, state.optimizer):
        begin = pieces.now()
        while next(reports).step < warm + steps:
            pass
        total = pieces.now() - begin
    outside = total - sum(pieces.seconds.values())
    times = [f"{1000 * seconds / steps:.1f}" for seconds in (*pieces.seconds.values(), outside)]
    return [str(case), runtime.precision, *times, f"{100 * outside / total:.2f}%"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="seconds, to see that it works; the figures mean nothing")
    parser.add_argument("--write", action="store_true", help="write the tables to benchmarks/results/")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    options = parser.parse_args()
    repeats, steps, profiled = (1, 1, 10) if options.quick else (5, 1, 12)
    speeds, shares = [], []
    with own_process(), start(device=options.device) as runtime, tempfile.TemporaryDirectory() as folder:
        if runtime.device.type == "cuda" and not options.quick:
            steps, profiled = 20, 200
        paths = make_photographs(Path(folder), tiles=1, count=2 if options.quick else 8)
        for case in QUICK if options.quick else CASES:
            task = make_task(case, paths, num_images=(profiled + 20) * case.batch)
            for bf16 in (True, False) if has_fast_bf16(runtime.device) else (False,):
                speeds += compare(case, task, replace(runtime, bf16=bf16), repeats, steps)
                gc.collect()  # three nets of D with gradients and momentum are 5 GB
                shares.append(profile(case, task, replace(runtime, bf16=bf16), profiled))
                gc.collect()
    body = (
        f"Medians of {repeats} interleaved repeats; steps in a repeat: {steps}; ratios within a repeat, [smallest, "
        "largest].\n\n"
        + table(["net", "precision", "step", "images/s", "speed-up of ours"], speeds)
        + f"\n\nInside `fit`, milliseconds per step, mean of {profiled} steps on 500x375 JPEGs:\n\n"
        + table(["net", "precision", "forward", "backward", "optimizer", "outside", "share"], shares)
    )
    report("training_step", "A step of training", body, runtime.device, ("torch",), write=options.write)


if __name__ == "__main__":
    main()
