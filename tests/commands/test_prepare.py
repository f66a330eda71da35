from pathlib import Path

import pytest

from tests.data import ilsvrc_trees as trees
from verydeep.commands.prepare import prepare
from verydeep.data.layout import open_split
from verydeep.errors import VerydeepError


def test_it_says_what_was_found_what_was_made_and_what_comes_next(tmp_path, capsys):
    source = trees.make_kaggle(tmp_path / "source")
    prepare("ilsvrc", source, tmp_path / "ready")
    told = capsys.readouterr()
    assert told.out.splitlines() == [
        f"{source}: ILSVRC-2012 as Kaggle's tree, 4 classes; parts: train, val, test",
        "train: 11 images of 4 classes, complete",
        "val: 6 images of 4 classes, complete",
        "test: 2 images, only a part of ILSVRC: 99,998 images are lacking",
        f"Ready: verydeep train {tmp_path / 'ready'}",
    ]
    assert len(open_split(tmp_path / "ready", "train")) == 11
    assert "train" in told.err  # the bar is no result


def test_the_original_tars_give_the_same_folders(tmp_path):
    pytest.importorskip("scipy", reason="meta.mat is written and read by scipy")
    prepare("ilsvrc", trees.make_tars(tmp_path / "tars"), tmp_path / "from_tars")
    prepare("ilsvrc", trees.make_kaggle(tmp_path / "tree"), tmp_path / "from_tree")

    def contents(folder: Path) -> dict[str, bytes]:
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.*")}

    assert contents(tmp_path / "from_tars") == contents(tmp_path / "from_tree")


def test_a_missing_source_is_told(tmp_path):
    with pytest.raises(VerydeepError, match=r"no folder .*nowhere"):
        prepare("ilsvrc", tmp_path / "nowhere", tmp_path / "ready")
    assert not (tmp_path / "ready").exists()


def test_a_destination_that_is_a_file_is_told(tmp_path):
    source = trees.make_kaggle(tmp_path / "source")
    (tmp_path / "ready").touch()
    with pytest.raises(VerydeepError, match=r"ready.* cannot be written"):
        prepare("ilsvrc", source, tmp_path / "ready")
