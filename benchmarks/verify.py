"""Planted defects in 1,000 photographs: what `verydeep verify` finds, beside cleanvision, in one run; and how fast.

    python -m benchmarks.verify CALTECH                     # 101_ObjectCategories; needs cleanvision

Photographs are drawn from Caltech-101, without the background and without Faces_easy and Leopards, which hold copies
and mirrored copies of their own. Pillow plants the defects: 50 photographs each are made dark, bright, blurred, nearly
uniform or elongated, 25 tiny, and 25 each get a copy: encoded again, rescaled, cropped or mirrored. A photograph
counts as found if a side names it for the planted defect. What a side says of the photographs left as they are counts
as wrong, though a few of them are dark or blurred by nature; this is the same for both.
"""

import argparse
import os
import random
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageFilter

import verydeep as vd
from benchmarks.timing import interleave, rate, report, speedup, table

LEFT_OUT = {"BACKGROUND_Google", "Faces_easy", "Leopards"}
NUM_PHOTOGRAPHS = 1000
Change = Callable[[Image.Image, random.Random], Image.Image]


def darken(image: Image.Image, rng: random.Random) -> Image.Image:
    """Leave 8 to 22% of the light."""
    factor = rng.uniform(0.08, 0.22)
    return image.point(lambda level: level * factor)


def brighten(image: Image.Image, rng: random.Random) -> Image.Image:
    """Wash out: leave 5 to 20% of the contrast, at the bright end."""
    factor = rng.uniform(0.05, 0.2)
    return image.point(lambda level: 255 - (255 - level) * factor)


def blur(image: Image.Image, rng: random.Random) -> Image.Image:
    """Blur by a Gaussian of 2 to 5 pixels."""
    return image.filter(ImageFilter.GaussianBlur(rng.uniform(2, 5)))


def flatten(image: Image.Image, rng: random.Random) -> Image.Image:
    """Replace by one color with a little noise."""
    color = np.array([rng.uniform(30, 225) for _ in range(3)])
    noise = np.random.default_rng(rng.randrange(2**32)).normal(0, 2, (image.height, image.width, 3))
    return Image.fromarray(np.clip(color + noise, 0, 255).astype(np.uint8))


def elongate(image: Image.Image, rng: random.Random) -> Image.Image:
    """Cut to a strip, 4 to 6 times as wide as high, or as high as wide."""
    aspect = rng.uniform(4, 6)
    if rng.random() < 0.5:
        height = min(image.height, image.width / aspect)
        return image.crop((0, 0, int(height * aspect), int(height)))
    width = min(image.width, image.height / aspect)
    return image.crop((0, 0, int(width), int(width * aspect)))


def shrink(image: Image.Image, rng: random.Random) -> Image.Image:
    """Rescale to a short side of 20 to 45 pixels."""
    factor = rng.uniform(20, 45) / min(image.size)
    return image.resize((max(1, round(image.width * factor)), max(1, round(image.height * factor))))


def crop(image: Image.Image, rng: random.Random) -> Image.Image:
    """Cut off up to a tenth at each border."""
    left, top, right, bottom = (rng.uniform(0, 0.1) for _ in range(4))
    width, height = image.size
    return image.crop((int(left * width), int(top * height), int((1 - right) * width), int((1 - bottom) * height)))


