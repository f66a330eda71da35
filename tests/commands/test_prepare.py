import logging
from pathlib import Path

import pytest

import verydeep as vd
from tests.data.sets import ilsvrc_trees as trees
from tests.runs import Cli
from verydeep.data.layout import open_split


def test_the_command_line_prints_what_was_found_what_was_made_and_what_comes_next(
    tmp_path: Path, inside: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    source = trees.make_kaggle(tmp_path / "source")
    done = inside("prepare", "ilsvrc", source, tmp_path / "ready")
    assert done.stdout.splitlines() == [
        f"{source}: ILSVRC-2012 as Kaggle's tree, 4 classes; splits: train, val, test",
        "train: 11 images of 4 classes, complete",
        "val: 6 images of 4 classes, complete",
        "test: 2 images, incomplete: 99,998 images are missing",
        f"Ready: verydeep train {tmp_path / 'ready'}",
    ]
    assert len(open_split(tmp_path / "ready", "train")) == 11


def test_python_gets_the_counts_and_no_output(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "verydeep"):
        prepared = vd.prepare("ilsvrc", str(trees.make_kaggle(tmp_path / "source")), tmp_path / "ready")
    assert prepared.folder == tmp_path / "ready"
    assert prepared.records() == [
        {"split": "train", "num_images": 11, "num_classes": 4, "num_missing": 0},
        {"split": "val", "num_images": 6, "num_classes": 4, "num_missing": 0},
        {"split": "test", "num_images": 2, "num_classes": 0, "num_missing": 99_998},
    ]
    assert capsys.readouterr() == ("", "")
    assert "4 classes; splits: train, val, test" in caplog.text


def test_the_original_tars_give_the_same_folders(tmp_path: Path) -> None:
    pytest.importorskip("scipy", reason="meta.mat is written and read by scipy")
    vd.prepare("ilsvrc", trees.make_tars(tmp_path / "tars"), tmp_path / "from_tars")
    vd.prepare("ilsvrc", trees.make_kaggle(tmp_path / "tree"), tmp_path / "from_tree")

    def contents(folder: Path) -> dict[str, bytes]:
        return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.*")}

    assert contents(tmp_path / "from_tars") == contents(tmp_path / "from_tree")


def test_a_missing_source_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(vd.DataError, match=r"no folder .*nowhere"):
        vd.prepare("ilsvrc", tmp_path / "nowhere", tmp_path / "ready")
    assert not (tmp_path / "ready").exists()


def test_a_destination_that_is_a_file_is_an_error(tmp_path: Path) -> None:
    source = trees.make_kaggle(tmp_path / "source")
    (tmp_path / "ready").touch()
    with pytest.raises(vd.VerydeepError, match=r"ready is a file; choose a folder"):
        vd.prepare("ilsvrc", source, tmp_path / "ready")


def test_only_an_unfinished_preparation_is_continued(tmp_path: Path, inside: Cli) -> None:
    """Folders of other files, and of other classes, stay as they are."""
    source = trees.make_kaggle(tmp_path / "source")
    (tmp_path / "photos" / "train" / "cat").mkdir(parents=True)
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "words.md").write_text("mine")
    for folder in ("photos", "notes"):
        refused = inside("prepare", "ilsvrc", source, folder, check=False)
        assert refused.returncode == 1
        assert f"DESTINATION {folder} holds files that do not belong to ILSVRC-2012: choose" in refused.stderr
        assert len(list((tmp_path / folder).iterdir())) == 1
    for _ in range(2):
        inside("prepare", "ilsvrc", source, "ready")
