"""Jobs that describe photographs into an archive: against all at once in memory, killed, repeated, and misused."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from torch import Tensor

from tests.conftest import SHAPES, picture
from tests.engine.archive.archives import CPU, content, describe_batches, leave_net
from tests.thin_nets import save
from verydeep.data.decoding import Decoding
from verydeep.data.split import Split
from verydeep.engine.archive import describing, streaming
from verydeep.engine.archive.describing import DescribeOptions, archive_weights, relative_split
from verydeep.engine.archive.manifest import Manifest
from verydeep.engine.caching import array_cache
from verydeep.engine.descriptors.representation import Representation, describe_split
from verydeep.engine.nets.net import Net
from verydeep.engine.runtime import Runtime
from verydeep.errors import VerydeepError

SKIP = Decoding("skip")
UNIT = 2.0**-11
"""Half a unit in the last place of float16, relative."""


@pytest.fixture
def net(tmp_path: Path) -> Net:
    return leave_net(tmp_path / "run")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twelve JPEGs of five shapes, in two folders."""
    for number in range(12):
        path = tmp_path / "photos" / ("ä ö" if number % 3 else "plain") / f"{number:02d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(*SHAPES[number % 5], seed=number)).save(path, quality=93)
    return tmp_path / "photos"


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many images go through the net together, each time; small batches, each written at once."""
    counts: list[int] = []
    layer_descriptors = streaming.layer_descriptors

    def counting(model: Any, images: Tensor, layers: Any) -> dict[str, Tensor]:
        counts.append(len(images))
        return layer_descriptors(model, images, layers)

    monkeypatch.setattr(streaming, "layer_descriptors", counting)
    monkeypatch.setattr(Runtime, "batch_pixels", 5000)
    monkeypatch.setattr(array_cache, "FLUSH_SECONDS", 0)
    return counts


@pytest.mark.parametrize(
    ("layer", "scales", "how"),
    [("relu7", (256,), "average"), ("pool5", (256, 320), "average"), ("fc7", (256, 320), "stack"),
     ("relu7", (256, 320), "max")],
)  # fmt: skip
def test_the_archive_holds_what_is_computed_in_memory(
    net: Net,
    photos: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    layer: str,
    scales: tuple[int, ...],
    how: Any,
) -> None:
    """Over several portions and shards; but for the rounding to float16."""
    monkeypatch.setattr(streaming, "PORTION", 5)
    monkeypatch.setattr(array_cache, "FLUSH_BYTES", 100)
    describe_batches(net, tmp_path / "out", photos, layer=layer, scales=scales, aggregation=how)
    found = content(tmp_path / "out")
    files = sorted(path.relative_to(photos).as_posix() for path in photos.rglob("*.jpg"))
    split = replace(Split.of_photographs([]), root=photos, files=tuple(files))
    expected = describe_split(Representation((net,), (layer,), scales, how), split, CPU)
    assert expected is not None and sorted(found) == files
    assert len(list((tmp_path / "out" / "shards").iterdir())) >= 3
    for file, values in zip(files, expected.values, strict=True):
        assert np.linalg.norm(values) == pytest.approx(1)
        assert np.abs(found[file] - values).max() <= UNIT * np.abs(values).max() + 1e-6
    told = json.loads((tmp_path / "out" / "manifest.json").read_text())
    assert (told["dimensions"], told["num_images"]) == (expected.values.shape[1], 12)
    assert (told["layer"], told["scales"], told["aggregation"]) == (layer, list(scales), how)
    assert Path(told["images_root"]) == photos and Path(told["net"]) == net.path


KILLED = """
import os, signal, sys
from pathlib import Path
from tests.engine.archive.archives import describe_batches
from verydeep.engine.caching import array_cache
from verydeep.engine.nets.net import Net
from verydeep.engine.runtime import Runtime
from verydeep.engine.archive import describing, streaming

describe, count = streaming.layer_descriptors, 0
def killed(*arguments):
    global count
    count += 1
    if count > 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return describe(*arguments)

