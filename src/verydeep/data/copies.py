"""Photographs that lie in two parts of a set under different names: what was learned from is then tested on."""

import filecmp
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from verydeep.data.split import Split

BEGINNING = 4096
"""Bytes; of files of one size those that begin alike are compared to their end."""


def copies(tested: Split, learned: Split) -> dict[Path, Path]:
    """File of the one part -> a file of the other that is equal byte by byte, or is the same.

    Files that cannot be read have no copy; they are told where they are decoded.
    """
    by_size: dict[int, set[Path]] = defaultdict(set)
    for path, size in _sizes(learned):
        by_size[size].add(path)
    alike = {path: by_size[size] for path, size in _sizes(tested) if size in by_size}
    beginnings = {path: _beginning(path) for path in {*alike, *(each for others in alike.values() for each in others)}}
    found = {}
    for path, others in alike.items():
        same = (each for each in sorted(others) if beginnings[each] == beginnings[path] and _equal(path, each))
        if (copy := next(same, None)) is not None:
            found[path] = copy
    return found


def _sizes(split: Split) -> Iterable[tuple[Path, int]]:
    for path in dict.fromkeys(split.path(index) for index in range(len(split))):
        try:
            yield path, path.stat().st_size
        except OSError:
            continue


def _beginning(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(BEGINNING)
    except OSError:
        return b""


def _equal(one: Path, other: Path) -> bool:
    try:
        return filecmp.cmp(one, other, shallow=False)
    except OSError:
        return False
