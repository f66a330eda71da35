"""Caltech-101 and Caltech-256: which folders and files count."""

from pathlib import Path

import pytest

from tests.data.trees import put
from verydeep.data.sets.caltech import CALTECH_101, CALTECH_256, find_caltech, open_caltech
from verydeep.errors import VerydeepError


@pytest.fixture
def caltech_101(tmp_path: Path) -> Path:
    folder = tmp_path / "101_ObjectCategories"
    put(folder, "BACKGROUND_Google/image_0001.jpg", "BACKGROUND_Google/tmp", "Faces/image_0002.jpg")
    put(folder, "ant/._image_0001.jpg", ".DS_Store", ".git/a.jpg", "README")
    return put(folder, "Faces_easy/image_0001.jpg", "Faces/image_0001.jpg", "ant/image_0001.jpg")


@pytest.fixture
def caltech_256(tmp_path: Path) -> Path:
    folder = tmp_path / "256_ObjectCategories"
    put(folder, "056.dog/056_0001.jpg", "056.dog/greg/vision309/nothing.jpg", "198.spider/198_0001.jpg")
    return put(folder, "198.spider/RENAME2", "257.clutter/257_0001.jpg", "002.american-flag/002_0001.jpg")


def test_the_background_and_both_kinds_of_faces_are_classes(caltech_101: Path) -> None:
    split = open_caltech(CALTECH_101, caltech_101)
    assert split.class_names == ("BACKGROUND_Google", "Faces", "Faces_easy", "ant")
    assert split.files == (
        "BACKGROUND_Google/image_0001.jpg",  # and not BACKGROUND_Google/tmp
        "Faces/image_0001.jpg",
        "Faces/image_0002.jpg",
        "Faces_easy/image_0001.jpg",
        "ant/image_0001.jpg",
    )
    assert split.labels is not None
    assert split.labels.tolist() == [0, 1, 1, 2, 3]
    assert not split.camera_rotation
    assert split.layout == "Caltech-101 (4 of 102 classes)"


def test_strays_of_caltech_256_are_left_out(caltech_256: Path) -> None:
    split = open_caltech(CALTECH_256, caltech_256)
    assert split.files == (
        "002.american-flag/002_0001.jpg",
        "056.dog/056_0001.jpg",
        "198.spider/198_0001.jpg",
        "257.clutter/257_0001.jpg",
    )
    assert split.class_names[-1] == "257.clutter"
    assert split.class_words == ("american-flag", "dog", "spider", "clutter")
    assert split.layout == "Caltech-256 (4 of 257 classes)"


def test_the_folder_is_found_by_its_name_or_its_background(caltech_101: Path, tmp_path: Path) -> None:
    for root in (tmp_path, caltech_101):
        assert find_caltech(root) == (CALTECH_101, caltech_101)
    renamed = caltech_101.rename(tmp_path / "photographs")
    assert find_caltech(renamed) == (CALTECH_101, renamed)
    put(tmp_path / "other", "257.clutter/a.jpg", "001.ak47/a.jpg")
    assert find_caltech(tmp_path / "other") == (CALTECH_256, tmp_path / "other")
    put(tmp_path / "own", "cat/a.jpg", "dog/a.jpg")
    assert find_caltech(tmp_path / "own") is None
    assert find_caltech(tmp_path / "missing") is None


def test_both_sets_in_one_folder_are_errors(caltech_101: Path, caltech_256: Path) -> None:
    with pytest.raises(VerydeepError, match=r"choose .*101_ObjectCategories or .*256_ObjectCategories"):
        find_caltech(caltech_101.parent)
    assert find_caltech(caltech_256) == (CALTECH_256, caltech_256)


def test_empty_classes_and_folders_are_errors(caltech_101: Path, tmp_path: Path) -> None:
    put(caltech_101, "crab/annotations.txt")
    with pytest.raises(VerydeepError, match=r"class folder .*/crab holds no photographs"):
        open_caltech(CALTECH_101, caltech_101)
    put(tmp_path / "empty", "README")
    with pytest.raises(VerydeepError, match="holds no class folders of Caltech-256"):
        open_caltech(CALTECH_256, tmp_path / "empty")
