"""Find groups of photographs that are nearly the same, from small gray images of them.

Photographs whose perceptual hashes are close (``perceptual_hash.py``) are aligned and compared (``alignment.py``). The
hash of the middle of a photograph stands for its crops, the hash of the mirror image for mirrored copies. Groups are
joined: if A is like B and B like C, the three are one group.
"""

from collections.abc import Generator, Iterable, Iterator, Sequence

import numpy as np

from verydeep.ops.alignment import align_thumbnails
from verydeep.ops.arrays import Int64Array, UInt8Array
from verydeep.ops.close_pairs import find_close_pairs
from verydeep.ops.perceptual_hash import hash_thumbnails, smallest_product

SAME = 0.98
"""Correlation from which two aligned photographs are nearly the same (docs/finding-bad-data.md)."""

MIDDLE = 0.9
"""Share of both sides whose hash stands for a crop."""

MIN_CONTRAST = 4.0
"""Standard deviation of the gray levels below which a photograph shows too little to be compared."""

AT_ONCE = 512
"""Pairs that are aligned before groups are joined; those of one group are compared no more."""

Pair = tuple[int, int, bool]
"""Two photographs, and whether the second is mirrored."""


def largest_distance(count: int) -> int:
    """Return up to how many of 64 signs may differ in hashes that are looked at again.

    The number of pairs grows with the square of the number of photographs, so that of many the search is narrower.
    """
    return 14 if count <= 20_000 else 10 if count <= 100_000 else 6


def group_near_duplicates(
    thumbnails: UInt8Array, candidates: Iterable[tuple[int, int]] = ()
) -> Generator[float, None, list[list[int]]]:
    """Return groups of two photographs or more that are nearly the same, by their positions, in order.

    Args:
        thumbnails: (n, side, side) gray levels of whole photographs, squeezed to squares.
        candidates: pairs of photographs that are compared whatever their hashes are.

    Yields:
        Number of photographs that are done since the last time, first none.
    """
    yield 0
    has_contrast = np.array([thumbnail.std() >= MIN_CONTRAST for thumbnail in thumbnails], np.bool_)
    compared = np.flatnonzero(has_contrast)
    joined, num_done = JoinedGroups(len(thumbnails)), 0
    waiting = [
        (one, other, is_mirrored)
        for one, other in dict.fromkeys((min(pair), max(pair)) for pair in candidates)
        if has_contrast[one] and has_contrast[other]
        for is_mirrored in (False, True)
    ]
    for row, columns, is_mirrored in _find_candidates(thumbnails[compared], largest_distance(len(compared))):
        first = int(compared[row])
        others = joined.find_apart(first, compared[columns])
        waiting += [(first, other, is_mirrored) for other in others.tolist()]
        if len(waiting) >= AT_ONCE:
            _join_alike(thumbnails, waiting, joined)
            waiting = []
        yield max(0, row - num_done)
        num_done = max(num_done, row)
    _join_alike(thumbnails, waiting, joined)
    return joined.groups()


def join_pairs(pairs: Sequence[tuple[int, int]], count: int) -> list[list[int]]:
    """Return the groups, of two or more of ``count`` things, that pairs of them make."""
    joined = JoinedGroups(count)
    for one, other in pairs:
        joined.join(one, other)
    return joined.groups()


class JoinedGroups:
    """Things that are joined to groups, pair by pair."""

    def __init__(self, count: int) -> None:
        """Begin with ``count`` things that are on their own."""
        self._group_of = np.arange(count)
        self._members: dict[int, list[int]] = {}

    def find_apart(self, one: int, others: Int64Array) -> Int64Array:
        """Return those of other things that are in other groups than one thing."""
        apart: Int64Array = others[self._group_of[others] != self._group_of[one]]
        return apart

    def has(self, one: int, other: int) -> bool:
        """Whether two things are in one group."""
        return bool(self._group_of[one] == self._group_of[other])

    def join(self, one: int, other: int) -> None:
        """Make one group of the groups of two things: the members of the smaller one move."""
        groups = {int(self._group_of[one]), int(self._group_of[other])}
        if len(groups) == 1:
            return
        small, large = sorted(groups, key=lambda group: len(self._members.get(group, [group])))
        moved = self._members.pop(small, [small])
        self._members.setdefault(large, [large]).extend(moved)
        self._group_of[moved] = large

    def groups(self) -> list[list[int]]:
        """Return the groups of two or more things; things and groups are in order."""
        return sorted(sorted(group) for group in self._members.values())


def _find_candidates(thumbnails: UInt8Array, max_distance: int) -> Iterator[tuple[int, Int64Array, bool]]:
    """Yield (row, later rows, whether these are mirrored) of thumbnails whose hashes are close."""
    whole, middle = hash_thumbnails(thumbnails), hash_thumbnails(thumbnails, share=MIDDLE)
    for is_mirrored in (False, True):
        others = whole, middle
        if is_mirrored:
            others = (
                hash_thumbnails(thumbnails, mirrored=True),
                hash_thumbnails(thumbnails, share=MIDDLE, mirrored=True),
            )
        for one, other in ((whole, others[0]), (whole, others[1]), (middle, others[0])):
            for row, columns in find_close_pairs(one, other, smallest_product(max_distance)):
                yield row, columns, is_mirrored


def _join_alike(thumbnails: UInt8Array, pairs: Sequence[Pair], joined: JoinedGroups) -> None:
    """Join the pairs that are nearly the same, some at a time."""
    for first in range(0, len(pairs), AT_ONCE):
        open_pairs = list(dict.fromkeys(pair for pair in pairs[first : first + AT_ONCE] if not joined.has(*pair[:2])))
        ones = thumbnails[[one for one, _, _ in open_pairs]]
        others = thumbnails[[other for _, other, _ in open_pairs]]
        is_mirrored = np.array([mirrored for _, _, mirrored in open_pairs], np.bool_)
        others[is_mirrored] = others[is_mirrored, :, ::-1]
        for (one, other, _), similarity in zip(open_pairs, align_thumbnails(ones, others), strict=True):
            if similarity >= SAME:
                joined.join(one, other)
