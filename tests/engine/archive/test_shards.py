"""How the files of an archive are read and cut."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from verydeep.engine.archive import shards
from verydeep.engine.archive.shards import (
    DamagedShardError,
    Shard,
    all_rows,
    packed,
    path_ids,
    shards_of,
    unpacked,
)
from verydeep.errors import VerydeepError

names = st.text(st.characters(exclude_characters="\0", exclude_categories=())).map(
    lambda text: text.encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape")
)


@given(files=st.lists(names))
def test_paths_come_back_as_they_were(files: list[str]) -> None:
    assert unpacked(packed(files)) == files


@given(files=st.lists(names, min_size=2, unique=True))
def test_paths_are_told_apart(files: list[str]) -> None:
    assert len(set(path_ids(files).tolist())) == len(files)


def test_rows_are_read_a_few_at_a_time(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Into one buffer, in order, over the ends of shards."""
    (shard,) = shards_of(folder)
    held = load_file(shard.path)
    save_file({name: values[:1] for name, values in held.items()}, shard.path.with_name("9.safetensors"))
    monkeypatch.setattr(shards, "VALUES_AT_ONCE", 5 * 12 + 3)
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
    monkeypatch.setattr(shards, "safe_open", refused)
    with pytest.raises(VerydeepError, match=r"cannot be read .*Permission denied") as told:
        shard.ids()
    assert not isinstance(told.value, DamagedShardError)
