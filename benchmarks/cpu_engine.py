"""The CPU engine against ncnn, OpenVINO, ONNX Runtime and PyTorch: one forward pass of net D to its class score map.

    python -m benchmarks.cpu_engine --write       # needs ncnn, pnnx (on PATH), openvino, onnxruntime; eight minutes

All sides have the same random weights, take the same pixels and are checked against PyTorch's fp32 before any time is
taken. They run in this process, one after the other and in turns, each several times in a row with a pause before it,
so that no side's waiting threads take cores from the next. ncnn takes the images of a batch one by one, as it has no
batches. GFLOP/s count the operations of plain convolutions, 2 for a multiplication and its addition, whatever a side
really does.

The last tables are of the engine alone: milliseconds of its layers and their share of the peak, and its AVX2 kernels
beside a PyTorch that is limited to AVX2, in a process of its own.

Goals, as ratios of time with all cores, for 1x224, 8x224, 256x341, 384x512 and 512x683: fp32 at most 0.65, 0.50, 0.62,
0.53 and 0.57 of ncnn's; bf16 at most 0.50, 0.40, 0.47, 0.44 and 0.46 of OpenVINO's; AVX2 at most 0.6, 0.5, 0.55, 0.5
and 0.5 of PyTorch's.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from benchmarks.testing import Case, plain_net
from benchmarks.timing import report, table
from verydeep.engine.inference import prepare_net
from verydeep.engine.runtime import Runtime
from verydeep.models.cpu_engine import CpuNet, can_compute, choose_tile, find_instruction_set, measure_peak, takes_bf16
from verydeep.models.export.onnx import write_onnx
from verydeep.models.vgg import VGG
from verydeep.models.weights.model_folder import ModelConfig
from verydeep.ops.arrays import Float32Array

CASE = Case("D")
SHAPES = ((1, 224, 224), (8, 224, 224), (1, 256, 341), (1, 384, 512), (1, 512, 683))
"""Images, height and width."""
LAYER_SHAPE = (1, 384, 512)
"""Of the table of layers."""
TOLERANCE = {"fp32": 1e-3, "bf16": 0.1}
"""Of scores, relative to the largest: another layer, rounding or channel order has more."""
PAUSE = 0.05
"""Seconds before a side, in which the threads of the last one fall asleep."""
AVX2_ONLY = {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2"}

Run = Callable[[Tensor], Float32Array]


@dataclass(frozen=True)
class Side:
    """One way to compute the net."""

    name: str
    precision: str
    make: Callable[[int], Run]
    """Takes the number of threads."""

    def __str__(self) -> str:
        return f"{self.name} {self.precision}"


def torch_run(model: VGG, threads: int, *, bf16: bool) -> Run:
    """PyTorch's kernels, as this package uses them."""
    torch.set_num_threads(threads)
    runtime = Runtime(torch.device("cpu"), bf16)
    net = prepare_net(model, runtime)

    def run(images: Tensor) -> Float32Array:
        with runtime.autocast():
            return np.asarray(net(images).float())

    return run


def engine_run(net: CpuNet, threads: int) -> Run:
    torch.set_num_threads(threads)
    return lambda images: np.asarray(net(images))


def onnxruntime_run(path: Path, threads: int) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = threads, 3
    options.add_session_config_entry("session.force_spinning_stop", "1")
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda images: session.run(["scores"], {"images": np.asarray(images)})[0]


def openvino_run(path: Path, threads: int, *, precision: str) -> Run:
    import openvino

    settings = {
        "INFERENCE_PRECISION_HINT": precision,
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
    }
    compiled = openvino.Core().compile_model(str(path), "CPU", settings)
    return lambda images: np.array(compiled(np.asarray(images))["scores"])


def convert_for_ncnn(model: VGG, folder: Path) -> Path:
    """Trace the plain net and convert it by pnnx; return the path of its files without their suffix."""
    traced = torch.jit.trace(Centered(model).eval(), torch.zeros(1, 3, model.crop, model.crop))  # type: ignore[no-untyped-call]
    traced.save(folder / "plain.pt")
    size = f"[1,3,{model.crop},{model.crop}]"
    command = ["pnnx", "plain.pt", f"inputshape={size}f32", "fp16=0"]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return folder / "plain.ncnn"


