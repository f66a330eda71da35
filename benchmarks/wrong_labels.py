"""Planted wrong labels: how many `verydeep verify --net` finds, beside cleanlab, in one run.

    python -m benchmarks.real_weights nets-128 --crop 128                  # a small crop, for a few minutes of CPU
    python -m benchmarks.wrong_labels CALTECH nets-128/vgg16-convolutions  # needs cleanlab

Of Caltech-101, without the background and the second copy of the faces, 40 photographs of each of 50 classes are drawn.
A twentieth of them gets a label of another class, drawn evenly. The photographs stay the same for all seeds, so they
are described once. Three sides rank the photographs:

- verydeep: the public function, as a user calls it;
- cleanlab on our posteriors: its ranking and its list from the same out-of-fold posteriors;
- cleanlab on its usual ones: scikit-learn's logistic regression on the same descriptors, five folds.
"""

import argparse
import csv
import os
import random
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

import verydeep as vd
from benchmarks.timing import report, table
from verydeep.data.layout import open_split
from verydeep.engine.nets.net import Net
from verydeep.engine.verification.description import DescribedPhotographs, describe_photographs
from verydeep.engine.verification.inspection import inspect_splits
from verydeep.engine.verification.wrong_labels import assign_folds, predict_out_of_fold
from verydeep.ops.arrays import Float64Array, Int64Array
from verydeep.options import ComputeOptions, start_runtime

LEFT_OUT = {"BACKGROUND_Google", "Faces_easy"}
NUM_CLASSES, PER_CLASS, SHARE, SEEDS = 50, 40, 0.05, 5
T = {3: 4.303, 5: 2.776}
"""Student's t of 95% for so many seeds."""


@dataclass(frozen=True)
class Found:
    """Photographs that one side names, the most doubtful first, and its list."""

    ranking: Sequence[int]
    listed: Sequence[int]

    def measure(self, planted: set[int]) -> tuple[float, float, float, int]:
        """Return percentages of planted labels: among the first ranked, among the listed, and listed of all planted."""
        first = self.ranking[: len(planted)]
        num_listed = len(planted & set(self.listed))
        return (
            100 * len(planted & set(first)) / len(planted),
            100 * num_listed / max(1, len(self.listed)),
            100 * num_listed / len(planted),
            len(self.listed),
        )


def draw_photographs(source: Path, out: Path, num_classes: int, per_class: int) -> list[tuple[str, str]]:
    """Copy photographs, and return (file, class) of each."""
    rng = random.Random(0)
    files = {each.name: sorted(each.glob("*.jpg")) for each in source.iterdir() if each.name not in LEFT_OUT}
    names = sorted(rng.sample(sorted(name for name, found in files.items() if len(found) >= per_class), num_classes))
    rows = []
    for name in names:
        for file in sorted(rng.sample(files[name], per_class)):
            rows.append((f"{name}-{file.name}", name))
            shutil.copyfile(file, out / rows[-1][0])
            os.utime(out / rows[-1][0], (1e9, 1e9))
    return rows


def plant(labels: Int64Array, num_classes: int, seed: int) -> tuple[Int64Array, set[int]]:
    """Return labels of which a twentieth is wrong, and which are."""
    rng = np.random.default_rng(seed)
    wrong = rng.choice(len(labels), round(SHARE * len(labels)), replace=False)
    planted = labels.copy()
    planted[wrong] = (labels[wrong] + rng.integers(1, num_classes, len(wrong))) % num_classes
    return planted, set(wrong.tolist())


def describe(folder: Path, net: Path) -> DescribedPhotographs:
    """Describe all photographs, so that both sides have the same descriptors."""
    split = open_split(folder, "all")
    inspected = inspect_splits([split], folder, 1)
    options: ComputeOptions = {"device": "cpu", "workers": 0, "kernels": "auto", "precision": "auto"}
    with start_runtime(options) as runtime:
        return describe_photographs(Net.open(net), [split], folder, inspected.photographs, runtime)


def our_posteriors(described: DescribedPhotographs, labels: Int64Array, names: Sequence[str]) -> Float64Array:
    """The posteriors that ``verify`` decides by, but for near-duplicates, which it keeps in one fold."""
    steps = predict_out_of_fold(described.values, labels, assign_folds(labels, np.arange(len(labels))), names)
    while True:
        try:
            next(steps)
        except StopIteration as stop:
            posteriors: Float64Array = stop.value
            return posteriors


