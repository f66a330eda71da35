"""Draws: of the right sizes, disjoint, and the same everywhere."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from verydeep.data.sets.draws import draw_of_each_class, few_of_each_class, hold_out
from verydeep.data.split import Split
from verydeep.errors import VerydeepError


def classes_of(**sizes: int) -> Split:
    names = sorted(sizes)
    files = sorted((f"{name}/{i:04}.jpg", names.index(name)) for name in names for i in range(sizes[name]))
    return Split(
        name="all",
        root=Path("/data"),
        files=tuple(file for file, _ in files),
        labels=np.array([label for _, label in files], np.int64),
        class_names=tuple(names),
        class_words=tuple(names),
        layout="class folders",
        camera_rotation=True,
    )


def labelled_with(rows: Sequence[Sequence[int]]) -> Split:
    """One image a row, with its relevance."""
    relevance = np.array(rows, np.int8)
    names = tuple(f"class{k}" for k in range(relevance.shape[1]))
    files = tuple(f"{i:04}.jpg" for i in range(len(rows)))
    return Split("all", Path("/data"), files, None, names, names, "labels.csv", True, relevance=relevance)


def counts(split: Split) -> list[int]:
    assert split.labels is not None
    return np.bincount(split.labels, minlength=len(split.class_names)).tolist()


def test_as_many_of_each_class_as_asked_for() -> None:
    everything = classes_of(ant=9, bell=5, crab=30)
    train, test = draw_of_each_class(everything, 4, 6, seed=0)
    assert (counts(train), counts(test)) == ([4, 4, 4], [5, 1, 6])
    assert not set(train.files) & set(test.files)
    assert list(train.files) == sorted(train.files)
    assert list(test.files) == sorted(test.files)
    _, rest = draw_of_each_class(everything, 4, None, seed=0)
    assert counts(rest) == [5, 1, 26]
    _, none = draw_of_each_class(everything, 5, 0, seed=0)
    assert counts(none) == [0, 0, 0]


def test_the_draw_is_the_documented_hash() -> None:
    """In the words of the module: anybody can repeat it. The digests are those of coreutils' sha256sum."""
    assert hashlib.sha256(b"0:cat/1.jpg").hexdigest().startswith("b0fba5ea8d25b983")
    assert hashlib.sha256("7:dog/é.png".encode()).hexdigest().startswith("aa132472af385397")
    everything = classes_of(cat=40, dog=40)
    for seed in (0, 7, -3):
        train, test = draw_of_each_class(everything, 3, 2, seed=seed)
        for name in ("cat", "dog"):
            files = [f"{name}/{i:04}.jpg" for i in range(40)]
            files.sort(key=lambda file: hashlib.sha256(f"{seed}:{file}".encode()).hexdigest())
            assert [file for file in train.files if file.startswith(name)] == sorted(files[:3])
            assert [file for file in test.files if file.startswith(name)] == sorted(files[3:5])


def test_seeds_draw_otherwise_and_classes_independently() -> None:
    everything = classes_of(ant=60, bell=60)
    drawn = [draw_of_each_class(everything, 30, None, seed=seed)[0].files for seed in range(3)]
    assert len(set(drawn)) == 3
    numbers = {name: [file[-8:] for file in drawn[0] if file.startswith(name)] for name in ("ant", "bell")}
    assert numbers["ant"] != numbers["bell"]
    alone = draw_of_each_class(classes_of(ant=60), 30, None, seed=0)[0].files
    assert [file for file in drawn[0] if file.startswith("ant")] == list(alone)


def test_every_photograph_is_drawn_about_as_often() -> None:
    everything = classes_of(ant=20)
    seen = np.zeros(20)
    for seed in range(400):
        train, _ = draw_of_each_class(everything, 5, None, seed=seed)
        seen[[int(file[-8:-4]) for file in train.files]] += 1
    assert seen.sum() == 2000
    assert np.abs(seen - 100).max() < 45  # five standard deviations of a draw of 5 from 20


def test_file_names_in_any_bytes_can_be_drawn() -> None:
    """Names that are no UTF-8 reach Python as surrogates."""
    everything = classes_of(ant=3)
    undecodable = Split(
        "all",
        everything.root,
        ("ant/\udcff1", "ant/\udcff2", "ant/\udcff3"),
        everything.labels,
        *[("ant",)] * 2,
        "",
        True,
    )
    train, test = draw_of_each_class(undecodable, 2, None, seed=0)
    assert sorted(train.files + test.files) == list(undecodable.files)


