"""The memory that linear SVMs take on many images: 100,000 descriptors of 4,096 dimensions, 20 classes, within 14 GiB.

    python -m benchmarks.svm --write        # Linux; an hour of one core, with --c 1 a third of it

Descriptors are drawn: no value is zero, as LIBLINEAR keeps no others, most of it noise. What follows is all that
``verydeep transfer`` does with them: C is chosen among as many values as are asked for, by what is held out, all
classes are trained once more, and a tenth as many images tested. It believes the machine to have 14 GiB, in which there
is room for one process. The bar names class and C. What is told is the peak of that process, imports and descriptors
included.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import numpy as np
import torch

from benchmarks.timing import peak, report, table
from verydeep.data.split import Split
from verydeep.data.transfer_sets import Partition
from verydeep.engine.descriptors.cache import DescribedSamples
from verydeep.engine.transfer import svm_training
from verydeep.engine.transfer.partition import transfer_partition
from verydeep.ops.arrays import Float32Array, Int64Array

LIMIT = 14 * 2**30
AT_ONCE = 4096


def drawn(images: int, dimensions: int, classes: int) -> tuple[Float32Array, Int64Array]:
    """(n, D) of length one and their labels (n,): noise, and a little of what the images of a class share."""
    rng = np.random.default_rng(0)
    labels = rng.integers(classes, size=images)
    shared = rng.random((classes, dimensions), np.float32)
    values = np.empty((images, dimensions), np.float32)
    for first in range(0, images, AT_ONCE):
        part = slice(first, first + AT_ONCE)
        values[part] = rng.random((len(labels[part]), dimensions), np.float32) + 0.1 * shared[labels[part]] + 1e-3
        values[part] /= np.linalg.norm(values[part], axis=1, keepdims=True)
    return values, labels


def split_of(labels: Int64Array, classes: int) -> Split:
    """Images that nobody opens."""
    names = tuple(f"class {label}" for label in range(classes))
    images = Split.of_photographs([Path(f"{number}.jpg") for number in range(len(labels))])
    return replace(images, labels=labels, class_names=names, class_words=names)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=100_000)
    parser.add_argument("--dimensions", type=int, default=4096)
    parser.add_argument("--classes", type=int, default=20)
    parser.add_argument("--c", default="1,10", help="to choose from")
    parser.add_argument("--write", action="store_true", help="write the table to benchmarks/results/")
    options = parser.parse_args()
    costs = tuple(map(float, options.c.split(",")))
    values, labels = drawn(options.images + options.images // 10, options.dimensions, options.classes)
    split = split_of(labels, options.classes)
    parts = Partition(split.subset(range(options.images)), split.subset(range(options.images, len(split))))
    trainings = options.classes * (len(costs) + (len(costs) > 1))
    begin = time.perf_counter()
    with patch.object(svm_training, "host_memory", return_value=LIMIT):
        samples = DescribedSamples(split, values)
        result = transfer_partition(parts, samples, "mean class recall", costs=costs, seed=0)
    seconds, most = time.perf_counter() - begin, peak()
    recalls = ", ".join(f"{trial.C:g}: {trial.score:.1f}" for trial in result.trials)
    tried = f"mean class recall, %, by C on the fifth held out: {recalls}" if result.trials else f"C = {costs[0]:g}"
    rows = [[f"{trainings}", f"{seconds / trainings:,.0f}", f"{most / 2**30:.1f}"]]
    body = (
        f"{options.images:,} descriptors of {options.dimensions:,} dimensions, {options.classes} classes; {tried}; "
        f"classes that did not converge in 10,000 passes: {len(result.svms.unconverged)}; right on "
        f"{result.score:.1f}% of {len(split) - options.images:,} other descriptors.\n\n"
        + table(["SVMs trained", "seconds each", "peak of memory, GiB"], rows)
    )
    report("svm", "Linear SVMs", body, torch.device("cpu"), ("numpy", "scikit-learn", "joblib"), write=options.write)
    if most > LIMIT:
        raise SystemExit(f"More than {LIMIT / 2**30:.0f} GiB.")


if __name__ == "__main__":
    main()
