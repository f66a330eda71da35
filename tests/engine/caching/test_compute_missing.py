"""What a cache lacks is computed, nothing else, and whatever was computed stays."""

import json
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from tests.engine.steps import finish
from verydeep.engine.caching.array_cache import ArrayCache
from verydeep.engine.caching.compute_missing import compute_missing, find_missing
from verydeep.engine.nets.digests import digest_of_net
from verydeep.engine.nets.net import Net
from verydeep.engine.posteriors import ArrayBatch
from verydeep.engine.runtime import Runtime, Value
from verydeep.errors import ResourceError, VerydeepError
from verydeep.models.initialization import initialize
from verydeep.models.vgg import VGG
from verydeep.models.weights.model_folder import ModelConfig, save_config, save_weights
from verydeep.ops.arrays import Int64Array

CPU = Runtime(torch.device("cpu"), bf16=False)
KINDS = ["red-256", "green-256"]
KEYS = np.array([70, 50, 90, 20, 60, 10, 80], np.int64)


@dataclass(frozen=True)
class CountedNet(Net):
    """A net that counts how often it was prepared."""

    prepared: list[Runtime] = field(default_factory=list, compare=False)

    __hash__ = Net.__hash__

    def prepare(self, runtime: Runtime) -> VGG:
        self.prepared.append(runtime)
        return super().prepare(runtime)


@pytest.fixture
def net(tmp_path: Path) -> CountedNet:
    config = ModelConfig("A", ("a", "b"), ("a", "b"), crop=32, width=1 / 64, fc_width=4)
    model = config.build()
    initialize(model, "normal", 1)
    save_config(tmp_path / "net", config)
    save_weights(tmp_path / "net", model.state_dict())
    return CountedNet(tmp_path / "net", tmp_path / "net", config)


@pytest.fixture
def cache(tmp_path: Path) -> ArrayCache:
    return ArrayCache(tmp_path / "cache", {"made_by": "a test"})


@dataclass
class Computing:
    """Computes an array whose numbers are known, two images at a time, and notes what was requested."""

    keys: Int64Array = field(default_factory=lambda: KEYS)
    requests: list[tuple[list[str], list[int]]] = field(default_factory=list)
    bad: tuple[int, ...] = ()
    """Positions of images that cannot be decoded."""
    runtime: Runtime = CPU

    def __call__(self, model: VGG, kinds: Sequence[str], positions: Int64Array) -> Iterator[ArrayBatch]:
        assert model.crop == 32 and not model.training
        self.requests.append((list(kinds), positions.tolist()))
        mine = positions[self.runtime.rank :: self.runtime.world_size]
        for first in range(0, len(mine), 2):
            part = mine[first : first + 2]
            good = part[~np.isin(part, self.bad)]
            arrays = {kind: {"values": values(kind, self.keys[good])} for kind in kinds}
            skipped = {f"{position}.jpg": "cut short" for position in part if position in self.bad}
            yield ArrayBatch(good, arrays if len(good) else {}, skipped)


def values(kind: str, keys: Int64Array) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    return np.stack([keys, keys + len(kind)], axis=1).astype(np.float32)


def compute(
    cache: ArrayCache, net: Net, computing: Computing, kinds: list[str] = KINDS, runtime: Runtime = CPU
) -> tuple[list[float], dict[str, str]]:
    steps = compute_missing(cache, net, digest_of_net(net), kinds, computing.keys, computing, runtime)
    return finish(steps)


def assert_complete(cache: ArrayCache, keys: Int64Array = KEYS, kinds: list[str] = KINDS) -> None:
    for kind in kinds:
        loaded = cache.load(kind)
        assert loaded is not None
        indices, arrays = loaded
        assert indices.tolist() == sorted(set(keys.tolist()))
        assert np.array_equal(arrays["values"], values(kind, indices))


def test_nothing_is_computed_twice(cache: ArrayCache, net: CountedNet) -> None:
    computing = Computing()
    counts, skipped = compute(cache, net, computing)
    assert counts == [0, 2, 2, 2, 1] and skipped == {}
    assert computing.requests == [(KINDS, list(range(7)))] and len(net.prepared) == 1  # both kinds at once
    assert_complete(cache)
    assert json.loads((cache.folder / "about.json").read_text()) == {"made_by": "a test"}
    again = Computing()
    assert compute(ArrayCache(cache.folder, {}), net, again) == ([7], {})
    assert again.requests == [] and len(net.prepared) == 1  # the net is not even loaded
    indices, arrays = cache.load("red-256", np.array([90, 10, 33])) or (None, {})
    assert indices is not None and indices.tolist() == [10, 90]
    assert arrays["values"].tolist() == [[10, 17], [90, 97]]


