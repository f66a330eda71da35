"""Which photographs of a set are learned from and which are tested on, decided by a seed and each file's name alone.

Photographs are ordered by SHA-256 of ``<seed>:<path>``, the path being that below the data set's folder with forward
slashes. So the order is the same on every machine and Python, whatever order a folder is listed in, and anybody can
repeat it without this package; the first k of a class are the same for any k. The seeds of the paper's own random
splits are unknown (docs/choices.md).
"""

import hashlib
from collections.abc import Iterator

import numpy as np

from verydeep.data.split import Split
from verydeep.errors import VerydeepError
from verydeep.ops.arrays import Int64Array
from verydeep.ops.targets import hold_out_rarest_first


def draw_of_each_class(split: Split, num_train: int, num_test: int | None, *, seed: int) -> tuple[Split, Split]:
    """A number of images of each class to learn from, and of the others up to a number to test on.

    Args:
        split: labels known.
        num_train: of each class.
        num_test: at most, of each class; None: all others.
        seed: of the draw.

    Raises:
        VerydeepError: a class has too few images, or none of them would be left to test on.
    """
    least = num_train + (num_test != 0)
    train: list[int] = []
    test: list[int] = []
    short: dict[str, int] = {}
    for name, members in zip(split.class_names, _classes(split), strict=True):
        drawn = _drawn(split, members, seed)
        if len(drawn) < least:
            short[name] = len(drawn)
        train += drawn[:num_train].tolist()
        test += drawn[num_train:][:num_test].tolist()
    if short:
        name, count = min(short.items(), key=lambda pair: pair[1])
        more = f" ({len(short) - 1} more classes have too few)" if len(short) > 1 else ""
        raise VerydeepError(
            f"Class {name!r} of {split.root} has {count} photographs{more}, where {least} are needed, {num_train} of "
            "them to learn from: add photographs, or lower --num-train."
        )
    return split.subset(sorted(train)), split.subset(sorted(test))


def few_of_each_class(split: Split, count: int, *, seed: int) -> Int64Array:
    """The first ``count`` images of each class in the order drawn, ascending; fewer are a part of more.

    Args:
        split: labels known.
        count: of each class, or all where it has fewer.
        seed: that of the draw.
    """
    return np.sort(np.concatenate([_drawn(split, members, seed)[:count] for members in _classes(split)]))


def hold_out(split: Split, share: float, *, seed: int) -> tuple[Split, Split]:
    """All images but a share of each class, and that share, as ``hold_out_rarest_first`` divides them.

    Args:
        split: labels or relevance known.
        share: in (0, 1).
        seed: of the draw.
    """
    held = hold_out_rarest_first(list(_classes(split)), len(split), share, lambda members: _drawn(split, members, seed))
    return split.subset(np.flatnonzero(~held).tolist()), split.subset(np.flatnonzero(held).tolist())


def _classes(split: Split) -> Iterator[Int64Array]:
    """The images of each class."""
    for k in range(len(split.class_names)):
        if split.labels is not None:
            yield np.flatnonzero(split.labels == k)
        else:
            assert split.relevance is not None
            yield np.flatnonzero(split.relevance[:, k] > 0)


def _drawn(split: Split, members: Int64Array, seed: int) -> Int64Array:
    """Some images of a split in the order of their hashes."""
    keys = [f"{seed}:{split.files[i]}".encode("utf-8", "surrogateescape") for i in members]
    digests = [hashlib.sha256(key).digest() for key in keys]
    return members[sorted(range(len(members)), key=lambda i: (digests[i], i))]
