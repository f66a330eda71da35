"""Greedy merging of predicted boxes (appendix A; Sermanet et al. 2014, section 4.3), many sets of boxes in lockstep.

While the two closest boxes of a set are no farther apart than a threshold, they become one. OverFeat's match score,
"the sum of the distance between centers of the two boxes and the intersection area", names no units and taken literally
would keep boxes apart the more they overlap; read here (docs/choices.md) as

    |center a - center b| / (mean of the two diagonals) + 1 - IoU

A merged box is the mean of all that went into it, and its score the sum of their scores. Of equally close pairs the
first is merged (by the place of its earlier box in the set, then of its later one), and stands in the earlier's place.

One set of 200 boxes is too little work for an array operation, and ILSVRC's validation images give 250,000 of them: so
each operation is made for LANES sets at once, a set being a row. A box keeps the distance to the closest of those
behind it. Losing that one to a merge makes the distance a lower bound, which is put right only when it comes up as the
smallest: so distances are computed from one box to the rest of its set at a time, and no matrix of them is kept.
"""

from dataclasses import dataclass
from itertools import count

import numpy as np
import numpy.typing as npt

from verydeep.ops.arrays import BoolArray, Float64Array, FloatArray, Int64Array

LANES = 128
"""How many sets take their steps together. Of 200 boxes, 32 sets took 1.8 times as long each, 256 no less."""


@dataclass(frozen=True)
class BoxSets:
    """P sets of boxes, one for each image and class, set after set in T rows."""

    boxes: Float64Array
    """(T, 4) inclusive x1, y1, x2, y2."""
    scores: Float64Array
    """(T,) summed over the members."""
    members: Int64Array
    """(T,) how many predicted boxes each is the mean of."""
    counts: Int64Array
    """(P,) boxes in each set; a set may be empty."""

    @classmethod
    def of(cls, boxes: FloatArray, scores: FloatArray, counts: npt.ArrayLike) -> "BoxSets":
        """As predicted, nothing merged: boxes (T, 4), scores (T,) and counts (P,)."""
        members = np.ones(len(boxes), np.int64)
        return cls(boxes.astype(np.float64), scores.astype(np.float64), members, np.asarray(counts, np.int64))

    @property
    def set_of(self) -> Int64Array:
        """(T,) the set that each box belongs to."""
        return np.repeat(np.arange(len(self.counts)), self.counts)

    def best(self) -> tuple[Float64Array, Float64Array]:
        """The box of the highest score of each set, the first of several, and its score: (P, 4) and (P,).

        An empty set gives numbers that are none.
        """
        order = np.lexsort((-self.scores, self.set_of))  # stable: the first of equal scores stays first
        filled = self.counts > 0
        rows = order[(np.cumsum(self.counts) - self.counts)[filled]]
        boxes, scores = np.full((len(filled), 4), np.nan), np.full(len(filled), np.nan)
        boxes[filled], scores[filled] = self.boxes[rows], self.scores[rows]
        return boxes, scores