class Centered(nn.Module):
    """The plain net; it subtracts the mean itself, as the others do."""

    mean: Tensor

    def __init__(self, model: VGG) -> None:
        super().__init__()
        self.net = plain_net(model)
        self.register_buffer("mean", model.mean_rgb.reshape(1, 3, 1, 1).clone())

    def forward(self, images: Tensor) -> Tensor:
        scores: Tensor = self.net(images - self.mean)
        return scores


def ncnn_run(path: Path, threads: int) -> Run:
    import ncnn

    net = ncnn.Net()
    net.opt.num_threads = threads
    net.opt.use_vulkan_compute = False
    for option in ("fp16_packed", "fp16_storage", "fp16_arithmetic", "bf16_storage"):
        setattr(net.opt, f"use_{option}", False)
    net.load_param(f"{path}.param")
    net.load_model(f"{path}.bin")

    def run_one(image: Float32Array) -> Float32Array:
        with net.create_extractor() as extractor:
            extractor.input("in0", ncnn.Mat(image))
            return np.array(extractor.extract("out0")[1])

    return lambda images: np.stack([run_one(image) for image in np.asarray(images)])


def list_sides(model: VGG, folder: Path) -> Iterator[Side]:
    """Yield the sides that are installed; ours come first."""
    names = tuple(f"class {number}" for number in range(CASE.num_classes))
    config = ModelConfig(CASE.network, names, names, crop=CASE.crop)
    has_bf16 = can_compute(bf16=True)
    for precision in ("fp32", "bf16")[: 1 + has_bf16]:
        yield Side("engine", precision, partial(engine_run, CpuNet(model, bf16=precision == "bf16")))
    for precision in ("fp32", "bf16")[: 1 + has_bf16]:
        yield Side("PyTorch", precision, partial(torch_run, model, bf16=precision == "bf16"))
    onnx = folder / "net.onnx"
    write_onnx(onnx, model, config)
    if find_spec("onnxruntime"):
        yield Side("ONNX Runtime", "fp32", partial(onnxruntime_run, onnx))
    if find_spec("openvino"):
        for precision, name in (("fp32", "f32"), ("bf16", "bf16"))[: 1 + has_bf16]:
            yield Side("OpenVINO", precision, partial(openvino_run, onnx, precision=name))
    if find_spec("ncnn") and shutil.which("pnnx"):
        yield Side("ncnn", "fp32", partial(ncnn_run, convert_for_ncnn(model, folder)))


def draw_images(shape: tuple[int, int, int]) -> Tensor:
    """(n, 3, H, W) float32, 0-255: random colors, smooth as photographs are."""
    count, height, width = shape
    corners = 255 * torch.rand(count, 3, 5, 7, generator=torch.Generator().manual_seed(height))
    smooth: Tensor = nn.functional.interpolate(corners, (height, width), mode="bilinear")
    return smooth.contiguous()


def check_sides(runs: Mapping[Side, Run], model: VGG) -> dict[str, float]:
    """Return the largest difference of each side's scores from PyTorch's fp32, relative to the largest score.

    Raises:
        SystemExit: A side computes something else.
    """
    images = torch.cat([draw_images(SHAPES[2])] * 2)
    exact, differences = torch_run(model, torch.get_num_threads(), bf16=False)(images), {}
    for side, run in runs.items():
        scores = run(images)
        if scores.shape != exact.shape:
            raise SystemExit(f"{side}: the map is {scores.shape}, not {exact.shape}.")
        differences[str(side)] = float(np.abs(scores - exact).max() / np.abs(exact).max())
        if not differences[str(side)] <= TOLERANCE[side.precision]:
            raise SystemExit(f"{side}: scores differ by {differences[str(side)]:.2g}, nothing to compare.")
    return differences


