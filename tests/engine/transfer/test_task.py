"""Splits of one data set become one."""

from dataclasses import replace

import numpy as np

from verydeep.data.split import Split
from verydeep.engine.transfer.task import merge_splits


def test_each_image_is_there_once(val_split: Split) -> None:
    merged = merge_splits([val_split.subset([3, 1]), val_split.subset([1, 2])])
    assert merged.files == tuple(val_split.files[index] for index in (1, 2, 3))
    assert merged.labels is None and merged.root == val_split.root


def test_each_person_is_there_once(val_split: Split) -> None:
    """With their boxes; the order is that of the files."""
    boxes = tuple(np.array([box], np.float32) for box in ((3, 4, 40, 39), (20, 0, 90, 30), (9, 11, 40, 58)))
    persons = replace(val_split.subset([0, 0, 1]), labels=None, boxes=boxes)
    merged = merge_splits([persons.subset([2, 0]), persons.subset([1, 0])])
    assert merged.files == persons.files
    assert {merged.sample_key(i) for i in range(3)} == {persons.sample_key(i) for i in range(3)}


def test_files_of_one_name_in_two_folders_stay_apart(train_split: Split, val_split: Split) -> None:
    """train/ant/00.jpg and val/ant/00.jpg."""
    assert train_split.files[0] == val_split.files[0]
    merged = merge_splits([train_split, val_split])
    paths = {merged.path(index) for index in range(len(merged))}
    assert paths == {split.path(i) for split in (train_split, val_split) for i in range(len(split))}
    assert len(merged) == len(train_split) + len(val_split)
