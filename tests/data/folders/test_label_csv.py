"""CSV files of several labels an image."""

import os
import re
import sys
from pathlib import Path

import pytest

from tests.permissions import locked, public_folder
from verydeep.data.folders.label_csv import find_label_csv, open_divided_labels, open_labels
from verydeep.data.layout import open_split, split_names
from verydeep.data.split import Split
from verydeep.data.transfer_sets import open_transfer_set
from verydeep.errors import VerydeepError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for file in ("a.jpg", "b.jpg", "deep/c.PNG", "deep/d e.jpg"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
    return tmp_path


def put(folder: Path, name: str, *lines: str, header: str = "path,label") -> None:
    (folder / name).write_text("\n".join((header, *lines)) + "\n", "utf-8")


def labels(split: Split) -> dict[str, set[str]]:
    assert split.relevance is not None
    assert set(split.relevance.ravel().tolist()) <= {-1, 1}
    return {
        file: {name for name, mark in zip(split.class_names, row, strict=True) if mark > 0}
        for file, row in zip(split.files, split.relevance, strict=True)
    }


def test_several_labels_or_none(folder: Path) -> None:
    put(folder, "labels.csv", "deep/c.PNG,sea; dog", "a.jpg,", " b.jpg , dog ", '"deep/d e.jpg","sea, calm;dog"', "")
    split = open_labels(folder)
    assert split.class_names == ("dog", "sea", "sea, calm")
    assert labels(split) == {
        "a.jpg": set(),
        "b.jpg": {"dog"},
        "deep/c.PNG": {"dog", "sea"},
        "deep/d e.jpg": {"dog", "sea, calm"},
    }
    assert list(split.files) == sorted(split.files)
    assert split.labels is None
    assert split.camera_rotation
    assert (split.root, split.layout) == (folder, "labels.csv")


def test_as_spreadsheets_write_it(folder: Path) -> None:
    text = "path,label\r\n./a.jpg,dog\r\nb.jpg,Bär;dog\r\n"
    (folder / "labels.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    assert labels(open_labels(folder)) == {"a.jpg": {"dog"}, "b.jpg": {"Bär", "dog"}}


def test_two_files_say_which_part(folder: Path) -> None:
    put(folder, "train.csv", "a.jpg,dog", "b.jpg,sea")
    put(folder, "test.csv", "deep/c.PNG,dog;sea")
    train, test = open_divided_labels(folder)
    assert (train.name, test.name) == ("train", "test")
    assert train.class_names == test.class_names == ("dog", "sea")
    assert (labels(train), labels(test)) == ({"a.jpg": {"dog"}, "b.jpg": {"sea"}}, {"deep/c.PNG": {"dog", "sea"}})


def test_which_files_there_are(folder: Path) -> None:
    assert find_label_csv(folder) == ()
    put(folder, "train.csv")
    with pytest.raises(VerydeepError, match=r"holds train\.csv; keep labels\.csv"):
        find_label_csv(folder)
    put(folder, "test.csv")
    assert find_label_csv(folder) == ("train.csv", "test.csv")
    put(folder, "labels.csv")
    with pytest.raises(VerydeepError, match=r"holds labels\.csv and train\.csv and test\.csv; keep"):
        find_label_csv(folder)
    (folder / "train.csv").unlink()
    (folder / "test.csv").unlink()
    assert find_label_csv(folder) == ("labels.csv",)


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (("a.jpg,dog", "b.jpg,dog", "./a.jpg,sea"), r"Line 4 of .*labels\.csv lists a\.jpg, as line 2 does"),
        (("a.jpg,dog", "e.jpg,dog"), r"Line 3 of .*labels\.csv lists 'e\.jpg', which is not a file below"),
        (("deep,dog",), r"Line 2 of .*lists 'deep', which is not a file"),
        ((",dog",), r"Line 2 of .*lists '', which is not a file"),
        (("../a.jpg,dog",), r"lists '\.\./a\.jpg', which is not a file below"),
        (("a.jpg,dog;",), r"Line 2 of .*gives a\.jpg an empty label \('dog;'\)"),
        (("a.jpg,dog; ;sea",), r"Line 2 of .*gives a\.jpg an empty label"),
        (("a.jpg,;",), r"Line 2 of .*gives a\.jpg an empty label"),
        (("a.jpg",), r"Line 2 of .* has 1 field: write a path and labels; quote labels that are joined by semicolons"),
        (("a.jpg,dog,sea",), r"Line 2 of .* has 3 fields: write a path and labels"),
        (("a.jpg,", "b.jpg,"), r"labels\.csv gives no photograph a label"),
        ((), r"labels\.csv gives no photograph a label"),
        (('a.jpg,"dog',), r"labels\.csv cannot be read as CSV in UTF-8"),
    ],
)
def test_what_cannot_be_right_is_an_error(folder: Path, lines: tuple[str, ...], message: str) -> None:
    put(folder, "labels.csv", *lines)
    with pytest.raises(VerydeepError, match=message):
        open_labels(folder)


