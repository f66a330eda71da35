"""Descriptors per second (appendix B) against the straightforward loop over torchvision's VGG-16.

    python -m benchmarks.descriptors --write        # needs torchvision and scikit-learn; from the repository's root

A descriptor is relu7 averaged over positions, mirror images and Q = 256, 384, 512. Ours is the loop behind ``verydeep
transfer`` and ``verydeep features``, from JPEG files to descriptors of length one: each image decoded once for all
scales, ahead of the net; batches of one shape with their mirror images. The peer is what one writes with torchvision:
its convolutions, its FC layers turned into convolutions, one image, scale and flip at a time, decoded for each scale,
in inference mode. Unless told otherwise such a loop computes in float32, and ours in bf16 where the hardware has it;
each is timed in both, the loop's weights rounded beforehand. It runs in a process of its own, so that our allocator
does not speed it up. Weights are drawn and the same in both; max-pooling rounds down in both, as torchvision's does;
every call's descriptors are compared, before any time is taken.

Goal on two cores: 4 times the loop at the same precision.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from benchmarks.photographs import make_photographs
from benchmarks.testing import Case, other_process, with_fastest_kernels
from benchmarks.timing import interleave, rate, report, speedup, table
from tests.peers import import_torchvision
from verydeep.configs.networks import NETWORKS, scaled_channels
from verydeep.data.split import Split
from verydeep.engine.descriptors.activations import average_activations
from verydeep.engine.inference import prepare_net, rescale_images
from verydeep.engine.process import own_process
from verydeep.engine.runtime import Runtime, has_fast_bf16, start
from verydeep.models.cpu_engine import TestedNet
from verydeep.models.vgg import ILSVRC_MEAN_RGB, VGG
from verydeep.ops.arrays import Float32Array
from verydeep.ops.descriptors import aggregate_scales

CASE = Case("D")
SCALES = (256, 384, 512)
LAYER = "relu7"
TOLERANCE = {"fp32": 1e-5, "bf16": 2e-2}
"""Of a descriptor, of length one: the largest distance of ours from the loop's. A missing flip has 0.05 and more."""


def drawn(case: Case) -> VGG:
    """The net, its max-pooling rounding down."""
    model = case.model(Runtime(torch.device("cpu"), bf16=False))
    for layer in model.children():
        if isinstance(layer, nn.MaxPool2d):
            layer.ceil_mode = False
    model.ceil_mode = False
    return model


def ours(model: TestedNet, files: Sequence[Path], runtime: Runtime) -> Float32Array:
    """(n, 4096) by the package."""
    found: dict[int, list[Float32Array]] = {}
    for batch in rescale_images(model, Split.of_photographs(files), SCALES, runtime, whole=True):
        with runtime.autocast():
            each = [average_activations(model, images, LAYER).cpu().numpy() for images in batch.images.values()]
        found |= {index: [scale[row] for scale in each] for row, index in enumerate(batch.indices.tolist())}
    return aggregate_scales([np.stack([found[i][q] for i in range(len(files))]) for q in range(len(SCALES))], "average")


@cache
def torchvisions(case: Case, device: str, bf16: bool, threads: int) -> nn.Sequential:
    """The layers of torchvision up to relu7, the FC ones as convolutions, with the same weights."""
    torch.set_num_threads(threads)
    torch.backends.cudnn.allow_tf32 = False  # fp32 means fp32, as in ours
    blocks = [[scaled_channels(conv.channels, case.width) for conv in block] for block in NETWORKS[case.network].blocks]
    features = import_torchvision().models.vgg.make_layers([x for block in blocks for x in (*block, "M")])
    side, last, width = case.crop // 32, blocks[-1][-1], case.fc_width
    fc = [nn.Conv2d(last, width, side), nn.ReLU(inplace=True), nn.Conv2d(width, width, 1), nn.ReLU(inplace=True)]
    net = nn.Sequential(*features, *fc)
    mine = list(drawn(case).weight_layers().values())
    for theirs, layer in zip((each for each in net if isinstance(each, nn.Conv2d)), mine, strict=False):
        theirs.load_state_dict(layer.state_dict())
    return net.to(device, torch.bfloat16 if bf16 else torch.float32).eval()


