"""Who is in val: a function of the seed and the names, which a net remembers after photographs were added."""

from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from verydeep.data.folders.division import are_held_out, divide, find_last_ranks
from verydeep.data.split import Split

NAMES = st.sets(st.text("abcdé0123456789", min_size=1, max_size=6), max_size=30)


def make_split(files: set[tuple[int, str]]) -> Split:
    ordered = sorted(files)
    return Split(
        name="all",
        root=Path("/photos"),
        files=tuple(f"{'ab'[label]}/{name}.jpg" for label, name in ordered),
        labels=np.array([label for label, _ in ordered], np.int64),
        class_names=("a", "b"),
        class_words=("a", "b"),
        layout="class folders",
        camera_rotation=True,
    )


def halves(split: Split, seed: int) -> tuple[Split, Split]:
    train, val = (divide(split, part, seed=seed, val_fraction=0.2, group_by=None) for part in ("train", "val"))
    return train, val


@given(NAMES, NAMES, NAMES, st.integers(-5, 5))
def test_old_photographs_stay_where_they_were(first: set[str], second: set[str], other: set[str], seed: int) -> None:
    """Whatever is added or removed: nothing that was trained on is held out, and what was held out still is."""
    old = {(0, name) for name in first | {"x", "y"}} | {(1, name) for name in second | {"x", "y", "z"}}
    train, val = halves(make_split(old), seed)
    ranks = find_last_ranks(train, val, seed)
    assert ranks is not None and ranks.keys() == {"a", "b"}
    assert are_held_out(val, ranks, seed).all() and not are_held_out(train, ranks, seed).any()
    changed = make_split({(0, name) for name in other} | {each for each in old if len(each[1]) % 3})
    held_out = {file for file, is_val in zip(changed.files, are_held_out(changed, ranks, seed), strict=True) if is_val}
    assert not held_out & {*train.files} and {*val.files} & {*changed.files} <= held_out


def test_divisions_of_another_kind_have_no_ranks() -> None:
    """Whole groups are held out, or a folder val/ is there."""
    whole = make_split({(label, f"{name}{number}") for label in (0, 1) for name in "cd" for number in range(4)})
    parts = [divide(whole, part, seed=0, val_fraction=0.3, group_by=r"([cd])\d") for part in ("train", "val")]
    assert find_last_ranks(parts[0], parts[1], seed=0) is None
    train, val = halves(whole, 0)
    assert find_last_ranks(train, val, seed=1) is None
    assert find_last_ranks(train, Split(**{**vars(val), "root": Path("/other")}), seed=0) is None
