"""Where the splits and classes of a data set are."""

from pathlib import Path

import pytest

from verydeep.data.folders.folder import folder_split_names, open_folder
from verydeep.data.folders.split_folders import find_split_folders
from verydeep.data.split import Split
from verydeep.errors import DataError

CLASSES = ("blue", "green", "red")


def put_classes(folder: Path, count: int = 3) -> Path:
    for name in CLASSES:
        (folder / name).mkdir(parents=True)
        for number in range(count):
            (folder / name / f"{number}.jpg").touch()
    return folder


def put_images(folder: Path, count: int = 3) -> None:
    folder.mkdir(parents=True)
    for number in range(count):
        (folder / f"{number}.jpg").touch()


def read(root: Path, name: str) -> Split:
    return open_folder(root, name, seed=0, val_fraction=0.2)


@pytest.mark.parametrize(
    ("train", "test"),
    [
        ("seg_train/seg_train", "seg_test/seg_test"),  # Intel
        ("train/train", "test/test"),
        ("training_set/training_set", "test_set/test_set"),
        ("Training", "Testing"),
        ("train", "test1"),
        ("flowers_train", "flowers_test"),
        ("data/train", "data/test"),
        ("set/set/Train", "set/set/Test"),
    ],
)
def test_splits_of_other_names_and_below_other_folders(tmp_path: Path, train: str, test: str) -> None:
    put_classes(tmp_path / train), put_classes(tmp_path / test, 2)
    assert folder_split_names(tmp_path) == ("train", "val", "test", "all")
    assert read(tmp_path, "all").class_names == read(tmp_path, "test").class_names == CLASSES
    assert (len(read(tmp_path, "all")), len(read(tmp_path, "test"))) == (9, 6)
    assert (read(tmp_path, "all").root, read(tmp_path, "test").root) == (tmp_path / train, tmp_path / test)


def test_renamed_parts_and_unused_folders_are_noted(tmp_path: Path) -> None:
    put_classes(tmp_path / "seg_train"), put_classes(tmp_path / "seg_test")
    put_images(tmp_path / "seg_pred")
    assert read(tmp_path, "all").notes == (
        f"Splits of {tmp_path}: seg_train/ is train, seg_test/ is test.",
        f"Not used: seg_pred/, because {tmp_path} is divided into splits.",
    )


@pytest.mark.parametrize("place", ["flowers", "flowers/flowers", "archive/PetImages"])
def test_a_folder_of_one_folder_is_seen_through(tmp_path: Path, place: str) -> None:
    put_classes(tmp_path / place)
    (tmp_path / "license.txt").touch()
    (tmp_path / "__MACOSX" / "blue").mkdir(parents=True)
    (tmp_path / "__MACOSX" / "blue" / "._0.jpg").touch()
    split = read(tmp_path, "all")
    assert split.class_names == CLASSES
    assert f"All images of {tmp_path} lie in {tmp_path / place}, which is read instead." in split.notes


def test_a_lone_class_is_a_class(tmp_path: Path) -> None:
    put_images(tmp_path / "cat")
    assert read(tmp_path, "all").class_names == ("cat",)
    put_images(tmp_path / "cat" / "2023" / "may")
    assert read(tmp_path, "all").class_names == ("cat",)


def test_a_lone_class_among_the_test_photographs_is_a_class(tmp_path: Path) -> None:
    put_classes(tmp_path / "train")
    put_images(tmp_path / "test" / "red" / "2023"), put_images(tmp_path / "test" / "red" / "2024")
    assert read(tmp_path, "test").files[0] == "red/2023/0.jpg"


@pytest.mark.parametrize("place", ["test/test", "test/images", "test/unknown"])
def test_test_photographs_without_classes_below_another_folder(tmp_path: Path, place: str) -> None:
    put_classes(tmp_path / "train")
    put_images(tmp_path / place)
    assert read(tmp_path, "test").labels is None and len(read(tmp_path, "test")) == 3


