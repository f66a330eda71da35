"""The result files of VOC's server, read back as its devkit reads them."""

from pathlib import Path

import numpy as np
import pytest

from tests.data.sets.voc_trees import put_actions, put_annotation, put_voc
from verydeep.data.sets.voc import CLASSES, open_voc
from verydeep.data.sets.voc_actions import ACTIONS, open_voc_actions
from verydeep.data.sets.voc_results import write_voc_action_results, write_voc_results
from verydeep.errors import VerydeepError

SCORES = np.random.default_rng(0).normal(size=(4, 20)).astype(np.float32)


def read(path: Path) -> dict[str, float]:
    """Image, or image and object, -> score: textread(..., '%s %f') and '%s %d %f' of the devkit."""
    lines = [line.rsplit(" ", 1) for line in path.read_text("ascii").splitlines()]
    assert len(dict(lines)) == len(lines)
    return {name: float(score) for name, score in lines}


def test_every_image_of_every_class(tmp_path: Path) -> None:
    images = ("2008_000004", "2009_000001", "2011_000002", "2010_000003")
    folder = put_voc(tmp_path / "VOC2012", "test", {image: {} for image in images}, lists=False)
    place = write_voc_results(tmp_path / "out", open_voc(folder, "test"), SCORES)
    assert place == tmp_path / "out" / "results" / "VOC2012" / "Main"
    assert sorted(path.name for path in place.iterdir()) == sorted(f"comp2_cls_test_{name}.txt" for name in CLASSES)
    for k, name in enumerate(CLASSES):
        expected = dict(zip(sorted(images), SCORES[:, k].tolist(), strict=True))
        assert read(place / f"comp2_cls_test_{name}.txt") == expected
    assert (place / "comp2_cls_test_cow.txt").read_bytes().startswith(b"2008_000004 ")


def test_near_scores_stay_apart(tmp_path: Path) -> None:
    folder = put_voc(tmp_path / "VOC2012", "val", {"2008_000001": {"cow": 1}, "2008_000002": {}})
    scores = np.full((2, 20), 0.5)
    scores[1] += 1e-9
    place = write_voc_results(tmp_path, open_voc(folder, "val"), scores)
    first, second = read(place / "comp2_cls_val_cow.txt").values()
    assert second > first


@pytest.fixture
def persons(tmp_path: Path) -> Path:
    """Objects 1 and 3 of the first image have the same box; jumping is asked of the second image's person alone."""
    listed = {("2010_000001", 3): {"jumping": 9}, ("2010_000001", 1): {"jumping": 9}, ("2011_000002", 2): {}}
    folder = put_actions(tmp_path / "VOC2012", "test", listed)
    same = ("person", (1, 1, 9, 9))
    put_annotation(folder, "2010_000001", same, ("dog", (1, 1, 9, 9)), same)
    put_annotation(folder, "2011_000002", ("person", (1, 1, 5, 5)), ("person", (2, 2, 5, 5)))
    return folder


def test_every_person_that_an_action_is_asked_of(persons: Path, tmp_path: Path) -> None:
    split = open_voc_actions(persons, "test")
    scores = SCORES[:3, :10]
    place = write_voc_action_results(tmp_path / "out", split, scores)
    assert place == tmp_path / "out" / "results" / "VOC2012" / "Action"
    assert sorted(path.name for path in place.iterdir()) == [f"comp10_action_test_{name}.txt" for name in ACTIONS]
    for k, name in enumerate(ACTIONS):
        everybody = dict(zip(("2010_000001 1", "2010_000001 3", "2011_000002 2"), scores[:, k].tolist(), strict=True))
        listed = {person: score for person, score in everybody.items() if name != "jumping" or "2011" in person}
        assert read(place / f"comp10_action_test_{name}.txt") == listed


def test_a_part_of_the_persons(persons: Path, tmp_path: Path) -> None:
    """As where a photograph could not be read."""
    split = open_voc_actions(persons, "test").subset([2])
    place = write_voc_action_results(tmp_path / "out", split, SCORES[:1, :10])
    assert read(place / "comp10_action_test_walking.txt") == {"2011_000002 2": float(SCORES[0, 9])}


def test_a_test_set_without_lists_asks_of_everybody(persons: Path, tmp_path: Path) -> None:
    for action in (*ACTIONS, "other"):
        (persons / "ImageSets" / "Action" / f"{action}_test.txt").unlink()
    split = open_voc_actions(persons, "test")
    place = write_voc_action_results(tmp_path / "out", split, SCORES[: len(split), :10])
    expected = ["2010_000001 1", "2010_000001 3", "2011_000002 1", "2011_000002 2"]
    assert list(read(place / "comp10_action_test_jumping.txt")) == expected


def test_scores_that_are_no_numbers_are_errors(persons: Path, tmp_path: Path) -> None:
    scores = SCORES[:3, :10].copy()
    scores[1, 4] = np.nan
    with pytest.raises(VerydeepError, match="Some scores are not numbers"):
        write_voc_action_results(tmp_path / "out", open_voc_actions(persons, "test"), scores)
    assert not (tmp_path / "out").exists()
