"""How the files of an archive are read and cut."""

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from verydeep.engine.archive.shards import (
    DamagedShardError,
    Shard,
    hash_paths,
    list_shards,
    pack_paths,
    read_all_rows,
    unpack_paths,
)
from verydeep.errors import DataError, ResourceError

CPU = torch.device("cpu")

names = st.text(st.characters(exclude_characters="\0", exclude_categories=())).map(
    lambda text: text.encode("utf-8", "surrogatepass").decode("utf-8", "surrogateescape")
)


@given(files=st.lists(names))
def test_paths_come_back_unchanged(files: list[str]) -> None:
    assert unpack_paths(pack_paths(files)) == files


@given(files=st.lists(names, min_size=2, unique=True))
def test_different_paths_have_different_ids(files: list[str]) -> None:
    assert len(set(hash_paths(files).tolist())) == len(files)


def test_rows_are_read_a_few_at_a_time(folder: Path) -> None:
    """Into one buffer, in order, over the ends of shards."""
    (shard,) = list_shards(folder)
    arrays = load_file(shard.path)
    save_file({name: values[:1] for name, values in arrays.items()}, shard.path.with_name("9.safetensors"))
    addresses, parts = set(), []
    for rows in read_all_rows(list_shards(folder), 12, CPU, at_once=5):
        assert rows.dtype == torch.float32
        addresses.add(rows.data_ptr())
        parts.append(rows.numpy().copy())
    assert [len(part) for part in parts] == [5, 5, 2, 1] and len(addresses) == 1
    expected = np.concatenate([arrays["descriptors"], arrays["descriptors"][:1]])
    assert np.array_equal(np.concatenate(parts), expected.astype(np.float32))


def test_shard_of_another_archive_is_refused(folder: Path) -> None:
    with pytest.raises(DataError, match="has 12 dimensions, not 24: it belongs to another archive"):
        list(read_all_rows(list_shards(folder), 24, CPU))


def test_images_are_dropped_from_a_shard(folder: Path) -> None:
    (shard,) = list_shards(folder)
    before, paths = load_file(shard.path), shard.read_paths()
    dropped = np.arange(12) % 5 == 1
    shard.drop(dropped)
    with pytest.raises(ResourceError, match="`verydeep features` is changing"):
        shard.read_paths()
    (shard,) = list_shards(folder)
    after = load_file(shard.path)
    assert shard.read_paths() == [path for path, is_dropped in zip(paths, dropped, strict=True) if not is_dropped]
    for name in ("descriptors", "path_ids", "keys"):
        assert np.array_equal(after[name], before[name][~dropped]) and after[name].dtype == before[name].dtype
    assert len(shard) == 9
    shard.drop(np.ones(9, np.bool_))
    assert list_shards(folder) == []


@pytest.mark.parametrize("content", [b"", b"too short", bytes(200)])
def test_damaged_shard_is_reported(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "1.safetensors"
    path.write_bytes(content)
    shard = Shard.at(path)
    for read in (shard.read_ids, shard.read_paths, shard.__len__, lambda: list(shard.read_rows(5))):
        with pytest.raises(
            DamagedShardError, match=r"1\.safetensors is damaged .*run `verydeep features` again"
        ) as error:
            read()
        assert "\n" not in str(error.value)


def test_shard_that_has_gone_is_reported(folder: Path) -> None:
    (shard,) = list_shards(folder)
    shard.path.unlink()
    for read in (
        shard.read_ids,
        shard.read_paths,
        shard.__len__,
        lambda: list(shard.read_rows(5)),
        lambda: Shard.at(shard.path),
    ):
        with pytest.raises(ResourceError) as error:
            read()
        assert str(error.value) == f"`verydeep features` is changing {folder}: try again when it has finished."


def test_shard_that_cannot_be_read_is_not_damaged(tmp_path: Path) -> None:
    """A folder in its place stands for what a disk or permissions refuse, which root may read."""
    (tmp_path / "shards" / "1.safetensors").mkdir(parents=True)
    (shard,) = list_shards(tmp_path)
    with pytest.raises(ResourceError, match="cannot be read"):
        shard.read_ids()


@pytest.mark.parametrize("name", ["descriptors", "path_ids", "keys", "paths"])
def test_arrays_of_another_form_are_damage(folder: Path, name: str) -> None:
    (shard,) = list_shards(folder)
    arrays = load_file(shard.path)
    for other in (arrays[name][None], arrays[name].astype(np.float64), arrays[name].reshape(-1)[:3]):
        if name == "paths" and other.dtype == arrays[name].dtype and other.ndim == 1:
            continue  # of any length
        save_file({**arrays, name: other}, shard.path)
        with pytest.raises(DamagedShardError):
            Shard.at(shard.path).read_ids()
