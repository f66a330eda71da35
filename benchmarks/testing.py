"""Images per second of testing (section 3.2) against the straightforward loop in plain PyTorch, and how time grows.

    python -m benchmarks.testing --write            # needs scikit-learn; from the repository's root; 6 GB of memory

Ours is ``engine.posteriors.predict_split`` on JPEG files: each image decoded once for all scales and views, ahead of
the net; batches of one shape, flips in the batch, crops several at once. The peer is the loop that the paper's text
suggests, with the same weights and no code of ours: an image, a scale, a flip or a crop at a time, decoded for each
scale, NCHW, fc6 as a convolution of 7x7, in inference mode, in bf16 with weights rounded beforehand. Both start at the
files and end with posteriors, the mean over everything; every call's are compared, before any time is taken.

Our commands tell glibc's allocator to keep freed memory (``engine.runtime``), which would speed the peer up too. So
the peer runs in a process of its own, as anybody's script would, and takes turns with ours. Where a table has a third
line, there the peer runs in our process: what remains between it and ours is not the allocator's.

The second table is the part of decoding and rescaling: its time without the net, one image after the other, beside all
of ours. A process of its own decodes ahead while the net computes.

Goals on two cores: 4 times the loop in fp32, 3 times in bf16; 5 times on a GPU.
"""

import argparse
import gc
import itertools
import math
import multiprocessing
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.photographs import make_photographs
from benchmarks.timing import RESULTS, interleave, rate, report, speedup, table
from verydeep.configs.networks import NETWORKS
from verydeep.configs.protocols import View
from verydeep.configs.scales import in_pixels
from verydeep.data.loading.testing_images import TestImages
from verydeep.data.pixels.decoding import STRICT
from verydeep.data.split import Split
from verydeep.engine.environment import describe_hardware
from verydeep.engine.inference import SINGLE_VIEWS, ViewAtScale, prepare_net
from verydeep.engine.posteriors import average_posteriors, predict_split
from verydeep.engine.process import own_process
from verydeep.engine.progress import run_with_progress
from verydeep.engine.runtime import Runtime, has_fast_bf16, start
from verydeep.models.cpu_engine import TestedNet
from verydeep.models.vgg import ILSVRC_MEAN_RGB, VGG
from verydeep.ops.arrays import Float32Array

OURS, PLAIN, PLAIN_KEPT = "ours", "plain loop", "plain loop, our allocator"
TOLERANCE = {"fp32": 1e-5, "bf16": 2e-2}
"""Of a posterior. That of fp32 shows a picture moved by a pixel, that of bf16 a missing flip (measured with D)."""
SPREAD = 2
"""Standard deviation of the scores of one picture over the classes."""
MOST_MEMBERS = 3

Side = Callable[[], Float32Array]


@dataclass(frozen=True)
class Case:
    """A net."""

    network: str = "D"
    crop: int = 224
    num_classes: int = 1000
    width: float = 1.0
    fc_width: int = 4096

    def model(self, runtime: Runtime, seed: int = 0) -> VGG:
        """The net in eval mode, drawn anew but always the same.

        A check needs posteriors that can differ: Glorot's weights halve the signal in each layer, and every posterior
        would be 1/K. So weights are drawn with variance 2 / fan_in (He et al.), and fc8 is scaled so that the soft-max
        does not give one class all of the probability.
        """
        model = VGG(NETWORKS[self.network], self.num_classes, crop=self.crop, width=self.width, fc_width=self.fc_width)
        generator = torch.Generator().manual_seed(seed)
        corners = 255 * torch.rand(1, 3, 2, 2, generator=torch.Generator().manual_seed(seed))
        smooth = F.interpolate(corners, (self.crop, self.crop), mode="bilinear")  # low frequencies, as photographs
        with torch.no_grad():
            for layer in model.weight_layers().values():
                layer.weight.normal_(0, (2 / layer.weight[0].numel()) ** 0.5, generator=generator)
                assert layer.bias is not None
                layer.bias.zero_()
            model.fc8.weight.mul_(SPREAD / model.eval().logits(smooth).std())
        return runtime.place(model)