@torch.inference_mode()
def plain_loop(case: Case, device: str, bf16: bool, threads: int, files: Sequence[Path]) -> Float32Array:
    """(n, 4096): appendix B as one reads it, one thing at a time."""
    net = torchvisions(case, device, bf16, threads)
    weight, mean = next(net.parameters()), torch.tensor(ILSVRC_MEAN_RGB).view(3, 1, 1)
    rows: list[Tensor] = []
    for file in files:
        parts = []
        for scale in SCALES:
            picture = Image.open(file).convert("RGB")
            factor = round(scale * case.crop / 224) / min(picture.size)
            width, height = (round(side * factor) for side in picture.size)
            pixels = np.array(picture.resize((width, height), Image.Resampling.BILINEAR))
            whole = torch.from_numpy(pixels).permute(2, 0, 1).float().sub(mean)
            for seen in (whole, whole.flip(2)):
                map_ = net(seen[None].to(weight.device, weight.dtype))
                parts.append(map_.float().mean(dim=(2, 3))[0].cpu())
        rows.append(torch.stack(parts).mean(dim=0))
    found: Float32Array = torch.nn.functional.normalize(torch.stack(rows)).numpy()
    return found


def compare(case: Case, files: Sequence[Path], repeats: int, runtime: Runtime, theirs: str) -> list[str]:
    """A row of the table: ours at the precision of the runtime, and the loop at its own.

    Raises:
        SystemExit: the descriptors differ.
    """
    model, found = prepare_net(drawn(case), runtime), dict[str, Float32Array]()
    largest = 0.0

    def noted(name: str, values: Float32Array) -> None:
        nonlocal largest
        found[name] = values
        if len(found) == 2:
            distances = np.linalg.norm(found["ours"] - found["torchvision"], axis=1)
            largest = max(largest, float(distances.max()))
            if not largest <= max(TOLERANCE[runtime.precision], TOLERANCE[theirs]):
                raise SystemExit(
                    f"{runtime.precision}, {theirs}: descriptors differ by {largest:.2g}, nothing to compare."
                )

    with other_process() as pool:
        there = partial(plain_loop, case, str(runtime.device), theirs == "bf16", torch.get_num_threads(), files)
        sides = {
            "ours": lambda: noted("ours", ours(model, files, runtime)),
            "torchvision": lambda: noted("torchvision", pool.submit(there).result()),
        }
        seconds = interleave(sides, repeats)
    return [
        runtime.precision,
        theirs,
        rate(seconds["ours"], len(files)),
        rate(seconds["torchvision"], len(files)),
        speedup(seconds["torchvision"], seconds["ours"]),
        f"{largest:.1g}",
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the table to benchmarks/results/")
    parser.add_argument("--images", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda or cuda:N")
    options = parser.parse_args()
    rows = []
    with (
        own_process(),
        start(device=options.device, kernels="auto") as started,
        tempfile.TemporaryDirectory() as folder,
    ):
        runtime = with_fastest_kernels(started)
        files = make_photographs(Path(folder), tiles=1, count=options.images)
        pairs = [("fp32", "fp32")]
        if has_fast_bf16(runtime.device):
            pairs = [("bf16", "fp32"), ("bf16", "bf16"), *pairs]
        for mine, theirs in pairs:
            print(f"ours in {mine}, the loop in {theirs} ...", file=sys.stderr, flush=True)
            rows.append(compare(CASE, files, options.repeats, replace(runtime, bf16=mine == "bf16"), theirs))
    header = [
        *("our precision", "the loop's precision", "ours, descriptors/s", "the loop, descriptors/s"),
        *("speed-up of ours", "largest distance"),
    ]
    body = (
        "The loop uses torchvision's VGG-16, one image at a time. "
        f"{CASE.network} at crop {CASE.crop}, {LAYER}, Q = {', '.join(map(str, SCALES))} with mirror images, random "
        f"weights, {len(files)} JPEGs of 500x375. Medians of {options.repeats} interleaved repeats; ratios within a "
        "repeat, [smallest, largest]; the last column is the largest distance over all descriptors, which have length "
        "one, and all repeats.\n\n"
        f"{table(header, rows)}"
    )
    packages = ("torch", "torchvision", "pillow")
    report("descriptors", "Descriptors", body, runtime.device, packages, write=options.write)


if __name__ == "__main__":
    main()
