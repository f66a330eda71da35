"""Photographs that are in two parts."""

from pathlib import Path

import pytest

from verydeep.data.folders.copies import _BEGINNING, find_copies, group_copies
from verydeep.data.split import Split


def part(root: Path, files: dict[str, bytes]) -> Split:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return Split(root.name, root, tuple(files), None, (), (), "photographs", camera_rotation=True)


def test_only_equal_files_are_copies(tmp_path: Path) -> None:
    """Not those of one size, nor those that begin alike; of several the first is named."""
    long = b"x" * _BEGINNING
    train = part(tmp_path / "train", {"a/1": b"same", "a/2": b"same", "b/3": b"size", "b/4": long + b"1"})
    test = part(tmp_path / "test", {"c/5": b"same", "c/6": b"eziS", "c/7": long + b"2", "c/8": b"another size"})
    assert find_copies(test, train) == {tmp_path / "test/c/5": tmp_path / "train/a/1"}
    assert find_copies(train, test) == {tmp_path / "train/a" / name: tmp_path / "test/c/5" for name in "12"}


def test_a_file_of_both_parts_is_its_own_copy(tmp_path: Path) -> None:
    both = part(tmp_path, {"1": b"x", "2": b"y"})
    assert find_copies(both.subset([1, 1]), both) == {tmp_path / "2": tmp_path / "2"}


@pytest.mark.parametrize("gone", ["train/1", "test/2"])
def test_files_that_cannot_be_read_have_no_copy(tmp_path: Path, gone: str) -> None:
    train, test = part(tmp_path / "train", {"1": b"x"}), part(tmp_path / "test", {"2": b"x"})
    (tmp_path / gone).unlink()
    assert find_copies(test, train) == {}


def test_groups_of_equal_files(tmp_path: Path) -> None:
    long = b"x" * _BEGINNING
    contents = [b"same", b"eziS", long + b"1", b"same", b"", b"", long + b"2", long + b"1", b"same"]
    for number, content in enumerate(contents):
        (tmp_path / str(number)).write_bytes(content)
    files = [str(tmp_path / str(number)) for number in range(len(contents))]
    assert group_copies([*files, str(tmp_path / "gone")]) == [[0, 3, 8], [2, 7]]
