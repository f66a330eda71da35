"""Greedy merging of predicted boxes (appendix A; Sermanet et al. 2014, section 4.3), for many sets at once.

While the two closest boxes of a set are no farther apart than a threshold, they become one. OverFeat's match score,
"the sum of the distance between centers of the two boxes and the intersection area", has no units and, taken literally,
would merge boxes less the more they overlap. It is read here (docs/choices.md) as

    |center a - center b| / (mean of the two diagonals) + 1 - IoU

A merged box is the mean of its members, and its score the sum of their scores. Of equally close pairs the first is
merged (by the position of its earlier box in the set, then of its later one), and takes the position of the earlier.

One set of 200 boxes is too little work for an array operation, and ILSVRC's validation images give 250,000 sets. So
each operation is done for LANES sets at once, with a set in each row. A box has the distance to the closest of the
boxes after it. If that one is merged, the distance becomes a lower bound, which is corrected only when it is the
smallest of its set. So distances are computed from one box to the rest of its set, and there is no matrix of them.
"""

from dataclasses import dataclass
from itertools import count

import numpy as np
import numpy.typing as npt

from verydeep.ops.arrays import BoolArray, Float64Array, FloatArray, Int64Array

LANES = 128
"""Number of sets merged at once. With 200 boxes each, 32 at once took 1.8 times as long per set, and 256 as long."""


@dataclass(frozen=True)
class BoxSets:
    """P sets of boxes, one for each image and class, in T rows, set by set."""

    boxes: Float64Array
    """(T, 4) inclusive x1, y1, x2, y2."""
    scores: Float64Array
    """(T,) sum over the members."""
    members: Int64Array
    """(T,) number of candidate boxes that were averaged into each box."""
    counts: Int64Array
    """(P,) number of boxes in each set; a set may be empty."""

    @classmethod
    def from_predictions(cls, boxes: FloatArray, scores: FloatArray, counts: npt.ArrayLike) -> "BoxSets":
        """Return sets of predicted boxes (T, 4) with scores (T,) and counts (P,), nothing merged."""
        members = np.ones(len(boxes), np.int64)
        return cls(boxes.astype(np.float64), scores.astype(np.float64), members, np.asarray(counts, np.int64))

    @property
    def set_of(self) -> Int64Array:
        """(T,) index of the set of each box."""
        return np.repeat(np.arange(len(self.counts)), self.counts)

    def best(self) -> tuple[Float64Array, Float64Array]:
        """Return the box of the highest score of each set (P, 4), the first of equal ones, and its score (P,).

        An empty set gives NaN.
        """
        order = np.lexsort((-self.scores, self.set_of))  # stable: the first of equal scores stays first
        filled = self.counts > 0
        rows = order[(np.cumsum(self.counts) - self.counts)[filled]]
        boxes, scores = np.full((len(filled), 4), np.nan), np.full(len(filled), np.nan)
        boxes[filled], scores[filled] = self.boxes[rows], self.scores[rows]
        return boxes, scores


def merge_sets(sets: BoxSets, threshold: float) -> BoxSets:
    """Return the sets after greedy merging, with boxes in the order of their earliest members.

    Merging the result again with a larger threshold gives the same as merging with that threshold at once. Boxes with
    NaN are never merged.

    Args:
        sets: of boxes of at least one pixel.
        threshold: the largest distance at which two boxes become one, finite; 0 merges only boxes that are equal.
    """
    assert threshold < np.inf
    merged = BoxSets(sets.boxes.copy(), sets.scores.copy(), sets.members.copy(), sets.counts)
    alive = np.ones(len(sets.boxes), bool)
    usable = np.flatnonzero(np.isfinite(sets.boxes).all(axis=1))
    sizes = np.bincount(sets.set_of[usable], minlength=len(sets.counts))
    ends = np.cumsum(sizes)
    by_size = np.argsort(sizes, kind="stable")  # sets of one size are merged together
    by_size = by_size[sizes[by_size] > 1]
    for start in range(0, len(by_size), LANES):
        lanes = by_size[start : start + LANES]
        place = np.arange(sizes[lanes[-1]])
        inside = place < sizes[lanes, None]
        rows = usable[np.where(inside, (ends - sizes)[lanes, None] + place, 0)]
        _merge_in_lockstep(merged, alive, np.where(inside, rows, -1), threshold)
    counts = np.bincount(sets.set_of[alive], minlength=len(sets.counts))
    return BoxSets(merged.boxes[alive], merged.scores[alive], merged.members[alive], counts)