@dataclass(frozen=True)
class Task:
    """What is asked of a net: the rows of the table."""

    view: View
    scales: tuple[int, ...]
    images: int
    in_our_process: bool = False
    """Whether the peer is timed in our process as well."""
    in_fp32: bool = False
    """Whether fp32 is timed beside a faster precision."""

    def __str__(self) -> str:
        scales = ", ".join(map(str, self.scales))
        return f"{self.view}, Q={scales}"

    def over(self, files: Sequence[Path]) -> list[Path]:
        """As many files as it has images, each used as often as needed."""
        return list(itertools.islice(itertools.cycle(files), self.images))


@dataclass(frozen=True)
class Plan:
    """What one run of this script measures."""

    tasks: tuple[Task, ...]
    growth: tuple[int, ...]
    """Test scales of the plot."""
    growth_images: int
    repeats: int

    def times(self, factor: int) -> "Plan":
        """The same with so many times the images: a GPU needs more for a time that can be taken."""
        tasks = tuple(replace(task, images=factor * task.images) for task in self.tasks)
        return replace(self, tasks=tasks, growth_images=factor * self.growth_images)


CASE = Case()
FULL = Plan(
    tasks=(
        Task("dense", (256,), 8, in_our_process=True, in_fp32=True),
        Task("dense", (384,), 4, in_fp32=True),
        Task("dense", (512,), 6, in_fp32=True),
        Task("dense", (256, 384, 512), 4),
        Task("crops", (256,), 1, in_our_process=True, in_fp32=True),
        Task("dense+crops", (256,), 1),
    ),
    growth=(224, 320, 416, 512),
    growth_images=2,
    repeats=2,
)
QUICK = Plan(
    tasks=(Task("dense", (256,), 4), Task("dense", (256, 384, 512), 1), Task("crops", (256,), 1)),
    growth=(224, 320, 448),
    growth_images=1,
    repeats=1,
)


def plain_net(model: VGG) -> nn.Sequential:
    """The same layers and weights, as everybody writes them; the mean is subtracted by the loop."""
    layers: list[nn.Module] = []
    for layer in model.children():
        if isinstance(layer, nn.Conv2d):
            side = layer.kernel_size[0]
            conv = nn.Conv2d(layer.in_channels, layer.out_channels, side, padding=layer.padding)  # type: ignore[arg-type]
            conv.load_state_dict(layer.state_dict())
            layers.append(conv)
        elif isinstance(layer, nn.ReLU):
            layers.append(nn.ReLU(inplace=True))
        elif isinstance(layer, nn.MaxPool2d):
            layers.append(nn.MaxPool2d(2, 2, ceil_mode=True))
    return nn.Sequential(*layers).to(model.mean_rgb.device).eval()


@torch.inference_mode()
def plain_loop(net: nn.Sequential, crop: int, task: Task, files: Sequence[Path]) -> Float32Array:
    """(n, K): section 3.2 as one reads it, one thing at a time."""
    weight = next(net.parameters())
    mean = torch.tensor(ILSVRC_MEAN_RGB).view(3, 1, 1)

    def seen(image: Tensor) -> Tensor:
        """(K,) posterior of one input (3, H, W)."""
        scores = net(image[None].to(weight.device, weight.dtype)).float()
        posterior: Tensor = scores.mean(dim=(2, 3)).softmax(dim=1)[0]
        return posterior.cpu()

    rows = []
    for file in files:
        parts = []
        for scale in task.scales:
            picture = Image.open(file).convert("RGB")
            factor = round(scale * crop / 224) / min(picture.size)
            width, height = (round(side * factor) for side in picture.size)
            pixels = np.array(picture.resize((width, height), Image.Resampling.BILINEAR))
            whole = torch.from_numpy(pixels).permute(2, 0, 1).float().sub(mean).contiguous()
            if "dense" in task.view:
                parts.append((seen(whole) + seen(whole.flip(2))) / 2)
            if "crops" in task.view:
                tops, lefts = ([int(i * (side - crop) / 4 + 0.5) for i in range(5)] for side in (height, width))
                crops = (whole[:, y : y + crop, x : x + crop] for y in tops for x in lefts)
                parts.append(torch.stack([seen(side) for part in crops for side in (part, part.flip(2))]).mean(dim=0))
        rows.append(torch.stack(parts).mean(dim=0))
    return torch.stack(rows).numpy()


