"""The twin of a run of ours: network A in a plain PyTorch loop, with no code of the package.

    python examples/tiny_imagenet_subset.py SRC DEST --classes 20 --train 350
    python benchmarks/plain_tiny_imagenet.py DEST --epochs 15

Trains on DEST/train/<class>/ and reports on DEST/test/: one line of JSON an epoch, then the errors in percent with
Wilson's 95% intervals. The recipe is the paper's at crop 64: SGD with momentum 0.9, weight decay 5e-4 on weights only,
biases at twice the rate, dropout in fc6 and fc7, Glorot's weights, one train scale S=256, that is 73 pixels. All images
are kept in memory, so no loader is needed.
"""

import argparse
import json
import math
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from verydeep.ops.arrays import AnyArray, Float32Array, Int64Array, UInt8Array

CROP, SHORT = 64, 73


def read(part: Path, classes: Sequence[str]) -> tuple[list[UInt8Array], Int64Array]:
    """Every image of the class folders, rescaled to a short side of SHORT, and its label."""
    images, labels = [], []
    for label, name in enumerate(classes):
        for path in sorted((part / name).iterdir()):
            image = Image.open(path).convert("RGB")
            size = [max(SHORT, round(side * SHORT / min(image.size))) for side in image.size]
            images.append(np.asarray(image.resize((size[0], size[1]), Image.Resampling.BILINEAR)))
            labels.append(label)
    return images, np.array(labels)


def network_a(num_classes: int, dropout: float) -> nn.ModuleDict:
    """Network A of Table 1 for crops of 64: five poolings leave 2x2."""
    layers: list[nn.Module] = []
    channels = 3
    for block in ((64,), (128,), (256, 256), (512, 512), (512, 512)):
        for out in block:
            layers += [nn.Conv2d(channels, out, 3, padding=1), nn.ReLU(inplace=True)]
            channels = out
        layers.append(nn.MaxPool2d(2, 2, ceil_mode=True))
    classifier = nn.Sequential(
        nn.Linear(512 * 2 * 2, 4096),
        nn.ReLU(inplace=True),
        nn.Dropout(dropout),
        nn.Linear(4096, 4096),
        nn.ReLU(inplace=True),
        nn.Dropout(dropout),
        nn.Linear(4096, num_classes),
    )
    net = nn.ModuleDict({"features": nn.Sequential(*layers), "classifier": classifier})
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
    return net


def window_scores(net: nn.ModuleDict, images: Tensor) -> Tensor:
    """Scores (windows, N, K): the classifier on each 2x2 window of the last map, one at a crop, several densely."""
    maps = net["features"](images.contiguous(memory_format=torch.channels_last))
    places = [(i, j) for i in range(maps.shape[2] - 1) for j in range(maps.shape[3] - 1)]
    return torch.stack([net["classifier"](maps[:, :, i : i + 2, j : j + 2].flatten(1)) for i, j in places])


def batches(images: Sequence[UInt8Array], mean: Tensor) -> Iterator[tuple[list[int], Tensor]]:
    """Indices and (N, 3, H, W) of images of one shape, at most 100 at once."""
    shapes: dict[tuple[int, ...], list[int]] = {}
    for index, image in enumerate(images):
        shapes.setdefault(image.shape, []).append(index)
    for members in shapes.values():
        for first in range(0, len(members), 100):
            some = members[first : first + 100]
            pixels = torch.from_numpy(np.stack([images[i] for i in some])).to(mean.device)
            yield some, pixels.permute(0, 3, 1, 2).float() - mean[:, None, None]


@torch.no_grad()
def test(
    net: nn.ModuleDict, images: list[UInt8Array], labels: Int64Array, mean: Tensor, precision: str
) -> dict[str, Any]:
    """Errors of the central crop, and of the dense scores averaged over windows, their posteriors over flips."""
    net.eval()
    posteriors: dict[str, dict[int, Float32Array]] = {"center": {}, "dense": {}}
    for indices, pixels in batches(images, mean):
        top, left = (pixels.shape[2] - CROP) // 2, (pixels.shape[3] - CROP) // 2
        center = pixels[:, :, top : top + CROP, left : left + CROP]
        for view, inputs in (("center", [center]), ("dense", [pixels, pixels.flip(3)])):
            with torch.autocast(mean.device.type, torch.bfloat16, enabled=precision == "bf16"):
                scores = [window_scores(net, each) for each in inputs]
            posterior = torch.stack([each.float().mean(0).softmax(1) for each in scores]).mean(0)
            posteriors[view] |= zip(indices, posterior.cpu().numpy(), strict=True)
    in_order = {view: np.stack([rows[i] for i in range(len(images))]) for view, rows in posteriors.items()}
    return {view: {f"top{k}": error(rows, labels, k) for k in (1, 5)} for view, rows in in_order.items()}


