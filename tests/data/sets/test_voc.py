"""VOC's classification: real lists, and small trees with what can be wrong with them."""

import shutil
import tarfile
from pathlib import Path

import numpy as np
import pytest

from tests.data.sets.voc_trees import put_voc
from verydeep.data.sets.voc import CLASSES, find_voc, open_voc, voc_year
from verydeep.data.split import Split
from verydeep.errors import VerydeepError

IMAGES = {
    "000012": {"car": 1},
    "000005": {"chair": 1, "sofa": 0},
    "000032": {"aeroplane": 1, "person": 1},
    "000007": {"cat": 0},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return put_voc(tmp_path / "VOC2007", "trainval", IMAGES)


def lists(folder: Path, name: str) -> Path:
    return folder / "ImageSets" / "Main" / f"{name}.txt"


def marks(split: Split) -> dict[str, dict[str, int]]:
    """Image -> the classes that are not -1."""
    assert split.relevance is not None
    found = {}
    for file, row in zip(split.files, split.relevance, strict=True):
        found[file] = {CLASSES[k]: int(row[k]) for k in np.flatnonzero(row != -1)}
    return found


def test_images_of_several_classes_or_none_and_difficult_ones(folder: Path) -> None:
    split = open_voc(folder, "trainval")
    assert marks(split) == {f"JPEGImages/{image}.jpg": those for image, those in IMAGES.items()}
    assert list(split.files) == sorted(split.files)
    assert all(split.path(i).is_file() for i in range(len(split)))
    assert split.labels is None
    assert split.relevance is not None
    assert (split.relevance.shape, split.relevance.dtype) == ((4, 20), np.int8)
    assert split.class_names == CLASSES
    assert not split.camera_rotation
    assert (split.name, split.layout) == ("trainval", "VOC-2007 classification, trainval")


def test_one_space_or_two_and_any_line_ends(folder: Path) -> None:
    before = marks(open_voc(folder, "trainval"))
    for path in lists(folder, "car").parent.iterdir():
        text = path.read_text("ascii").replace("\r\n", "\n").replace("  ", " ")
        path.write_text(text.rstrip("\n") + "\n\n", "ascii", newline="")
    assert marks(open_voc(folder, "trainval")) == before


def test_other_suffixes_of_images(folder: Path) -> None:
    """Copies of the set have them; a file beside an image that is none does not hide it."""
    (folder / "JPEGImages" / "000012.jpg").rename(folder / "JPEGImages" / "000012.JPEG")
    (folder / "JPEGImages" / "000012.txt").touch()
    (folder / "JPEGImages" / "000005.txt").touch()
    assert open_voc(folder, "trainval").files[:2] == ("JPEGImages/000005.jpg", "JPEGImages/000007.jpg")
    assert open_voc(folder, "trainval").files[2] == "JPEGImages/000012.JPEG"


def test_the_folder_is_found_from_the_devkit(tmp_path: Path) -> None:
    year = put_voc(tmp_path / "VOCdevkit" / "VOC2007", "train", IMAGES)
    for root in (tmp_path, tmp_path / "VOCdevkit", year):
        assert find_voc(root) == year
    assert find_voc(year / "JPEGImages") is None
    assert find_voc(tmp_path / "nothing") is None
    put_voc(tmp_path / "VOCdevkit" / "VOC2012", "train", IMAGES)
    with pytest.raises(VerydeepError, match=r"several years; choose .*VOC2007 or .*VOC2012"):
        find_voc(tmp_path / "VOCdevkit")


def test_the_year_of_a_renamed_folder_is_that_of_its_images(tmp_path: Path) -> None:
    assert voc_year(put_voc(tmp_path / "a", "train", {"000012": {}})) == 2007
    assert voc_year(put_voc(tmp_path / "b", "train", {"2008_000012": {}, "2012_000001": {}, "2009_000005": {}})) == 2012
    assert voc_year(put_voc(tmp_path / "VOC2010", "train", {"2008_000012": {}})) == 2010


def test_a_test_set_may_lack_its_labels(folder: Path) -> None:
    """Lists of one mark, as a placeholder, tell nothing either."""
    put_voc(folder, "test", {"000009": {}, "000003": {}}, lists=False)
    split = open_voc(folder, "test")
    assert split.files == ("JPEGImages/000003.jpg", "JPEGImages/000009.jpg")
    assert split.relevance is None
    for mark in (-1, 0, 1):
        put_voc(folder, "test", {"000009": dict.fromkeys(CLASSES, mark), "000003": dict.fromkeys(CLASSES, mark)})
        assert open_voc(folder, "test").relevance is None
    put_voc(folder, "test", {"000009": {"cow": 1}, "000003": {}})
    assert marks(open_voc(folder, "test")) == {"JPEGImages/000003.jpg": {}, "JPEGImages/000009.jpg": {"cow": 1}}
    put_voc(folder, "val", {"000009": {}, "000003": {}})
    with pytest.raises(VerydeepError, match=r"next to .*val.txt mark no image, or all of them"):
        open_voc(folder, "val")


def test_a_missing_list_is_an_error(folder: Path) -> None:
    lists(folder, "sofa_trainval").unlink()
    with pytest.raises(VerydeepError, match=r"sofa_trainval\.txt cannot be read"):
        open_voc(folder, "trainval")
    with pytest.raises(VerydeepError, match=r"Main/val\.txt cannot be read"):
        open_voc(folder, "val")
    put_voc(folder, "val", IMAGES, lists=False)
    with pytest.raises(VerydeepError, match=r"aeroplane_val\.txt cannot be read"):
        open_voc(folder, "val")
    put_voc(folder, "test", {"000009": {}})
    lists(folder, "sofa_test").unlink()
    with pytest.raises(VerydeepError, match=r"sofa_test\.txt cannot be read"):
        open_voc(folder, "test")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("car_trainval", "000005 2\n", r"Line 1 of VOC's list .*car_trainval\.txt is damaged \('000005 2'\)"),
        ("car_trainval", "000005 1\n000007\n", r"Line 2 of VOC's list .*car_trainval\.txt is damaged"),
        ("car_trainval", "000005 7 1\n", r"Line 1 of VOC's list .* is damaged"),
        ("car_trainval", "\n\n", r"car_trainval\.txt is empty"),
        ("trainval", "000005 1\n", r"Line 1 of VOC's list .*Main/trainval\.txt is damaged"),
        ("trainval", "", r"Main/trainval\.txt is empty"),
        ("trainval", "000005\n000007\n000005\n", r"Line 3 of .*trainval\.txt lists 000005 a second time"),
        ("car_trainval", "000005 1\n000005 -1\n", r"Line 2 of .*car_trainval\.txt lists 000005 a second time"),
        (
            "car_trainval",
            "000005 1\n000007 1\n000012 1\n",
            r"Only one of .* and car_trainval\.txt .* lists image 000032",
        ),
        ("trainval", "000005\n000007\n000012\n", r"Only one of .*trainval\.txt and aeroplane_trainval\.txt .* 000032"),
    ],
)
def test_damaged_lists_are_errors(folder: Path, name: str, text: str, message: str) -> None:
    lists(folder, name).write_text(text, "ascii")
    with pytest.raises(VerydeepError, match=message):
        open_voc(folder, "trainval")