@cache
def peer_net(case: Case, device: str, bf16: bool, threads: int) -> nn.Sequential:
    """The peer's net in its own process."""
    torch.set_num_threads(threads)
    torch.backends.cudnn.allow_tf32 = False  # fp32 means fp32, as in ours
    net = plain_net(case.model(Runtime(torch.device(device), bf16=False)))
    return net.bfloat16() if bf16 else net


def run_there(case: Case, device: str, bf16: bool, threads: int, task: Task, files: Sequence[Path]) -> Float32Array:
    """The loop, called in the peer's process."""
    return plain_loop(peer_net(case, device, bf16, threads), case.crop, task, files)


def other_process() -> ProcessPoolExecutor:
    """One process that began as a fresh Python: its allocator is as glibc made it."""
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))


def with_fastest_kernels(runtime: Runtime) -> Runtime:
    """The runtime with the kernels that our commands choose for large jobs."""
    return replace(runtime, kernels="native" if runtime.has_engine else "torch")


def ours(net: TestedNet, task: Task, files: Sequence[Path], runtime: Runtime) -> Float32Array:
    """(n, K) by the package, from files to the mean over views and scales."""
    views = [ViewAtScale(view, scale) for view in SINGLE_VIEWS[task.view] for scale in task.scales]
    steps = predict_split(net, Split.of_photographs(files), views, runtime)
    predictions = run_with_progress(steps, "Predicting", len(files), is_main=False)
    assert predictions is not None
    return predictions.mean(task.view, task.scales)


def wait_for(pool: ProcessPoolExecutor, function: Callable[..., Float32Array], *arguments: object) -> Float32Array:
    """What a function gives in the other process."""
    return pool.submit(function, *arguments).result()


class Comparison:
    """Sides of one task that must agree whenever they run; ``interleave`` runs each once before it takes times."""

    def __init__(self, task: Task, precision: str) -> None:
        self.task, self.precision = task, precision
        self.found: dict[str, Float32Array] = {}
        self.largest = 0.0
        """Largest difference of a posterior seen so far."""

    def checked(self, name: str, side: Side) -> Callable[[], None]:
        """The side, whose posteriors are compared with those of ours.

        Raises (when called):
            SystemExit: they differ.
        """

        def run() -> None:
            self.found[name] = side()
            if OURS not in self.found:
                return
            difference = float(np.abs(self.found[name] - self.found[OURS]).max())
            self.largest = max(self.largest, difference)
            if not difference <= TOLERANCE[self.precision]:
                raise SystemExit(
                    f"{self.task}, {self.precision}: ours and the {name} differ by {difference:.2g} in a posterior, "
                    "nothing to compare."
                )

        return run


def compare(
    case: Case, plan: Plan, files: Sequence[Path], runtime: Runtime, pool: ProcessPoolExecutor
) -> tuple[list[list[str]], dict[Task, dict[str, float]]]:
    """Rows of the table at one precision, and the median seconds an image."""
    rows, medians = [], {}
    model = case.model(runtime)
    peer = plain_net(model).bfloat16() if runtime.bf16 else plain_net(model)
    net = prepare_net(model, runtime)
    there = case, str(runtime.device), runtime.bf16, torch.get_num_threads()
    tasks = plan.tasks if runtime.bf16 or not has_fast_bf16(runtime.device) else [t for t in plan.tasks if t.in_fp32]
    for task in tasks:
        print(f"{task}, {runtime.precision} ...", file=sys.stderr, flush=True)
        its = task.over(files)
        sides: dict[str, Side] = {
            OURS: partial(ours, net, task, its, runtime),
            PLAIN: partial(wait_for, pool, run_there, *there, task, its),
        }
        if task.in_our_process:
            sides[PLAIN_KEPT] = partial(plain_loop, peer, case.crop, task, its)
        comparison = Comparison(task, runtime.precision)
        seconds = interleave({name: comparison.checked(name, side) for name, side in sides.items()}, plan.repeats)
        medians[task] = {name: statistics.median(times) / task.images for name, times in seconds.items()}
        rows += [
            [
                str(task),
                runtime.precision,
                name,
                rate(times, task.images),
                "-" if name == OURS else speedup(times, seconds[OURS]),
                f"{comparison.largest:.1g}" if name == OURS else "-",
            ]
            for name, times in seconds.items()
        ]
    return rows, medians