def by_verydeep(folder: Path, net: Path, files: Sequence[str]) -> Found:
    """Call the public function."""
    places = {file: place for place, file in enumerate(files)}
    verified = vd.verify(folder, net=net, workers=1)
    listed = [places[each.files[0]] for each in verified.findings if each.kind == "probably a wrong label"]
    return Found(listed, listed)


def by_cleanlab(posteriors: Float64Array, labels: Int64Array) -> Found:
    """Its default score, and its default list."""
    from cleanlab.filter import find_label_issues
    from cleanlab.rank import get_label_quality_scores

    scores = get_label_quality_scores(labels, posteriors)
    listed = find_label_issues(labels, posteriors, return_indices_ranked_by="self_confidence", n_jobs=1)
    return Found(np.argsort(scores, kind="stable").tolist(), listed.tolist())


def logistic_posteriors(described: DescribedPhotographs, labels: Int64Array) -> Float64Array:
    """Out-of-fold posteriors as cleanlab's tutorials compute them."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import cross_val_predict

    model = LogisticRegression(C=100, max_iter=1000)
    posteriors: Float64Array = cross_val_predict(model, described.values, labels, cv=5, method="predict_proba")
    return posteriors


def with_interval(values: Sequence[float]) -> str:
    """Mean over seeds, with Student's t interval where there is one."""
    mean = statistics.mean(values)
    if len(values) not in T:
        return f"{mean:.1f}"
    return f"{mean:.1f} ± {T[len(values)] * statistics.stdev(values) / len(values) ** 0.5:.1f}"


def main() -> None:
    """Draw, describe, plant, rank, compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("caltech", type=Path, help="101_ObjectCategories")
    parser.add_argument("net", type=Path)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--classes", type=int, default=NUM_CLASSES)
    parser.add_argument("--per-class", type=int, default=PER_CLASS)
    parser.add_argument("--folder", type=Path, help="for the photographs; a temporary one")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    folder = arguments.folder or Path(tempfile.mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    rows = draw_photographs(arguments.caltech, folder, arguments.classes, arguments.per_class)
    names = sorted({name for _, name in rows})
    files, true = [file for file, _ in rows], np.array([names.index(name) for _, name in rows], np.int64)
    sides: dict[str, list[tuple[float, float, float, int]]] = {}
    described = None
    for seed in range(arguments.seeds):
        labels, planted = plant(true, len(names), seed)
        with (folder / "labels.csv").open("w", newline="") as file:
            csv.writer(file).writerows([("path", "label"), *zip(files, (names[i] for i in labels), strict=True)])
        described = described or describe(folder, arguments.net)
        assert [photograph.file for photograph in described.photographs] == files
        found = {
            "verydeep": by_verydeep(folder, arguments.net, files),
            "cleanlab, our posteriors": by_cleanlab(our_posteriors(described, labels, names), labels),
            "cleanlab, logistic regression": by_cleanlab(logistic_posteriors(described, labels), labels),
        }
        for side, each in found.items():
            sides.setdefault(side, []).append(each.measure(planted))
            print(seed, side, sides[side][-1], file=sys.stderr)
    first = f"planted among the first {len(planted)}, %"
    shares = ["share of the listed photographs that were planted, %", "share of the planted labels that are listed, %"]
    header = ["side", first, "photographs listed", *shares]
    body = [
        [side, with_interval([m[0] for m in each]), f"{statistics.mean(m[3] for m in each):.0f}"]
        + [with_interval([m[i] for m in each]) for i in (1, 2)]
        for side, each in sides.items()
    ]
    text = (
        f"{len(files):,} photographs of {len(names)} classes of Caltech-101, {len(planted)} with a planted wrong "
        f"label; {arguments.seeds} seeds of the planting, means with Student's t intervals over seeds. Descriptors of "
        f"{arguments.net.name}, pool5, Q=256 at crop {Net.open(arguments.net).config.crop}.\n\n{table(header, body)}"
    )
    packages = ["torch", "scikit-learn", "cleanlab"]
    report("wrong_labels", "Planted wrong labels", text, torch.device("cpu"), packages, write=arguments.write)


if __name__ == "__main__":
    main()