def merge(sets: BoxSets, threshold: float) -> BoxSets:
    """The sets after greedy merging, their boxes still in the order of their earliest members.

    What a threshold merged can be merged on with a larger one, to the same result as at once. A box that is no number
    is never merged.

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
    by_size = np.argsort(sizes, kind="stable")  # sets of one size take their steps together
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
    """What is known of L sets of up to N boxes. Merged and missing boxes stay in place, infinitely far away."""

    rows: Int64Array
    """(L, N) where each box stands in ``BoxSets``; -1 where there is none."""
    geometry: Float64Array
    """(8, L, N), see ``_geometry``."""
    closest: Float64Array
    """(L, N) at most the distance to the closest of the boxes behind."""
    partner: npt.NDArray[np.int32]
    """(L, N) the first box behind at exactly that distance; -1 where the distance may be larger."""

    @classmethod
    def of(cls, boxes: Float64Array, rows: Int64Array) -> "_Lanes":
        """Nothing is known yet but the boxes."""
        missing = rows < 0
        geometry = _geometry(boxes[rows])
        geometry[:, missing] = _NOWHERE
        return cls(rows, geometry, np.where(missing, np.inf, 0.0), np.full(rows.shape, -1, np.int32))

    def compacted(self, going: BoolArray) -> "_Lanes":
        """Without the sets that are done and the boxes that are merged, if they are many: copying costs time too."""
        alive = np.isfinite(self.geometry[4, going])
        width = int(alive.sum(axis=1).max())
        if len(alive) * width > 0.75 * self.rows.size:
            return self
        order = np.argsort(~alive, axis=1, kind="stable")[:, :width]
        place = np.cumsum(alive, axis=1, dtype=np.int32) - 1
        partner = self.partner[going]
        partner = np.where(partner < 0, -1, np.take_along_axis(place, partner, axis=1))
        return _Lanes(
            np.take_along_axis(self.rows[going], order, axis=1),
            np.take_along_axis(self.geometry[:, going], order[None], axis=2),
            np.take_along_axis(self.closest[going], order, axis=1),
            np.take_along_axis(partner, order, axis=1),
        )


_NOWHERE = np.array([np.inf, np.inf, -np.inf, -np.inf, np.inf, np.inf, 0, 0])[:, None]
"""The geometry of a box that is no more: the others do not overlap it, and are infinitely far from its center."""


def _geometry(boxes: Float64Array) -> Float64Array:
    """(8, ...) of boxes (..., 4): left, upper, right and lower edges, center x and y, half the diagonal, area."""
    left, upper, right, lower = np.moveaxis(boxes, -1, 0)
    right, lower = right + 1, lower + 1
    width, height = right - left, lower - upper
    center = (left + right) / 2, (upper + lower) / 2
    return np.stack([left, upper, right, lower, *center, np.sqrt(width**2 + height**2) / 2, width * height])


def _distances(one: Float64Array, others: Float64Array) -> Float64Array:
    """From one box (8, ...) to others (8, ...), which broadcast."""
    left, upper, right, lower, x, y, radius, area = one
    lefts, uppers, rights, lowers, xs, ys, radii, areas = others
    width = (np.minimum(rights, right) - np.maximum(lefts, left)).clip(min=0)
    height = (np.minimum(lowers, lower) - np.maximum(uppers, upper)).clip(min=0)
    intersection = width * height
    apart = np.sqrt((xs - x) ** 2 + (ys - y) ** 2) / (radii + radius)
    return np.asarray(1 - intersection / (areas + area - intersection) + apart)


def _merge_in_lockstep(merged: BoxSets, alive: BoolArray, rows: Int64Array, threshold: float) -> None:
    """Merge the boxes that stand at ``rows`` (L, N) of ``merged``, a lane being a set; what is left stays ``alive``.

    In each step a lane looks at the box of its smallest bound. If the bound is sure, this box is part of the closest
    pair, which is merged. In either case the distances from this box to all others are computed, and with them its own
    bound, and those before it, are right again.
    """
    lanes = _Lanes.of(merged.boxes, rows)
    for step in count():
        box = lanes.closest.argmin(axis=1)
        lane = np.arange(len(box))
        going = lanes.closest[lane, box] <= threshold
        if not going.any():
            return
        sure = np.flatnonzero(going & (lanes.partner[lane, box] >= 0))
        _merge_pairs(merged, alive, lanes, sure, box[sure])
        _look_around(lanes, lane, box)
        if step % 16 == 0:
            lanes = lanes.compacted(going)


def _merge_pairs(merged: BoxSets, alive: BoolArray, lanes: _Lanes, lane: Int64Array, first: Int64Array) -> None:
    """Merge box ``first`` (l,) of these lanes (l,) with its partner; who had one of both for a partner has lost it."""
    second = lanes.partner[lane, first]
    a, b = lanes.rows[lane, first], lanes.rows[lane, second]
    merged.members[a] += merged.members[b]
    # Not the mean of the weighted sums, whose rounding would move equal boxes.
    merged.boxes[a] += (merged.boxes[b] - merged.boxes[a]) * (merged.members[b] / merged.members[a])[:, None]
    merged.scores[a] += merged.scores[b]
    alive[b] = False
    lanes.geometry[:, lane, first] = _geometry(merged.boxes[a])
    lanes.geometry[:, lane, second] = _NOWHERE
    lanes.closest[lane, second] = np.inf
    pair = np.full((2, len(lanes.rows), 1), -1, np.int32)
    pair[:, lane, 0] = first, second
    lanes.partner[(lanes.partner == pair[0]) | (lanes.partner == pair[1])] = -1


def _look_around(lanes: _Lanes, lane: Int64Array, box: Int64Array) -> None:
    """Find the closest of the boxes behind ``box`` (L,) in each lane; those before it learn if it is closer to them."""
    place = np.arange(lanes.rows.shape[1], dtype=np.int32)
    own = box[:, None].astype(np.int32)
    with np.errstate(invalid="ignore"):  # from a box that is no more to another one, in a set that is done
        distances = _distances(lanes.geometry[:, lane, box, None], lanes.geometry)
    closer = (distances < lanes.closest) | ((distances == lanes.closest) & (own < lanes.partner))
    closer &= place < own
    np.copyto(lanes.closest, distances, where=closer)
    np.copyto(lanes.partner, own, where=closer)
    behind = np.where(place > own, distances, np.inf)
    partner = behind.argmin(axis=1)
    lanes.closest[lane, box] = behind[lane, partner]
    lanes.partner[lane, box] = partner
