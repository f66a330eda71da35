"""The random division of people's own photographs without val/ into training and validation photographs."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import groupby

import numpy as np

from verydeep.data.folders.class_folders import join_names
from verydeep.data.folders.groups import PARENT, describe_similar_groups, name_groups, number_groups
from verydeep.data.folders.listing import normalize_name
from verydeep.data.split import Split
from verydeep.ops.arrays import BoolArray
from verydeep.ops.targets import hold_out_groups

RANK_DIGITS = 16
"""Hexadecimal digits of a rank that a net records: 64 bits."""


def divide(whole: Split, name: str, *, seed: int, val_fraction: float, group_by: str | None) -> Split:
    """Return train or val of a split with labels, or the whole split for another name.

    An image belongs to val by a hash of its name keyed with the seed, whatever the order of the listing and the other
    classes. A class of at least two images has at least one in val.

    Args:
        whole: all photographs.
        name: of the part.
        seed: chooses the images of val.
        val_fraction: their share of each class.
        group_by: the groups of images that stay together, as ``groups.resolve_group_by`` returns it; None: none.

    Raises:
        DataError: an image has no group.
    """
    if name not in ("train", "val"):
        return whole
    assert whole.labels is not None
    notes: list[str] = []
    if group_by is None:
        is_val = _choose_by_seed(whole.files, whole.labels.tolist(), seed, val_fraction)
    else:
        names = name_groups(whole.files, whole.root, group_by)
        notes += describe_similar_groups(names)
        groups = number_groups(names, seed)
        members = [np.flatnonzero(whole.labels == label) for label in np.unique(whole.labels)]
        is_val = set(np.flatnonzero(hold_out_groups(members, groups, val_fraction)).tolist())
    grouping = "" if group_by is None else f", grouped by {group_by}"
    notes += _describe_indivisible(whole, is_val, group_by)
    part = whole.subset([index for index in range(len(whole)) if (index in is_val) == (name == "val")])
    layout = f"{whole.layout}, {val_fraction:.0%} of each class in val (seed {seed}{grouping})"
    return replace(part, name=name, layout=layout, notes=(*whole.notes, *notes))


def _choose_by_seed(files: Sequence[str], labels: Sequence[int], seed: int, val_fraction: float) -> set[int]:
    chosen: set[int] = set()
    for _, members in groupby(sorted(range(len(files)), key=labels.__getitem__), key=labels.__getitem__):
        ranked = sorted(members, key=lambda index: _rank(files[index], seed))
        chosen.update(ranked[: min(len(ranked) - 1, max(1, round(val_fraction * len(ranked))))])
    return chosen


def _rank(file: str, seed: int) -> str:
    """Return a hash of an image's name, keyed with the seed; the images of lowest rank of a class are in val."""
    key = seed.to_bytes(16, "little", signed=True)
    return hashlib.blake2b(normalize_name(file).encode(), key=key).hexdigest()


def find_last_ranks(train: Split, val: Split, seed: int) -> dict[str, str] | None:
    """Return for each class the rank of its last image in val; None if these ranks do not tell train and val apart.

    They do if ``divide`` chose single images at random. With them, ``are_held_out`` finds the images of val again after
    photographs were added or removed.
    """
    if train.root != val.root or train.labels is None or val.labels is None:
        return None
    last_ranks: dict[str, str] = {}
    for file, label in zip(val.files, val.labels.tolist(), strict=True):
        name = val.class_names[label]
        last_ranks[name] = max(last_ranks.get(name, ""), _rank(file, seed)[:RANK_DIGITS])
    return None if are_held_out(train, last_ranks, seed).any() else last_ranks


def are_held_out(split: Split, last_ranks: Mapping[str, str], seed: int) -> BoolArray:
    """Return (n,) whether each image was in val when a net was trained, or is new and would have been.

    Args:
        split: images, with labels.
        last_ranks: of the division for the net, as ``find_last_ranks`` returns them.
        seed: of that division.
    """
    assert split.labels is not None
    last = [last_ranks.get(name, "") for name in split.class_names]
    ranks = [_rank(file, seed)[:RANK_DIGITS] for file in split.files]
    return np.array([rank <= last[label] for rank, label in zip(ranks, split.labels.tolist(), strict=True)], np.bool_)


def _describe_indivisible(whole: Split, val: set[int], group_by: str | None) -> list[str]:
    """Return a note about classes that have too few images, or groups, for both splits."""
    assert whole.labels is not None
    missing = sorted(set(whole.labels.tolist()) - set(whole.labels[sorted(val)].tolist()) - {-1})
    if not missing:
        return []
    names = join_names([whole.class_names[label] for label in missing])
    noun = "photographs" if group_by is None else "groups"
    group = ": the folder that directly holds a photograph is its group" if group_by == PARENT else ""
    return [f"There are too few {noun} for both train and val, so all {noun} of {names} are in train{group}."]
