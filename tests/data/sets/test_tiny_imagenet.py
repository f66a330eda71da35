import tarfile
from pathlib import Path

import numpy as np
import pytest

from verydeep.data.layout import open_split, split_names
from verydeep.errors import VerydeepError

FOX, TENCH, BELL = "n02119789", "n01440764", "n03255030"


@pytest.fixture
def tiny(tmp_path: Path) -> Path:
    def put(file: str, text: str = "") -> None:
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text(text)

    put("wnids.txt", f"{FOX}\n{TENCH}\n{BELL}\n")  # the real one is not sorted either
    put("words.txt", f"n00001740\tentity\n{BELL}\tbell\n{TENCH}\ttench, Tinca tinca\n{FOX}\tkit fox\n")
    for number, wnid in enumerate((FOX, TENCH, BELL)):
        lines = []
        for index in (0, 1, 10):
            put(f"train/{wnid}/images/{wnid}_{index}.JPEG")
            lines.append(f"{wnid}_{index}.JPEG\t{number}\t{index}\t{40 + number}\t{50 + index}\n")
        put(f"train/{wnid}/{wnid}_boxes.txt", "".join(lines))
    for file in ("val_2.JPEG", "val_0.JPEG", "val_10.JPEG"):
        put(f"val/images/{file}")
    put(
        "val/val_annotations.txt",
        f"val_10.JPEG\t{FOX}\t1\t2\t3\t4\nval_0.JPEG\t{BELL}\t0\t32\t44\t62\nval_2.JPEG\t{TENCH}\t5\t6\t7\t8\n",
    )
    put("test/images/test_1.JPEG")
    put("test/images/test_0.JPEG")
    return tmp_path


def test_train_has_classes_by_wnid_and_its_boxes(tiny):
    split = open_split(tiny, "train")
    assert split_names(tiny) == ("train", "val", "test")
    assert split.class_names == (TENCH, FOX, BELL)
    assert split.class_words == ("tench, Tinca tinca", "kit fox", "bell")
    assert split.labels is not None
    assert split.boxes is not None
    assert [split.files[i].split("/")[0] for i in range(9)] == [split.class_names[label] for label in split.labels]
    row = split.files.index(f"{FOX}/images/{FOX}_10.JPEG")
    assert split.boxes[row].tolist() == [[0, 10, 40, 60]]
    assert split.boxes[row].dtype == np.float32
    assert split.path(row).is_file()
    assert not split.camera_rotation
    assert list(split.files) == sorted(split.files)


def test_val_is_labelled_by_its_annotations_in_whatever_order(tiny):
    split = open_split(tiny, "val")
    assert split.files == ("images/val_0.JPEG", "images/val_10.JPEG", "images/val_2.JPEG")
    assert split.labels is not None
    assert split.boxes is not None
    assert split.labels.tolist() == [2, 1, 0]
    assert [box.tolist() for box in split.boxes] == [[[0, 32, 44, 62]], [[1, 2, 3, 4]], [[5, 6, 7, 8]]]


def test_test_has_no_labels(tiny):
    split = open_split(tiny, "test")
    assert split.labels is None
    assert split.boxes is None
    assert split.files == ("images/test_0.JPEG", "images/test_1.JPEG")


def test_an_image_without_a_box_keeps_its_label(tiny):
    (tiny / f"train/{BELL}/{BELL}_boxes.txt").unlink()
    split = open_split(tiny, "train")
    assert split.labels is not None
    assert split.boxes is not None
    assert split.labels.tolist() == [0] * 3 + [1] * 3 + [2] * 3
    assert [box.shape for box in split.boxes] == [(1, 4)] * 6 + [(0, 4)] * 3


@pytest.mark.parametrize(
    ("file", "text", "sentence"),
    [
        ("val/val_annotations.txt", f"val_0.JPEG\t{FOX}\t1\t2\t3\n", r"Line 1 of .*val_annotations\.txt is not"),
        ("val/val_annotations.txt", f"val_0.JPEG\t{FOX}\t1\t2\t3\t4\n", r"no line for the image val_10\.JPEG"),
        ("wnids.txt", f"{FOX}\n{TENCH}\n", rf"the class '{BELL}', which wnids\.txt lacks"),
    ],
)
def test_damaged_lists_are_errors(tiny, file, text, sentence):
    (tiny / file).write_text(text)
    with pytest.raises(VerydeepError, match=sentence):
        open_split(tiny, "val")


@pytest.mark.parametrize("name", ["../../elsewhere", "n01440764/../x", "fox", "n" + "0" * 300, "\xff"])
def test_a_class_is_a_wnid_and_no_way_out_of_the_folder(tiny, name):
    (tiny / "wnids.txt").write_text(f"{FOX}\n{name}\n", "latin-1")
    with pytest.raises(VerydeepError, match=r"wnids\.txt lists .*, which is no WNID"):
        open_split(tiny, "train")


def test_a_class_without_folder_is_an_error(tiny):
    (tiny / "wnids.txt").write_text(f"{FOX}\n{TENCH}\n{BELL}\nn09999999\n")
    with pytest.raises(VerydeepError, match=r"n09999999.images is missing"):
        open_split(tiny, "train")


@pytest.mark.data
def test_the_real_one_has_its_counts_and_one_box_each(real_data, tmp_path):
    """Its names and lists alone: 44,000 empty files in place of the photographs."""
    with tarfile.open(real_data / "tiny-imagenet-80.tar.gz") as archive:
        for member in archive:
            path = tmp_path / member.name
            if member.isdir():
                path.mkdir(parents=True, exist_ok=True)
            elif path.suffix == ".txt":
                content = archive.extractfile(member)
                assert content is not None
                path.write_bytes(content.read())
            else:
                path.touch()
    root = tmp_path / "tiny-imagenet-80"
    for name, each in (("train", 500), ("val", 50)):
        split = open_split(root, name)
        assert split.labels is not None
        assert split.boxes is not None
        assert np.bincount(split.labels).tolist() == [each] * 80
        assert all(box.shape == (1, 4) and box.min() >= 0 and box.max() <= 63 for box in split.boxes)
    assert list(split.class_names) == sorted((root / "wnids.txt").read_text().split())