def error(posteriors: AnyArray, labels: Int64Array, k: int) -> list[float]:
    """Top-k error in percent, and its interval."""
    best = np.argsort(-posteriors, axis=1, kind="stable")[:, :k]
    count, share = len(labels), float(np.mean((best != labels[:, None]).all(axis=1)))
    z = 1.959964
    middle = (share + z * z / (2 * count)) / (1 + z * z / count)
    half = z * math.sqrt(share * (1 - share) / count + z * z / (4 * count * count)) / (1 + z * z / count)
    return [round(100 * value, 2) for value in (share, middle - half, middle + half)]


def train(net: nn.ModuleDict, images: list[UInt8Array], labels: Int64Array, options: argparse.Namespace) -> Tensor:
    """Train, tell each epoch, and return the mean RGB."""
    device, rng, batch = next(net.parameters()).device, np.random.default_rng(options.seed), options.batch_size
    count = sum(image.size // 3 for image in images)
    average = sum(image.sum(axis=(0, 1), dtype=np.float64) for image in images) / count
    products = sum(x.T @ x for x in (image.reshape(-1, 3).astype(np.float64) for image in images)) / count
    variances, axes = np.linalg.eigh(products - np.outer(average, average))
    mean = torch.tensor(average, dtype=torch.float32, device=device)
    shift = torch.tensor(0.1 * axes * np.sqrt(variances), dtype=torch.float32, device=device)
    weights = [p for p in net.parameters() if p.dim() > 1]
    biases = [p for p in net.parameters() if p.dim() == 1]
    groups = [{"params": weights, "weight_decay": 5e-4}, {"params": biases, "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, lr=options.learning_rate, momentum=0.9)
    steps = math.ceil(options.epochs * len(images) / batch)
    order = np.concatenate([rng.permutation(len(images)) for _ in range(options.epochs + 1)])  # batches stay full
    losses, epoch, begin = [], 0, time.time()
    net.train()
    for step in range(steps):
        rate = options.learning_rate * 0.1 ** sum(step >= share * steps for share in options.milestones)
        optimizer.param_groups[0]["lr"], optimizer.param_groups[1]["lr"] = rate, 2 * rate
        chosen, crops = order[step * batch : (step + 1) * batch], []
        for image in (images[i] for i in chosen):
            top, left = rng.integers(image.shape[0] - CROP + 1), rng.integers(image.shape[1] - CROP + 1)
            crop = image[top : top + CROP, left : left + CROP]
            crops.append(crop[:, ::-1] if rng.random() < 0.5 else crop)
        inputs = torch.from_numpy(np.stack(crops)).to(device).permute(0, 3, 1, 2).float() - mean[:, None, None]
        if options.color_shift:
            inputs += (torch.randn(len(chosen), 3, device=device) @ shift.T)[:, :, None, None]
        with torch.autocast(device.type, torch.bfloat16, enabled=options.precision == "bf16"):
            scores = window_scores(net, inputs)[0]
        loss = F.cross_entropy(scores.float(), torch.from_numpy(labels[chosen]).to(device))
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        losses.append(loss.item())
        if (step + 1) * batch // len(images) > epoch or step + 1 == steps:
            epoch, seconds = (step + 1) * batch // len(images), round(time.time() - begin, 1)
            line = {
                "epoch": epoch,
                "step": step + 1,
                "rate": float(f"{rate:g}"),
                "loss": np.mean(losses).item(),
                "seconds": seconds,
            }
            print(json.dumps(line), flush=True)
            losses = []
    return mean


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATA", help="folder with train/ and test/, one folder a class")
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--learning-rate", type=float, default=1e-2)
    parser.add_argument("--milestones", default="0.6,0.8,0.93", help="shares of the steps after which the rate drops")
    parser.add_argument("--dropout", type=float, default=0.5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--color-shift", action="store_true", help="shift colors along the principal axes of RGB")
    parser.add_argument("--precision", choices=("bf16", "fp32"), default="bf16", help="slow: bf16 where it is emulated")
    options = parser.parse_args()
    options.milestones = [float(share) for share in options.milestones.split(",")]
    torch.manual_seed(options.seed)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    classes = sorted(path.name for path in (options.data / "train").iterdir())
    images, labels = read(options.data / "train", classes)
    net = network_a(len(classes), options.dropout).to(device)
    net = net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    mean = train(net, images, labels, options)
    print(json.dumps(test(net, *read(options.data / "test", classes), mean, options.precision)))


if __name__ == "__main__":
    main()
