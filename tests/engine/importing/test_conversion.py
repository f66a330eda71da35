"""From a weight file to a model folder: what the source sees is what ours sees, and outputs have the right names."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.peers import import_torchvision, need
from tests.runs import full_disk
from verydeep.configs import published_nets
from verydeep.configs.published_nets import PUBLISHED
from verydeep.data.sets.ilsvrc2012 import ilsvrc_classes
from verydeep.engine.importing import conversion, imported
from verydeep.engine.importing.conversion import convert_file, hash_file, name_classes
from verydeep.engine.importing.imported import converted_nets_folder
from verydeep.engine.load import load
from verydeep.engine.nets.checks import check_not_trunk
from verydeep.engine.nets.net import Net
from verydeep.errors import OptionError, ResourceError, VerydeepError, WeightsError
from verydeep.models.weights.model_folder import load_config
from verydeep.models.weights.weight_file import CAFFE_INPUT, WeightFile

THIN_A = (6, "M", 12, "M", 25, 25, "M", 50, 50, "M", 50, 50, "M")


def torchvision_net(num_classes: int, seed: int = 0) -> nn.Module:
    """Theirs, of a tenth of the width."""
    need("torchvision")
    module = import_torchvision().models.vgg
    torch.manual_seed(seed)
    net = module.VGG(module.make_layers(list(THIN_A)), init_weights=False)
    shape = [nn.Linear(50 * 49, 16), nn.ReLU(), nn.Dropout(), nn.Linear(16, 16), nn.ReLU(), nn.Dropout()]
    net.classifier = nn.Sequential(*shape, nn.Linear(16, num_classes))
    for layer in net.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            nn.init.kaiming_normal_(layer.weight)
            nn.init.normal_(layer.bias, std=0.1)
    module_net: nn.Module = net.eval()
    return module_net


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VERYDEEP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def photographs(height: int = 224, width: int = 224) -> Tensor:
    return (255 * torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(5))).round()


def as_torchvision_sees(images: Tensor) -> Tensor:
    """By the presets of its own weights."""
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    return (images / 255 - mean[:, None, None]) / std[:, None, None]


def test_a_torchvision_file_gives_its_logits(tmp_path: Path) -> None:
    theirs = torchvision_net(7)
    torch.save(theirs.state_dict(), tmp_path / "mine.pth")
    converted = convert_file(tmp_path / "mine.pth", class_names=[f"kind {k}" for k in range(7)])
    converted.save(tmp_path / "out")
    net = load(tmp_path / "out")
    ours, config = net.load(), net.config
    images = photographs()
    with torch.inference_mode():
        logits, reference = ours.logits(images), theirs(as_torchvision_sees(images))
    assert (logits - reference).abs().max() < 1e-4 * reference.abs().max()
    assert config.network == "A" and config.crop == 224 and config.pooling == "floor"
    assert config.class_names == config.class_words == tuple(f"kind {k}" for k in range(7))
    assert config.input_scale == pytest.approx((58.395, 57.12, 57.375))
    assert config.train_scale is None and config.provenance.imported_from == "mine.pth"


def test_the_user_can_say_what_a_net_was_trained_to_see(tmp_path: Path) -> None:
    """The same weights, but trained on BGR, 0-255: the file looks the same."""
    theirs = torchvision_net(7)
    torch.save(theirs.state_dict(), tmp_path / "mine.pth")
    convert_file(tmp_path / "mine.pth", "caffe", [f"kind {k}" for k in range(7)]).save(tmp_path / "out")
    net = load(tmp_path / "out")
    ours, config = net.load(), net.config
    images = photographs()
    bgr = images.flip(1) - torch.tensor([103.939, 116.779, 123.68])[:, None, None]
    with torch.inference_mode():
        assert torch.allclose(ours.logits(images), theirs(bgr), rtol=1e-3)
    assert config.input_scale is None


def foreign(names: tuple[str, ...] = (), words: tuple[str, ...] = ()) -> WeightFile:
    return WeightFile("test", {}, CAFFE_INPUT, "ceil", names, words)


def test_a_thousand_outputs_are_ilsvrcs_in_caffes_order() -> None:
    names, words = name_classes(foreign(), 1000, None, Path("x"))
    assert names == tuple(sorted(names)) == tuple(ilsvrc_classes())
    assert (names[0], words[0]) == ("n01440764", "tench, Tinca tinca")
    with_background, words = name_classes(foreign(), 1001, None, Path("x"))
    assert with_background == ("background", *names) and words[1] == "tench, Tinca tinca"


def test_names_come_from_the_user_the_file_or_are_numbers() -> None:
    assert name_classes(foreign(), 3, None, Path("x"))[0] == ("class 0", "class 1", "class 2")
    theirs = foreign(("n01443537", "b"), ("goldfish?", "a bee"))
    assert name_classes(theirs, 2, None, Path("x")) == (
        ("n01443537", "b"),
        ("goldfish, Carassius auratus", "a bee"),
    )
    assert name_classes(theirs, 2, ["x", "y"], Path("x")) == (("x", "y"), ("x", "y"))
    with pytest.raises(VerydeepError, match=r"some\.h5 has 4 outputs, but there are 2 class names"):
        name_classes(theirs, 4, None, Path("some.h5"))
    with pytest.raises(VerydeepError, match="two outputs are called 'x'"):
        name_classes(theirs, 2, ["x", "x"], Path("some.h5"))


def test_a_trunk_is_kept_as_one(tmp_path: Path) -> None:
    """Its map is that of the source's features, on a rectangle."""
    theirs = torchvision_net(3)
    features = {name: tensor for name, tensor in theirs.state_dict().items() if name.startswith("features")}
    torch.save(features, tmp_path / "trunk.pth")
    convert_file(tmp_path / "trunk.pth").save(tmp_path / "out")
    net = load(tmp_path / "out")
    ours, config = net.load(), net.config
    assert config.is_trunk and config.class_names == ()
    images = photographs(75, 110)
    with torch.inference_mode():
        reference = theirs.get_submodule("features")(as_torchvision_sees(images))
        assert torch.allclose(ours(images), reference, rtol=1e-3, atol=1e-4)
    assert reference.shape == (2, 50, 2, 3)