@pytest.mark.parametrize(
    "names", [("train", "bus", "car"), ("train_steam", "train_diesel"), ("test_tube", "train_toy"), ("model_test", "x")]
)
def test_classes_that_are_named_like_parts(tmp_path: Path, names: tuple[str, ...]) -> None:
    for name in names:
        put_images(tmp_path / name)
    assert find_split_folders(tmp_path).folders == {}
    assert read(tmp_path, "all").class_names == tuple(sorted(names))


def test_splits_without_class_folders_are_not_learned_as_classes(tmp_path: Path) -> None:
    put_images(tmp_path / "train"), put_images(tmp_path / "test1")
    with pytest.raises(DataError, match="train holds images but no class folders"):
        read(tmp_path, "all")


@pytest.mark.parametrize("folder", ["train", ""])
def test_images_without_class_folders_below_the_folder_twice(tmp_path: Path, folder: str) -> None:
    root = tmp_path / "photos"
    put_images(root / (f"{folder}/{folder}" if folder else "photos"))
    with pytest.raises(DataError, match="holds images but no class folders"):
        read(root, "train")


def test_class_folders_of_the_same_folders_are_noted(tmp_path: Path) -> None:
    put_classes(tmp_path / "site_a"), put_classes(tmp_path / "site_b")
    split = read(tmp_path, "all")
    assert split.class_names == ("site_a", "site_b")
    (note,) = split.notes
    assert note == (
        f"No class folder of {tmp_path} contains images directly: they are in folders such as site_a/blue and "
        f"site_b/blue. If these are the classes, give {tmp_path / 'site_a'} or {tmp_path / 'site_b'} as data."
    )


@pytest.mark.parametrize("place", ["", "train"])
def test_the_parent_of_two_data_sets_is_noted(tmp_path: Path, place: str) -> None:
    """Their classes differ, and one is divided into splits."""
    put_images(tmp_path / place / "animals" / "cat"), put_images(tmp_path / place / "animals" / "dog")
    put_classes(tmp_path / place / "flowers" / "train"), put_classes(tmp_path / place / "flowers" / "val")
    (note,) = read(tmp_path, "all").notes
    assert "such as animals/cat and flowers/train. If these are the classes, give " in note
    assert f"{tmp_path / place / 'animals'} or {tmp_path / place / 'flowers'} as data" in note


@pytest.mark.parametrize("strays", [["site_a"], ["site_a", "site_b"], ["other"]])
def test_images_next_to_folders_do_not_hide_that_most_lie_deeper(tmp_path: Path, strays: list[str]) -> None:
    for name in strays:
        put_images(tmp_path / name)
    put_classes(tmp_path / "site_a"), put_classes(tmp_path / "site_b")
    (note,) = read(tmp_path, "all").notes
    assert note == (
        f"Most images of {tmp_path} are in folders inside class folders, such as site_a/blue and site_b/blue. "
        f"If these are the classes, give {tmp_path / 'site_a'} or {tmp_path / 'site_b'} as data."
    )


def test_the_only_class_folder_with_classes_inside_is_noted(tmp_path: Path) -> None:
    put_images(tmp_path / "flowers"), put_classes(tmp_path / "flowers")
    (note,) = read(tmp_path, "all").notes
    assert note.endswith(f"such as flowers/blue. If these are the classes, give {tmp_path / 'flowers'} as data.")


def test_a_folder_inside_of_a_class_is_named_with_its_number_of_images(tmp_path: Path) -> None:
    for folder in ("lotus", "lotus/old", "rose"):
        put_images(tmp_path / folder)
    count = len(list((tmp_path / "lotus" / "old").iterdir()))
    assert read(tmp_path, "all").notes == (
        f"Folders inside class folders count as part of their class: lotus/old ({count}).",
    )


def test_class_folders_with_a_single_folder_of_their_own_are_not_noted(tmp_path: Path) -> None:
    put_images(tmp_path / "two" / "cat" / "images"), put_images(tmp_path / "two" / "dog" / "images")
    assert read(tmp_path / "two", "all").notes == ()


def test_splits_within_classes_are_noted(tmp_path: Path) -> None:
    for name in ("cat", "dog"):
        put_images(tmp_path / name / "train"), put_images(tmp_path / name / "test")
    (note,) = read(tmp_path, "all").notes
    assert "such as cat/test. Put the folders of the splits outside, as in test/cat." in note
