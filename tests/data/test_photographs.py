"""Which files a command line means."""

from pathlib import Path

import pytest

from verydeep.data.photographs import find_photographs
from verydeep.errors import VerydeepError


def test_files_folders_and_patterns(photographs: Path) -> None:
    folder, one = photographs / "test" / "bee", photographs / "test" / "apple" / "000.jpg"
    found = find_photographs((str(one), str(folder), str(photographs / "test" / "c*" / "*.jpg"), str(one)))
    assert found == [one, *sorted(folder.iterdir()), *sorted((photographs / "test" / "cloud").iterdir())]
    for nothing in (("nowhere.jpg",), (), (str(photographs / "*.gif"),)):
        with pytest.raises(VerydeepError):
            find_photographs(nothing)


def test_pictures_that_were_made_of_them_are_no_photographs(tmp_path: Path) -> None:
    """Of a folder around them; named themselves they are meant."""
    for name in ("cat.jpg", "boxes/cat-boxes.jpg", "more/dog.jpg"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    boxes = tmp_path / "boxes"
    found = find_photographs([str(tmp_path)], leave_out=boxes)
    assert [path.relative_to(tmp_path).as_posix() for path in found] == ["cat.jpg", "more/dog.jpg"]
    assert find_photographs([str(boxes)], leave_out=boxes) == [boxes / "cat-boxes.jpg"]
    assert find_photographs([str(boxes / "cat-boxes.jpg")], leave_out=boxes) == [boxes / "cat-boxes.jpg"]