def test_a_whole_path_is_taken_from_below_the_folder_alone(folder: Path) -> None:
    put(folder, "labels.csv", f"{folder / 'a.jpg'},dog")
    assert open_labels(folder).files == ("a.jpg",)
    link = folder.parent / "link"
    link.symlink_to(folder)
    for root in (folder / ".." / folder.name, link):
        assert open_labels(root).files == ("a.jpg",)
    (folder.parent / "outside.jpg").write_bytes((folder / "a.jpg").read_bytes())
    put(folder, "labels.csv", f"{folder.parent / 'outside.jpg'},dog")
    with pytest.raises(VerydeepError, match="which is not a file below"):
        open_labels(folder)


def test_a_blank_label_among_single_labels_is_named(folder: Path) -> None:
    put(folder, "labels.csv", "a.jpg,dog", "b.jpg,", "deep/c.PNG,cat")
    remark = "labels.csv gives no label to 1 of 3 photographs (b.jpg): `verydeep train` needs a label for each"
    assert any(note.startswith(remark) for note in open_labels(folder).notes)
    assert any(problem.startswith(remark) for problem in open_split(folder, "all", strict=False).problems)
    (whole,) = open_transfer_set(folder, num_test=0).partitions
    assert any(note.startswith(remark) for note in whole.train.notes)
    put(folder, "labels.csv", "a.jpg,dog;cat", "b.jpg,", "deep/c.PNG,cat")  # with several labels, it is meant
    assert not [note for note in open_labels(folder).notes if "no label" in note]
    (folder / "labels.csv").unlink()
    put(folder, "train.csv", "a.jpg,dog", "deep/c.PNG,cat")
    put(folder, "test.csv", "b.jpg,")
    remark = remark.replace("labels.csv", "train.csv and test.csv")
    assert any(note.startswith(remark) for note in open_divided_labels(folder)[0].notes)


def test_a_path_may_begin_with_the_name_of_the_folder(folder: Path) -> None:
    put(folder, "labels.csv", f"{folder.name}/a.jpg,dog", f"{folder.name}\\deep\\c.PNG,cat")
    assert open_labels(folder).files == ("a.jpg", "deep/c.PNG")
    (folder / folder.name).mkdir()
    (folder / folder.name / "a.jpg").touch()  # a path as it is written comes first
    assert f"{folder.name}/a.jpg" in open_labels(folder).files


def test_other_columns_and_other_files_are_errors(folder: Path) -> None:
    put(folder, "labels.csv", "a.jpg,dog", header="image,label")
    with pytest.raises(VerydeepError, match=r"Line 1 of .*labels\.csv is 'image,label'; it must be path,label"):
        open_labels(folder)
    (folder / "labels.csv").write_bytes(b"\x89PNG\r\n\x1a\n\xff\xff")
    with pytest.raises(VerydeepError, match=r"labels\.csv cannot be read as CSV in UTF-8"):
        open_labels(folder)