def test_a_head_of_ones_own_is_left_out_and_the_reason_is_kept(tmp_path: Path, cache: Path) -> None:
    """The trunk's map is that of the source's features; a refusal of its classes says why it has none."""
    theirs = torchvision_net(3)
    theirs.classifier = nn.Linear(50, 10)
    torch.save(
        {"net": {f"model.{name}": tensor for name, tensor in theirs.state_dict().items()}}, tmp_path / "mine.pth"
    )
    converted = convert_file(tmp_path / "mine.pth")
    assert "Only the convolutions were read: its head (model.classifier) is not that of a VGG net." in converted.notes
    net, images = load(tmp_path / "mine.pth"), photographs(75, 110)
    assert isinstance(net, Net) and net.config.is_trunk
    with torch.inference_mode():
        reference = theirs.get_submodule("features")(as_torchvision_sees(images))
        assert torch.allclose(net.load()(images), reference, rtol=1e-3, atol=1e-4)
    for _ in range(2):  # the conversion is in the cache, and has no note the second time
        with pytest.raises(
            WeightsError, match=r"no classes, because its head \(model\.classifier\) is not that of a VGG"
        ):
            check_not_trunk(Net.open(tmp_path / "mine.pth"))
    with pytest.raises(OptionError, match=r"mine\.pth is read as a trunk, which has no outputs: omit `class_names`"):
        convert_file(tmp_path / "mine.pth", class_names=["a", "b"])


@pytest.mark.parametrize(("layer", "ours"), [("features.3", "conv2_1"), ("classifier.6", "fc8")])
@pytest.mark.parametrize("value", ["nan", "inf"])
def test_weights_that_are_not_finite_are_refused_by_layer(layer: str, ours: str, value: str, tmp_path: Path) -> None:
    tensors = torchvision_net(3).state_dict()
    tensors[f"{layer}.bias"][1] = float(value)
    torch.save(tensors, tmp_path / "mine.pth")
    word = "NaN" if value == "nan" else "infinite numbers"
    with pytest.raises(WeightsError, match=rf"mine\.pth has {word} in {ours}\.bias: its training failed"):
        convert_file(tmp_path / "mine.pth")


