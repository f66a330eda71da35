"""Which photographs a user means."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.conftest import picture
from verydeep.data.photographs import find_photographs
from verydeep.data.split import Split
from verydeep.errors import DataError


def paths(split: Split) -> list[Path]:
    return [split.path(index) for index in range(len(split))]


def test_files_folders_and_patterns(photographs: Path) -> None:
    folder, one = photographs / "test" / "bee", photographs / "test" / "apple" / "000.jpg"
    found = find_photographs((str(one), folder, str(photographs / "test" / "c*" / "*.jpg"), one))
    assert paths(found) == [one, *sorted(folder.iterdir()), *sorted((photographs / "test" / "cloud").iterdir())]
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


def test_files_and_images_are_not_mixed(photographs: Path) -> None:
    with pytest.raises(DataError, match="cannot be mixed"):
        find_photographs([photographs, picture(23, 41)])  # type: ignore[list-item]
    with pytest.raises(DataError, match="Image 2 is of type int"):
        find_photographs([picture(23, 41), 3])  # type: ignore[list-item]
