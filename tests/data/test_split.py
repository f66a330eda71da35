"""Parts of a split."""

from pathlib import Path

import numpy as np

from verydeep.data.split import Split


def test_a_subset_keeps_what_belongs_to_its_images() -> None:
    split = Split(
        name="trainval",
        root=Path("/data"),
        files=("a.jpg", "a.jpg", "b.jpg"),
        labels=None,
        class_names=("dog", "sofa"),
        class_words=("dog", "sofa"),
        layout="persons",
        camera_rotation=False,
        boxes=tuple(np.full((1, 4), i, np.float32) for i in range(3)),
        relevance=np.array([[1, -1], [0, 1], [-1, -1]], np.int8),
    )
    part = split.subset([2, 1])
    assert part.files == ("b.jpg", "a.jpg")
    assert part.relevance is not None and part.boxes is not None
    assert part.relevance.tolist() == [[-1, -1], [0, 1]]
    assert [box[0, 0] for box in part.boxes] == [2, 1]
    nothing = split.subset([])
    assert nothing.relevance is not None
    assert nothing.relevance.shape == (0, 2)


def test_persons_on_one_file_are_told_apart_by_their_boxes() -> None:
    """And of their boxes alone no more is looked at than that."""
    boxes = tuple(np.array([[i, 0, 9, 9]], np.float32) for i in (1, 2, 1))
    split = Split(
        "val", Path("/data"), ("a.jpg", "a.jpg", "b.jpg"), None, ("x",), ("x",), "persons", False, boxes=boxes
    )
    assert len({split.sample(i) for i in range(3)}) == 3
    assert split.sample(0) == split.subset([0]).sample(0)
    assert split.regions is None
    seen = split.in_boxes().subset([1, 2])
    assert seen.regions is not None and seen.regions[:, 0].tolist() == [2, 1]
    assert (seen.files, seen.sample(0)) == (("a.jpg", "b.jpg"), split.sample(1))
