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
