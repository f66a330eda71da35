"""Findings about the content of photographs, from their measures."""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise

import numpy as np

from verydeep.data.pixels.photograph_measures import JUDGED_SIDE, PhotographMeasures
from verydeep.data.split import Split, count_labels
from verydeep.engine.verification.inspection import InspectedPhotograph
from verydeep.results.verified_data import Finding, FindingKind

MAX_DARK, MIN_BRIGHT = 63, 192
"""A quarter and three quarters of white: nearly all pixels of a photograph are darker or brighter."""
MAX_BLUR = 0.5
"""Of 3,000 photographs of Caltech-101 and Tiny-ImageNet four have more; after a blur of 2 pixels nearly all have."""
MIN_SPREAD = 5.0
"""Gray levels."""
MAX_ASPECT = 3.0
"""A square crop shows less than a third of a longer photograph."""
TINY_SIDE = 64
"""Pixels; a photograph is enlarged four times to S=256."""
SIDE_EDGES = (64, 128, 256, 512, 1024, 2048, 4096)
"""Edges of the histogram of short sides, in pixels."""


def count_classes(splits: Sequence[Split]) -> dict[str, int]:
    """Return class -> number of training photographs, or of all where nothing is divided; empty without labels."""
    for split in splits:
        counts = count_labels(split)
        if split.name in {"train", "all"} and counts:
            return {name: counts[label] for label, name in enumerate(split.class_names) if counts[label]}
    return {}


def count_short_sides(photographs: Sequence[InspectedPhotograph]) -> dict[str, int]:
    """Return range of the short side in pixels -> number of photographs, without empty ranges at both ends."""
    if not photographs:
        return {}
    sides = [photograph.measures.short_side for photograph in photographs]
    counts = np.bincount(np.searchsorted(SIDE_EDGES, sides, side="right"), minlength=len(SIDE_EDGES) + 1)
    names = [
        f"1-{SIDE_EDGES[0] - 1}",
        *(f"{low}-{high - 1}" for low, high in pairwise(SIDE_EDGES)),
        f"{SIDE_EDGES[-1]} and more",
    ]
    used = np.flatnonzero(counts)
    return {names[i]: int(counts[i]) for i in range(used[0], used[-1] + 1)}


def find_odd_photographs(photographs: Sequence[InspectedPhotograph]) -> list[Finding]:
    """Return findings about single photographs, ordered by kind and by how bad they are."""
    typical_side = float(np.median([photograph.measures.short_side for photograph in photographs] or [0]))
    findings: list[Finding] = []
    for kind, judge in _JUDGES.items():
        found: list[tuple[float, str, str]] = []
        for photograph in photographs:
            found += [(badness, photograph.file, text) for badness, text in judge(photograph.measures, typical_side)]
        findings += [Finding(kind, (file,), text) for _, file, text in sorted(found, key=lambda each: -each[0])]
    return findings


Judge = Callable[[PhotographMeasures, float], Iterator[tuple[float, str]]]
"""Measures and the typical short side -> how bad the photograph is, and what is wrong; nothing if all is well."""


def _judge_uniformity(measures: PhotographMeasures, _typical_side: float) -> Iterator[tuple[float, str]]:
    if measures.spread < MIN_SPREAD:
        yield -measures.spread, f"nearly uniform: its gray levels vary by {measures.spread:.1f} of 255"


def _judge_darkness(measures: PhotographMeasures, _typical_side: float) -> Iterator[tuple[float, str]]:
    if measures.light_end <= MAX_DARK:
        level = f"at most {measures.light_end} of 255" if measures.light_end else "black (0)"
        yield -measures.light_end, f"too dark: 95% of its pixels are {level}"


def _judge_brightness(measures: PhotographMeasures, _typical_side: float) -> Iterator[tuple[float, str]]:
    if measures.dark_end >= MIN_BRIGHT:
        level = f"at least {measures.dark_end} of 255" if measures.dark_end < 255 else "white (255)"
        yield measures.dark_end, f"too bright: 99% of its pixels are {level}"


def _judge_blur(measures: PhotographMeasures, _typical_side: float) -> Iterator[tuple[float, str]]:
    if measures.blur > MAX_BLUR and measures.spread >= MIN_SPREAD:
        at = f" at a short side of {JUDGED_SIDE}" if measures.short_side > JUDGED_SIDE else ""
        yield measures.blur, f"blurred{at}: {measures.blur:.2f}, where 0 is sharp and 1 is smooth"


def _judge_size(measures: PhotographMeasures, typical_side: float) -> Iterator[tuple[float, str]]:
    if measures.short_side < min(TINY_SIDE, typical_side / 2):
        yield -measures.short_side, f"tiny: {measures.width}x{measures.height} pixels"


def _judge_shape(measures: PhotographMeasures, _typical_side: float) -> Iterator[tuple[float, str]]:
    if measures.aspect > MAX_ASPECT:
        size, share = f"{measures.width}x{measures.height} pixels", f"{1 / measures.aspect:.0%}"
        yield measures.aspect, f"elongated: {size}; a square crop shows {share} of it"


_JUDGES: dict[FindingKind, Judge] = {
    "nearly uniform": _judge_uniformity,
    "too dark": _judge_darkness,
    "too bright": _judge_brightness,
    "blurred": _judge_blur,
    "tiny": _judge_size,
    "elongated": _judge_shape,
}
