"""Descriptors against a slow twin that cuts every window; streamed, stopped and resumed against all at once."""

import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from tests.conftest import picture
from tests.he_weights import draw_he_weights
from tests.thin_nets import save
from verydeep.configs.scales import in_pixels
from verydeep.data.decoding import decode
from verydeep.data.folder import open_folder
from verydeep.data.split import Split
from verydeep.engine.descriptors import activations
from verydeep.engine.descriptors.activations import (
    DescribeResult,
    LayerAtScale,
    cache_ids,
    cached_descriptors,
    default_layer,
    describe_missing,
    descriptor_cache,
)
from verydeep.engine.descriptors.representation import (
    Representation,
    compute_descriptors,
    describe_split,
    read_descriptors,
    union,
)
from verydeep.engine.nets.net import Net
from verydeep.engine.runtime import Runtime
from verydeep.errors import VerydeepError
from verydeep.models.vgg import VGG
from verydeep.models.weights.native import ModelConfig
from verydeep.ops.arrays import Float32Array
from verydeep.ops.images import rescaled_size

CPU = Runtime(torch.device("cpu"), bf16=False)
CONFIG = ModelConfig("D", ("a", "b"), ("a", "b"), crop=64, width=0.1, fc_width=12, mean_rgb=(100.0, 120.0, 140.0))


