"""Updates of an archive: against descriptors in memory, stopped, repeated, and misused."""

import json
import os
import shutil
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
from safetensors.numpy import load_file, save_file

from tests.conftest import SHAPES, picture
from tests.engine.archive.archives import CPU, make_net, read_archive, update
from tests.thin_nets import save_model
from verydeep.data.pixels.decoding import Decoding
from verydeep.data.split import Split
from verydeep.engine.archive.manifest import Manifest, read_archive_weights
from verydeep.engine.archive.update import divide, relative_split
from verydeep.engine.descriptors.in_memory import describe_images
from verydeep.engine.descriptors.representation import Representation
from verydeep.engine.nets.net import Net
from verydeep.errors import DataError, OptionError, ResourceError, VerydeepError, WeightsError
from verydeep.models.cpu_engine import find_instruction_set

SKIP = Decoding("skip")
AUTO = replace(CPU, kernels="auto", has_engine=find_instruction_set() is not None)
HALF_UNIT = 2.0**-11
"""Half a unit in the last place of float16, relative."""

FIRST_BATCH, LAST_BATCH = "ä ö/08.jpg", "ä ö/07.jpg"
"""Photographs in the batches that are described first and last, as the largest and smallest."""


@pytest.fixture
def net(tmp_path: Path) -> Net:
    return make_net(tmp_path / "run")


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Twelve JPEGs of five shapes, in two folders."""
    for number in range(12):
        path = tmp_path / "photos" / ("ä ö" if number % 3 else "plain") / f"{number:02d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(picture(*SHAPES[number % 5], seed=number)).save(path, quality=93)
    return tmp_path / "photos"


@pytest.fixture(autouse=True)
def _log_messages(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "verydeep")


def damage(path: Path) -> bytes:
    """Cut a JPEG in half, so that its header alone can be read; return what it was."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    return content


def restore(path: Path, content: bytes) -> None:
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("layer", "scales", "aggregation"),
    [("relu7", (256,), "average"), ("pool5", (256, 320), "average"), ("fc7", (256, 320), "stack"),
     ("relu7", (256, 320), "max")],
)  # fmt: skip
def test_archive_holds_what_is_computed_in_memory(
    net: Net, photos: Path, tmp_path: Path, layer: str, scales: tuple[int, ...], aggregation: Any
) -> None:
    """Over two shards, up to the rounding to float16."""
    out, options = tmp_path / "out", {"layer": layer, "scales": scales, "aggregation": aggregation}
    first = update(net, out, photos / "ä ö" / "01.jpg", photos / "plain", **options)
    second = update(net, out, photos)
    assert (first.num_new, second.num_new, len(list((out / "shards").iterdir()))) == (5, 7, 2)
    archive = read_archive(out)
    files = sorted(path.relative_to(photos).as_posix() for path in photos.rglob("*.jpg"))
    split = replace(Split.of_photographs([]), root=photos, files=tuple(files))
    expected = describe_images(Representation((net,), (layer,), scales, aggregation), split, CPU).values
    assert sorted(archive) == files
    for file, values in zip(files, expected, strict=True):
        assert np.linalg.norm(values) == pytest.approx(1)
        assert np.abs(archive[file] - values).max() <= HALF_UNIT * np.abs(values).max() + 1e-6
    manifest = json.loads((out / "manifest.json").read_text())
    assert (manifest["dimensions"], manifest["num_images"]) == (expected.shape[1], 12)
    assert (manifest["layer"], manifest["scales"], manifest["aggregation"]) == (layer, list(scales), aggregation)
    assert Path(manifest["images_root"]) == photos and Path(manifest["net"]) == net.path


@pytest.mark.parametrize(("file", "num_described"), [(FIRST_BATCH, 0), (LAST_BATCH, 10)])
def test_stopped_update_goes_on(net: Net, photos: Path, tmp_path: Path, file: str, num_described: int) -> None:
    """An error or Ctrl-C loses nothing that was computed; incomplete files, which a kill leaves, are removed."""
    out = tmp_path / "out"
    content = damage(photos / file)
    with pytest.raises(DataError, match=Path(file).name):
        update(net, out, photos)
    before = read_archive(out)
    assert len(before) == num_described
    left = out / "shards" / ".17-4.safetensors.0123abcd.tmp"
    left.mkdir(parents=True)
    (left / "file").write_bytes(b"half")
    restore(photos / file, content)
    assert update(net, out, photos).num_new == 12 - num_described
    update(net, tmp_path / "whole", photos)
    after, whole = read_archive(out), read_archive(tmp_path / "whole")
    assert after.keys() == whole.keys() and len(whole) == 12
    assert all(np.array_equal(after[path], before[path]) for path in before)
    assert all(after[path] == pytest.approx(whole[path], abs=1e-3) for path in whole)
    assert not left.exists()