def test_what_is_learned_from_is_not_tested_on(folder: Path) -> None:
    put(folder, "train.csv", "a.jpg,dog", "b.jpg,sea")
    put(folder, "test.csv", "deep/c.PNG,dog", "deep/../b.jpg,sea")
    with pytest.raises(VerydeepError, match="which is not a file below"):
        open_divided_labels(folder)
    put(folder, "test.csv", "deep/c.PNG,dog", "b.jpg,sea")
    with pytest.raises(VerydeepError, match=r"Line 3 of .*test\.csv lists b\.jpg, as line 3 of train\.csv does"):
        open_divided_labels(folder)


def test_a_label_that_is_never_learned_is_an_error(folder: Path) -> None:
    put(folder, "train.csv", "a.jpg,dog")
    put(folder, "test.csv", "b.jpg,dog;cat")
    with pytest.raises(
        VerydeepError, match=r"Line 2 of .*test\.csv gives b\.jpg the label 'cat', which train\.csv lacks"
    ):
        open_divided_labels(folder)


def test_both_normal_forms_and_other_bytes_name_a_file(folder: Path) -> None:
    for file in ("deep/cafe\u0301.jpg", "na\u00efve/x.jpg"):
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).touch()
    put(folder, "labels.csv", "deep/caf\u00e9.jpg,gru\u0308n", "nai\u0308ve/x.jpg,gr\u00fcn")
    split = open_labels(folder)
    assert split.files == ("deep/cafe\u0301.jpg", "na\u00efve/x.jpg")
    assert split.class_names == ("gr\u00fcn",)


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no such names")
def test_files_of_other_bytes_are_named_by_them_or_by_their_escapes(folder: Path) -> None:
    (folder / "caf\udce9.jpg").touch()
    (folder / "labels.csv").write_bytes(b"path,label\ncaf\xe9.jpg,dog\n")
    assert open_labels(folder).files == ("caf\udce9.jpg",)
    put(folder, "labels.csv", r"caf\udce9.jpg,dog")
    assert open_labels(folder).files == ("caf\udce9.jpg",)
    (folder / "labels.csv").write_bytes(b"path,label\na.jpg,B\xe4r\n")
    with pytest.raises(VerydeepError, match=r"cannot be read as CSV in UTF-8 \(line 2 has other bytes\)"):
        open_labels(folder)


@pytest.mark.skipif(os.name != "posix", reason="changes permissions")
def test_a_folder_that_may_not_be_read_is_not_called_missing() -> None:
    with public_folder() as root:
        (root / "deep").mkdir()
        (root / "deep" / "a.jpg").touch()
        put(root, "labels.csv", "deep/a.jpg,dog")
        with locked(root / "deep"), pytest.raises(VerydeepError, match=r"deep/a\.jpg may not be read"):
            open_labels(root)
        with locked(root / "labels.csv"), pytest.raises(VerydeepError, match=r"labels\.csv may not be read"):
            open_labels(root)


def test_the_folder_of_an_archive_may_lie_in_a_folder(folder: Path, tmp_path: Path) -> None:
    inner = tmp_path / "archive" / "photos"
    inner.mkdir(parents=True)
    (folder / "deep").rename(inner / "deep")
    put(inner, "labels.csv", "deep/c.PNG,sea", "deep/d e.jpg,dog")
    (partition,) = open_transfer_set(tmp_path / "archive", num_test=0).partitions
    assert (partition.train.root, partition.train.files) == (inner, ("deep/c.PNG", "deep/d e.jpg"))