@pytest.fixture
def net(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Net:
    monkeypatch.setenv("VERYDEEP_CACHE", str(tmp_path / "cache"))
    model = CONFIG.build()
    draw_he_weights(model, 2)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("bias"):
                parameter.uniform_(-3, 3, generator=torch.Generator().manual_seed(len(name)))
    save(model, CONFIG, tmp_path / "run")
    return Net.open(tmp_path / "run")


def by_windows(
    model: VGG, split: Split, index: int, scale: int, box: tuple[int, int, int, int] | None = None
) -> dict[str, Float32Array]:
    """Layer by layer; fc6 sees one 2x2 window of pool5 after another, as rows of numbers."""
    image = decode(split.path(index), camera_rotation=True)
    image = image if box is None else image.crop((box[0], box[1], box[2] + 1, box[3] + 1))
    size = rescaled_size(*image.size, in_pixels(scale, model.crop))
    pixels = torch.from_numpy(np.array(image.resize(size, 2))).permute(2, 0, 1).float()
    sums: dict[str, Tensor] = {}
    for view in (pixels, pixels.flip(2)):
        x = (view - torch.tensor(CONFIG.mean_rgb)[:, None, None])[None]
        for name, layer in model.named_children():
            if name.startswith("fc"):
                break
            x = layer(x)
            if name in ("conv5_3", "relu5_3", "pool5"):
                sums[name] = sums.get(name, 0) + x[0].mean(dim=(1, 2)) / 2
        found: dict[str, list[Tensor]] = {"fc7": [], "relu7": []}
        for top in range(x.shape[2] - 1):
            for left in range(x.shape[3] - 1):
                window = x[0, :, top : top + 2, left : left + 2].flatten()
                hidden = F.relu(F.linear(window, model.fc6.weight.flatten(1), model.fc6.bias))
                coverage = F.linear(hidden, model.fc7.weight.flatten(1), model.fc7.bias)
                found["fc7"].append(coverage)
                found["relu7"].append(F.relu(coverage))
        for name, each in found.items():
            sums[name] = sums.get(name, 0) + torch.stack(each).mean(dim=0) / 2
    return {name: each.numpy() for name, each in sums.items()}


def run(net: Net, split: Split, layers_at_scales: list[LayerAtScale]) -> None:
    *_, last = describe_missing(
        net, split, layers_at_scales, descriptor_cache(net, split, CPU, activations.STRICT), CPU
    )
    assert last == DescribeResult({})


def kept(net: Net, split: Split, layer_at_scale: LayerAtScale) -> Float32Array:
    return cached_descriptors(descriptor_cache(net, split, CPU, activations.STRICT), cache_ids(split), layer_at_scale)


@torch.inference_mode()
def test_descriptors_are_means_over_windows_and_mirror_images(net: Net, val_split: Split) -> None:
    """On rectangles whose sides are no multiples of 32; every layer that can be asked for differs from the others."""
    split, model = val_split.subset([0, 1, 3]), net.load()
    for layer in ("conv5_3", "relu5_3", "pool5", "fc7", "relu7"):
        run(net, split, [LayerAtScale(layer, scale) for scale in (256, 320)])
    for scale in (256, 320):
        for index in range(len(split)):
            expected = by_windows(model, split, index, scale)
            for layer, values in expected.items():
                found = kept(net, split, LayerAtScale(layer, scale))[index]
                assert found == pytest.approx(values, rel=1e-4, abs=1e-4 * float(np.abs(values).max())), (layer, scale)
    assert kept(net, split, LayerAtScale("relu7", 256)).min() == 0 > kept(net, split, LayerAtScale("fc7", 256)).min()


@pytest.fixture
def persons(val_split: Split) -> Split:
    """Two on the first photograph, 98x41, and one on the next, 45x61; the boxes are no squares."""
    boxes = ((3, 4, 40, 39), (20, 0, 90, 30), (9, 11, 40, 58))
    each = tuple(np.array([box], np.float32) for box in boxes)
    return replace(val_split.subset([0, 0, 1]), labels=None, boxes=each)


@torch.inference_mode()
def test_an_image_and_its_box_are_stacked(net: Net, persons: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of what Pillow cuts out; a photograph with two persons is described once as a whole."""
    coverage: list[int] = []
    layer_descriptors = activations.layer_descriptors
    monkeypatch.setattr(
        activations, "layer_descriptors", lambda *a: (coverage.append(len(a[1])), layer_descriptors(*a))[1]
    )
    image_alone = describe_split(Representation((net,), ("relu7",), (256, 320)), persons, CPU)
    assert image_alone is not None and sum(coverage) == 2 * 2
    assert np.array_equal(image_alone.values[0], image_alone.values[1])
    found = describe_split(Representation((net,), ("relu7",), (256, 320), coverage="image+box"), persons, CPU)
    assert found is not None and sum(coverage) == 2 * 2 + 2 * 3
    assert persons.boxes is not None
    model = net.load()
    for index, box in enumerate(persons.boxes):
        parts = []
        for region in (None, tuple(map(int, box[0]))):
            each = [by_windows(model, persons, index, scale, region)["relu7"] for scale in (256, 320)]  # type: ignore[arg-type]
            mean = np.mean(each, axis=0)
            parts.append(mean / np.linalg.norm(mean))
        expected = np.concatenate(parts) / 2**0.5
        assert found.values[index] == pytest.approx(expected, abs=1e-4)
    assert not np.allclose(found.values[0], found.values[1], atol=1e-2)


def test_a_person_whose_box_is_bad_is_left_out_alone(net: Net, persons: Split) -> None:
    boxes = (np.array([[100, 0, 110, 9]], np.float32), *persons.boxes[1:])  # type: ignore[index]
    asked = Representation((net,), ("relu7",), (256,), coverage="image+box")
    with pytest.raises(VerydeepError, match=r"The box \(100, 0, 110, 9\) lies outside of .*, which has 98x41 pixels"):
        describe_split(asked, replace(persons, boxes=boxes), CPU)
    found = describe_split(asked, replace(persons, boxes=boxes), CPU, activations.Decoding("skip"))
    assert found is not None and found.indices.tolist() == [1, 2] and len(found.skipped) == 1


def test_a_job_that_was_stopped_goes_on(net: Net, val_split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is on the shelf is not computed again, and the end is the same to the bit as without the stop."""
    monkeypatch.setattr(Runtime, "batch_pixels", 1)
    layer_at_scale, count = LayerAtScale("relu7", 256), 0
    whole = describe_split(Representation((net,), ("relu7",), (256,)), val_split, CPU)
    assert whole is not None
    for path in descriptor_cache(net, val_split, CPU, activations.STRICT).folder.rglob("*.safetensors"):
        path.unlink()
    layer_descriptors = activations.layer_descriptors

    def stopping(*arguments: object) -> dict[str, Tensor]:
        nonlocal count
        count += 1
        if count == 6:
            raise KeyboardInterrupt
        return layer_descriptors(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(activations, "layer_descriptors", stopping)
    with pytest.raises(KeyboardInterrupt):
        run(net, val_split, [layer_at_scale])
    run(net, val_split, [layer_at_scale])
    assert count == 1 + len(val_split)
    again = describe_split(Representation((net,), ("relu7",), (256,)), val_split, CPU)
    assert again is not None and np.array_equal(again.values, whole.values)
    assert count == 1 + len(val_split)


def test_lists_that_share_images_share_descriptors(net: Net, val_split: Split, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in another order; an image that was written anew is described anew."""
    layer_at_scale = LayerAtScale("pool5", 256)
    some = val_split.subset([4, 2, 7])
    run(net, some, [layer_at_scale])
    of_some = kept(net, some, layer_at_scale)
    coverage: list[int] = []
    layer_descriptors = activations.layer_descriptors
    monkeypatch.setattr(
        activations, "layer_descriptors", lambda *a: (coverage.append(len(a[1])), layer_descriptors(*a))[1]
    )
    run(net, val_split, [layer_at_scale])
    assert sum(coverage) == len(val_split) - 3
    assert np.array_equal(kept(net, val_split, layer_at_scale)[[4, 2, 7]], of_some)


def test_what_cannot_be_decoded_is_left_out(net: Net, val_split: Split, tmp_path: Path) -> None:
    files = []
    for number, index in enumerate((0, 1, 2)):
        path = tmp_path / f"{number}.jpg"
        path.write_bytes(val_split.path(index).read_bytes() if number != 1 else b"no picture")
        files.append(path)
    split = Split.of_photographs(files)
    with pytest.raises(VerydeepError, match=r"1\.jpg"):
        describe_split(Representation((net,), ("relu7",), (256,)), split, CPU)
    skip = activations.Decoding("skip")
    found = describe_split(Representation((net,), ("relu7",), (256,)), split, CPU, skip)
    assert found is not None
    assert found.indices.tolist() == [0, 2] and list(found.skipped) == [files[1].as_posix()]


def test_two_nets_and_scales_are_put_together(net: Net, val_split: Split) -> None:
    """The pieces by hand; every descriptor has length one."""
    run(net, val_split, [LayerAtScale(layer, scale) for layer in ("relu7", "pool5") for scale in (256, 320)])
    a, b = ([kept(net, val_split, LayerAtScale(layer, q)) for q in (256, 320)] for layer in ("relu7", "pool5"))

    def unit(x: Float32Array) -> Float32Array:
        return x / np.linalg.norm(x, axis=1, keepdims=True)

    asked = Representation((net, net), ("relu7", "pool5"), (256, 320), "average")
    found = describe_split(asked, val_split, CPU)
    assert found is not None
    expected = unit(np.hstack([unit((a[0] + a[1]) / 2), unit((b[0] + b[1]) / 2)]))
    assert found.values == pytest.approx(expected, abs=1e-6)
    stack = describe_split(Representation((net,), ("relu7",), (256, 320), "stack"), val_split, CPU)
    assert stack is not None
    assert stack.values == pytest.approx(unit(np.hstack([unit(a[0]), unit(a[1])])), abs=1e-6)


def test_the_default_layer_is_the_papers_or_a_trunks_last(net: Net) -> None:
    assert default_layer(net.config) == "relu7"
    assert default_layer(ModelConfig("A", (), ())) == "pool5"


def test_a_layer_that_is_not_there_is_told(net: Net, val_split: Split) -> None:
    with pytest.raises(VerydeepError, match=r"--layer relu9 .* choose one of conv1_1"):
        describe_split(Representation((net,), ("relu9",), (256,)), val_split, CPU)


def test_a_union_has_each_image_once(val_split: Split) -> None:
    found = union([val_split.subset([3, 1]), val_split.subset([1, 2])])
    assert found.files == tuple(val_split.files[index] for index in (1, 2, 3))
    assert found.labels is None and found.root == val_split.root


def test_a_union_has_each_person_once(persons: Split) -> None:
    """With their boxes; the order is that of the files."""
    found = union([persons.subset([2, 0]), persons.subset([1, 0])])
    assert found.files == persons.files and found.boxes is not None and persons.boxes is not None
    assert {found.sample_key(i) for i in range(3)} == {persons.sample_key(i) for i in range(3)}


def test_a_union_of_two_folders_keeps_files_of_one_name_apart(train_split: Split, val_split: Split) -> None:
    """train/ant/00.jpg and val/ant/00.jpg."""
    assert train_split.files[0] == val_split.files[0]
    found = union([train_split, val_split])
    assert len(found) == len(train_split) + len(val_split)
    paths = {found.path(index) for index in range(len(found))}
    assert paths == {split.path(i) for split in (train_split, val_split) for i in range(len(split))}


def test_photographs_of_two_folders_are_kept_apart(net: Net, tmp_path: Path) -> None:
    """Of one name, size and time, as bitmaps unpacked with normalized times are."""
    values = []
    for number in (1, 2):
        path = tmp_path / str(number) / "cat" / "1.bmp"
        path.parent.mkdir(parents=True)
        Image.fromarray(picture(70, 90, seed=number)).save(path)
        os.utime(path, ns=(0, 0))
        split = replace(Split.of_photographs([path]), root=tmp_path / str(number), files=("cat/1.bmp",))
        found = describe_split(Representation((net,), ("relu7",), (256,)), split, CPU)
        assert found is not None
        values.append(found.values)
    assert np.abs(values[0] - values[1]).max() > 0.01


def test_what_vanished_from_the_cache_is_told(net: Net, val_split: Split) -> None:
    """Never is another image's descriptor in its place."""
    layer_at_scale = LayerAtScale("relu7", 256)
    run(net, val_split.subset([0, 1]), [layer_at_scale])
    cache = descriptor_cache(net, val_split, CPU, activations.STRICT)
    for split in (val_split.subset([0, 1, 2]), val_split.subset([5])):
        with pytest.raises(VerydeepError, match="changed while it was read: run the command again"):
            cached_descriptors(cache, cache_ids(split), layer_at_scale)


def test_a_photograph_that_changed_meanwhile_is_told(net: Net, class_folders: Path, tmp_path: Path) -> None:
    shutil.copytree(class_folders / "val", tmp_path / "val")
    split = open_folder(tmp_path, "val", seed=0, val_fraction=0.2).subset([0, 1, 2])
    representation = Representation((net,), ("relu7",), (256,))
    skipped = compute_descriptors(representation, split, CPU)
    os.utime(split.path(1), ns=(5, 5))
    with pytest.raises(VerydeepError, match=r"01\.jpg changed while it was described"):
        read_descriptors(representation, split, skipped, CPU)


def test_descriptors_that_are_no_numbers_are_not_kept(net: Net, val_split: Split) -> None:
    model = net.load()
    with torch.no_grad():
        model.conv1_1.weight[0] = torch.inf
    save(model, CONFIG, net.path)
    broken = Net.open(net.path)
    with pytest.raises(VerydeepError, match=r"The descriptors by .*run are not all numbers: train it anew"):
        run(broken, val_split.subset([0]), [LayerAtScale("relu7", 256)])