def test_bytes_that_are_no_text_are_errors(folder: Path) -> None:
    lists(folder, "cow_trainval").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(VerydeepError, match=r"cow_trainval\.txt cannot be read"):
        open_voc(folder, "trainval")


def test_an_annotation_for_no_image_is_an_error(folder: Path) -> None:
    (folder / "JPEGImages" / "000012.jpg").unlink()
    with pytest.raises(VerydeepError, match=r"trainval\.txt lists 000012, but .*JPEGImages has no such image"):
        open_voc(folder, "trainval")
    shutil.rmtree(folder / "JPEGImages")
    with pytest.raises(VerydeepError, match=r"lists 000005, but .*JPEGImages has no such image"):
        open_voc(folder, "trainval")


@pytest.mark.data
def test_the_real_lists_of_2007(real_data: Path, tmp_path: Path) -> None:
    """Published: 5,011 and 4,952 images; aeroplane in test 204, one difficult, 4,747 without."""
    with tarfile.open(real_data / "voc2007-imagesets.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    folder = tmp_path / "VOC2007"
    (folder / "JPEGImages").mkdir()
    for number in range(1, 9964):
        (folder / "JPEGImages" / f"{number:06}.jpg").touch()
    test, trainval = open_voc(folder, "test"), open_voc(folder, "trainval")
    assert (len(test), len(trainval)) == (4952, 5011)
    assert not set(test.files) & set(trainval.files)
    assert test.relevance is not None and trainval.relevance is not None
    column = test.relevance[:, CLASSES.index("aeroplane")]
    assert [int((column == mark).sum()) for mark in (1, 0, -1)] == [204, 1, 4747]
    assert (trainval.relevance != -1).any(axis=1).all(), "every image of VOC shows something"
    parts = [open_voc(folder, name) for name in ("train", "val")]
    assert sorted(file for part in parts for file in part.files) == list(trainval.files)


@pytest.mark.parametrize("name", ["../../elsewhere", "/etc/passwd", "0000\x0012", "-1", "a" * 200])
def test_the_name_of_an_image_is_no_path(folder: Path, name: str) -> None:
    lists(folder, "trainval").write_text(f"{name}\n")
    with pytest.raises(VerydeepError, match=r"Line 1 of VOC's list .* is damaged"):
        open_voc(folder, "trainval")
