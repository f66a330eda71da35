"""VOC's actions: persons are the samples."""

from pathlib import Path

import numpy as np
import pytest

from tests.data.sets.voc_trees import put_actions, put_annotation
from verydeep.data.sets.voc_actions import ACTIONS, find_persons, open_voc_actions, read_action_lists
from verydeep.data.split import Split
from verydeep.errors import VerydeepError

PERSONS = {
    ("2010_000010", 3): {"walking": 1, "phoning": 1, "jumping": 9},
    ("2010_000010", 1): {"running": 1, "jumping": 9},
    ("2011_000004", 10): {"jumping": 1},
    ("2011_000004", 2): {"other": 1},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Object 2 of the first image is a horse, and object 1 of the second a person whom nobody asks about."""
    folder = put_actions(tmp_path / "VOC2012", "trainval", PERSONS)
    put_annotation(
        folder,
        "2010_000010",
        ("person", (11, 21, 31, 61)),
        ("horse", (1, 1, 90, 90)),
        ("person", (45.5, 2, 80, 99)),
    )
    others = [("person", (1.0, 1.0, 5.0 + number, 9.0)) for number in range(1, 11)]
    put_annotation(folder, "2011_000004", *others)
    return folder


def actions(split: Split, index: int) -> dict[str, int]:
    assert split.relevance is not None
    row = split.relevance[index]
    return {ACTIONS[k]: int(row[k]) for k in np.flatnonzero(row != -1)}


def test_persons_are_the_samples(folder: Path) -> None:
    split = open_voc_actions(folder, "trainval")
    assert split.files == ("JPEGImages/2010_000010.jpg",) * 2 + ("JPEGImages/2011_000004.jpg",) * 2
    assert split.boxes is not None
    assert [box.tolist() for box in split.boxes] == [
        [[10, 20, 30, 60]],  # VOC counts pixels from 1
        [[44.5, 1, 79, 98]],
        [[0, 0, 6, 8]],
        [[0, 0, 14, 8]],  # the tenth object comes behind the second, as numbers do
    ]
    assert all(box.dtype == np.float32 for box in split.boxes)
    assert split.labels is None
    assert split.class_names == ACTIONS
    assert len(ACTIONS) == 10
    assert not split.camera_rotation
    assert split.layout == "VOC-2012 actions, trainval"


def test_several_actions_none_of_them_and_not_asked(folder: Path) -> None:
    split = open_voc_actions(folder, "trainval")
    assert actions(split, 1) == {"walking": 1, "phoning": 1, "jumping": 0}
    assert actions(split, 0) == {"running": 1, "jumping": 0}
    assert actions(split, 2) == {}, "'other' is a negative of all ten"
    assert actions(split, 3) == {"jumping": 1}


@pytest.mark.parametrize("numbered", [True, False])
def test_a_test_set_without_lists_of_actions(folder: Path, numbered: bool) -> None:
    """Its one list may tell persons, or images alone: then all persons on them are meant, and no horse."""
    put_actions(folder, "test", {("2010_000010", 3): None}, lists=False, numbered=numbered)
    split = open_voc_actions(folder, "test")
    assert split.relevance is None
    assert split.boxes is not None
    assert [box[0, 0] for box in split.boxes] == ([44.5] if numbered else [10, 44.5])
    assert read_action_lists(folder, "test") == {}


def test_a_test_set_with_placeholders(folder: Path) -> None:
    put_actions(folder, "test", {("2010_000010", 3): {}, ("2011_000004", 2): {"jumping": 9}})
    split = open_voc_actions(folder, "test")
    assert split.relevance is None
    assert len(split) == 2
    assert set(read_action_lists(folder, "test")["jumping"]) == {("2010_000010", 3)}
    assert len(read_action_lists(folder, "test")["walking"]) == 2


def test_persons_know_their_number(folder: Path) -> None:
    persons = find_persons(folder, "trainval")
    assert [(person.image, person.number) for person in persons] == sorted(PERSONS)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("2010_000010 2 1", r"contain object 2 of .*2010_000010\.xml, which has no such person"),
        ("2010_000010 4 1", r"contain object 4 of .*2010_000010\.xml, which has no such person"),
        ("2010_000010 0 1", r"contain object 0 of .*2010_000010\.xml, which has no such person"),
        ("2010_000010 x 1", r"has 'x' instead of the number of an object"),
        ("2010_000010 1", r"Line 1 of VOC's list .*walking_trainval\.txt is damaged"),
        ("2010_000010 1 1\n2010_000010 1 -1", r"Line 2 of .*walking_trainval\.txt lists 2010_000010 1 a second time"),
        ("2010_000099 1 1", r"2010_000099\.xml cannot be read"),
    ],
)
def test_persons_that_are_not_there_are_errors(folder: Path, row: str, message: str) -> None:
    (folder / "ImageSets" / "Action" / "walking_trainval.txt").write_text(row, "ascii")
    with pytest.raises(VerydeepError, match=message):
        open_voc_actions(folder, "trainval")


def test_a_person_without_image_or_box_is_an_error(folder: Path) -> None:
    put_annotation(folder, "2011_000004", *[("person", (9, 1, 5, 9))] * 10)
    with pytest.raises(VerydeepError, match=r"Object 2 of .*2011_000004\.xml has a box without area \(8, 0, 4, 8\)"):
        open_voc_actions(folder, "trainval")
    put_annotation(folder, "2011_000004", *[("person", (5, 1, 5, 9))] * 10)
    (folder / "JPEGImages" / "2011_000004.jpg").unlink()
    with pytest.raises(VerydeepError, match=r"lists 2011_000004, but .*JPEGImages has no such image"):
        open_voc_actions(folder, "trainval")


def test_a_missing_list_of_an_action_is_an_error(folder: Path) -> None:
    (folder / "ImageSets" / "Action" / "jumping_trainval.txt").unlink()
    with pytest.raises(VerydeepError, match=r"jumping_trainval\.txt cannot be read"):
        open_voc_actions(folder, "trainval")
    (folder / "ImageSets" / "Action" / "other_trainval.txt").unlink()
    put_actions(folder, "val", PERSONS)
    (folder / "ImageSets" / "Action" / "other_val.txt").unlink()
    assert len(open_voc_actions(folder, "val")) == 4