def time_decoding(case: Case, task: Task, files: Sequence[Path]) -> float:
    """Median seconds an image for decoding and rescaling alone, in one process."""
    split, sides = Split.of_photographs(task.over(files)), tuple(in_pixels(q, case.crop) for q in task.scales)
    images, seconds = TestImages(split, sides, None, STRICT), []
    for index in range(len(split)):
        begin = time.perf_counter()
        images[index]
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds)


def decoding_table(case: Case, files: Sequence[Path], medians: Mapping[str, Mapping[Task, Mapping[str, float]]]) -> str:
    """Milliseconds an image for decoding and rescaling, beside all of ours at each precision that was timed."""
    rows = []
    for precision, sides in medians.items():
        for task, seconds in sides.items():
            alone, total = time_decoding(case, task, files), seconds[OURS]
            rows.append([str(task), precision, f"{1e3 * alone:.1f}", f"{1e3 * total:.1f}", f"{alone / total:.0%}"])
    return table(["view", "precision", "decoding and rescaling, ms", "all of ours, ms", "part"], rows)


@dataclass(frozen=True)
class Growth:
    """Median seconds an image of ours, dense, as the work grows."""

    scale: Mapping[int, float]
    members: Mapping[int, float]
    """At the smallest Q of the tasks."""
    member_scale: int

    @property
    def power(self) -> float:
        """The p of Q^p that times follow: least squares of the logarithms."""
        scales, seconds = zip(*self.scale.items(), strict=True)
        return float(np.polyfit(np.log(scales), np.log(seconds), 1)[0])

    def __str__(self) -> str:
        one = self.members[1]
        times = ", ".join(f"{seconds / one:.2f} for {count}" for count, seconds in self.members.items())
        return (
            f"The time per image grows as Q^{self.power:.2f}, from {min(self.scale.values()):.3g} s at "
            f"Q={min(self.scale)} to {max(self.scale.values()):.3g} s at Q={max(self.scale)}. At Q={self.member_scale} "
            f"several nets in memory take these multiples of the time of one: {times}."
        )


def grow(case: Case, plan: Plan, files: Sequence[Path], runtime: Runtime) -> Growth:
    """Time ours over test scales, and over the number of nets that are averaged."""
    nets = [prepare_net(case.model(runtime, seed), runtime) for seed in range(MOST_MEMBERS)]
    smallest = min(scale for task in plan.tasks for scale in task.scales)

    def fused(count: int, scale: int) -> Callable[[], Float32Array]:
        task = Task("dense", (scale,), plan.growth_images)
        its = task.over(files)
        return lambda: average_posteriors([ours(net, task, its, runtime) for net in nets[:count]])

    sides = {f"Q {scale}": fused(1, scale) for scale in plan.growth}
    sides |= {f"members {count}": fused(count, smallest) for count in range(1, MOST_MEMBERS + 1)}
    seconds = {
        name: statistics.median(times) / plan.growth_images for name, times in interleave(sides, plan.repeats).items()
    }
    return Growth(
        scale={scale: seconds[f"Q {scale}"] for scale in plan.growth},
        members={count: seconds[f"members {count}"] for count in range(1, MOST_MEMBERS + 1)},
        member_scale=smallest,
    )


