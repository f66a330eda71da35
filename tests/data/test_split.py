"""Parts of a split."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image

from tests.conftest import picture
from verydeep.data.loading.testing_images import TestImages, group_by_shape, load_test_batches
from verydeep.data.pixels.decoding import Decoding
from verydeep.data.pixels.images import to_image
from verydeep.data.split import Split, describe_classes


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


def test_persons_on_one_file_are_distinguished_by_their_boxes() -> None:
    """And of their boxes alone no more is looked at than that."""
    boxes = tuple(np.array([[i, 0, 9, 9]], np.float32) for i in (1, 2, 1))
    split = Split(
        "val", Path("/data"), ("a.jpg", "a.jpg", "b.jpg"), None, ("x",), ("x",), "persons", False, boxes=boxes
    )
    assert len({split.sample_key(i) for i in range(3)}) == 3
    assert split.sample_key(0) == split.subset([0]).sample_key(0)
    assert split.regions is None
    seen = split.cropped_to_boxes().subset([1, 2])
    assert seen.regions is not None and seen.regions[:, 0].tolist() == [2, 1]
    assert (seen.files, seen.sample_key(0)) == (("a.jpg", "b.jpg"), split.sample_key(1))


def test_images_in_memory_are_loaded_like_files(tmp_path: Path) -> None:
    pixels = [picture(50 + 7 * number, 90) for number in range(3)]
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for path, values in zip(paths, pixels, strict=True):
        Image.fromarray(values).save(path)
    batches = []
    for split in (Split.of_photographs(paths), Split.of_images([to_image(values) for values in pixels])):
        assert [split.image_size(index) for index in range(3)] == [(90, 50), (90, 57), (90, 64)]
        images = TestImages(split.subset([2, 0]), (32, 48), decoding=Decoding(fast=True))
        batches.append(list(load_test_batches(images, group_by_shape(images, [0, 1], 1), 0)))
    assert [batch.indices.tolist() for batch in batches[0]] == [batch.indices.tolist() for batch in batches[1]]
    for first, second in zip(*batches, strict=True):
        assert all(torch.equal(*images) for images in zip(first.images, second.images, strict=True))


def test_an_opened_image_belongs_to_the_caller() -> None:
    split = Split.of_images([to_image(picture(50, 90))])
    split.open_image(0).thumbnail((10, 10))
    assert split.open_image(0).size == (90, 50)


def test_the_fingerprint_of_an_image_in_memory_is_that_of_its_pixels() -> None:
    first, second = to_image(picture(50, 90)), to_image(picture(90, 50))
    split = Split.of_images([first, second, first.copy(), first.rotate(180)])
    prints = [split.fingerprint(index) for index in range(4)]
    assert prints[0] == prints[2]
    assert len(set(prints)) == 3


def test_classes_are_counted_over_splits() -> None:
    """Those without an image, and images without a label, do not count."""
    names = tuple("abcdefg")
    words = ("ant, emmet", *names[1:])

    def split(labels: list[int] | None, relevance: list[list[int]] | None = None) -> Split:
        return Split(
            "all",
            Path(),
            tuple(map(str, range(9))),
            None if labels is None else np.array(labels, np.int64),
            names,
            words,
            "",
            False,
            relevance=None if relevance is None else np.array(relevance, np.int8),
        )

    assert describe_classes([split([0, 0, 1, -1, 6])]) == "3 classes: ant 2, b 1, g 1"
    assert describe_classes([split(list(range(7))), split([0]), split(None)]) == (
        "7 classes: ant 2, b 1, c 1, d 1, e 1 and 2 more"
    )
    assert describe_classes([split(None, [[1, 1, 0, -1, -1, -1, -1], [-1, 1, 0, 0, 0, -1, -1]])]) == (
        "2 classes: ant 1, b 2"
    )
    assert describe_classes([split([2])]) == "1 class: c 1"
    assert describe_classes([split(None)]) == ""