@dataclass
class _Lanes:
    """L sets of up to N boxes. Merged and missing boxes stay in place, infinitely far away."""

    rows: Int64Array
    """(L, N) row of each box in ``BoxSets``; -1 for a missing box."""
    geometry: Float64Array
    """(8, L, N) from ``_geometry``."""
    closest: Float64Array
    """(L, N) distance to the closest of the boxes after it, or a lower bound."""
    partner: npt.NDArray[np.int32]
    """(L, N) first box at exactly that distance; -1 if the distance is a lower bound."""

    @classmethod
    def from_boxes(cls, boxes: Float64Array, rows: Int64Array) -> "_Lanes":
        """Return lanes of which no distance has been computed yet."""
        missing = rows < 0
        geometry = _geometry(boxes[rows])
        geometry[:, missing] = _NOWHERE
        return cls(rows, geometry, np.where(missing, np.inf, 0.0), np.full(rows.shape, -1, np.int32))

    def compact(self, unfinished: BoolArray) -> "_Lanes":
        """Return lanes without finished sets and merged boxes, or the same lanes if these are few."""
        alive = np.isfinite(self.geometry[4, unfinished])
        width = int(alive.sum(axis=1).max())
        if len(alive) * width > 0.75 * self.rows.size:
            return self
        order = np.argsort(~alive, axis=1, kind="stable")[:, :width]
        place = np.cumsum(alive, axis=1, dtype=np.int32) - 1
        partner = self.partner[unfinished]
        partner = np.where(partner < 0, -1, np.take_along_axis(place, partner, axis=1))
        return _Lanes(
            np.take_along_axis(self.rows[unfinished], order, axis=1),
            np.take_along_axis(self.geometry[:, unfinished], order[None], axis=2),
            np.take_along_axis(self.closest[unfinished], order, axis=1),
            np.take_along_axis(partner, order, axis=1),
        )


_NOWHERE = np.array([np.inf, np.inf, -np.inf, -np.inf, np.inf, np.inf, 0, 0])[:, None]
"""Geometry of a merged box: it overlaps no other, and its center is infinitely far away."""


def _geometry(boxes: Float64Array) -> Float64Array:
    """Return (8, ...) of boxes (..., 4): left, upper, right, lower edges, center x and y, half the diagonal, area."""
    left, upper, right, lower = np.moveaxis(boxes, -1, 0)
    right, lower = right + 1, lower + 1
    width, height = right - left, lower - upper
    center = (left + right) / 2, (upper + lower) / 2
    return np.stack([left, upper, right, lower, *center, np.sqrt(width**2 + height**2) / 2, width * height])


def _distances(one: Float64Array, others: Float64Array) -> Float64Array:
    """Return the distances from one box (8, ...) to others (8, ...), which broadcast."""
    left, upper, right, lower, x, y, radius, area = one
    lefts, uppers, rights, lowers, xs, ys, radii, areas = others
    width = (np.minimum(rights, right) - np.maximum(lefts, left)).clip(min=0)
    height = (np.minimum(lowers, lower) - np.maximum(uppers, upper)).clip(min=0)
    intersection = width * height
    apart = np.sqrt((xs - x) ** 2 + (ys - y) ** 2) / (radii + radius)
    return np.asarray(1 - intersection / (areas + area - intersection) + apart)


def _merge_in_lockstep(merged: BoxSets, alive: BoolArray, rows: Int64Array, threshold: float) -> None:
    """Merge the boxes in ``rows`` (L, N) of ``merged``, one set per lane; boxes that remain stay ``alive``.

    In each step a lane chooses its box with the smallest bound. If the bound is an exact distance, this box is part of
    the closest pair, which is merged. In any case the distances from this box to all others are computed, which makes
    its own bound exact and corrects those of the boxes before it.
    """
    lanes = _Lanes.from_boxes(merged.boxes, rows)
    for step in count():
        box = lanes.closest.argmin(axis=1)
        lane = np.arange(len(box))
        unfinished = lanes.closest[lane, box] <= threshold
        if not unfinished.any():
            return
        exact = np.flatnonzero(unfinished & (lanes.partner[lane, box] >= 0))
        _merge_pairs(merged, alive, lanes, exact, box[exact])
        _update_distances(lanes, lane, box)
        if step % 16 == 0:
            lanes = lanes.compact(unfinished)


def _merge_pairs(merged: BoxSets, alive: BoolArray, lanes: _Lanes, lane: Int64Array, first: Int64Array) -> None:
    """Merge box ``first`` (l,) of these lanes (l,) with its partner; boxes that had either as partner lose it."""
    second = lanes.partner[lane, first]
    a, b = lanes.rows[lane, first], lanes.rows[lane, second]
    merged.members[a] += merged.members[b]
    # The mean of weighted sums would move equal boxes by its rounding.
    merged.boxes[a] += (merged.boxes[b] - merged.boxes[a]) * (merged.members[b] / merged.members[a])[:, None]
    merged.scores[a] += merged.scores[b]
    alive[b] = False
    lanes.geometry[:, lane, first] = _geometry(merged.boxes[a])
    lanes.geometry[:, lane, second] = _NOWHERE
    lanes.closest[lane, second] = np.inf
    pair = np.full((2, len(lanes.rows), 1), -1, np.int32)
    pair[:, lane, 0] = first, second
    lanes.partner[(lanes.partner == pair[0]) | (lanes.partner == pair[1])] = -1


def _update_distances(lanes: _Lanes, lane: Int64Array, box: Int64Array) -> None:
    """Find the closest box after ``box`` (L,) in each lane; boxes before it get it as partner if it is closer."""
    position = np.arange(lanes.rows.shape[1], dtype=np.int32)
    own = box[:, None].astype(np.int32)
    with np.errstate(invalid="ignore"):  # between merged boxes of a finished set
        distances = _distances(lanes.geometry[:, lane, box, None], lanes.geometry)
    closer = (distances < lanes.closest) | ((distances == lanes.closest) & (own < lanes.partner))
    closer &= position < own
    np.copyto(lanes.closest, distances, where=closer)
    np.copyto(lanes.partner, own, where=closer)
    later = np.where(position > own, distances, np.inf)
    partner = later.argmin(axis=1)
    lanes.closest[lane, box] = later[lane, partner]
    lanes.partner[lane, box] = partner