DEFECTS: Mapping[str, tuple[Change, int]] = {
    "dark": (darken, 50),
    "bright": (brighten, 50),
    "blurred": (blur, 50),
    "uniform": (flatten, 50),
    "elongated": (elongate, 50),
    "tiny": (shrink, 25),
}
COPIES: Mapping[str, tuple[Change, int]] = {
    "encoded again": (lambda image, rng: image, 25),
    "rescaled": (lambda image, rng: image.resize((image.width * 2 // 3, image.height * 2 // 3)), 25),
    "cropped": (crop, 25),
    "mirrored": (lambda image, rng: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT), 25),
}
QUALITIES = {"encoded again": 40}

OURS = {
    "dark": "too dark",
    "bright": "too bright",
    "blurred": "blurred",
    "uniform": "nearly uniform",
    "elongated": "elongated",
    "tiny": "tiny",
}
THEIRS = {
    "dark": "dark",
    "bright": "light",
    "blurred": "blurry",
    "uniform": "low_information",
    "elongated": "odd_aspect_ratio",
    "tiny": "odd_size",
}


@dataclass(frozen=True)
class Planted:
    """Defects that were planted."""

    defects: dict[str, set[str]]
    """Kind -> files."""
    copies: dict[str, list[tuple[str, str]]]
    """Kind -> photograph and copy."""


@dataclass(frozen=True)
class Found:
    """Findings of one side."""

    defects: dict[str, set[str]]
    groups: list[set[str]]


def plant(source: Path, out: Path, count: int, seed: int = 0) -> Planted:
    """Write photographs, some with defects and some twice."""
    rng = random.Random(seed)
    share = count / NUM_PHOTOGRAPHS
    files = sorted(path for folder in source.iterdir() if folder.name not in LEFT_OUT for path in folder.glob("*.jpg"))
    copies = [kind for kind, (_, number) in COPIES.items() for _ in range(round(number * share))]
    drawn = rng.sample(files, count - len(copies))
    defects = [kind for kind, (_, number) in DEFECTS.items() for _ in range(round(number * share))]
    planted = Planted({kind: set() for kind in DEFECTS}, {kind: [] for kind in COPIES})
    for place, path in enumerate(drawn):
        name = f"{place:04d}.jpg"
        if place >= len(defects):
            shutil.copyfile(path, out / name)
            continue
        image = Image.open(path).convert("RGB")
        DEFECTS[defects[place]][0](image, rng).save(out / name, quality=90)
        planted.defects[defects[place]].add(name)
    for place, kind in enumerate(copies):
        original, name = f"{len(defects) + place:04d}.jpg", f"copy-{place:03d}.jpg"
        image = Image.open(out / original).convert("RGB")
        COPIES[kind][0](image, rng).save(out / name, quality=QUALITIES.get(kind, 85))
        planted.copies[kind].append((original, name))
    return planted


def by_verydeep(folder: Path) -> Found:
    """Call the public function, in one process."""
    findings = vd.verify(folder, workers=1).findings
    defects = {kind: {each.files[0] for each in findings if each.kind == name} for kind, name in OURS.items()}
    return Found(defects, [set(each.files) for each in findings if each.group is not None])


def by_cleanvision(folder: Path) -> Found:
    """Call its usual entry point, in one process."""
    from cleanvision import Imagelab

    lab = Imagelab(data_path=str(folder), verbose=False)
    lab.find_issues(n_jobs=1, verbose=False)
    issues = lab.issues
    defects = {
        kind: {Path(path).name for path in issues.index[issues[f"is_{name}_issue"]]} for kind, name in THEIRS.items()
    }
    sets = [each for kind in ("near_duplicates", "exact_duplicates") for each in lab.info[kind]["sets"]]
    return Found(defects, [{Path(path).name for path in each} for each in sets])


def compare(found: Found, planted: Planted) -> dict[str, tuple[str, str]]:
    """Kind -> recall and precision, as counts."""
    rows = {}
    for kind, files in planted.defects.items():
        named = found.defects[kind]
        rows[kind] = f"{len(named & files)} of {len(files)}", f"{len(named & files)} of {len(named)}"
    for kind, pairs in planted.copies.items():
        together = sum(any({*pair} <= group for group in found.groups) for pair in pairs)
        rows[f"copy: {kind}"] = f"{together} of {len(pairs)}", ""
    pairs = [pair for each in planted.copies.values() for pair in each]
    together = sum(any({*pair} <= group for group in found.groups) for pair in pairs)
    named = {file for group in found.groups for file in group}
    right = named & {file for pair in pairs for file in pair}
    rows["all copies"] = f"{together} of {len(pairs)}", f"{len(right)} of {len(named)}"
    return rows


def main() -> None:
    """Plant, look, compare, time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("caltech", type=Path, help="101_ObjectCategories")
    parser.add_argument("--count", type=int, default=NUM_PHOTOGRAPHS)
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        planted = plant(arguments.caltech, folder, arguments.count)
        sides: dict[str, Callable[[], Found]] = {
            "verydeep": lambda: by_verydeep(folder),
            "cleanvision": lambda: by_cleanvision(folder),
        }
        compared = {name: compare(side(), planted) for name, side in sides.items()}
        seconds = interleave(sides, arguments.repeats)
    header = ["planted", *(f"{name}: {what}" for name in sides for what in ("found", "right of those named"))]
    rows: list[Sequence[str]] = [
        [kind, *(cell for side in compared.values() for cell in side[kind])] for kind in compared["verydeep"]
    ]
    speeds = ", ".join(f"{name} {rate(seconds[name], arguments.count)} photographs a second" for name in sides)
    ratio = speedup(seconds["cleanvision"], seconds["verydeep"])
    text = f"{table(header, rows)}\n\nOne process each: {speeds}; verydeep is {ratio} times as fast as cleanvision."
    packages = ["pillow", "numpy", "cleanvision"]
    report("verify", "Planted defects", text, torch.device("cpu"), packages, write=arguments.write)


if __name__ == "__main__":
    main()
