"""Files with the same bytes: copies among photographs, and test photographs that are also training photographs."""

import filecmp
import hashlib
import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from verydeep.data.split import Split
from verydeep.ops.arrays import Int64Array

_BEGINNING = 4096
"""Bytes; files of one size whose beginnings agree are compared completely."""

_Key = tuple[int, bytes]
"""The size of a file, and a digest of its beginning."""


def find_copies(test: Split, train: Split) -> dict[Path, Path]:
    """Return test file -> training file with the same bytes, which may be the same file.

    Sizes are compared first, so that few files are opened. Files that cannot be read have no copies; decoding them
    reports the error.
    """
    test_files, train_files = _list_files(test), _list_files(train)
    test_sizes, train_sizes = _measure_sizes(test_files), _measure_sizes(train_files)
    candidates: dict[_Key, list[str]] = defaultdict(list)
    for index in np.flatnonzero(np.isin(train_sizes, test_sizes) & (train_sizes > 0)):
        candidates[_key(train_files[index], int(train_sizes[index]))].append(train_files[index])
    copies: dict[Path, Path] = {}
    for index in np.flatnonzero(np.isin(test_sizes, train_sizes) & (test_sizes > 0)):
        path = test_files[index]
        others = candidates.get(_key(path, int(test_sizes[index])), ())
        if (copy := next((other for other in others if _equal(path, other)), None)) is not None:
            copies[Path(path)] = Path(copy)
    return copies


def group_copies(files: Sequence[str]) -> list[list[int]]:
    """Return groups of two files or more with the same bytes, by their positions, in order; empty files have none."""
    sizes = _measure_sizes(files)
    values, counts = np.unique(sizes, return_counts=True)
    by_key: dict[_Key, list[list[int]]] = defaultdict(list)
    for index in np.flatnonzero(np.isin(sizes, values[counts > 1]) & (sizes > 0)).tolist():
        groups = by_key[_key(files[index], int(sizes[index]))]
        group = next((each for each in groups if _equal(files[index], files[each[0]])), None)
        if group is None:
            groups.append([index])
        else:
            group.append(index)
    return sorted(group for groups in by_key.values() for group in groups if len(group) > 1)


def _list_files(split: Split) -> list[str]:
    """Return the paths of the files, each once; they are texts, as a ``Path`` takes a kilobyte, of perhaps millions."""
    return [os.path.join(split.root, file) for file in dict.fromkeys(split.files)]  # noqa: PTH118


def _measure_sizes(files: Sequence[str]) -> Int64Array:
    """Return the sizes (n,) of files; 0 for one that cannot be read."""
    sizes = np.zeros(len(files), np.int64)
    for index, path in enumerate(files):
        try:
            sizes[index] = os.stat(path).st_size  # noqa: PTH116
        except OSError:
            continue
    return sizes


def _key(path: str, size: int) -> _Key:
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            return size, hashlib.blake2b(file.read(_BEGINNING), digest_size=16).digest()
    except OSError:
        return size, b""


def _equal(one: str, other: str) -> bool:
    try:
        return filecmp.cmp(one, other, shallow=False)
    except OSError:
        return False
