"""Cached posteriors never change a number: all of them cached, or some, or after any other change."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from tests.engine.steps import finish
from tests.models.plain_twin import fill
from verydeep.data.pixels.decoding import STRICT, Decoding
from verydeep.data.split import Split
from verydeep.engine.classification.posterior_cache import describe_posterior_cache, posteriors_folder, predict_cached
from verydeep.engine.inference import ViewAtScale
from verydeep.engine.nets.net import Net
from verydeep.engine.posteriors import NetPredictions, predict_split
from verydeep.engine.runtime import Runtime, Value
from verydeep.errors import VerydeepError
from verydeep.json_files import write_json
from verydeep.models.weights.model_folder import ModelConfig, save_config, save_weights


class SmallBatches(Runtime):
    """Two or three images a batch."""

    batch_pixels = 10_000


CPU = SmallBatches(torch.device("cpu"), bf16=False)
CROP = 32
VIEWS = [ViewAtScale("center", 256), ViewAtScale("dense", 256), ViewAtScale("crops", 384), ViewAtScale("dense", 384)]
NAMES = ("ant", "bell", "crab")


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VERYDEEP_CACHE", str(tmp_path / "cache"))


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


@dataclass
class Prediction:
    """What one call gave, and what it computed."""

    predictions: NetPredictions
    computed: dict[str, list[int]]
    """Kind -> images whose posteriors are new in the cache."""


def cached_files() -> set[Path]:
    return set(posteriors_folder().rglob("*.safetensors"))


def predict(
    net: Net,
    split: Split,
    views: list[ViewAtScale] = VIEWS,
    runtime: Runtime = CPU,
    decoding: Decoding = STRICT,
) -> Prediction:
    """Predict; the counts of images on the way add up to the split."""
    before = cached_files()
    counts, predictions = finish(predict_cached(net, split, views, runtime, decoding))
    assert predictions is not None
    assert sum(counts) == pytest.approx(len(split))
    computed: dict[str, list[int]] = {}
    for path in cached_files() - before:
        computed.setdefault(path.parent.name, []).extend(load_file(path)["keys"].tolist())
    assert (counts == [len(split)]) == (not computed)
    return Prediction(predictions, {kind: sorted(indices) for kind, indices in computed.items()})


def all_of(split: Split, views: list[ViewAtScale] = VIEWS) -> dict[str, list[int]]:
    return {str(view): list(range(len(split))) for view in views}


def predict_directly(
    net: Net, split: Split, views: list[ViewAtScale] = VIEWS, runtime: Runtime = CPU
) -> NetPredictions:
    """The same without any cache."""
    _, predictions = finish(predict_split(net.prepare(runtime), split, views, runtime))
    assert predictions is not None
    return predictions


def assert_same(got: NetPredictions, expected: NetPredictions, tolerance: float = 1e-6) -> None:
    assert np.array_equal(got.indices, expected.indices)
    assert got.posteriors.keys() == expected.posteriors.keys()
    for view, posterior in expected.posteriors.items():
        assert np.ptp(posterior, axis=0).max() > 1e-3
        assert got.posteriors[view].dtype == np.float32
        assert np.abs(got.posteriors[view] - posterior).max() <= tolerance, view
    assert got.sizes.keys() == expected.sizes.keys()
    assert all(np.array_equal(got.sizes[scale], sizes) for scale, sizes in expected.sizes.items())
    assert got.skipped == expected.skipped


def select(predictions: NetPredictions, views: list[ViewAtScale]) -> NetPredictions:
    sizes = {view.scale: predictions.sizes[view.scale] for view in views if view.view == "dense"}
    return NetPredictions({view: predictions.posteriors[view] for view in views}, predictions.indices, sizes)


def test_cached_posteriors_are_not_computed_again(net: Net, split: Split) -> None:
    expected = predict_directly(net, split)
    first = predict(net, split)
    assert_same(first.predictions, expected, 0)
    assert first.computed == all_of(split)
    again, some = predict(net, split), predict(net, split, VIEWS[2:0:-1])
    assert_same(again.predictions, expected, 0)
    assert_same(some.predictions, select(expected, VIEWS[2:0:-1]), 0)
    assert again.computed == some.computed == {}
    assert describe_posterior_cache() == ""
    (posteriors_folder() / "another").mkdir()
    (posteriors_folder() / "another" / "part.safetensors").write_bytes(bytes(3_000_000))
    assert describe_posterior_cache() == f"Posteriors cached: 3 MB in {posteriors_folder()}."
    (about,) = posteriors_folder().glob("*/about.json")
    assert json.loads(about.read_text())["net_folder"] == str(net.folder)


def test_views_that_are_cached_are_not_computed_with_others(net: Net, split: Split) -> None:
    dense = [ViewAtScale(view, scale) for view in ("center", "dense") for scale in (256, 384)]
    crops = [ViewAtScale("crops", 256), ViewAtScale("crops", 384)]
    predict(net, split, dense)
    both = predict(net, split, dense + crops)
    assert_same(both.predictions, predict_directly(net, split, dense + crops))
    assert both.computed == all_of(split, crops)


def test_views_that_lack_different_images_are_completed(net: Net, split: Split) -> None:
    """Crops are all cached, dense was interrupted, center is new."""
    crops, dense = [VIEWS[2]], [VIEWS[1], VIEWS[3]]
    predict(net, split, crops)
    steps = predict_cached(net, split, dense, CPU)
    assert next(steps) == 0 and next(steps) > 0
    steps.close()
    (folder,) = posteriors_folder().iterdir()
    (path,) = (folder / "dense-256").iterdir()
    known = load_file(path)["keys"].tolist()
    assert 0 < len(known) < len(split)
    rest = predict(net, split)
    assert_same(rest.predictions, predict_directly(net, split))
    missing = sorted(set(range(len(split))) - set(known))
    assert rest.computed == all_of(split, VIEWS[:1]) | {str(view): missing for view in dense}


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
def test_a_change_is_computed_anew(net: Net, split: Split, change: Callable[[Net, Split], Split]) -> None:
    """And what was cached before still counts where everything is as it was."""
    before = predict(net, split, VIEWS[:2])
    changed = change(net, split)
    net = Net.open(net.path)
    expected = predict_directly(net, changed, VIEWS[:2])
    after = predict(net, changed, VIEWS[:2])
    assert_same(after.predictions, expected)
    assert after.computed == all_of(changed, VIEWS[:2])
    if change in (another_weight, another_mean):
        assert np.abs(expected.posteriors[VIEWS[1]] - before.predictions.posteriors[VIEWS[1]]).max() > 1e-3
    if changed is not split:
        again = predict(net, split, VIEWS[:2])
        assert_same(again.predictions, before.predictions)
        assert again.computed == {}


def test_another_precision_or_decoding_is_computed_anew(net: Net, split: Split) -> None:
    bf16, fast = replace(CPU, bf16=True), Decoding(fast=True)
    each = [(CPU, STRICT), (bf16, STRICT), (CPU, fast)]
    first = [predict(net, split, VIEWS[:2], *how) for how in each]
    assert all(prediction.computed == all_of(split, VIEWS[:2]) for prediction in first)
    assert_same(first[1].predictions, predict_directly(net, split, VIEWS[:2], bf16))
    exact, rounded = (prediction.predictions.posteriors[VIEWS[1]] for prediction in first[:2])
    assert np.abs(rounded - exact).max() > 1e-5
    for how, known in zip(each, first, strict=True):
        again = predict(net, split, VIEWS[:2], *how)
        assert_same(again.predictions, known.predictions, 0)
        assert again.computed == {}


def test_equal_photographs_elsewhere_are_the_same_data_set(net: Net, split: Split, tmp_path: Path) -> None:
    """Only paths below the root, sizes and times count; a copied run is the same net."""
    expected = predict(net, split)
    shutil.copytree(split.root, tmp_path / "copy")
    shutil.copytree(net.path, tmp_path / "net-copy")
    copied = predict(Net.open(tmp_path / "net-copy"), replace(split, root=tmp_path / "copy"))
    assert_same(copied.predictions, expected.predictions, 0)
    assert copied.computed == {}


def test_broken_images_are_left_out_and_tried_again(net: Net, split: Split) -> None:
    good = [0, 1, 3, 4, 6, 7, 8, 9, 10, 11]
    for index in (2, 5):
        split.path(index).write_bytes(split.path(index).read_bytes()[:300])
    for computed in (dict.fromkeys(map(str, VIEWS), good), {}):
        counts, predictions = finish(predict_cached(net, split, VIEWS, CPU, Decoding("skip")))
        assert predictions is not None
        assert set(predictions.skipped) == {split.files[index] for index in (2, 5)}
        assert predictions.indices.tolist() == good
        assert sum(counts[1:]) == (12 if computed else 2)  # the second time only these
    with pytest.raises(VerydeepError, match=r"\.jpg"):
        predict(net, split)


def test_without_a_place_to_keep_them_they_are_computed(net: Net, split: Split, tmp_path: Path) -> None:
    expected = predict_directly(net, split)
    (tmp_path / "cache").mkdir()
    posteriors_folder().write_text("a file where the folder should be")
    for _ in range(2):
        counts, got = finish(predict_cached(net, split, VIEWS, CPU))
        assert got is not None and counts[0] == 0 and sum(counts) == 12
        assert_same(got, expected)
        assert str(tmp_path / "cache") in got.write_error
    posteriors_folder().unlink()
    assert predict(net, split).predictions.write_error == ""


def test_a_process_that_keeps_nothing_itself_can_go_on(net: Net, split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert finish(steps) == ([len(split)], None)  # the first alone has the predictions


def test_a_cache_that_is_emptied_meanwhile_is_reported(net: Net, split: Split) -> None:
    predict(net, split)
    steps = predict_cached(net, split, VIEWS, CPU)
    assert next(steps) == len(split)
    for path in posteriors_folder().glob("*/dense-256/*"):
        path.unlink()
    with pytest.raises(VerydeepError, match="changed while it was read: try again"):
        next(steps)


def test_a_net_without_weights_is_refused(net: Net, split: Split) -> None:
    (net.folder / "model.safetensors").unlink()
    with pytest.raises(VerydeepError, match=r"model\.safetensors"):
        predict(net, split)