def test_kinds_that_lack_other_images_are_computed_apart_by_one_net(cache: ArrayCache, net: CountedNet) -> None:
    """Red has the first four images, green none; an image counts in parts."""
    compute(cache, net, Computing(KEYS[:4]), KINDS[:1])
    computing = Computing()
    counts, _ = compute(cache, net, computing)
    assert computing.requests == [(["red-256"], [4, 5, 6]), (["green-256"], list(range(7)))]
    assert counts == [7 - (3 + 7) / 2, 1, 0.5, 1, 1, 1, 0.5] and len(net.prepared) == 2
    assert_complete(cache)


def test_an_image_that_is_listed_twice_is_computed_once(cache: ArrayCache, net: CountedNet) -> None:
    keys = np.array([5, 3, 5, 5, 3, 8])
    computing = Computing(keys)
    counts, _ = compute(cache, net, computing)
    assert computing.requests == [(KINDS, [0, 1, 5])] and sum(counts) == len(keys)
    assert_complete(cache, keys)


@pytest.mark.parametrize(
    "reason", [RuntimeError("a bug"), KeyboardInterrupt(), None], ids=["error", "ctrl-c", "closed"]
)
def test_an_interrupted_computation_continues(cache: ArrayCache, net: CountedNet, reason: BaseException | None) -> None:
    computing = Computing()
    steps = compute_missing(cache, net, digest_of_net(net), KINDS, KEYS, computing, CPU)
    assert [next(steps) for _ in range(3)] == [0, 2, 2]
    if reason is None:
        steps.close()
    else:
        with pytest.raises(type(reason)):
            steps.throw(reason)
    assert cache.keys("red-256").tolist() == sorted(KEYS[:4].tolist())
    computing = Computing()
    counts, _ = compute(ArrayCache(cache.folder, {}), net, computing)
    assert counts == [4, 2, 1] and computing.requests == [(KINDS, [4, 5, 6])]
    assert_complete(cache)


SCRIPT = """
import os, signal, sys
from pathlib import Path
from tests.engine.caching.test_compute_missing import CPU, KEYS, KINDS, Computing
from verydeep.engine.caching import array_cache
from verydeep.engine.caching.compute_missing import compute_missing
from verydeep.engine.nets.digests import digest_of_net
from verydeep.engine.nets.net import Net

array_cache.FLUSH_SECONDS = 0  # nobody waits 30 seconds here
cache, net = array_cache.ArrayCache(Path(sys.argv[1]), {}), Net.open(sys.argv[2])
for number, _ in enumerate(compute_missing(cache, net, digest_of_net(net), KINDS, KEYS, Computing(), CPU)):
    if number == 2:
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_computation_continues(cache: ArrayCache, net: CountedNet) -> None:
    command = [sys.executable, "-c", SCRIPT, str(cache.folder), str(net.path)]
    done = subprocess.run(command, check=False, timeout=120, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert len(cache.keys("red-256")) == 4
    counts, _ = compute(cache, net, Computing())
    assert counts == [4, 2, 1]
    assert_complete(cache)


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def rename_tensors(path: Path) -> None:
    save_file({f"x-{name}": tensor for name, tensor in load_file(path).items()}, path)


@pytest.mark.parametrize("damage", [shorten, empty, rename_tensors, Path.unlink])
def test_a_damaged_file_is_computed_again(cache: ArrayCache, net: CountedNet, damage: Callable[[Path], None]) -> None:
    compute(cache, net, Computing())
    (path,) = (cache.folder / "green-256").iterdir()
    damage(path)
    computing = Computing()
    compute(cache, net, computing)
    assert computing.requests == [(["green-256"], list(range(7)))]
    assert_complete(cache)


def test_what_two_jobs_computed_counts_once(cache: ArrayCache, net: CountedNet) -> None:
    """Both began with nothing, and the first was stopped."""
    steps = compute_missing(cache, net, digest_of_net(net), KINDS, KEYS, Computing(), CPU)
    assert [next(steps) for _ in range(3)] == [0, 2, 2]
    compute(ArrayCache(cache.folder, {}), net, Computing())
    steps.close()
    assert len(list((cache.folder / "red-256").iterdir())) == 2
    assert_complete(cache)
    assert find_missing(cache, KINDS, KEYS) == []


def test_files_that_cannot_be_decoded_are_tried_again(cache: ArrayCache, net: CountedNet) -> None:
    for positions in (list(range(7)), [1, 4, 5]):
        computing = Computing(bad=(1, 4, 5))
        counts, skipped = compute(cache, net, computing)
        assert skipped == dict.fromkeys(("1.jpg", "4.jpg", "5.jpg"), "cut short")
        assert computing.requests == [(KINDS, positions)] and sum(counts) == 7
    assert cache.keys("red-256").tolist() == sorted(KEYS[[0, 2, 3, 6]].tolist())


@pytest.mark.parametrize("must_write", [False, True])
def test_a_cache_that_cannot_be_written(tmp_path: Path, net: CountedNet, must_write: bool) -> None:
    (tmp_path / "file").write_text("a file where the folder should be")
    cache = ArrayCache(tmp_path / "file" / "cache", {}, must_write=must_write)
    if must_write:
        with pytest.raises(ResourceError, match=f"{tmp_path / 'file'}.* cannot be written"):
            compute(cache, net, Computing())
    else:
        assert sum(compute(cache, net, Computing())[0]) == 7
        assert f"{tmp_path / 'file'}" in cache.write_error and "cannot be written" in cache.write_error


def test_a_full_disk_is_reported(cache: ArrayCache, net: CountedNet) -> None:
    """A limit on the size of files does what a full disk does; the library that writes has an error of its own."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        compute(cache, net, Computing())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "cannot be written" in cache.write_error and str(cache.folder) in cache.write_error
    assert not list(cache.folder.rglob("*.safetensors"))


