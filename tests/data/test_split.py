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
