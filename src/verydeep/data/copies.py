"""Photographs that lie in two parts of a set under different names: what was learned from is then tested on."""

import filecmp
import hashlib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from verydeep.data.split import Split

BEGINNING = 4096
"""Bytes; files of one size that begin alike are compared to their end."""

Key = tuple[int, bytes]
"""The size of a file, and a digest of its beginning."""


def copies(tested: Split, learned: Split) -> dict[Path, Path]:
    """File of the one part -> a file of the other that is equal byte by byte, or is the same.

    Files that cannot be read have no copy; they are told where they are decoded.
    """
    asked = list(_sizes(tested))
    sizes = {size for _, size in asked}
    known: dict[Key, list[Path]] = defaultdict(list)
    for path, size in _sizes(learned):
        if size in sizes:
            known[_key(path, size)].append(path)
    sizes = {size for size, _ in known}
    found: dict[Path, Path] = {}
    for path, size in asked:
        if size in sizes:
            same = (each for each in known.get(_key(path, size), ()) if _equal(path, each))
            if (copy := next(same, None)) is not None:
                found[path] = copy
    return found


def _sizes(split: Split) -> Iterator[tuple[Path, int]]:
    for path in dict.fromkeys(split.path(index) for index in range(len(split))):
        try:
            yield path, path.stat().st_size
        except OSError:
            continue


def _key(path: Path, size: int) -> Key:
    try:
        with path.open("rb") as file:
            return size, hashlib.blake2b(file.read(BEGINNING), digest_size=16).digest()
    except OSError:
        return size, b""


def _equal(one: Path, other: Path) -> bool:
    try:
        return filecmp.cmp(one, other, shallow=False)
    except OSError:
        return False