streaming.layer_descriptors, shelf.FLUSH_SECONDS, Runtime.batch_pixels = killed, 0, 5000
describe_batches(Net.open(Path(sys.argv[1])), Path(sys.argv[2]), Path(sys.argv[3]))
"""


def test_a_killed_job_goes_on(net: Net, photos: Path, tmp_path: Path, seen: list[int]) -> None:
    """What was written is not computed again, halves of files go, and the end is that of a job that nobody killed."""
    command = [sys.executable, "-c", KILLED, str(net.path), str(tmp_path / "out"), str(photos)]
    done = subprocess.run(command, check=False, timeout=120, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    kept = content(tmp_path / "out")
    assert 0 < len(kept) < 12
    (tmp_path / "out" / "shards" / "17-4.safetensors.tmp").write_bytes(b"half")
    describe_batches(net, tmp_path / "out", photos)
    assert sum(seen) == 12 - len(kept)
    describe_batches(net, tmp_path / "whole", photos)
    again, whole = content(tmp_path / "out"), content(tmp_path / "whole")
    assert again.keys() == whole.keys() and len(whole) == 12
    assert all(np.array_equal(again[file], kept[file]) for file in kept)
    assert all(again[file] == pytest.approx(whole[file], abs=1e-3) for file in whole)
    assert not list((tmp_path / "out" / "shards").glob("*.tmp"))


def test_only_what_is_new_or_changed_is_described(
    net: Net, photos: Path, tmp_path: Path, seen: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, plain, others = tmp_path / "out", photos / "plain", photos / "ä ö"
    describe_batches(net, out, plain)
    describe_batches(net, out, plain, others / "01.jpg")
    assert sum(seen) == 5 and Manifest.read(out).num_images == 5
    before = content(out)
    assert before.keys() == {"00.jpg", "03.jpg", "06.jpg", "09.jpg", str(others / "01.jpg")}  # outside of the root
    Image.fromarray(picture(61, 83, seed=77)).save(plain / "03.jpg")
    describe_batches(net, out, photos)
    after = content(out)
    assert sum(seen) == 5 + 1 + 7 and len(after) == Manifest.read(out).num_images == 12
    assert not np.allclose(after["03.jpg"], before["03.jpg"], atol=1e-2)
    assert all(np.array_equal(after[file], before[file]) for file in before.keys() - {"03.jpg"})
    monkeypatch.setattr(Net, "load", lambda _: pytest.fail("all is there"))
    describe_batches(net, out, photos)
    assert sum(seen) == 13


def test_images_of_a_shard_of_which_all_changed(net: Net, photos: Path, tmp_path: Path) -> None:
    describe_batches(net, tmp_path / "out", photos / "plain")
    for path in (photos / "plain").iterdir():
        os.utime(path, ns=(1, 1))
    describe_batches(net, tmp_path / "out", photos / "plain")
    assert len(content(tmp_path / "out")) == 4 and len(list((tmp_path / "out" / "shards").iterdir())) == 1


@pytest.mark.parametrize("batches", [0, 2])
def test_a_job_that_stops_takes_nothing_away(
    net: Net, photos: Path, tmp_path: Path, seen: list[int], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str], batches: int,
) -> None:  # fmt: skip
    """What was known of images that have changed is there until all are described anew; how many they are is told."""
    out = tmp_path / "out"
    describe_batches(net, out, photos)
    before, layer_descriptors = content(out), streaming.layer_descriptors
    for path in photos.rglob("*.jpg"):
        os.utime(path, ns=(1, 1))
    old = {shard: shard.read_bytes() for shard in (out / "shards").iterdir()}
    seen.clear()
    capsys.readouterr()

    def stopped(*arguments: Any) -> dict[str, Tensor]:
        if len(seen) == batches:
            raise KeyboardInterrupt
        return layer_descriptors(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(streaming, "layer_descriptors", stopped)
        with pytest.raises(KeyboardInterrupt):
            describe_batches(net, out, photos)
    assert "Changed since they were described, and described anew: 12 images." in capsys.readouterr().out
    assert all(shard.read_bytes() == held for shard, held in old.items())
    done = sum(seen)
    describe_batches(net, out, photos)
    told = capsys.readouterr().out
    assert f"described anew: {12 - done} images." in told and "12 images, 12 dimensions" in told
    assert sum(seen) == 12 and content(out).keys() == before.keys()
    describe_batches(net, out, photos)
    assert "Changed" not in capsys.readouterr().out


def test_an_image_listed_twice_is_there_once(net: Net, photos: Path, tmp_path: Path, seen: list[int]) -> None:
    describe_batches(
        net, tmp_path / "out", photos, photos / "plain" / "00.jpg", photos / "plain" / ".." / "plain" / "00.jpg"
    )
    assert sum(seen) == len(content(tmp_path / "out")) == 12


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes")
def test_names_that_are_no_utf8_and_names_of_more_than_one_line(net: Net, photos: Path, tmp_path: Path) -> None:
    """Also of folders; they are found again."""
    odd = tmp_path / os.fsdecode(b"caf\xe9")
    odd.mkdir()
    for name in (b"\xff\xfe.jpg", b"two\nlines.jpg", "日本.jpg".encode()):
        shutil.copy(photos / "plain" / "00.jpg", odd / os.fsdecode(name))
    describe_batches(net, tmp_path / "out", odd)
    assert sorted(map(os.fsencode, content(tmp_path / "out"))) == [
        b"two\nlines.jpg",
        "日本.jpg".encode(),
        b"\xff\xfe.jpg",
    ]
    assert Manifest.read(tmp_path / "out").images_root == str(odd)
    describe_batches(net, tmp_path / "out", photos, odd)
    assert len(content(tmp_path / "out")) == 3 + 12


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ({"layer": "pool5"}, "--layer relu7: give that"),
        ({"scales": (256, 384)}, "--scales 256,320"),
        ({"aggregation": "max"}, "--aggregate stack"),
        ({"precision": "bf16"}, "--precision fp32"),
        ({"fast_decode": True}, "without --fast-decode"),
    ],
)
def test_other_descriptors_are_refused(
    net: Net, photos: Path, tmp_path: Path, asked: dict[str, object], told: str
) -> None:
    """What is left out is as it was."""
    how = {"layer": "relu7", "scales": (256, 320), "aggregation": "stack"}
    describe_batches(net, tmp_path / "out", photos / "plain", **how)
    with pytest.raises(VerydeepError, match=told):
        describe_batches(net, tmp_path / "out", photos, **{**how, **asked})
    assert len(content(tmp_path / "out")) == 4
    describe_batches(net, tmp_path / "out", photos)
    assert {len(values) for values in content(tmp_path / "out").values()} == {24}


def test_another_net_is_refused_and_the_same_may_move(net: Net, photos: Path, tmp_path: Path) -> None:
    describe_batches(net, tmp_path / "out", photos / "plain")
    other = leave_net(tmp_path / "other", seed=3)
    with pytest.raises(VerydeepError, match=r"other is another net: choose another --out\."):
        describe_batches(other, tmp_path / "out", photos)
    moved = Net.open(shutil.move(net.path, tmp_path / "moved"))
    describe_batches(moved, tmp_path / "out", photos)
    assert Manifest.read(tmp_path / "out").find_net(tmp_path / "out").path == moved.path


def test_fast_decoding_left_out_is_as_it_was(
    net: Net, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    describe_missing_images, seen = describing.describe_missing_images, []

    def noted(*arguments: Any) -> Any:
        seen.append(arguments[-1])
        return describe_missing_images(*arguments)

    monkeypatch.setattr(describing, "describe_missing_images", noted)
    describe_batches(net, tmp_path / "out", photos / "plain", fast_decode=True, decoding=SKIP)
    describe_batches(net, tmp_path / "out", photos)
    describe_batches(net, tmp_path / "usual", photos / "plain", decoding=Decoding(fast=True))
    assert seen == [Decoding("skip", fast=True), Decoding(fast=True), Decoding()]
    assert Manifest.read(tmp_path / "out").fast_decode and len(content(tmp_path / "out")) == 12


def test_best_weights_are_found_again(net: Net, photos: Path, tmp_path: Path) -> None:
    best = leave_net(tmp_path / "aside", seed=4)
    shutil.copytree(best.folder, net.path / "best")
    describe_batches(Net.open(net.path, "best"), tmp_path / "out", photos / "plain", weights="best")
    found = Manifest.read(tmp_path / "out").find_net(tmp_path / "out")
    assert found.folder == net.path / "best"
    assert archive_weights(tmp_path / "out", net.path) == "best"
    assert archive_weights(tmp_path / "new", net.path) == "last"
    assert archive_weights(tmp_path / "out", best.folder) == "last"  # a single net
    describe_batches(Net.open(best.folder), tmp_path / "out", photos)


@pytest.mark.parametrize("reason", [OSError(errno.ENOSPC, "No space left on device"), SafetensorError("disk full")])
def test_a_full_disk_is_told_and_nothing_is_lost(
    net: Net, photos: Path, tmp_path: Path, seen: list[int], monkeypatch: pytest.MonkeyPatch, reason: Exception
) -> None:
    save_shard, count = array_cache.save_file, 0

    def full(*arguments: Any) -> None:
        nonlocal count
        count += 1
        if count > 2:
            raise reason
        save_shard(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(array_cache, "save_file", full)
        with pytest.raises(VerydeepError, match=r"(space|full)"):
            describe_batches(net, tmp_path / "out", photos)
    kept, before = content(tmp_path / "out"), sum(seen)
    assert 0 < len(kept) < before < 12
    describe_batches(net, tmp_path / "out", photos)
    assert sum(seen) - before == 12 - len(kept) and len(content(tmp_path / "out")) == 12


def test_what_waits_is_written_when_a_job_is_stopped(
    net: Net, photos: Path, tmp_path: Path, seen: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By Ctrl-C, or by an error."""
    monkeypatch.setattr(array_cache, "FLUSH_SECONDS", 1000)
    layer_descriptors = streaming.layer_descriptors

    def stopped(*arguments: Any) -> dict[str, Tensor]:
        if len(seen) == 3:
            raise KeyboardInterrupt
        return layer_descriptors(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr(streaming, "layer_descriptors", stopped)
        with pytest.raises(KeyboardInterrupt):
            describe_batches(net, tmp_path / "out", photos)
    assert len(content(tmp_path / "out")) == sum(seen) > 0
    describe_batches(net, tmp_path / "out", photos)
    assert sum(seen) == len(content(tmp_path / "out")) == 12


def test_a_full_disk_at_the_end_of_what_waits(
    net: Net, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing was written before."""

    def full(*_: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(array_cache, "save_file", full)
    with pytest.raises(VerydeepError, match="No space left"):
        describe_batches(net, tmp_path / "out", photos)


def test_an_unreadable_image(net: Net, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Is an error, or left out and listed."""
    bad = photos / "plain" / "06.jpg"
    bad.write_bytes(b"no picture")
    with pytest.raises(VerydeepError, match=r"06\.jpg"):
        describe_batches(net, tmp_path / "out", photos)
    capsys.readouterr()
    describe_batches(net, tmp_path / "out", photos, decoding=SKIP)
    assert len(content(tmp_path / "out")) == 11
    skipped = tmp_path / "out" / "skipped.json"
    assert list(json.loads(skipped.read_text())) == ["plain/06.jpg"]
    assert f"Skipped: 1 files that cannot be decoded, listed in {skipped}." in capsys.readouterr().out
    Image.fromarray(picture(50, 70, seed=5)).save(bad)
    describe_batches(net, tmp_path / "out", photos)
    assert len(content(tmp_path / "out")) == 12 and not skipped.exists()


def test_an_image_that_became_unreadable_is_forgotten(net: Net, photos: Path, tmp_path: Path) -> None:
    describe_batches(net, tmp_path / "out", photos)
    (photos / "plain" / "06.jpg").write_bytes(b"no picture any more")
    describe_batches(net, tmp_path / "out", photos, decoding=SKIP)
    assert len(content(tmp_path / "out")) == 11


def test_not_one_image_can_be_decoded(net: Net, tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    with pytest.raises(VerydeepError, match="Not one of the 1 images could be decoded"):
        describe_batches(net, tmp_path / "out", tmp_path / "bad.jpg", decoding=SKIP)


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def lose_paths(path: Path) -> None:
    save_file({name: tensor for name, tensor in load_file(path).items() if name != "paths"}, path)


@pytest.mark.parametrize("damage", [shorten, empty, lose_paths])
def test_a_damaged_shard_is_set_aside_and_described_anew(
    net: Net, photos: Path, tmp_path: Path, seen: list[int], capsys: pytest.CaptureFixture[str],
    damage: Callable[[Path], None],
) -> None:  # fmt: skip
    out = tmp_path / "out"
    describe_batches(net, out, photos)
    first = min((out / "shards").iterdir())
    lost = len(load_file(first)["indices"])
    damage(first)
    capsys.readouterr()
    describe_batches(net, out, photos)
    assert sum(seen) == 12 + lost and len(content(out)) == 12
    assert f"Damaged, and set aside as {first.with_suffix('.damaged')}" in capsys.readouterr().out


def test_folders_of_something_else_are_refused(net: Net, photos: Path, tmp_path: Path) -> None:
    before = sorted(photos.rglob("*"))
    with pytest.raises(VerydeepError, match="holds other files than descriptors; choose a new folder"):
        describe_batches(net, photos, photos)
    with pytest.raises(VerydeepError, match="matches no photograph"):
        describe_batches(net, tmp_path / "out", tmp_path / "nowhere")
    assert sorted(photos.rglob("*")) == before and not (tmp_path / "out").exists()


HOLDER = """
import sys
from pathlib import Path
from verydeep.files import try_lock
with try_lock(Path(sys.argv[1])) as had:
    print(had, flush=True)
    sys.stdin.read()
"""


def test_one_job_at_a_time(net: Net, photos: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLDER, str(tmp_path / "out" / ".lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdin is not None and holder.stdout is not None and holder.stdout.readline() == "True\n"
        with pytest.raises(VerydeepError, match="Another job writes into"):
            describe_batches(net, tmp_path / "out", photos)
        holder.stdin.close()
        holder.wait(20)
    describe_batches(net, tmp_path / "out", photos / "plain")


def test_a_net_that_overflows_is_refused(net: Net, photos: Path, tmp_path: Path) -> None:
    """NaN would be nearest to everything."""
    model = net.load()
    with torch.no_grad():
        model.fc7.weight[0] = torch.nan
    save(model, net.config, net.path)
    with pytest.raises(VerydeepError, match="not all numbers"):
        describe_batches(net, tmp_path / "out", photos)
    assert not content(tmp_path / "out")


@pytest.mark.parametrize("world_size", [2, 3, 13])
def test_processes_share_the_images(net: Net, photos: Path, tmp_path: Path, world_size: int) -> None:
    """None is described twice, none by nobody, in whatever batches."""
    split = relative_split("", sorted(map(str, photos.rglob("*.jpg"))))
    how = Representation((net,), ("relu7",), (256,))
    digest = DescribeOptions(net).new_manifest().digest
    missing = streaming.MissingImages(split, np.arange(12), 0)
    for rank in range(world_size):
        runtime = Alone(torch.device("cpu"), False, rank, world_size)
        *_, last = streaming.describe_missing_images(tmp_path, missing, how, digest, runtime, SKIP)
        assert last == streaming.DescribeResult({})
    assert sorted(content(tmp_path)) == sorted(split.files)


class Alone(Runtime):
    def gather(self, value: Any) -> list[Any]:
        return [value]


def test_roots(tmp_path: Path) -> None:
    """The folder that holds all; a folder that begins with its name is another."""
    paths = [str(tmp_path / "a" / "b" / "1.jpg"), str(tmp_path / "a" / "b-c" / "2.jpg")]
    assert relative_split("", paths).root == tmp_path / "a"
    assert relative_split("", paths).files == ("b/1.jpg", "b-c/2.jpg")
    inside = relative_split(str(tmp_path / "a" / "b"), paths)
    assert inside.files == ("1.jpg", paths[1])
    assert [str(inside.path(index)) for index in (0, 1)] == paths
    assert relative_split("/", paths).files[0] == paths[0][1:]