def test_a_description_that_cannot_be_written_is_no_loss(cache: ArrayCache, net: CountedNet) -> None:
    """As when a folder is in its place."""
    (cache.folder / "about.json").mkdir(parents=True)
    compute(cache, net, Computing())
    assert cache.write_error == "" and (cache.folder / "about.json").is_dir()
    assert_complete(cache)


@dataclass(frozen=True)
class One(Runtime):
    """One process of several, which do the same at the same time."""

    def from_main(self, value: Value) -> Value:
        if self.is_main:
            return value
        return [(KINDS, np.arange(len(KEYS)))]  # type: ignore[return-value]

    def gather(self, value: object) -> list[object]:
        return [value] * self.world_size


def test_each_process_computes_and_keeps_its_share(tmp_path: Path, net: CountedNet) -> None:
    shares = []
    for rank in range(3):
        runtime = One(CPU.device, False, rank, 3)
        cache = ArrayCache(tmp_path / f"machine{rank}", {})
        counts, _ = compute(cache, net, Computing(runtime=runtime), runtime=runtime)
        share = cache.keys("green-256").tolist()
        assert sum(counts) == 3 * len(share)  # each counts for all
        shares += share
    assert sorted(shares) == sorted(KEYS.tolist())


class ChangingNet(CountedNet):
    """Its training saves another net while this one is read."""

    __hash__ = Net.__hash__

    def prepare(self, runtime: Runtime) -> VGG:
        model = self.load()
        initialize(model, "normal", 2)
        save_weights(self.folder, model.state_dict())
        return super().prepare(runtime)


def test_a_net_that_changes_while_it_is_read_is_refused(cache: ArrayCache, net: CountedNet) -> None:
    """Arrays of the new net must not be kept for the old one."""
    changing = ChangingNet(net.path, net.folder, net.config)
    with pytest.raises(VerydeepError, match="changed while it was read"):
        compute(cache, changing, Computing())
    assert not cache.folder.exists()


@pytest.mark.parametrize(
    "other",
    [
        {"keys": np.array([[1, 2]]), "values": np.ones((1, 2), np.float32)},
        {"keys": np.array([1.0, 2.0]), "values": np.ones((2, 3), np.float32)},
        {"keys": np.array([1, 2]), "values": np.ones((3, 3), np.float32)},
        {"keys": np.array([1, 2]), "values": np.ones((2, 4), np.float32)},
        {"keys": np.array([1, 2]), "others": np.ones((2, 3), np.float32)},
    ],
)
def test_arrays_of_another_form_count_as_missing(other: dict[str, Any], tmp_path: Path) -> None:
    with ArrayCache(tmp_path, {}) as cache:
        cache.add(KEYS, {"red": {"values": np.ones((7, 3), np.float32)}})
    save_file(other, tmp_path / "red" / "9999999999999999999-1.safetensors")
    cache = ArrayCache(tmp_path, {})
    loaded = cache.load("red")
    assert loaded is not None and loaded[0].tolist() == sorted(KEYS.tolist()) and loaded[1]["values"].shape == (7, 3)
