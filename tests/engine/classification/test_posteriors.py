"""Kept posteriors never change a number: not when all are kept, not when some are, not when anything else changes."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from torch import Tensor

from tests.engine.steps import finish
from tests.models.plain_twin import fill
from verydeep.data.decoding import Decoding
from verydeep.data.folder import open_folder
from verydeep.data.split import Split
from verydeep.engine import inference
from verydeep.engine.caching import array_cache
from verydeep.engine.classification import posteriors
from verydeep.engine.classification.posteriors import describe_posterior_cache, posteriors_folder, predict_cached
from verydeep.engine.inference import ViewAtScale
from verydeep.engine.nets.net import Net
from verydeep.engine.predictions import ArrayBatch, Predictions, predict_batches, predict_split
from verydeep.engine.runtime import Runtime, Value
from verydeep.errors import VerydeepError
from verydeep.files import atomic_write, write_json
from verydeep.models.vgg import VGG
from verydeep.models.weights.native import ModelConfig, save_config, save_weights

CPU = Runtime(torch.device("cpu"), bf16=False)
CROP = 32
VIEWS = [ViewAtScale("center", 256), ViewAtScale("dense", 256), ViewAtScale("crops", 384), ViewAtScale("dense", 384)]
NAMES = ("ant", "bell", "crab")


@dataclass
class Work:
    """What was done since it was last forgotten."""

    shapes: list[tuple[int, ...]] = field(default_factory=list)
    """(N, 3, H, W) of each batch that a net saw"""
    decoded: list[str] = field(default_factory=list)
    stop_at: int | None = None
    """Which decoding fails."""
    reason: BaseException = field(default_factory=lambda: RuntimeError("stopped"))

    def forget(self) -> None:
        self.shapes.clear()
        self.decoded.clear()
        self.stop_at = None

    def seen(self, crops: bool) -> int:
        """How many images went through a net, of the crop's size or larger."""
        return sum(shape[0] for shape in self.shapes if (shape[2:] == (CROP, CROP)) == crops)


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    done, logits, open_image = Work(), VGG.logits, Split.open_image

    def noted_logits(self: VGG, images: Tensor, keep: None = None) -> Tensor:
        done.shapes.append(tuple(images.shape))
        return logits(self, images, keep)

    def noted_open(split: Split, index: int, at_least: tuple[int, int] | None = None) -> Image.Image:
        if len(done.decoded) == done.stop_at:
            raise done.reason
        done.decoded.append("/".join(split.path(index).parts[-2:]))
        return open_image(split, index, at_least)

    monkeypatch.setattr(VGG, "logits", noted_logits)
    monkeypatch.setattr(Split, "open_image", noted_open)
    return done


