"""Test photographs that are also training photographs, perhaps under another name."""

import filecmp
import hashlib
import os
from collections import defaultdict
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
    test_files, test_sizes = _measure_sizes(test)
    train_files, train_sizes = _measure_sizes(train)
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


def _measure_sizes(split: Split) -> tuple[list[str], Int64Array]:
    """Return the paths of the files, each once, and their sizes (n,); 0 for a file that cannot be read.

    Paths are texts, because a ``Path`` takes a kilobyte and there may be millions.
    """
    paths = [os.path.join(split.root, file) for file in dict.fromkeys(split.files)]  # noqa: PTH118
    sizes = np.zeros(len(paths), np.int64)
    for index, path in enumerate(paths):
        try:
            sizes[index] = os.stat(path).st_size  # noqa: PTH116
        except OSError:
            continue
    return paths, sizes


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
