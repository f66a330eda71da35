"""Which photographs a user means."""

import io
import os
import re
from collections import UserList
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import picture
from tests.permissions import locked, public_folder
from verydeep.data.folders.photographs import find_photographs
from verydeep.data.split import Split
from verydeep.errors import DataError


def paths(split: Split) -> list[Path]:
    return [split.path(index) for index in range(len(split))]


def test_files_folders_and_patterns(photographs: Path) -> None:
    folder, one = photographs / "test" / "bee", photographs / "test" / "apple" / "000.jpg"
    found = find_photographs((str(one), folder, str(photographs / "test" / "c*" / "*.jpg"), one))
    cloud = photographs / "test" / "cloud"
    assert paths(found) == [one, *sorted(folder.iterdir()), *sorted(cloud.iterdir()), one], "a row for each named file"
    assert paths(find_photographs([one, one.parent])) == sorted(one.parent.iterdir()), "a folder repeats no file"
    assert paths(find_photographs(one)) == paths(find_photographs(str(one))) == [one]
    for nothing in (("nowhere.jpg",), (), (str(photographs / "*.gif"),)):
        with pytest.raises(DataError):
            find_photographs(nothing)


def test_pictures_that_were_made_of_them_are_no_photographs(tmp_path: Path) -> None:
    """Of a folder around them; named themselves they are meant."""
    for name in ("cat.jpg", "boxes/cat-boxes.jpg", "more/dog.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    boxes = tmp_path / "boxes"
    found = find_photographs([str(tmp_path)], leave_out=boxes)
    assert paths(found) == [tmp_path / "cat.jpg", tmp_path / "more" / "dog.jpg"]
    assert paths(find_photographs([str(boxes)], leave_out=boxes)) == [boxes / "cat-boxes.jpg"]
    assert paths(find_photographs([str(boxes / "cat-boxes.jpg")], leave_out=boxes)) == [boxes / "cat-boxes.jpg"]


def test_images_in_memory() -> None:
    pixels = picture(23, 41)
    split = find_photographs([Image.fromarray(pixels), pixels, torch.from_numpy(np.stack([pixels, pixels[::-1]]))])
    assert split.files == ("image 1", "image 2", "image 3", "image 4")
    assert (np.asarray(split.open_image(3)) == pixels[::-1]).all()
    assert len(find_photographs(pixels)) == len(find_photographs(Image.fromarray(pixels))) == 1


def test_any_collection_of_paths_or_images(photographs: Path) -> None:
    folder = photographs / "test" / "bee"
    expected = sorted(folder.iterdir())
    series = UserList([str(path) for path in expected])  # pandas has another one
    collections: list[Any] = [
        series,
        np.array(series.data),
        np.array(series.data, object),
        dict.fromkeys(expected).keys(),
        (path for path in expected),
        [series],
    ]
    for values in collections:
        assert paths(find_photographs(values)) == expected
    images = UserList([picture(23, 41), picture(23, 41)])
    assert len(find_photographs(images)) == len(find_photographs(iter(images))) == 2
    with pytest.raises(DataError, match=r"^Image 1 is of type dict; expected a path, a PIL image, an array"):
        find_photographs({"a.jpg": 1})  # type: ignore[arg-type]
    series.columns = ["path"]  # type: ignore[attr-defined] - a data frame
    with pytest.raises(DataError, match="Image 1 is of type UserList"):
        find_photographs(series)


def test_what_verydeep_wrote_is_left_out(tmp_path: Path) -> None:
    """A run has pictures of its curves and examples; one may be named."""
    run, pictures = tmp_path / "runs" / "a", ("curves.png", "evaluations/val/examples.png")
    for place in (tmp_path / "mine.jpg", *(run / name for name in pictures)):
        place.parent.mkdir(parents=True, exist_ok=True)
        place.touch()
    (run / "run.json").write_text('{"model_type": "verydeep-run"}')
    split = find_photographs(tmp_path)
    assert paths(split) == [tmp_path / "mine.jpg"]
    assert split.notes == (f"Left out, because it holds a run of verydeep: {tmp_path / 'runs'}.",)
    for folder, verb in ((run, "is"), (run.parent, "holds")):
        with pytest.raises(DataError, match=f"{folder} {verb} a run of verydeep, not photographs: give photographs"):
            find_photographs([folder])
    assert paths(find_photographs(run / "curves.png")) == [run / "curves.png"]


def test_files_and_images_are_not_mixed(photographs: Path) -> None:
    with pytest.raises(DataError, match="cannot be mixed"):
        find_photographs([photographs, picture(23, 41)])  # type: ignore[list-item]
    with pytest.raises(DataError, match="Image 2 is of type int"):
        find_photographs([picture(23, 41), 3])  # type: ignore[list-item]


class Input:
    """A standard input of bytes."""

    def __init__(self, content: bytes) -> None:
        self.buffer = io.BytesIO(content)


@pytest.mark.parametrize("separator", [b"\n", b"\r\n", b"\0"])
def test_standard_input_lists_photographs(separator: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also with spaces and with bytes that are no UTF-8."""
    names = [str(tmp_path / name).encode() + suffix for name, suffix in (("a b.jpg", b""), ("c", b"\xff.jpg"))]
    for name in names:
        Path(os.fsdecode(name)).touch()
    # Within pytest there is no other standard input.
    monkeypatch.setattr("sys.stdin", Input(separator.join([*names, b""])))
    assert paths(find_photographs("-")) == [Path(os.fsdecode(name)) for name in names]
    monkeypatch.setattr("sys.stdin", Input(b"\n"))
    with pytest.raises(DataError, match="Standard input lists no photographs"):
        find_photographs(["-"])


@pytest.mark.parametrize(
    "text",
    [
        "label,path\nx,b/1.jpg\ny,2.jpg\n",
        "file,label\nb/1.jpg,x\n2.jpg,y\n",
        "\ufeffPath\nb/1.jpg\n\n2.jpg\n",
        "b/1.jpg,x\n2.jpg\n",
        'path,note\n"b/1.jpg","two\nlines"\n2.jpg,\n',
        "label;filename\nx;b/1.jpg\ny;2.jpg\n",
        "b/1.jpg\tx\n2.jpg\ty\n",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_csv_file_lists_photographs_relative_to_its_folder(text: str, encoding: str, tmp_path: Path) -> None:
    if text.startswith("\ufeff") and encoding == "utf-16":
        text = text[1:]  # it writes one itself
    (tmp_path / "b").mkdir()
    for name in ("b/1.jpg", "2.jpg"):
        (tmp_path / name).touch()
    (tmp_path / "list.CSV").write_text(text, encoding=encoding)
    found = find_photographs([str(tmp_path / "list.CSV"), str(tmp_path / "2.jpg")])
    assert paths(found) == [tmp_path / "b/1.jpg", tmp_path / "2.jpg", tmp_path / "2.jpg"]


def test_a_list_may_begin_with_the_name_of_its_folder(tmp_path: Path) -> None:
    (tmp_path / "phone").mkdir()
    (tmp_path / "phone" / "1.jpg").touch()
    (tmp_path / "phone" / "list.csv").write_text("path\nphone/1.jpg\n")
    assert paths(find_photographs([str(tmp_path / "phone" / "list.csv")])) == [tmp_path / "phone" / "1.jpg"]


@pytest.mark.parametrize("name", ["list.txt", "files.LST", "names", "list.jpgs"])
@pytest.mark.parametrize("separator", [b"\n", b"\r\n", b"\0"])
def test_a_text_file_lists_photographs(
    name: str, separator: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lists").mkdir()
    for file in ("lists/a b.jpg", "2.jpg"):
        (tmp_path / file).touch()
    (tmp_path / "lists" / name).write_bytes(separator.join([b"\xef\xbb\xbfnowhere.jpg", b"a b.jpg", b"2.jpg", b""]))
    monkeypatch.chdir(tmp_path)
    expected = [Path("nowhere.jpg"), Path("lists/a b.jpg"), Path("2.jpg")]
    assert paths(find_photographs(f"lists/{name}")) == expected
    assert paths(find_photographs(["2.jpg", f"lists/{name}"])) == [Path("2.jpg"), *expected]


@pytest.mark.parametrize(
    "content", [b"", b"the photograph 2.jpg is blurred\n", b"\x00" * 50, b"\xff\xd8\xff\xe0\x00JFIF"]
)
def test_a_text_that_lists_nothing_is_a_file_of_its_own(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "2.jpg").touch()
    (tmp_path / "notes.txt").write_bytes(content)
    assert paths(find_photographs([tmp_path / "notes.txt", tmp_path / "2.jpg"])) == [
        tmp_path / "notes.txt",
        tmp_path / "2.jpg",
    ]


@pytest.mark.parametrize("name", ["DSC_0001", "photo.JPG~", "x.orig", "photo.txt"])
@pytest.mark.parametrize("beginning", [b"\xff\xd8\xff\xe0", b"\x01\x02"])
def test_a_binary_file_is_no_list_whatever_its_name(
    name: str, beginning: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pieces of compressed data between ends of lines are names by chance, such as "/" and "."."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / name).write_bytes(beginning + b"\n/\n.\n" + name.encode() + b"\n")
    assert paths(find_photographs(name)) == [Path(name)]


def test_no_photographs_say_how_a_list_is_given() -> None:
    with pytest.raises(DataError, match="patterns, or - for a list on standard input"):
        find_photographs([])


def test_names_of_a_csv_file_may_be_relative_to_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "lists").mkdir()
    (tmp_path / "1.jpg").touch()
    (tmp_path / "lists/list.csv").write_text("path\n1.jpg\n")
    monkeypatch.chdir(tmp_path)
    assert paths(find_photographs("lists/list.csv")) == [Path("1.jpg")]
    (tmp_path / "lists/list.csv").write_text("path\nnowhere.jpg\n")
    with pytest.raises(DataError, match=r"There is no file or folder nowhere\.jpg"):
        find_photographs("lists/list.csv")
    (tmp_path / "lists/list.csv").write_text("path\n")
    with pytest.raises(DataError, match=r"list\.csv lists no photographs"):
        find_photographs("lists/list.csv")


def test_a_list_without_a_column_of_paths_is_refused_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("foo,bar\n1,2\n")
    with pytest.raises(DataError, match=r"list\.csv has no column path \(its columns: foo, bar\): name the column"):
        find_photographs(tmp_path / "list.csv")


def test_a_missing_first_file_of_a_list_is_no_header(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").touch()
    (tmp_path / "list.csv").write_text("nowhere.jpg\n1.jpg\n")
    assert paths(find_photographs(tmp_path / "list.csv")) == [Path("nowhere.jpg"), tmp_path / "1.jpg"]


def test_a_missing_file_does_not_lose_the_others(tmp_path: Path) -> None:
    (tmp_path / "1.jpg").touch()
    names = [tmp_path / "1.jpg", tmp_path / "nowhere" / "2.jpg"]
    split = find_photographs(names)
    assert paths(split) == names
    with pytest.raises(DataError, match=r"2\.jpg cannot be read: No such file or directory\."):
        split.open_image(1)
    with pytest.raises(DataError, match=r"No photographs in .*3\*\.jpg"):
        find_photographs([tmp_path / "1.jpg", tmp_path / "3*.jpg"])


def test_names_of_files_and_folders_are_no_patterns(tmp_path: Path) -> None:
    for file in ("trip [2024]/a[1].jpg", "trip [2024]/b?.jpg", "trip 2/a1.jpg"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).touch()
    folder = tmp_path / "trip [2024]"
    assert paths(find_photographs(folder / "a[1].jpg")) == [folder / "a[1].jpg"]
    assert paths(find_photographs(str(folder / "*.jpg"))) == [folder / "a[1].jpg", folder / "b?.jpg"]
    assert paths(find_photographs(str(tmp_path / "trip [0-9]" / "*"))) == [tmp_path / "trip 2" / "a1.jpg"]


def test_both_normal_forms_name_a_file(tmp_path: Path) -> None:
    (tmp_path / "e\u0301te\u0301").mkdir()
    file = tmp_path / "e\u0301te\u0301" / "caf\u00e9.jpg"
    file.touch()
    assert paths(find_photographs(tmp_path / "\u00e9t\u00e9" / "cafe\u0301.jpg")) == [file]


def test_leftovers_of_systems_are_no_photographs_unless_they_are_named(tmp_path: Path) -> None:
    for file in ("cat/a.jpg", "cat/@eaDir/a.jpg", "@eaDir/b.jpg", "Thumbs.db"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    for values in ([str(tmp_path)], [str(tmp_path / "*")], sorted(tmp_path.iterdir()), [str(tmp_path / "**/*.jpg")]):
        assert paths(find_photographs(values)) == [tmp_path / "cat" / "a.jpg"]
    split = find_photographs(sorted(tmp_path.iterdir()))
    assert f"Left out, because a program, a camera or a cloud drive made it: {tmp_path / 'Thumbs.db'}." in split.notes
    assert (
        f"Left out of {tmp_path / 'cat'}, because a program, a camera or a cloud drive made them: 1 folder @eaDir."
        in split.notes
    )
    assert paths(find_photographs(tmp_path / "@eaDir")) == [tmp_path / "@eaDir" / "b.jpg"]


@pytest.mark.skipif(os.name != "posix", reason="makes pipes, and changes permissions")
def test_what_is_no_file_is_not_opened_and_what_may_not_be_read_is_not_called_missing() -> None:
    with public_folder() as root:
        (root / "locked").mkdir()
        (root / "locked" / "a.jpg").touch()
        os.mkfifo(root / "pipe.jpg")
        with pytest.raises(DataError, match=r"pipe\.jpg is a pipe; give a file"):
            find_photographs(root / "pipe.jpg").open_image(0)
        with locked(root / "locked"):
            for name in ("a.jpg", "*.jpg", ""):
                with pytest.raises(DataError, match="may not be read: change its permissions"):
                    find_photographs(root / "locked" / name)
            several = find_photographs([root / "locked" / "a.jpg", root / "pipe.jpg"])
            with pytest.raises(DataError, match="may not be read: change its permissions"):
                several.open_image(0)
        (root / "link.jpg").symlink_to(root / "gone.jpg")
        with pytest.raises(DataError, match=r"link\.jpg cannot be read: No such file"):
            find_photographs(root / "link.jpg").open_image(0)


@pytest.mark.skipif(os.name != "posix", reason="changes permissions")
def test_a_list_names_files_of_a_folder_that_may_be_entered_but_not_listed() -> None:
    with public_folder() as root:
        (root / "deep").mkdir()
        (root / "deep" / "a.jpg").touch()
        (root / "list.txt").write_text("deep/a.jpg\ndeep/b.jpg\n")
        with locked(root / "deep", 0o111):
            assert paths(find_photographs(root / "list.txt")) == [root / "deep" / "a.jpg", Path("deep/b.jpg")]


@pytest.mark.parametrize("table", ["list.txt", "list.csv"])
def test_a_folder_is_listed_once_for_all_names_of_a_list(
    table: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A million names that do not exist took minutes; here are a thousand."""
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a.jpg").touch()
    names = ["deep/a.jpg", *(f"deep/gone{number}.jpg" for number in range(1000))]
    (tmp_path / table).write_text("\n".join(names))
    listed: list[str] = []
    scandir = os.scandir

    def count(folder: Any) -> Any:
        listed.append(str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", count)
    found = paths(find_photographs(tmp_path / table))
    assert found == [tmp_path / names[0], *map(Path, names[1:])]
    assert 0 < len(listed) < 10


@pytest.mark.parametrize("pattern", ["*.jpg", "*.JPG", "**/*.Jpg", "[ab].jpg"])
def test_the_suffix_of_a_pattern_matches_in_any_case(pattern: str, tmp_path: Path) -> None:
    for name in ("a.jpg", "b.JPG", "c.png"):
        (tmp_path / "phone [1]" / name).parent.mkdir(exist_ok=True)
        (tmp_path / "phone [1]" / name).touch()
    found = find_photographs(str(tmp_path / "phone [1]" / pattern))
    assert [path.name for path in paths(found)] == ["a.jpg", "b.JPG"]


def test_a_name_in_other_case_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As an argument, among others, and in a list that lies in another folder."""
    for name in ("Elefant.jpg", "b.jpg", "c.jpg"):
        (tmp_path / name).touch()
    wrong = tmp_path / "ELEFANT.JPG"
    if wrong.exists():
        pytest.skip("the disk does not tell them apart, either")
    right = f"did you mean {str(tmp_path / 'Elefant.jpg')!r}?"
    with pytest.raises(DataError, match=re.escape(f"There is no file or folder {wrong}; {right}")):
        find_photographs(wrong)
    split = find_photographs([tmp_path / "b.jpg", wrong])
    assert split.notes == (f"There is no file {wrong}; {right}",) and len(split) == 2
    (tmp_path / "list.txt").write_text("b.jpg\nELEFANT.JPG\nC.JPG\nx.jpg\n")
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    split = find_photographs(tmp_path / "list.txt")
    assert split.notes == (f"There is no file {wrong}; {right} (2 names differ in case alone.)",)
    assert split.files[1:] == (str(wrong), str(tmp_path / "C.JPG"), "x.jpg")