def time_sides(runs: Mapping[Side, Run], images: Tensor, repeats: int) -> dict[str, float]:
    """Return the median seconds of each side, over calls in two turns."""
    seconds: dict[str, list[float]] = {str(side): [] for side in runs}
    for _ in range(2):
        for side, run in runs.items():
            time.sleep(PAUSE)
            run(images)
            for _ in range(-(-repeats // 2)):
                begin = time.perf_counter()
                run(images)
                seconds[str(side)].append(time.perf_counter() - begin)
    return {name: statistics.median(each) for name, each in seconds.items()}


def layer_operations(model: VGG, height: int, width: int) -> dict[str, float]:
    """Return the operations of each layer's plain convolution on one image."""
    operations = {}
    for name, layer in model.weight_layers().items():
        if name.startswith("fc"):
            side = layer.kernel_size[0]
            height, width = height - side + 1, width - side + 1
        operations[name] = 2.0 * layer.weight.numel() * height * width
        if name.startswith("conv") and len(name) == 7 and is_last_of_block(model, name):
            height, width = -(-height // 2), -(-width // 2)
    return operations


def is_last_of_block(model: VGG, name: str) -> bool:
    """Whether a pooling follows a convolution."""
    block, place = int(name[4]), int(name[6:])
    return place == len(model.network.blocks[block - 1])


def share_of_products(layer: str, *, bf16: bool) -> float:
    """Return the multiplications of the engine's kernels at ``LAYER_SHAPE`` over those of a plain convolution."""
    if layer.startswith("conv") and layer != "conv1_1":
        tile = choose_tile(layer, bf16=bf16)
        return (tile + 2) ** 2 / (9 * tile**2)
    if layer == "fc6":
        return 63 / 98 if bf16 else 81 / 196
    return 1


@dataclass(frozen=True)
class LayerTimes:
    """Seconds of each layer of the engine at one precision, and the peak of the processor there."""

    bf16: bool
    seconds: Mapping[str, float]
    """0 where a layer runs as one with the next."""
    peak: float
    peak_fp32: float

    def share_of_peak(self, operations: Mapping[str, float]) -> float:
        """Return the share of the peak that layers reach which run as one; their kernels' multiplications count."""
        ideal = 0.0
        for name, count in operations.items():
            peak = self.peak if takes_bf16(name, 3) else self.peak_fp32
            ideal += count * share_of_products(name, bf16=self.bf16) / peak
        return ideal / sum(self.seconds[name] for name in operations)


def layer_table(model: VGG, nets: Mapping[str, CpuNet], repeats: int) -> str:
    """Milliseconds of each layer of the engine, its operations as a plain convolution, and its share of the peak."""
    images, rows, group = draw_images(LAYER_SHAPE), [], dict[str, float]()
    operations = layer_operations(model, *LAYER_SHAPE[1:])
    peak_fp32 = measure_peak(bf16=False)
    columns = []
    for net in nets.values():
        runs = [net.time_layers(images) for _ in range(repeats)]
        seconds = {name: statistics.median(run[name] for run in runs) for name in operations}
        columns.append(LayerTimes(net.bf16, seconds, measure_peak(bf16=net.bf16), peak_fp32))
    for name, count in operations.items():
        group[name] = count
        if columns[0].seconds[name]:
            rows.append([" and ".join(group), *layer_cells(columns, group)])
            group = {}
    totals = ((sum(each.seconds.values()), sum(operations.values())) for each in columns)
    rows.append(["all", *(cell for s, n in totals for cell in (f"{1e3 * s:.2f}", f"{n / s / 1e9:,.0f}", ""))])
    header = ["layer", *(title for name in nets for title in (f"{name}, ms", "GFLOP/s", "of the peak"))]
    peaks = " and ".join(f"{each.peak / 1e9:,.0f} in {name}" for name, each in zip(nets, columns, strict=True))
    return f"Measured peak of multiply-adds on registers alone, in GFLOP/s: {peaks}.\n\n{table(header, rows)}"


def layer_cells(columns: Sequence[LayerTimes], operations: Mapping[str, float]) -> list[str]:
    """Return the cells of layers that run as one: milliseconds, GFLOP/s and share of the peak at each precision."""
    cells = []
    for each in columns:
        seconds = sum(each.seconds[name] for name in operations)
        cells += [f"{1e3 * seconds:.2f}", f"{sum(operations.values()) / seconds / 1e9:,.0f}"]
        cells.append(f"{each.share_of_peak(operations):.0%}")
    return cells


def time_avx2(repeats: int) -> dict[str, dict[str, float]]:
    """Time both sides under AVX2 in a process of its own: shape -> side -> seconds."""
    command = [sys.executable, "-m", "benchmarks.cpu_engine", "--avx2-alone", "--repeats", str(repeats)]
    done = subprocess.run(command, env=os.environ | AVX2_ONLY, capture_output=True, text=True, check=True)
    times: dict[str, dict[str, float]] = json.loads(done.stdout)
    return times


def print_avx2_times(repeats: int) -> None:
    """Print the times under AVX2 as JSON."""
    model = CASE.model(Runtime(torch.device("cpu"), bf16=False))
    net, threads = CpuNet(model, instruction_set="avx2"), torch.get_num_threads()
    runs = {
        Side("engine", "fp32", partial(engine_run, net)): engine_run(net, threads),
        Side("PyTorch", "fp32", partial(torch_run, model, bf16=False)): torch_run(model, threads, bf16=False),
    }
    check_sides(runs, model)
    print(json.dumps({shape_name(shape): time_sides(runs, draw_images(shape), repeats) for shape in SHAPES}))


def shape_name(shape: tuple[int, int, int]) -> str:
    count, height, width = shape
    return f"{count}x{height}" if height == width else f"{height}x{width}"


def time_table(times: Mapping[str, Mapping[str, float]], operations: Mapping[str, float]) -> str:
    """Milliseconds and GFLOP/s of each side and shape."""
    sides = list(next(iter(times.values())))
    rows = [
        [
            side,
            *(f"{1e3 * each[side]:.1f} ({operations[shape] / each[side] / 1e9:,.0f})" for shape, each in times.items()),
        ]
        for side in sides
    ]
    return table(["ms (GFLOP/s)", *times], rows)


def ratio_table(times: Mapping[str, Mapping[str, float]], pairs: Sequence[tuple[str, str]]) -> str:
    """Ratios of the engine's time to those of others."""
    rows = [
        [f"{ours} / {theirs}", *(f"{each[ours] / each[theirs]:.2f}" for each in times.values())]
        for ours, theirs in pairs
        if all(ours in each and theirs in each for each in times.values())
    ]
    return table(["ratio of time", *times], rows)


def measure(repeats: int, folder: Path) -> str:
    """The whole report, in Markdown."""
    model = CASE.model(Runtime(torch.device("cpu"), bf16=False))
    cores, parts = torch.get_num_threads(), []
    sides = list(list_sides(model, folder))
    operations = {shape_name(shape): shape[0] * sum(layer_operations(model, *shape[1:]).values()) for shape in SHAPES}
    pairs = [
        *(("engine fp32", other) for other in ("ncnn fp32", "OpenVINO fp32", "ONNX Runtime fp32", "PyTorch fp32")),
        *(("engine bf16", other) for other in ("OpenVINO bf16", "PyTorch bf16")),
    ]
    for threads in sorted({1, cores}, reverse=True):
        torch.set_num_threads(threads)
        runs: dict[Side, Run] = {side: side.make(threads) for side in sides}
        if threads == cores:
            differences = check_sides(runs, model)
        print(f"{threads} threads ...", file=sys.stderr, flush=True)
        torch.set_num_threads(threads)
        count = repeats if threads == cores else max(1, repeats // 2)
        times = {shape_name(shape): time_sides(runs, draw_images(shape), count) for shape in SHAPES}
        parts += [f"## {threads} threads", time_table(times, operations), ratio_table(times, pairs)]
        del runs
    torch.set_num_threads(cores)
    nets: dict[str, Any] = {side.precision: side.make.args[0] for side in sides if side.name == "engine"}  # type: ignore[attr-defined]
    parts += [f"## Layers, {shape_name(LAYER_SHAPE)}, {cores} threads", layer_table(model, nets, max(3, repeats))]
    del sides, nets
    avx2 = time_avx2(max(1, repeats // 2))
    parts += [
        f"## AVX2, {cores} threads",
        time_table(avx2, operations),
        ratio_table(avx2, [("engine fp32", "PyTorch fp32")]),
    ]
    checks = ", ".join(f"{name} {difference:.1e}" for name, difference in differences.items())
    about = (
        f"Net {CASE.network}, {CASE.num_classes} classes, random weights, images to class score map; instruction set "
        f"{find_instruction_set()}. Medians of {repeats} calls with all threads and half as many with one. Largest "
        f"difference of scores from PyTorch's fp32, of the largest score: {checks}."
    )
    return "\n\n".join([about, *parts])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the tables to benchmarks/results/")
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--avx2-alone", action="store_true", help="print the times under AVX2 as JSON")
    options = parser.parse_args()
    if find_instruction_set() is None:
        raise SystemExit("The CPU engine is missing: nothing to measure.")
    with torch.inference_mode():
        if options.avx2_alone:
            print_avx2_times(options.repeats)
            return
        with tempfile.TemporaryDirectory() as folder:
            body = measure(options.repeats, Path(folder))
    packages = ("torch", *(name for name in ("ncnn", "openvino", "onnxruntime") if find_spec(name)))
    report("cpu_engine", "CPU engine", body, torch.device("cpu"), packages, write=options.write)


if __name__ == "__main__":
    main()
