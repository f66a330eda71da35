"""Test photographs that are also training photographs, perhaps under another name."""

import filecmp
import hashlib
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from verydeep.data.split import Split

_BEGINNING = 4096
"""Bytes; files of one size whose beginnings agree are compared completely."""

_Key = tuple[int, bytes]
"""The size of a file, and a digest of its beginning."""


def find_copies(test: Split, train: Split) -> dict[Path, Path]:
    """Return test file -> training file with the same bytes, which may be the same file.

    Files that cannot be read have no copies; decoding them reports the error.
    """
    test_files = list(_files_with_sizes(test))
    sizes = {size for _, size in test_files}
    train_files: dict[_Key, list[Path]] = defaultdict(list)
    for path, size in _files_with_sizes(train):
        if size in sizes:
            train_files[_key(path, size)].append(path)
    sizes = {size for size, _ in train_files}
    copies: dict[Path, Path] = {}
    for path, size in test_files:
        if size in sizes:
            candidates = train_files.get(_key(path, size), ())
            if (copy := next((other for other in candidates if _equal(path, other)), None)) is not None:
                copies[path] = copy
    return copies


def _files_with_sizes(split: Split) -> Iterator[tuple[Path, int]]:
    for path in dict.fromkeys(split.path(index) for index in range(len(split))):
        try:
            yield path, path.stat().st_size
        except OSError:
            continue


def _key(path: Path, size: int) -> _Key:
    try:
        with path.open("rb") as file:
            return size, hashlib.blake2b(file.read(_BEGINNING), digest_size=16).digest()
    except OSError:
        return size, b""


def _equal(one: Path, other: Path) -> bool:
    try:
        return filecmp.cmp(one, other, shallow=False)
    except OSError:
        return False