@pytest.fixture(autouse=True)
def small_batches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cache of the test's own, and two or three images a batch."""
    monkeypatch.setenv("VERYDEEP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(Runtime, "batch_pixels", 10_000)


@pytest.fixture
def net(tmp_path: Path) -> Net:
    config = ModelConfig("A", NAMES, NAMES, crop=CROP, width=1 / 16, fc_width=12, mean_rgb=(131.0, 96.0, 57.0))
    model = config.build()
    fill(model, seed=7)
    save_config(tmp_path / "net", config)
    save_weights(tmp_path / "net", model.state_dict())
    return Net.open(tmp_path / "net")


@pytest.fixture
def split(val_split: Split, tmp_path: Path) -> Split:
    """Twelve photographs that the test may change."""
    shutil.copytree(val_split.root, tmp_path / "photographs" / "val")
    return replace(val_split, root=tmp_path / "photographs" / "val")


def predict(
    net: Net, split: Split, views: list[ViewAtScale] = VIEWS, runtime: Runtime = CPU, *, fast_decode: bool = False
) -> Predictions:
    """What is predicted; the counts of images on the way add up to the split."""
    counts, predictions = finish(predict_cached(net, split, views, runtime, Decoding(fast=fast_decode)))
    assert predictions is not None
    assert sum(counts) == pytest.approx(len(split))
    return predictions


def directly(net: Net, split: Split, views: list[ViewAtScale] = VIEWS, runtime: Runtime = CPU) -> Predictions:
    """The same without any keeping."""
    _, predictions = finish(predict_split(net.prepare(runtime), split, views, runtime))
    assert predictions is not None
    return predictions


def assert_same(got: Predictions, expected: Predictions, tolerance: float = 1e-6) -> None:
    assert np.array_equal(got.indices, expected.indices)
    assert got.posteriors.keys() == expected.posteriors.keys()
    for view, posterior in expected.posteriors.items():
        assert np.ptp(posterior, axis=0).max() > 1e-3
        assert got.posteriors[view].dtype == np.float32
        assert np.abs(got.posteriors[view] - posterior).max() <= tolerance, view
    assert got.sizes.keys() == expected.sizes.keys()
    assert all(np.array_equal(got.sizes[scale], sizes) for scale, sizes in expected.sizes.items())
    assert got.skipped == expected.skipped


def kept_files() -> list[Path]:
    return sorted(posteriors_folder().rglob("*.safetensors"))


def test_what_is_kept_is_not_computed_again(
    net: Net, split: Split, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = directly(net, split)
    work.forget()
    assert_same(predict(net, split), expected, 0)
    assert sorted(work.decoded) == sorted(split.files)  # once for all views
    work.forget()
    monkeypatch.setattr(Net, "load", lambda _: pytest.fail("the net is not needed"))
    assert_same(predict(net, split), expected, 0)
    assert_same(predict(net, split, VIEWS[2:0:-1]), select(expected, VIEWS[2:0:-1]), 0)
    assert not work.shapes and not work.decoded
    assert next(predict_cached(net, split, VIEWS, CPU)) == len(split)
    assert describe_posterior_cache() == f"Posteriors cached: 0 MB in {posteriors_folder()}."
    (posteriors_folder() / "another").mkdir()
    (posteriors_folder() / "another" / "part.safetensors").write_bytes(bytes(3_000_000))
    assert ": 3 MB in " in describe_posterior_cache()
    (about,) = posteriors_folder().glob("*/about.json")
    assert json.loads(about.read_text())["net_folder"] == str(net.folder)


def select(predictions: Predictions, views: list[ViewAtScale]) -> Predictions:
    sizes = {view.scale: predictions.sizes[view.scale] for view in views if view.view == "dense"}
    return Predictions({view: predictions.posteriors[view] for view in views}, predictions.indices, sizes)


@pytest.mark.parametrize("reason", [RuntimeError("a bug"), KeyboardInterrupt()], ids=["error", "ctrl-c"])
def test_an_interrupted_prediction_goes_on(net: Net, split: Split, work: Work, reason: BaseException) -> None:
    expected = directly(net, split)
    work.forget()
    work.stop_at, work.reason = 7, reason
    with pytest.raises(type(reason)):
        predict(net, split)
    kept = {index for path in kept_files() for index in load_file(path)["indices"].tolist()}
    assert 0 < len(kept) <= 7
    work.forget()
    assert_same(predict(net, split), expected)
    assert sorted(work.decoded) == sorted(set(split.files) - {split.files[index] for index in kept})
    work.forget()
    assert_same(predict(net, split), expected)
    assert not work.decoded


def test_a_prediction_that_nobody_waits_for_is_kept(net: Net, split: Split, work: Work) -> None:
    steps = predict_cached(net, split, VIEWS, CPU)
    assert next(steps) == 0
    assert sum(next(steps) for _ in range(2)) > 0
    steps.close()
    done = set(work.decoded)
    assert done
    work.forget()
    assert_same(predict(net, split), directly(net, split))
    assert not done & set(work.decoded[: len(split) - len(done)])


SCRIPT = """
import os, signal, sys
from pathlib import Path
import torch
from verydeep.data.folder import open_folder
from verydeep.data.split import Split
from verydeep.engine.caching import array_cache
from verydeep.engine.classification import posteriors
from verydeep.engine.inference import ViewAtScale
from verydeep.engine.nets.net import Net
from verydeep.engine.predictions import ArrayBatch, Predictions, predict_batches, predict_split
from verydeep.engine.runtime import Runtime

open_image, count = Split.open_image, 0
def killed(split, index, at_least=None):
    global count
    count += 1
    if count > 7:
        os.kill(os.getpid(), signal.SIGKILL)
    return open_image(split, index, at_least)

Split.open_image, array_cache.FLUSH_SECONDS, Runtime.batch_pixels = killed, 0, 10_000
split = open_folder(Path(sys.argv[2]), "val", seed=0, val_fraction=0.2)
views = [ViewAtScale("center", 256), ViewAtScale("dense", 256), ViewAtScale("crops", 384), ViewAtScale("dense", 384)]
for _ in posteriors.predict_cached(Net.open(Path(sys.argv[1])), split, views, Runtime(torch.device("cpu"), False)):
    pass
"""


def test_a_killed_prediction_goes_on(net: Net, split: Split, work: Work) -> None:
    opened = open_folder(split.root.parent, "val", seed=0, val_fraction=0.2)
    command = [sys.executable, "-c", SCRIPT, str(net.path), str(split.root.parent)]
    done = subprocess.run(command, check=False, timeout=120, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    got = predict(net, opened)
    assert 5 <= len(work.decoded) < len(split)
    assert_same(got, directly(net, opened))


def test_views_that_are_kept_are_not_computed_with_others(net: Net, split: Split, work: Work) -> None:
    """Dense was asked before: of dense and crops only the crops are computed, each image decoded once."""
    dense = [ViewAtScale(view, scale) for view in ("center", "dense") for scale in (256, 384)]
    crops = [ViewAtScale("crops", 256), ViewAtScale("crops", 384)]
    expected = directly(net, split, dense + crops)
    predict(net, split, dense)
    work.forget()
    assert_same(predict(net, split, dense + crops), expected)
    assert (work.seen(crops=True), work.seen(crops=False)) == (12 * 2 * 50, 0)
    assert sorted(work.decoded) == sorted(split.files)


def test_views_that_lack_different_images_are_completed(net: Net, split: Split, work: Work) -> None:
    """Crops were asked before and all kept, dense was interrupted, center is new."""
    first, second, third = [VIEWS[2]], [VIEWS[1], VIEWS[3]], [VIEWS[0]]
    expected = directly(net, split)
    predict(net, split, first)
    work.forget()
    work.stop_at = 7
    with pytest.raises(RuntimeError):
        predict(net, split, second)
    (folder,) = posteriors_folder().iterdir()
    kept = sum(len(load_file(path)["indices"]) for path in (folder / "dense-256").iterdir())
    work.forget()
    assert_same(predict(net, split, first + second + third), replace(expected, skipped={}))
    assert work.seen(crops=True) == 12  # their central crops
    assert work.seen(crops=False) == 2 * 2 * (12 - kept)
    assert len(work.decoded) == 12 + 12 - kept


def shorten(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def rename_tensors(path: Path) -> None:
    save_file({f"x-{name}": tensor for name, tensor in load_file(path).items()}, path)


@pytest.mark.parametrize("damage", [shorten, empty, rename_tensors, Path.unlink])
@pytest.mark.parametrize("view", ["center-256", "dense-256", "crops-384"])
def test_a_damaged_file_is_computed_again(
    net: Net, split: Split, work: Work, view: str, damage: Callable[[Path], None]
) -> None:
    expected = predict(net, split)
    (path,) = posteriors_folder().glob(f"*/{view}/*.safetensors")
    damage(path)
    work.forget()
    assert_same(predict(net, split), expected)
    count = {"center-256": (12, 0), "dense-256": (0, 24), "crops-384": (600, 0)}[view]
    assert (work.seen(crops=True), work.seen(crops=False)) == count
    work.forget()
    assert_same(predict(net, split), expected)
    assert not work.shapes


def test_what_two_jobs_kept_twice_counts_once(
    net: Net, split: Split, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both began with nothing, and the second was stopped."""
    expected = directly(net, split)
    work.forget()
    work.stop_at = 7
    with monkeypatch.context() as patch:
        patch.setattr(os, "getpid", lambda: 1)
        with pytest.raises(RuntimeError):
            predict(net, split)
    half = kept_files()
    aside = [(path, path.read_bytes()) for path in half]
    for path in half:
        path.unlink()
    work.forget()
    predict(net, split)
    for path, content in aside:
        path.write_bytes(content)
    work.forget()
    assert_same(predict(net, split), expected)
    assert not work.decoded


def another_weight(net: Net, split: Split) -> Split:
    model = net.load()
    with torch.no_grad():
        model.fc8.weight[0] *= 2
    save_weights(net.folder, model.state_dict())
    return split


def another_mean(net: Net, split: Split) -> Split:
    values = json.loads((net.folder / "config.json").read_text())
    write_json(net.folder / "config.json", values | {"mean_rgb": [90.0, 90.0, 90.0]})
    return split


def another_image(net: Net, split: Split) -> Split:
    """Of the same size and name."""
    content = bytearray(split.path(3).read_bytes())
    content[len(content) // 2 : len(content) // 2 + 40] = bytes(40)
    split.path(3).write_bytes(content)
    return split


def a_touched_image(net: Net, split: Split) -> Split:
    os.utime(split.path(3), ns=(0, split.path(3).stat().st_mtime_ns + 1))
    return split


def a_swapped_image(net: Net, split: Split) -> Split:
    """Two files of one class change their names."""
    first, second = split.path(0), split.path(1)
    beside = first.with_name("beside.jpg")
    first.rename(beside)
    second.rename(first)
    beside.rename(second)
    return split


def one_more_image(net: Net, split: Split) -> Split:
    shutil.copy(split.path(0), split.root / "crab" / "new.jpg")
    return replace(split, files=(*split.files, "crab/new.jpg"), labels=None)


def one_image_less(net: Net, split: Split) -> Split:
    return replace(split, files=split.files[1:], labels=None)


def another_order(net: Net, split: Split) -> Split:
    return replace(split, files=split.files[::-1], labels=None)


def camera_rotation(net: Net, split: Split) -> Split:
    return replace(split, camera_rotation=not split.camera_rotation)


@pytest.mark.parametrize(
    "change",
    [
        another_weight,
        another_mean,
        another_image,
        a_touched_image,
        a_swapped_image,
        one_more_image,
        one_image_less,
        another_order,
        camera_rotation,
    ],
)
def test_a_change_is_computed_anew(net: Net, split: Split, work: Work, change: Callable[[Net, Split], Split]) -> None:
    """And what was kept before is still served where everything is as it was."""
    before = predict(net, split, VIEWS[:2])
    changed = change(net, split)
    net = Net.open(net.path)
    expected = directly(net, changed, VIEWS[:2])
    work.forget()
    assert_same(predict(net, changed, VIEWS[:2]), expected)
    assert sorted(work.decoded) == sorted(changed.files)
    if change in (another_weight, another_mean):
        assert np.abs(expected.posteriors[VIEWS[1]] - before.posteriors[VIEWS[1]]).max() > 1e-3
    if changed is not split:
        work.forget()
        assert_same(predict(net, split, VIEWS[:2]), before)
        assert not work.decoded


def test_a_net_is_rounded_once_for_all_that_lacks(
    net: Net, split: Split, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of one view some images are kept, of the others none: two groups, one net."""
    bf16, rounded, count = replace(CPU, bf16=True), inference.round_weights, 0
    steps = predict_cached(net, split, VIEWS[:1], bf16)
    assert sum(next(steps) for _ in range(2)) > 0
    steps.close()
    work.forget()

    def counted(model: VGG) -> VGG:
        nonlocal count
        count += 1
        return rounded(model)

    monkeypatch.setattr(inference, "round_weights", counted)
    predict(net, split, runtime=bf16)
    assert len(split) < len(work.decoded) < 2 * len(split)
    assert count == 1


def test_another_precision_or_decoding_is_computed_anew(net: Net, split: Split, work: Work) -> None:
    full = predict(net, split, VIEWS[:2])
    rounded = predict(net, split, VIEWS[:2], replace(CPU, bf16=True))
    fast = predict(net, split, VIEWS[:2], fast_decode=True)
    assert sorted(work.decoded) == sorted(3 * split.files)
    assert_same(rounded, directly(net, split, VIEWS[:2], replace(CPU, bf16=True)))
    assert np.abs(rounded.posteriors[VIEWS[1]] - full.posteriors[VIEWS[1]]).max() > 1e-5
    work.forget()
    assert_same(predict(net, split, VIEWS[:2]), full, 0)
    assert_same(predict(net, split, VIEWS[:2], replace(CPU, bf16=True)), rounded, 0)
    assert_same(predict(net, split, VIEWS[:2], fast_decode=True), fast, 0)
    assert not work.decoded


def test_equal_photographs_elsewhere_are_the_same_data_set(net: Net, split: Split, work: Work, tmp_path: Path) -> None:
    """Only paths below the root, sizes and times count; a copied run is the same net."""
    expected = predict(net, split)
    shutil.copytree(split.root, tmp_path / "copy")
    shutil.copytree(net.path, tmp_path / "net-copy")
    work.forget()
    assert_same(predict(Net.open(tmp_path / "net-copy"), replace(split, root=tmp_path / "copy")), expected, 0)
    assert not work.decoded


def test_broken_images_are_tried_again(net: Net, split: Split, work: Work) -> None:
    for index in (2, 5):
        split.path(index).write_bytes(split.path(index).read_bytes()[:300])
    told = {split.files[index] for index in (2, 5)}
    for decoded in (set(split.files), told):  # the second time only these
        _, predictions = finish(predict_cached(net, split, VIEWS, CPU, Decoding("skip")))
        assert predictions is not None
        assert set(predictions.skipped) == told
        assert predictions.indices.tolist() == [0, 1, 3, 4, 6, 7, 8, 9, 10, 11]
        assert set(work.decoded) == decoded
        work.forget()
    with pytest.raises(VerydeepError, match=r"\.jpg"):
        predict(net, split)


def test_without_a_place_to_keep_them_they_are_computed(net: Net, split: Split, work: Work, tmp_path: Path) -> None:
    expected = directly(net, split)
    (tmp_path / "cache").write_text("a file where the folder should be")
    for _ in range(2):
        work.forget()
        got = predict(net, split)
        assert_same(got, expected)
        assert str(tmp_path / "cache") in got.write_error
        assert sorted(work.decoded) == sorted(split.files)
    (tmp_path / "cache").unlink()
    assert predict(net, split).write_error == ""


def test_a_full_disk_is_told(net: Net, split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library that writes them has an error of its own."""

    def full(*_: object) -> None:
        raise SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(array_cache, "save_file", full)
    got = predict(net, split)
    assert "No space left" in got.write_error
    assert_same(got, directly(net, split))


def test_two_processes_that_describe_the_folder_at_once_keep_both(
    net: Net, split: Split, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that comes second finds its temporary file renamed by the first."""

    def taken(path: Path, values: object) -> None:
        with atomic_write(path) as temporary:
            temporary.write_text("half")
            with atomic_write(path) as same:
                same.write_text("{}")

    monkeypatch.setattr(array_cache, "write_json", taken)
    assert predict(net, split).write_error == ""
    assert (next(posteriors_folder().glob("*/about.json"))).read_text() == "{}"
    work.forget()
    predict(net, split)
    assert not work.decoded


def test_a_process_that_keeps_nothing_itself_can_go_on(
    net: Net, split: Split, work: Work, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Everything lies in the first process's cache, and the second, on another machine, has a cache of its own."""

    class Second(Runtime):
        def from_main(self, value: Value) -> Value:
            """The first process lacks nothing."""
            return type(value)()

        def gather(self, value: object) -> list[object]:
            return [value, value]

        def gather_on_main(self, value: object) -> list[object]:
            return []

    monkeypatch.setenv("VERYDEEP_CACHE", str(net.path / "elsewhere"))
    steps = predict_cached(net, split, VIEWS[:2], Second(torch.device("cpu"), False, rank=1, world_size=2))
    assert finish(steps) == ([len(split)], None) and not work.shapes  # the first alone has the predictions


def test_a_net_that_changes_while_it_is_read_is_told(net: Net, split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its training saves another one: posteriors of the new must not be kept for the old."""
    load = Net.load

    def late(self: Net) -> VGG:
        patch.setattr(Net, "load", load)
        another_weight(self, split)
        return load(self)

    with monkeypatch.context() as patch:
        patch.setattr(Net, "load", late)
        with pytest.raises(VerydeepError, match="changed while it was read"):
            predict(net, split)
    assert not kept_files()
    assert_same(predict(net, split), directly(net, split))


def test_a_net_without_weights_is_told(net: Net, split: Split) -> None:
    (net.folder / "model.safetensors").unlink()
    with pytest.raises(VerydeepError, match="training has not saved a net yet"):
        predict(net, split)


@pytest.fixture
def parts_of(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[ArrayBatch]]:
    """The parts that are computed."""
    found: list[ArrayBatch] = []

    def noted(*arguments: object, **options: object) -> Iterator[ArrayBatch]:
        for part in predict_batches(*arguments, **options):  # type: ignore[arg-type]
            found.append(part)
            yield part

    monkeypatch.setattr(posteriors, "predict_batches", noted)
    yield found


@pytest.mark.parametrize("rank", [0, 1])
def test_each_process_keeps_what_it_computed(net: Net, split: Split, parts_of: list[ArrayBatch], rank: int) -> None:
    missing = [([str(view) for view in VIEWS], np.arange(len(split)))]

    class Two(Runtime):
        def from_main(self, value: Value) -> Value:
            return value or missing  # type: ignore[return-value]

    steps = predict_cached(net, split, VIEWS, Two(torch.device("cpu"), False, rank, 2))
    for _ in steps:
        if len(parts_of) == 2:
            break
    steps.close()
    computed = sorted(int(index) for part in parts_of for index in part.indices)
    assert computed
    for view in VIEWS:
        (path,) = posteriors_folder().glob(f"*/{view.view}-{view.scale}/*.safetensors")
        assert sorted(load_file(path)["indices"].tolist()) == computed