def test_single_labels_are_divided_as_class_folders_are(tmp_path: Path) -> None:
    """By file names alone: the same photographs in class folders of one folder go to the same parts."""
    names = [f"{number:02}.jpg" for number in range(20)]
    for name in names:
        (tmp_path / name).touch()
    put(tmp_path, "labels.csv", *(f"{name},{'sea' if number % 2 else 'dog'}" for number, name in enumerate(names)))
    assert split_names(tmp_path) == ("train", "val", "all")
    whole, train, val = (open_split(tmp_path, name) for name in ("all", "train", "val"))
    assert whole.labels is not None and val.labels is not None
    assert (whole.files, whole.labels.tolist()) == (tuple(names), [0, 1] * 10)
    assert set(train.files) | set(val.files) == set(names) and not set(train.files) & set(val.files)
    assert sorted(val.labels.tolist()) == [0, 0, 1, 1]
    assert val.layout == "labels.csv, 20% of each class in val (seed 0)"
    assert open_split(tmp_path, "val", seed=1).files != val.files
    assert set(open_split(tmp_path, "val", group_by=r"(.)\d").files) in ({*names[:10]}, {*names[10:]})


def test_train_csv_and_test_csv_are_parts(folder: Path) -> None:
    put(folder, "train.csv", "a.jpg,dog", "b.jpg,sea")
    put(folder, "test.csv", "deep/c.PNG,sea")
    assert split_names(folder) == ("train", "val", "test", "all")
    assert [open_split(folder, name).files for name in ("all", "test")] == [("a.jpg", "b.jpg"), ("deep/c.PNG",)]


@pytest.mark.parametrize(("last", "number"), [("b.jpg,dog;sea", "several labels"), ("b.jpg,", "no label")])
def test_a_single_class_needs_a_single_label(folder: Path, last: str, number: str) -> None:
    put(folder, "labels.csv", "a.jpg,dog", last)
    with pytest.raises(VerydeepError, match=rf"gives b\.jpg {number}: .*Only `verydeep transfer`"):
        open_split(folder, "train")