def draw(growth: Growth, medians: Mapping[Task, Mapping[str, float]], title: str, path: Path) -> None:
    """The plot: seconds an image against Q, beside the loop where the table has it, and against members."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
    scales = np.array(list(growth.scale))
    times = np.array(list(growth.scale.values()))
    left.plot(scales, times, "o-", color="tab:blue", label="ours")
    middle = math.exp(float(np.mean(np.log(times) - 2 * np.log(scales))))
    left.plot(scales, middle * scales**2.0, ":", color="tab:gray", label="as the area, $Q^2$")
    loop = sorted(
        (task.scales[0], median[PLAIN])
        for task, median in medians.items()
        if task.view == "dense" and len(task.scales) == 1
    )
    left.plot(*zip(*loop, strict=True), "s--", color="tab:red", label=PLAIN)
    left.set(xlabel="test scale Q", ylabel="seconds an image, dense", ylim=(0, None))
    left.legend()
    right.plot(list(growth.members), list(growth.members.values()), "o-", color="tab:blue")
    right.set(xlabel="members", ylabel=f"seconds an image, dense, Q={growth.member_scale}", ylim=(0, None))
    right.set_xticks(list(growth.members))
    figure.suptitle(title)
    figure.savefig(path, dpi=120)
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a minute, one repeat, one precision: rough figures")
    parser.add_argument("--write", action="store_true", help="write the table and the plot to benchmarks/results/")
    parser.add_argument("--repeats", type=int, help="of each side")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    options = parser.parse_args()
    case, plan, rows = CASE, QUICK if options.quick else FULL, []
    plan = replace(plan, repeats=options.repeats or plan.repeats)
    with (
        own_process(),
        start(device=options.device, kernels="auto") as started,
        tempfile.TemporaryDirectory() as folder,
        other_process() as pool,
    ):
        runtime = with_fastest_kernels(started)
        if runtime.device.type == "cuda":
            plan = plan.times(32)
        files = make_photographs(Path(folder), tiles=1, count=8)
        # The first is the command's own precision, and the plot's.
        precisions = [True, False] if has_fast_bf16(runtime.device) else [False]
        growth = grow(case, plan, files, replace(runtime, bf16=precisions[0]))
        gc.collect()
        medians = {}
        for bf16 in precisions[:1] if options.quick else precisions:
            more, found = compare(case, plan, files, replace(runtime, bf16=bf16), pool)
            rows += more
            medians["bf16" if bf16 else "fp32"] = found
            gc.collect()
        decoding = decoding_table(case, files, medians)
    where = re.sub(r"[^a-z0-9]+", "-", describe_hardware(runtime.device).lower()).strip("-")
    picture = RESULTS / f"testing_{where}_{datetime.now(UTC).date()}.png"
    precision = replace(runtime, bf16=precisions[0]).precision
    header = ["view", "precision", "side", "images/s", "speed-up of ours", "largest difference"]
    body = (
        f"{case.network} at crop {case.crop}, {case.num_classes} classes, random weights, 500x375 JPEGs. Medians of "
        f"{plan.repeats} interleaved repeats of {', '.join(str(task.images) for task in plan.tasks)} images for the "
        f"{len(plan.tasks)} views in turn; ratios within a repeat, [smallest, largest]; the last column is the "
        f"largest over all posteriors and repeats.\n\n{table(header, rows)}\n\n"
        f"## Decoding and rescaling\n\nIn one process, without the net; ours decodes ahead while the net computes."
        f"\n\n{decoding}\n\n"
        f"## How time grows\n\n{growth} All in {precision}."
    )
    if options.write:
        RESULTS.mkdir(exist_ok=True)
        title = f"{case.network}, crop {case.crop}, {precision}, {describe_hardware(runtime.device)}"
        draw(growth, next(iter(medians.values())), title, picture)
        body += f"\n\n![Seconds per image]({picture.name})"
    report("testing", "Testing", body, runtime.device, ("torch", "pillow"), write=options.write)


if __name__ == "__main__":
    main()