def test_an_archive_keeps_its_kernels(net: Net, photos: Path, tmp_path: Path) -> None:
    update(net, tmp_path / "out", photos / "plain", runtime=CPU)
    update(net, tmp_path / "out", photos / "ä ö" / "01.jpg", runtime=AUTO)
    assert Manifest.read(tmp_path / "out").kernels == "torch"
    with pytest.raises(OptionError, match="was made with `kernels=torch`: use that, or another `out`"):
        update(net, tmp_path / "out", photos, runtime=replace(AUTO, kernels="native"))


@pytest.mark.skipif(not AUTO.has_engine, reason="the CPU engine is missing")
def test_a_new_archive_gets_the_engines_kernels(
    net: Net, photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """However few its first photographs; where the engine is missing later, a message states the mixture."""
    update(net, tmp_path / "out", photos / "plain" / "00.jpg", photos / "ä ö" / "01.jpg", runtime=AUTO)
    assert Manifest.read(tmp_path / "out").kernels == "native" and "Kernels" not in caplog.text
    update(net, tmp_path / "out", photos, runtime=replace(AUTO, has_engine=False))
    assert "Kernels: PyTorch's, because the CPU engine is missing here." in caplog.text
    assert Manifest.read(tmp_path / "out").kernels == "native"
    update(net, tmp_path / "torch", photos)
    ours, theirs = read_archive(tmp_path / "out"), read_archive(tmp_path / "torch")
    assert all(ours[path] == pytest.approx(theirs[path], abs=1e-3) for path in theirs)


def test_only_new_and_changed_images_are_described(net: Net, photos: Path, tmp_path: Path) -> None:
    out, plain, others = tmp_path / "out", photos / "plain", photos / "ä ö"
    assert update(net, out, plain).num_new == 4
    result = update(net, out, plain, others / "01.jpg")
    assert (result.num_new, result.num_images) == (1, 5)
    before = read_archive(out)
    assert before.keys() == {"00.jpg", "03.jpg", "06.jpg", "09.jpg", str(others / "01.jpg")}  # outside of the root
    Image.fromarray(picture(61, 83, seed=77)).save(plain / "03.jpg")
    result = update(net, out, photos)
    after = read_archive(out)
    assert (result.num_new, result.num_images) == (1 + 7, 12) == (8, len(after))
    manifest = Manifest.read(out)
    assert (result.dimensions, result.precision) == (manifest.dimensions, manifest.precision) == (12, "fp32")
    assert not np.allclose(after["03.jpg"], before["03.jpg"], atol=1e-2)
    assert all(np.array_equal(after[file], before[file]) for file in before.keys() - {"03.jpg"})
    assert update(net, out, photos).num_new == 0


def test_shard_whose_images_all_changed_disappears(net: Net, photos: Path, tmp_path: Path) -> None:
    update(net, tmp_path / "out", photos / "plain")
    for path in (photos / "plain").iterdir():
        os.utime(path, ns=(1, 1))
    update(net, tmp_path / "out", photos / "plain")
    assert len(read_archive(tmp_path / "out")) == 4 and len(list((tmp_path / "out" / "shards").iterdir())) == 1


@pytest.mark.parametrize(("file", "num_described"), [(FIRST_BATCH, 0), (LAST_BATCH, 10)])
def test_stopped_update_removes_nothing(
    net: Net, photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, file: str, num_described: int
) -> None:
    """Old descriptors of images that have changed stay until all are described again; their number is reported."""
    out = tmp_path / "out"
    update(net, out, photos)
    before = read_archive(out)
    content = damage(photos / file)
    for path in photos.rglob("*.jpg"):
        os.utime(path, ns=(1, 1))
    shards = {path: path.read_bytes() for path in (out / "shards").iterdir()}
    with pytest.raises(DataError):
        update(net, out, photos)
    assert "Images that have changed and are described again: 12." in caplog.text
    assert all(path.read_bytes() == shard for path, shard in shards.items())
    restore(photos / file, content)
    os.utime(photos / file, ns=(1, 1))
    caplog.clear()
    result = update(net, out, photos)
    assert f"described again: {12 - num_described}." in caplog.text
    assert (result.num_new, result.num_images, result.dimensions) == (12 - num_described, 12, 12)
    assert read_archive(out).keys() == before.keys()
    caplog.clear()
    update(net, out, photos)
    assert "changed" not in caplog.text


def test_image_listed_twice_is_there_once(net: Net, photos: Path, tmp_path: Path) -> None:
    twice = photos / "plain" / "00.jpg", photos / "plain" / ".." / "plain" / "00.jpg"
    assert update(net, tmp_path / "out", photos, *twice).num_new == len(read_archive(tmp_path / "out")) == 12


@pytest.mark.skipif(sys.platform != "linux", reason="names are bytes")
def test_names_that_are_not_utf8_and_names_of_two_lines(net: Net, photos: Path, tmp_path: Path) -> None:
    """Of folders, too; they are found again."""
    odd = tmp_path / os.fsdecode(b"caf\xe9")
    odd.mkdir()
    names = [b"two\nlines.jpg", "日本.jpg".encode(), b"\xff\xfe.jpg"]
    for name in names:
        shutil.copy(photos / "plain" / "00.jpg", odd / os.fsdecode(name))
    update(net, tmp_path / "out", odd)
    assert sorted(map(os.fsencode, read_archive(tmp_path / "out"))) == names
    assert Manifest.read(tmp_path / "out").images_root == str(odd)
    assert update(net, tmp_path / "out", photos, odd).num_new == 12


def test_omitted_options_are_the_archives(net: Net, photos: Path, tmp_path: Path) -> None:
    options = {"layer": "relu7", "scales": (256, 320), "aggregation": "stack"}
    update(net, tmp_path / "out", photos / "plain", **options)
    with pytest.raises(OptionError, match="`scales=256,320`"):
        update(net, tmp_path / "out", photos, scales=(256,))
    assert len(read_archive(tmp_path / "out")) == 4
    update(net, tmp_path / "out", photos)
    assert {len(values) for values in read_archive(tmp_path / "out").values()} == {24}


@pytest.mark.parametrize("fast", [True, False])
def test_decoding_is_the_archives(net: Net, photos: Path, tmp_path: Path, fast: bool) -> None:
    """Not that of the call; large JPEGs differ."""
    for number in range(2):
        Image.fromarray(picture(640, 480, seed=number)).save(tmp_path / f"{number}.jpg", quality=95)
    update(net, tmp_path / "out", tmp_path / "0.jpg", fast_decode=fast, decoding=Decoding(fast=not fast))
    update(net, tmp_path / "out", tmp_path / "1.jpg", decoding=Decoding(fast=not fast))
    archive = read_archive(tmp_path / "out")
    split = Split.of_photographs([tmp_path / "0.jpg", tmp_path / "1.jpg"])
    same, other = (
        describe_images(Representation((net,), ("relu7",), (256,)), split, CPU, Decoding(fast=decoding)).values
        for decoding in (fast, not fast)
    )
    for row, file in enumerate(("0.jpg", "1.jpg")):
        distances = [np.linalg.norm(archive[file] - values[row]) for values in (same, other)]
        assert distances[0] < HALF_UNIT and distances[1] > 3 * distances[0]
    assert Manifest.read(tmp_path / "out").fast_decode == fast


def test_best_weights_are_found_again(net: Net, photos: Path, tmp_path: Path) -> None:
    best = make_net(tmp_path / "aside", seed=4)
    shutil.copytree(best.folder, net.path / "best")
    update(Net.open(net.path, "best"), tmp_path / "out", photos / "plain")
    assert Manifest.read(tmp_path / "out").open_net(tmp_path / "out").folder == net.path / "best"
    assert read_archive_weights(tmp_path / "out", net.path) == "best"
    assert read_archive_weights(tmp_path / "new", net.path) == "last"
    assert read_archive_weights(tmp_path / "out", best.folder) == "last"  # a single net
    update(Net.open(best.folder), tmp_path / "out", photos)


def test_shards_that_cannot_be_written_are_an_error(net: Net, photos: Path, tmp_path: Path) -> None:
    """Computing does not go on, as nothing else would keep the descriptors."""
    update(net, tmp_path / "out", photos / "plain")
    shutil.move(tmp_path / "out" / "shards", tmp_path / "aside")
    (tmp_path / "out" / "shards").write_text("no folder")
    with pytest.raises(ResourceError, match="shards"):
        update(net, tmp_path / "out", photos)
    (tmp_path / "out" / "shards").unlink()
    shutil.move(tmp_path / "aside", tmp_path / "out" / "shards")
    assert update(net, tmp_path / "out", photos).num_new == 8 and len(read_archive(tmp_path / "out")) == 12


def test_unreadable_image_is_an_error_or_listed(
    net: Net, photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bad = photos / "plain" / "06.jpg"
    bad.write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"06\.jpg"):
        update(net, tmp_path / "out", photos)
    result = update(net, tmp_path / "out", photos, decoding=SKIP)
    assert len(read_archive(tmp_path / "out")) == result.num_images == 11
    skipped = tmp_path / "out" / "skipped.json"
    assert list(json.loads(skipped.read_text())) == list(result.skipped) == ["plain/06.jpg"]
    assert f"Skipped: 1 file that cannot be decoded, listed in {skipped}." in result.footer()
    Image.fromarray(picture(50, 70, seed=5)).save(bad)
    result = update(net, tmp_path / "out", photos)
    assert (result.num_new, result.num_images, result.skipped) == (1, 12, {}) and not skipped.exists()


def test_image_that_became_unreadable_is_removed(net: Net, photos: Path, tmp_path: Path) -> None:
    update(net, tmp_path / "out", photos)
    (photos / "plain" / "06.jpg").write_bytes(b"no picture any more")
    update(net, tmp_path / "out", photos, decoding=SKIP)
    assert len(read_archive(tmp_path / "out")) == 11


def test_no_decodable_image_is_an_error(net: Net, tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"bad\.jpg is not an image"):
        update(net, tmp_path / "out", tmp_path / "bad.jpg", decoding=SKIP)


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def remove_paths(path: Path) -> None:
    save_file({name: tensor for name, tensor in load_file(path).items() if name != "paths"}, path)


@pytest.mark.parametrize("break_shard", [shorten, empty, remove_paths])
def test_damaged_shard_is_set_aside_and_described_again(
    net: Net, photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, break_shard: Callable[[Path], None]
) -> None:
    out = tmp_path / "out"
    update(net, out, photos / "plain")
    update(net, out, photos)
    first = min((out / "shards").iterdir())
    break_shard(first)
    assert update(net, out, photos).num_new == 4 and len(read_archive(out)) == 12
    assert f"A damaged shard was renamed to {first.with_suffix('.damaged')}" in caplog.text


def test_folders_of_something_else_are_refused(net: Net, photos: Path, tmp_path: Path) -> None:
    before = sorted(photos.rglob("*"))
    with pytest.raises(VerydeepError, match="holds files that do not belong to an archive"):
        update(net, photos, photos)
    with pytest.raises(VerydeepError, match="nowhere"):
        update(net, tmp_path / "out", tmp_path / "nowhere")
    assert sorted(photos.rglob("*")) == before and not (tmp_path / "out").exists()


HOLD_LOCK = """
import sys
from pathlib import Path
from verydeep.files import try_lock
with try_lock(Path(sys.argv[1])) as has_lock:
    print(has_lock, flush=True)
    sys.stdin.read()
"""


def test_one_process_writes_at_a_time(net: Net, photos: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD_LOCK, str(tmp_path / "out" / ".lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdin is not None and holder.stdout is not None and holder.stdout.readline() == "True\n"
        with pytest.raises(ResourceError, match="Another process writes into"):
            update(net, tmp_path / "out", photos)
        holder.stdin.close()
        holder.wait(20)
    update(net, tmp_path / "out", photos / "plain")


def test_net_that_overflows_is_refused(net: Net, photos: Path, tmp_path: Path) -> None:
    """NaN would be nearest to everything."""
    model = net.load()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1e30)
    save_model(model, net.config, net.path)
    with pytest.raises(WeightsError, match="not finite"):
        update(net, tmp_path / "out", photos)
    assert not read_archive(tmp_path / "out")


@pytest.mark.parametrize("world_size", [1, 2, 3, 13])
def test_every_image_belongs_to_one_process(world_size: int) -> None:
    """In portions of at most four images."""
    positions = np.arange(100, 112)
    portions = [part for rank in range(world_size) for part in divide(positions, rank, world_size, portion=4)]
    assert sorted(np.concatenate(portions).tolist()) == positions.tolist()
    assert all(1 <= len(portion) <= 4 for portion in portions)


def test_root_is_the_folder_that_holds_all(tmp_path: Path) -> None:
    """A folder whose name begins alike is another one."""
    paths = [str(tmp_path / "a" / "b" / "1.jpg"), str(tmp_path / "a" / "b-c" / "2.jpg")]
    assert relative_split("", paths).root == tmp_path / "a"
    assert relative_split("", paths).files == ("b/1.jpg", "b-c/2.jpg")
    inside = relative_split(str(tmp_path / "a" / "b"), paths)
    assert inside.files == ("1.jpg", paths[1])
    assert [str(inside.path(index)) for index in (0, 1)] == paths
    assert relative_split("/", paths).files[0] == paths[0][1:]
