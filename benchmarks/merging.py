"""Greedy merging of boxes, as many sets as ILSVRC's validation images give: ours against one set at a time.

    python -m benchmarks.merging --write        # from the repository's root

50,000 images with five classes each are 250,000 sets. A 4:3 photograph gives 115 boxes a class in the paper's best
entry (Q=256 of one net, 352 and 384 of another); 200 is more than any row of Table 9 has for it. Boxes are drawn about
three objects, a fifth of them anywhere. Both peers take one set at a time: the plain algorithm, which computes all
distances anew in each step, and the same with the matrix of distances kept and a row and a column of it renewed. That
all three merge alike is checked first. Time is that of the process: one core.

Goal: 250,000 sets of 200 boxes in 15 minutes on two cores; ours takes one.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch

from benchmarks.timing import interleave, report, speedup, table
from verydeep.ops.arrays import Float64Array
from verydeep.ops.boxes import iou
from verydeep.ops.merging import BoxSets, merge_sets

NUM_SETS = 250_000
PLAIN, MATRIX = "one set at a time, all distances in each step", "one set at a time, matrix of distances kept"

MergeOne = Callable[[Float64Array, Float64Array, float], tuple[Float64Array, Float64Array]]


def predictions(rng: np.random.Generator, num_sets: int, num_boxes: int) -> BoxSets:
    """Boxes of a dense map over a photograph of 500 x 375."""
    objects = rng.uniform([100, 80, 80, 60], [400, 300, 350, 280], (num_sets, 3, 4))
    chosen = rng.choice(3, (num_sets, num_boxes), p=[0.7, 0.2, 0.1])
    cxcywh = np.take_along_axis(objects, chosen[..., None], axis=1) * rng.normal(1, 0.1, (num_sets, num_boxes, 4))
    anywhere = rng.random((num_sets, num_boxes, 1)) < 0.2
    cxcywh = np.where(anywhere, rng.uniform([0, 0, 40, 30], [500, 375, 500, 375], cxcywh.shape), cxcywh)
    center, half = cxcywh[..., :2], cxcywh[..., 2:].clip(2) / 2
    boxes = np.concatenate([center - half, center + half - 1], axis=-1).clip(0, [499, 374, 499, 374])
    return BoxSets.from_predictions(
        boxes.reshape(-1, 4), rng.random(num_sets * num_boxes), np.full(num_sets, num_boxes)
    )


def distances(one: Float64Array, others: Float64Array) -> Float64Array:
    """|center a - center b| / mean diagonal + 1 - IoU, of shapes that broadcast."""
    sides = one[..., 2:] - one[..., :2] + 1, others[..., 2:] - others[..., :2] + 1
    diagonals = (np.linalg.norm(sides[0], axis=-1) + np.linalg.norm(sides[1], axis=-1)) / 2
    centers = (one[..., :2] + one[..., 2:]) / 2, (others[..., :2] + others[..., 2:]) / 2
    return np.asarray(np.linalg.norm(centers[0] - centers[1], axis=-1) / diagonals + 1 - iou(one, others))


def merge_plainly(boxes: Float64Array, scores: Float64Array, threshold: float) -> tuple[Float64Array, Float64Array]:
    """Every distance anew in each step."""
    members = np.ones(len(boxes))
    while len(boxes) > 1:
        first, second = np.triu_indices(len(boxes), 1)
        apart = distances(boxes[first], boxes[second])
        closest = apart.argmin()
        if apart[closest] > threshold:
            break
        i, j = first[closest], second[closest]
        boxes[i] = (members[i] * boxes[i] + members[j] * boxes[j]) / (members[i] + members[j])
        members[i] += members[j]
        scores[i] += scores[j]
        boxes, scores, members = (np.delete(each, j, axis=0) for each in (boxes, scores, members))
    return boxes, scores


def merge_with_matrix(boxes: Float64Array, scores: Float64Array, threshold: float) -> tuple[Float64Array, Float64Array]:
    """The distances are kept, and those of the merged box renewed."""
    members, alive = np.ones(len(boxes)), np.ones(len(boxes), bool)
    apart = distances(boxes[:, None], boxes)
    apart[np.tril_indices(len(boxes))] = np.inf
    while True:
        i, j = divmod(int(apart.argmin()), len(boxes))
        if not apart[i, j] <= threshold:
            return boxes[alive], scores[alive]
        boxes[i] = (members[i] * boxes[i] + members[j] * boxes[j]) / (members[i] + members[j])
        members[i] += members[j]
        scores[i] += scores[j]
        alive[j] = False
        apart[j], apart[:, j] = np.inf, np.inf
        renewed = np.where(alive, distances(boxes[i], boxes), np.inf)
        apart[:i, i], apart[i, i + 1 :] = renewed[:i], renewed[i + 1 :]


def one_at_a_time(
    merge_one: MergeOne, sets: BoxSets, count: int, threshold: float
) -> list[tuple[Float64Array, Float64Array]]:
    """The first ``count`` sets."""
    ends = np.cumsum(sets.counts)
    spans = [slice(end - size, end) for end, size in zip(ends[:count], sets.counts[:count], strict=True)]
    return [merge_one(sets.boxes[span].copy(), sets.scores[span].copy(), threshold) for span in spans]


def check(sets: BoxSets, counts: dict[str, int], threshold: float) -> float:
    """The mean number of boxes left in a set; ends where the three do not merge alike."""
    merged = merge_sets(sets, threshold)
    for merge_one, name in ((merge_plainly, PLAIN), (merge_with_matrix, MATRIX)):
        theirs = one_at_a_time(merge_one, sets, counts[name], threshold)
        left = int(merged.counts[: counts[name]].sum())
        boxes, scores = (np.concatenate(parts) for parts in zip(*theirs, strict=True))
        alike = (
            len(boxes) == left and np.allclose(boxes, merged.boxes[:left]) and np.allclose(scores, merged.scores[:left])
        )
        if not alike:
            raise SystemExit(f"Ours and '{name}' do not merge alike: nothing to compare.")
    return float(merged.counts.mean())


def measure(num_boxes: int, threshold: float, counts: dict[str, int], repeats: int) -> list[list[str]]:
    """Rows of the table for sets of one size."""
    sets = predictions(np.random.default_rng(0), counts["ours"], num_boxes)
    left = check(sets, counts, threshold)
    sides: dict[str, Callable[[], object]] = {
        "ours": lambda: merge_sets(sets, threshold),
        PLAIN: lambda: one_at_a_time(merge_plainly, sets, counts[PLAIN], threshold),
        MATRIX: lambda: one_at_a_time(merge_with_matrix, sets, counts[MATRIX], threshold),
    }
    taken = interleave(sides, repeats, time.process_time)
    seconds = {name: [value / counts[name] for value in values] for name, values in taken.items()}
    return [
        [
            f"{num_boxes}, merged to {left:.0f} at threshold {threshold}",
            name,
            f"{1000 * statistics.median(values):.3g}",
            f"{NUM_SETS * statistics.median(values) / 60:,.1f}",
            "-" if name == "ours" else speedup(values, seconds["ours"]),
        ]
        for name, values in seconds.items()
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="seconds, to see that it works; the figures mean nothing")
    parser.add_argument("--write", action="store_true", help="write the table to benchmarks/results/")
    options = parser.parse_args()
    repeats = 1 if options.quick else 5
    counts = {"ours": 8, PLAIN: 1, MATRIX: 2} if options.quick else {"ours": 1024, PLAIN: 2, MATRIX: 24}
    cases = ((40, 0.5),) if options.quick else ((115, 0.5), (200, 0.3), (200, 0.5), (200, 0.8))
    rows = [row for num_boxes, threshold in cases for row in measure(num_boxes, threshold, counts, repeats)]
    header = ["boxes per set", "how", "ms per set", f"minutes for {NUM_SETS:,} sets", "speed-up of ours"]
    body = (
        f"One core. Samples of {', '.join(f'{count:,} sets ({name})' for name, count in counts.items())}; medians of "
        f"{repeats} interleaved repeats; ratios within a repeat, [smallest, largest].\n\n{table(header, rows)}"
    )
    report("merging", "Greedy merging of boxes", body, torch.device("cpu"), ("numpy",), write=options.write)


if __name__ == "__main__":
    main()
