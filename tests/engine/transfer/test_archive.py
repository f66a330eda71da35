"""What an archive refuses to be, and how its files are read and cut."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from tests.engine.transfer.archives import described, leave_net
from verydeep.engine.transfer import archive
from verydeep.engine.transfer.archive import (
    DamagedShardError,
    Manifest,
    Shard,
    all_rows,
    packed,
    path_ids,
    shards_of,
    unpacked,
)
from verydeep.errors import VerydeepError
from verydeep.files import write_json


@pytest.fixture
def folder(tmp_path: Path, class_folders: Path) -> Path:
    described(leave_net(tmp_path / "run"), tmp_path / "out", class_folders / "val")
    return tmp_path / "out"


names = st.text(st.characters(exclude_characters="\0", exclude_categories=())).map(
    lambda text: text.encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape")
)


@given(files=st.lists(names))
def test_paths_come_back_as_they_were(files: list[str]) -> None:
    assert unpacked(packed(files)) == files


@given(files=st.lists(names, min_size=2, unique=True))
def test_paths_are_told_apart(files: list[str]) -> None:
    assert len(set(path_ids(files).tolist())) == len(files)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"model_type": "verydeep-classifier"}, "is not of verydeep features: choose another folder"),
        ({"format": 2}, "is of another version of verydeep"),
        ({"version": 0}, "is of another version of verydeep"),
        ({"dimensions": 0}, "is damaged"),
        ({"dimensions": "many"}, "is damaged"),
        ({"scales": []}, "is damaged"),
        ({"scales": None}, "is damaged"),
        ({"aggregation": "median"}, "is damaged"),
        ({"weights": "worst"}, "is damaged"),
        ({"layer": 7}, "is damaged"),
        ({"extra": 1}, "is damaged"),
    ],
)
def test_a_manifest_that_cannot_be_is_told(folder: Path, change: dict[str, Any], told: str) -> None:
    path = folder / "manifest.json"
    values = json.loads(path.read_text())
    write_json(path, {**values, **change})
    with pytest.raises(VerydeepError, match=told) as refused:
        Manifest.read(folder)
    assert str(path) in str(refused.value) and "\n" not in str(refused.value)


@pytest.mark.parametrize("text", ["[]", "{", '{"manifest_version": 3}', "null"])
def test_a_manifest_of_something_else_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(VerydeepError, match=r"manifest\.json"):
        Manifest.read(tmp_path)


def test_a_folder_without_a_manifest_is_told(tmp_path: Path) -> None:
    with pytest.raises(VerydeepError, match="holds no descriptors: write some with verydeep features RUN"):
        Manifest.read(tmp_path)


def test_a_manifest_without_a_value_is_told(folder: Path) -> None:
    path = folder / "manifest.json"
    write_json(path, {key: value for key, value in json.loads(path.read_text()).items() if key != "digest"})
    with pytest.raises(VerydeepError, match="is damaged"):
        Manifest.read(folder)


def test_another_net_in_the_same_place_is_told(folder: Path, tmp_path: Path) -> None:
    leave_net(tmp_path / "run", seed=9)
    with pytest.raises(VerydeepError, match=r"run is another net than the one that .*out was made with"):
        Manifest.read(folder).find_net(folder)


def test_rows_are_read_a_few_at_a_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Into one buffer, in order, over the ends of shards."""
    (shard,) = shards_of(folder)
    held = load_file(shard.path)
    save_file({name: values[:1] for name, values in held.items()}, shard.path.with_name("9.safetensors"))
    monkeypatch.setattr(archive, "VALUES_AT_ONCE", 5 * 12 + 3)
    places, parts = set(), []
    for rows in all_rows(shards_of(folder), 12, torch.device("cpu")):
        assert rows.dtype == torch.float32
        places.add(rows.data_ptr())
        parts.append(rows.numpy().copy())
    assert [len(part) for part in parts] == [5, 5, 2, 1] and len(places) == 1
    expected = np.concatenate([held["descriptors"], held["descriptors"][:1]])
    assert np.array_equal(np.concatenate(parts), expected.astype(np.float32))


def test_a_shard_of_another_archive_is_told(folder: Path) -> None:
    with pytest.raises(VerydeepError, match="has 12 dimensions, not 24: it is of another archive"):
        list(all_rows(shards_of(folder), 24, torch.device("cpu")))


def test_a_shard_forgets_some_images(folder: Path) -> None:
    (shard,) = shards_of(folder)
    before, paths = load_file(shard.path), shard.paths()
    dropped = np.arange(12) % 5 == 1
    shard.drop(dropped)
    with pytest.raises(VerydeepError, match="is being changed by a job of verydeep features: try again"):
        shard.paths()
    (shard,) = shards_of(folder)
    after = load_file(shard.path)
    assert shard.paths() == [path for path, gone in zip(paths, dropped, strict=True) if not gone]
    for name in ("descriptors", "path_ids", "indices"):
        assert np.array_equal(after[name], before[name][~dropped]) and after[name].dtype == before[name].dtype
    assert len(shard) == 9
    shard.drop(np.ones(9, np.bool_))
    assert shards_of(folder) == []


@pytest.mark.parametrize("content", [b"", b"too short", bytes(200)])
def test_a_damaged_shard_is_told(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "1.safetensors"
    path.write_bytes(content)
    shard = Shard.at(path)
    for read in (shard.ids, shard.paths, shard.__len__, lambda: list(shard.rows(5))):
        with pytest.raises(VerydeepError, match=r"1\.safetensors is damaged .*run verydeep features again") as told:
            read()
        assert "\n" not in str(told.value)


def test_a_shard_that_is_gone_is_told(folder: Path) -> None:
    (shard,) = shards_of(folder)
    shard.path.unlink()
    for read in (shard.ids, shard.paths, shard.__len__, lambda: list(shard.rows(5)), lambda: Shard.at(shard.path)):
        with pytest.raises(VerydeepError) as told:
            read()
        assert (
            str(told.value) == f"{folder} is being changed by a job of verydeep features: try again when it has ended."
        )


def test_a_shard_that_cannot_be_read_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And is not taken for a damaged one."""

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    (shard,) = shards_of(folder)
    monkeypatch.setattr(archive, "safe_open", refused)
    with pytest.raises(VerydeepError, match=r"cannot be read .*Permission denied") as told:
        shard.ids()
    assert not isinstance(told.value, DamagedShardError)
