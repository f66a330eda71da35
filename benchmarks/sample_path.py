"""Training samples per second of one core: ours against two ways that others take.

    python -m benchmarks.sample_path --write        # needs scikit-learn and torchvision; from the repository's root

Ours decodes once and resamples only the pre-image of the crop. The peers: Pillow rescaling the whole image and cutting
the crop (the same pixels but for rounding, by one grey level and in single values by two: checked first), and
torchvision's RandomResizedCrop on PIL images (other crops than the paper's, so only its speed compares). Every side
ends with the crop as uint8; flip, color shift and normalization are timed on no side. Time is that of the process, as
only one core's work is asked for.

Goals: 1.8 times Pillow at 500x375, 1.7 times at 2000x1500, and 3.4 times there with --fast-decode.
"""

import argparse
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from benchmarks.photographs import make_photographs
from benchmarks.timing import interleave, rate, report, speedup, table
from tests.peers import import_torchvision
from verydeep.data.loading.augmentation import Augmentation, crop_offset, draw_augmentation, training_crop
from verydeep.data.pixels.decoding import decode
from verydeep.ops.arrays import UInt8Array

SCALE, CROP, SEED = (256, 512), 224, 0
PILLOW, TORCHVISION = "Pillow, rescale all, then crop", "torchvision, RandomResizedCrop"


def whole_then_crop(path: Path, draw: Augmentation) -> UInt8Array:
    """The plain way of section 3.1 with Pillow: isotropic rescaling of the whole image, then the crop."""
    with Image.open(path) as file:
        image = file.convert("RGB")
    factor = draw.short / min(image.size)
    width, height = (max(draw.short, round(side * factor)) for side in image.size)
    left, top = crop_offset(draw.x, width, CROP), crop_offset(draw.y, height, CROP)
    rescaled = image.resize((width, height), Image.Resampling.BILINEAR)
    return np.asarray(rescaled.crop((left, top, left + CROP, top + CROP)))


def ours(path: Path, draw: Augmentation, fast_decode: bool = False) -> UInt8Array:
    """One decode and one resample."""
    at_least = (draw.short, draw.short) if fast_decode else None
    return training_crop(decode(path, camera_rotation=False, at_least=at_least), draw, CROP)


def over_files(
    sample: Callable[[Path, Augmentation], UInt8Array], paths: Sequence[Path], passes: int
) -> Callable[[], None]:
    """A side to time: each file ``passes`` times, each with a draw of its own."""

    def side() -> None:
        for epoch in range(passes):
            for index, path in enumerate(paths):
                sample(path, draw_augmentation(SEED, epoch, index, SCALE))

    return side


def torchvision_side(paths: Sequence[Path], passes: int) -> Callable[[], None]:
    """The same of torchvision's pipeline, reading as its ImageFolder does."""
    import_torchvision()
    from torchvision.datasets.folder import pil_loader
    from torchvision.transforms import Compose, PILToTensor, RandomResizedCrop

    pipeline = Compose([RandomResizedCrop(CROP), PILToTensor()])

    def side() -> None:
        for _ in range(passes):
            for path in paths:
                pipeline(pil_loader(path))

    return side


def differences(fast_decode: bool, paths: Sequence[Path], passes: int) -> tuple[float, int]:
    """Mean and largest difference from ``whole_then_crop`` in grey levels."""
    found = []
    for epoch in range(passes):
        for index, path in enumerate(paths):
            draw = draw_augmentation(SEED, epoch, index, SCALE)
            pair = ours(path, draw, fast_decode), whole_then_crop(path, draw)
            found.append(np.abs(pair[0].astype(int) - pair[1]))
    return float(np.mean(found)), int(np.max(found))


def measure(paths: Sequence[Path], passes: int, repeats: int) -> list[list[str]]:
    """Rows of the table for files of one size."""
    with Image.open(paths[0]) as file:
        width, height = file.size
    size = f"{width}x{height}, {sum(path.stat().st_size for path in paths) / len(paths) / 1000:.0f} kB"
    exact, fast = differences(False, paths, passes), differences(True, paths, passes)
    if exact[1] > 2 or exact[0] > 0.1:
        raise SystemExit(f"At {size} our crop differs from Pillow's by {exact[1]} grey levels: nothing to compare.")
    mine = {
        "ours": over_files(ours, paths, passes),
        "ours, --fast-decode": over_files(partial(ours, fast_decode=True), paths, passes),
    }
    peers = {PILLOW: over_files(whole_then_crop, paths, passes), TORCHVISION: torchvision_side(paths, passes)}
    seconds = interleave({**mine, **peers}, repeats, time.process_time)
    notes = [f"mean {mean:.2f}, at most {most}" for mean, most in (exact, fast)] + ["-", "other crops"]
    return [
        [size, name, rate(seconds[name], len(paths) * passes)]
        + [speedup(seconds[peer], seconds[name]) if name in mine else "-" for peer in peers]
        + [note]
        for name, note in zip(seconds, notes, strict=True)
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="seconds, to see that it works; the figures mean nothing")
    parser.add_argument("--write", action="store_true", help="write the table to benchmarks/results/")
    options = parser.parse_args()
    torch.set_num_threads(1)
    count, repeats = (1, 1) if options.quick else (8, 15)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for tiles, passes in ((1, 5), (4, 1)):
            paths = make_photographs(Path(folder), tiles, count)
            rows += measure(paths, 1 if options.quick else passes, repeats)
    header = ["JPEG", "path", "images/s, one core"]
    header += [f"times as fast as {peer}" for peer in (PILLOW, TORCHVISION)] + ["difference to Pillow, gray levels"]
    body = (
        f"S={SCALE[0]}-{SCALE[1]}, crop {CROP}. Medians of {repeats} interleaved repeats; ratios within a repeat, "
        f"[smallest, largest].\n\n{table(header, rows)}"
    )
    packages = ("pillow", "torch", "torchvision")
    report("sample_path", "The training sample path", body, torch.device("cpu"), packages, write=options.write)


if __name__ == "__main__":
    main()