def test_tables_of_others_do_not_hide_class_folders(tmp_path: Path) -> None:
    """Kaggle's labels.csv, train.csv and test.csv have other columns."""
    for file in ("cat/1.jpg", "cat/2.jpg", "dog/1.jpg", "dog/2.jpg"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
    put(tmp_path, "train.csv", "1,cat", header="id,breed")
    assert open_split(tmp_path, "all").class_names == ("cat", "dog")
    (tmp_path / "train.csv").unlink()
    put(tmp_path, "labels.csv", "1,cat", header="id,breed")
    split = open_split(tmp_path, "all")
    assert split.class_names == ("cat", "dog")
    wrong = f"Line 1 of {tmp_path / 'labels.csv'} is 'id,breed'; it must be path,label."
    assert split.notes == (f"The labels are those of the class folders, so this table is not used: {wrong}",)


@pytest.mark.parametrize("delimiter", [";", "\t"])
def test_spreadsheets_of_other_countries_separate_fields_otherwise(folder: Path, delimiter: str) -> None:
    put(folder, "labels.csv", f"b.jpg{delimiter}sea", f'a.jpg{delimiter}"dog;sea"', header=f'"Path"{delimiter}label\r')
    assert labels(open_labels(folder)) == {"a.jpg": {"dog", "sea"}, "b.jpg": {"sea"}}


@pytest.mark.parametrize("header", ["path;class", "filename,class", "a.jpg,dog"])
def test_a_wrong_header_is_the_error_where_there_are_no_class_folders(folder: Path, header: str) -> None:
    put(folder, "labels.csv", "b.jpg,sea", header=header)
    wrong = re.escape(f"Line 1 of {folder / 'labels.csv'} is {header!r}; it must be path,label.")
    for name in ("all", "train", "val"):
        with pytest.raises(VerydeepError, match=f"^{wrong}$"):
            open_split(folder, name)
    with pytest.raises(VerydeepError, match=f"^{wrong}$"):
        open_transfer_set(folder)


def test_images_that_are_not_listed_are_noted(folder: Path) -> None:
    put(folder, "labels.csv", "a.jpg,dog", "b.jpg,sea")
    (note,) = open_split(folder, "all").notes
    assert note == f"Not used: 2 images in {folder} that labels.csv does not list (such as deep/c.PNG)."


@pytest.mark.parametrize(
    ("other", "note"),
    [
        ("lotus", "The labels 'Lotus' and 'lotus' of labels.csv differ only in case or spaces; they are two classes."),
        ("Lotus ", None),  # spaces around a label mean nothing
    ],
)
def test_a_class_that_is_written_in_two_ways_is_noted(folder: Path, other: str, note: str | None) -> None:
    put(folder, "labels.csv", "a.jpg,Lotus", f"b.jpg,{other}", "deep/c.PNG,rose", "deep/d e.jpg,rose")
    split = open_split(folder, "all")
    assert split.notes == (() if note is None else (note,))
    assert len(split.class_names) == (2 if note is None else 3)


@pytest.mark.parametrize(
    "content",
    [
        b"path,label\na.jpg,dog\ndeep\\c.PNG,sea\n",  # as Windows writes paths
        b"path,label\ra.jpg,dog\rdeep/c.PNG,sea\r",  # lines of old Macs
        b'"label";"path"\r\ndog;a.jpg\r\nsea;"deep/c.PNG"\r\n',
        b"path,label\n\n  a.jpg , dog \n\ndeep/c.PNG,sea",
    ],
)
def test_tables_that_are_unusual_are_right(folder: Path, content: bytes) -> None:
    (folder / "labels.csv").write_bytes(content)
    assert labels(open_labels(folder)) == {"a.jpg": {"dog"}, "deep/c.PNG": {"sea"}}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"path,label,label\na.jpg,dog,dog\n", "is 'path,label,label'; it must be path,label"),
        (b"path\na.jpg\n", "is 'path'; it must be path,label"),
        ("path,label\na.jpg,dog\n".encode("utf-16"), "cannot be read as CSV in UTF-8"),
        ("path,label\na.jpg,B\xe4r\n".encode("cp1252"), "cannot be read as CSV in UTF-8 .line 2 has other bytes"),
        (
            b"path,label\nC:\\my\\a.jpg,dog\nC:\\my\\b.jpg,sea\n",
            "No path in .* is a file: paths begin at .* such as 'a.jpg'",
        ),
        (b"path,label\na.jpg," + b"x" * 200_000, "cannot be read as CSV .*field larger than field limit"),
        (b"", "is ''; it must be path,label"),
    ],
)
def test_tables_that_cannot_be_read_are_one_sentence(folder: Path, content: bytes, message: str) -> None:
    (folder / "labels.csv").write_bytes(content)
    with pytest.raises(VerydeepError, match=message) as caught:
        open_split(folder, "all")
    assert str(folder / "labels.csv") in str(caught.value) and len(str(caught.value)) < 300


def test_a_name_in_other_case_is_asked_for(folder: Path) -> None:
    """Windows and spreadsheets do not tell them apart."""
    put(folder, "labels.csv", "A.JPG,dog", "b.jpg,sea")
    if (folder / "A.JPG").exists():
        pytest.skip("the disk does not tell them apart, either")
    with pytest.raises(VerydeepError, match=r"lists 'A\.JPG', which is not a file below .*; did you mean 'a\.jpg'\?"):
        open_labels(folder)
    for path in ("DEEP/D e.jpg", r"DEEP\D e.jpg"):
        put(folder, "labels.csv", f"{path},dog", "b.jpg,sea")
        with pytest.raises(VerydeepError, match=r"; did you mean 'deep/d e\.jpg'\?"):
            open_labels(folder)
    put(folder, "labels.csv", "x.jpg,dog", "b.jpg,sea")
    with pytest.raises(VerydeepError, match=r"; correct or remove it\."):
        open_labels(folder)
    put(folder, "labels.csv", "A.jpg,dog", "B.jpg,sea")
    with pytest.raises(VerydeepError, match=r"No path in .* is a file: line 2 has 'A\.jpg'; did you mean 'a\.jpg'\?"):
        open_labels(folder)