def test_a_class_that_is_too_small_is_an_error() -> None:
    everything = classes_of(ant=31, bell=30, crab=12)
    with pytest.raises(
        VerydeepError,
        match=r"'crab' of /data has 12 photographs \(2 classes have .*30 are needed for training, and others for",
    ):
        draw_of_each_class(everything, 30, 50, seed=0)
    with pytest.raises(
        VerydeepError, match=r"'bell' of /data has 30 photographs, but 30 are needed for training, and others"
    ):
        draw_of_each_class(classes_of(ant=31, bell=30), 30, None, seed=0)
    train, test = draw_of_each_class(classes_of(ant=31, bell=30), 30, 0, seed=0)
    assert (counts(train), len(test)) == ([30, 30], 0)
    assert counts(draw_of_each_class(classes_of(ant=31), 30, 50, seed=0)[1]) == [1]


def test_fewer_training_photographs_are_a_part_of_more() -> None:
    """So a curve over their number is one over the same photographs, tested on the same others."""
    everything = classes_of(ant=40, bell=35)
    train, _ = draw_of_each_class(everything, 30, 50, seed=5)
    before: set[str] = set()
    for count in (1, 2, 5, 10, 20, 30):
        few = train.subset(few_of_each_class(train, count, seed=5).tolist())
        assert counts(few) == [count, count]
        assert few.files == draw_of_each_class(everything, count, None, seed=5)[0].files
        assert before < set(few.files)
        before = set(few.files)
    assert before == set(train.files)


def test_a_share_of_each_class_is_held_out() -> None:
    train, held_out = hold_out(classes_of(ant=20, bell=3, crab=1, dove=2), 0.2, seed=0)
    assert (counts(train), counts(held_out)) == ([16, 2, 1, 1], [4, 1, 0, 1])
    assert not set(train.files) & set(held_out.files)
    others, _ = hold_out(classes_of(ant=20, bell=3, crab=1, dove=2), 0.2, seed=1)
    assert others.files != train.files


def test_rare_labels_are_on_both_sides() -> None:
    """Two images have the rare label and both common ones: divided after these, both would often be on one side."""
    rng = np.random.default_rng(0)
    rows = np.where(rng.random((200, 3)) < 0.4, 1, -1)
    rows[:, 2] = -1
    rows[[17, 90]] = 1
    for seed in range(20):
        parts = hold_out(labelled_with(rows.tolist()), 0.2, seed=seed)
        assert sorted(file for part in parts for file in part.files) == [f"{i:04}.jpg" for i in range(200)]
        marks = [part.relevance for part in parts]
        assert all(part is not None and (part[:, 2] > 0).sum() == 1 for part in marks)
        for k in range(2):
            of_class = [int((part[:, k] > 0).sum()) for part in marks if part is not None]
            assert 0.15 < of_class[1] / sum(of_class) < 0.25


@given(st.lists(st.tuples(*[st.sampled_from((-1, 0, 1))] * 3), min_size=1, max_size=40), st.integers(0, 3))
def test_each_image_is_on_one_side(rows: list[tuple[int, ...]], seed: int) -> None:
    split = labelled_with(rows)
    train, held_out = hold_out(split, 0.3, seed=seed)
    assert sorted(train.files + held_out.files) == list(split.files)
    assert train.files
    assert split.relevance is not None and held_out.relevance is not None and train.relevance is not None
    rarest = min(range(3), key=lambda k: int((split.relevance[:, k] > 0).sum()))
    if (split.relevance[:, rarest] > 0).sum() >= 2:
        assert (held_out.relevance[:, rarest] > 0).any()
        assert (train.relevance[:, rarest] > 0).any()


def test_no_group_is_on_both_sides_of_a_draw() -> None:
    """Each class has six individuals of five photographs; training has several of them, as many as there are."""
    everything = classes_of(ant=30, bell=30)
    everything = replace(everything, groups=tuple(f"{file[:3]}{int(file[-8:-4]) // 5}" for file in everything.files))
    draws = set()
    for seed in range(5):
        train, test = draw_of_each_class(everything, 6, 9, seed=seed)
        assert (counts(train), counts(test)) == ([6, 6], [9, 9])
        assert train.groups is not None and test.groups is not None
        assert not set(train.groups) & set(test.groups) and len(set(train.groups)) >= 4
        draws.add(train.files)
    assert len(draws) == 5
    train, test = draw_of_each_class(everything, 20, None, seed=0)
    assert (counts(train), counts(test)) == ([20, 20], [5, 5])
    _, none = draw_of_each_class(everything, 30, 0, seed=0)
    assert not len(none)
    with pytest.raises(VerydeepError, match=r"'ant' of /data has 30 photographs .*some of other groups for testing"):
        draw_of_each_class(everything, 29, None, seed=0)


def test_a_share_of_groups_is_held_out() -> None:
    rows = [[1 if i % 2 else -1, 1 if i % 3 else -1] for i in range(60)]
    split = replace(labelled_with(rows), groups=tuple(f"day {i // 6}" for i in range(60)))
    for seed in range(4):
        train, held_out = hold_out(split, 0.2, seed=seed)
        assert train.groups is not None and held_out.groups is not None
        assert not set(train.groups) & set(held_out.groups) and len(held_out) == 12