def test_a_published_file_is_known_by_its_digest(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it is called; then it has the paper's train scale, and is found by its name."""
    torch.save(torchvision_net(1000).state_dict(), tmp_path / "vgg.pth")
    digest = hash_file(tmp_path / "vgg.pth")["sha1"]
    mine = replace(PUBLISHED["oxford-vgg16"], digest=f"sha1:{digest}")
    monkeypatch.setitem(PUBLISHED, "oxford-vgg16", mine)
    assert published_nets.PUBLISHED is PUBLISHED
    seen_otherwise = convert_file(tmp_path / "vgg.pth", "caffe")
    assert not any("does not state its input" in note for note in seen_otherwise.notes)
    assert seen_otherwise.published is None and seen_otherwise.config.train_scale is None
    found = convert_file(tmp_path / "vgg.pth")
    assert any("taken for ILSVRC's" in note for note in found.notes)
    (note,) = [note for note in found.notes if "does not state its input" in note]
    assert "use `verydeep convert` with `input`: caffe" in note
    assert found.published == mine and found.config.train_scale == "256-512"
    assert found.config.provenance.license == "CC-BY-4.0"
    # By name, from the folder where a user without a network puts the file.
    (cache / "weights").mkdir(parents=True)
    (tmp_path / "vgg.pth").rename(cache / "weights" / "VGG_ILSVRC_16_layers.caffemodel")
    config = load("oxford-vgg16").config
    assert config == found.config or config.provenance.imported_from == "VGG_ILSVRC_16_layers.caffemodel"
    assert load_config(converted_nets_folder() / "oxford-vgg16").class_names == tuple(ilsvrc_classes())
    (cache / "weights" / "VGG_ILSVRC_16_layers.caffemodel").unlink()
    assert load("oxford-vgg16").config == config  # converted once


def test_a_file_is_converted_once_and_again_when_it_changed(tmp_path: Path, cache: Path) -> None:
    file = tmp_path / "a.pth"
    torch.save(torchvision_net(3).state_dict(), file)
    first = load(file).load().fc8.bias.clone()
    torch.save(torchvision_net(3, seed=1).state_dict(), file)
    second = load(file).load().fc8.bias
    assert not torch.equal(first, second)
    config = load(file).folder / "config.json"
    written = config.stat()
    assert torch.equal(load(file).load().fc8.bias, second)
    assert (config.stat().st_ino, config.stat().st_mtime_ns) == (written.st_ino, written.st_mtime_ns)


def test_a_folder_is_known_as_a_net_only_when_it_is_complete(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped by a full disk, and tried again; another process that was first wins."""
    torch.save(torchvision_net(3).state_dict(), tmp_path / "a.pth")
    with full_disk(), pytest.raises(ResourceError, match="cannot be written"):
        load(tmp_path / "a.pth")
    assert not list(converted_nets_folder().glob("*/config.json"))
    loaded = load(tmp_path / "a.pth")
    net, config = loaded.load(), loaded.config
    (folder,) = (path for path in converted_nets_folder().iterdir() if (path / "config.json").exists())
    converted, renamed = convert_file(tmp_path / "a.pth"), folder.with_name("later")

    def first(*_: object) -> conversion.ConvertedNet:
        renamed.rename(folder)
        return converted

    folder.rename(renamed)
    monkeypatch.setattr(imported, "convert_file", first)  # another process ends exactly then
    loaded = load(tmp_path / "a.pth")
    again, same = loaded.load(), loaded.config
    assert same == config and torch.equal(again.fc8.weight, net.fc8.weight)
    assert len([path for path in converted_nets_folder().iterdir() if (path / "config.json").exists()]) == 1


def test_a_model_folder_is_named_by_its_weights_too(tmp_path: Path, cache: Path) -> None:
    torch.save(torchvision_net(3).state_dict(), tmp_path / "a.pth")
    convert_file(tmp_path / "a.pth").save(tmp_path / "out")
    assert load(tmp_path / "out" / "model.safetensors").config == load(tmp_path / "out").config
    assert not converted_nets_folder().exists()
    with pytest.raises(VerydeepError, match="already is a net of verydeep"):
        convert_file(tmp_path / "out" / "model.safetensors")


def test_what_is_nothing_is_reported_with_the_names_that_there_are(tmp_path: Path) -> None:
    with pytest.raises(VerydeepError, match=r"no run, model folder or weight file nowhere.*oxford-vgg16"):
        load("nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(VerydeepError, match="has no net"):
        load(tmp_path / "empty")


@pytest.mark.parametrize("content", [b"", b"hello", bytes(5000), b"GIF89a", json.dumps({"a": 1}).encode()])
def test_a_file_that_is_no_weights_is_reported(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(VerydeepError, match=r"x\.pth"):
        convert_file(tmp_path / "x.pth")
