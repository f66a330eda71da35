"""torchvision's own nets, on torchvision's own preprocessing, against what is read of their state dicts."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.models.weights.readers.source_nets import (
    CONFIGURATIONS,
    assert_close,
    photograph,
    plain_features,
    plain_logits,
    torchvision_net,
)
from tests.peers import import_torchvision, need
from verydeep.configs.networks import NETWORKS
from verydeep.errors import VerydeepError
from verydeep.models.weights.readers.state_dicts import read_pickled
from verydeep.models.weights.readers.torch_nets import convert_state_dict, torchvision_names
from verydeep.models.weights.weight_file import CAFFE_INPUT, TORCHVISION_INPUT, WeightFile

FC = ("fc6", "fc7", "fc8")
SIDES = 231, 250
"""Neither equal nor multiples of 32: rounded down, pool5 has 7x7 positions, so torchvision's averaging does nothing."""


def saved(net: nn.Module, path: Path) -> WeightFile:
    torch.save(net.state_dict(), path)
    return convert_state_dict(read_pickled(path), path)


def prepared(images: Tensor, weights: str) -> Tensor:
    """What torchvision's transforms of these weights make of an image that has the right size already."""
    preset = getattr(import_torchvision().models.VGG16_Weights, weights).transforms()
    normalize = import_torchvision().transforms.functional.normalize
    normalized: Tensor = normalize(images / 255, mean=preset.mean, std=preset.std)
    return normalized


@pytest.mark.parametrize("network", CONFIGURATIONS)
@pytest.mark.parametrize("batch_norm", [False, True])
def test_logits_are_the_sources(network: str, batch_norm: bool, tmp_path: Path) -> None:
    source = torchvision_net(network, batch_norm=batch_norm)
    net = saved(source, tmp_path / "net.pth")
    images = photograph(*SIDES)
    with torch.no_grad():
        assert_close(plain_logits(net, images).flatten(1), source(prepared(images, "IMAGENET1K_V1")))
    assert net.format == ("torchvision, batch norm folded" if batch_norm else "torchvision")
    assert {name.split(".")[0] for name in net.tensors} == {*(name for name, _ in NETWORKS[network].convs()), *FC}
    assert {tensor.dtype for tensor in net.tensors.values()} == {torch.float32}
    assert (net.input, net.pooling) == (TORCHVISION_INPUT, "floor")
    assert net.notes == () and "torchvision" in net.assumption


@pytest.mark.parametrize("network", CONFIGURATIONS)
def test_names_are_torchvisions(network: str) -> None:
    source = torchvision_net(network)
    layers = [name for name, layer in source.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert list(torchvision_names(NETWORKS[network]).values()) == layers
    assert list(torchvision_names(NETWORKS[network])) == [*(name for name, _ in NETWORKS[network].convs()), *FC]


def test_jcjohnsons_conversions_take_bgr(tmp_path: Path) -> None:
    """A dropout before each FC layer, as in torchvision until 2016: that is all that tells them apart."""
    source = torchvision_net("D")
    fc6, _, _, fc7, _, _, fc8 = source.classifier.children()  # type: ignore[operator]
    source.classifier = nn.Sequential(nn.Dropout(), fc6, nn.ReLU(), nn.Dropout(), fc7, nn.ReLU(), fc8)
    net = saved(source.eval(), tmp_path / "vgg16-00b39a1b.pth")
    images = photograph(*SIDES)
    red, green, blue = images.unbind(1)
    seen = torch.stack([blue - 103.939, green - 116.779, red - 123.68], dim=1)  # his README
    with torch.no_grad():
        assert_close(plain_logits(net, images).flatten(1), source(seen))
    assert (net.format, net.input, net.pooling) == ("jcjohnson", CAFFE_INPUT, "floor")
    assert "BGR" in net.assumption


def test_a_classifier_without_numbers_is_absent(tmp_path: Path) -> None:
    source = torchvision_net("D")
    for parameter in source.classifier.parameters():  # type: ignore[union-attr]
        nn.init.constant_(parameter, float("nan"))
    net = saved(source, tmp_path / "vgg16_features-amdegroot-88682ab5.pth")
    images = photograph(*SIDES)
    with torch.no_grad():
        features = source.features(prepared(images, "IMAGENET1K_FEATURES"))  # type: ignore[operator]
    assert_close(plain_features(net, images), features)
    assert not any(name.startswith("fc") for name in net.tensors)
    assert "NaN" in net.assumption and "IMAGENET1K_FEATURES" in net.format


def test_a_single_nan_is_no_absence(tmp_path: Path) -> None:
    source = torchvision_net("A")
    with torch.no_grad():
        source.state_dict()["classifier.3.weight"][0, 0] = float("nan")
    net = saved(source, tmp_path / "net.pth")
    assert net.format == "torchvision" and net.tensors["fc7.weight"].isnan().sum() == 1


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("network", CONFIGURATIONS)
def test_a_trunk_alone(network: str, batch_norm: bool, tmp_path: Path) -> None:
    source = torchvision_net(network, batch_norm=batch_norm)
    source.classifier = nn.Identity()
    net = saved(source, tmp_path / "trunk.pth")
    images = photograph(70, 101)
    with torch.no_grad():
        features = source.features(prepared(images, "IMAGENET1K_V1"))  # type: ignore[operator]
    assert_close(plain_features(net, images), features)
    assert not any(name.startswith("fc") for name in net.tensors)


def test_fc_layers_that_see_fewer_positions(tmp_path: Path) -> None:
    """A net that somebody trained on images of 64 pixels."""
    source = torchvision_net("B", side=2)
    source.avgpool = nn.Identity()
    net = saved(source, tmp_path / "net.pth")
    images = photograph(70, 91)
    with torch.no_grad():
        assert_close(plain_logits(net, images).flatten(1), source(prepared(images, "IMAGENET1K_V1")))
    assert net.tensors["fc6.weight"].shape[2:] == (2, 2)
    assert "2x2" in net.notes[0] and "64" in net.notes[0]


def test_batch_norm_behind_convolutions_without_bias(tmp_path: Path) -> None:
    source = torchvision_net("A", batch_norm=True)
    for layer in source.features.children():  # type: ignore[union-attr]
        if isinstance(layer, nn.Conv2d):
            layer.bias = None
    net = saved(source, tmp_path / "net.pth")
    images = photograph(*SIDES)
    with torch.no_grad():
        assert_close(plain_logits(net, images).flatten(1), source(prepared(images, "IMAGENET1K_V1")))


@pytest.mark.parametrize("wrapper", ["DataParallel", "features", "torch.compile"])
def test_wrappers_are_no_part_of_names(wrapper: str, tmp_path: Path) -> None:
    """As torch's own example of ImageNet wraps a VGG: its features alone."""
    source = torchvision_net("A")
    tensors = source.state_dict()
    put_into = {"DataParallel": "module.{}", "features": "{}", "torch.compile": "_orig_mod.{}"}[wrapper]
    named = {put_into.format(name): tensor for name, tensor in tensors.items()}
    if wrapper == "features":
        named = {name.replace("features.", "features.module."): tensor for name, tensor in named.items()}
    torch.save({"epoch": 3, "arch": "vgg11", "state_dict": named, "best_acc1": 0.5}, tmp_path / "checkpoint.pth.tar")
    path = tmp_path / "checkpoint.pth.tar"
    net = convert_state_dict(read_pickled(path), path)
    assert torch.equal(net.tensors["conv5_2.weight"], tensors["features.18.weight"])
    assert len(net.tensors) == 22


@pytest.mark.parametrize("missing", ["features.17.weight", "features.28.bias"])
def test_what_is_missing_is_left_out(missing: str, tmp_path: Path) -> None:
    tensors = torchvision_net("D").state_dict()
    whole = convert_state_dict(tensors, tmp_path)
    del tensors[missing]
    net = convert_state_dict(tensors, tmp_path)
    ours = {theirs: ours for ours, theirs in torchvision_names(NETWORKS["D"]).items()}
    layer, _, kind = missing.rpartition(".")
    assert f"{ours[layer]}.{kind}" in whole.tensors.keys() - net.tensors.keys()
    assert all(torch.equal(tensor, whole.tensors[name]) for name, tensor in net.tensors.items())


def changed(**tensors: Tensor | None) -> dict[str, Tensor]:
    """The state dict of a net D with batch norm: some tensors of it others (``features_0_weight=...``), or none."""
    result = dict(torchvision_net("D", batch_norm=True).state_dict())
    for name, tensor in tensors.items():
        place, _, kind = name.partition("__")
        key = f"{place.replace('_', '.')}.{kind}"
        if tensor is None:
            del result[key]
        else:
            result[key] = tensor
    return result


STRANGE: dict[str, tuple[dict[str, Tensor | None], tuple[str, ...]]] = {
    "a layer where a ReLU is": ({"features_2__weight": torch.zeros(4)}, ("features.2.weight of shape 4",)),
    "a convolution of one dimension": ({"features_3__weight": torch.zeros(7)}, ("features.3.weight", "7")),
    "a bias of two": ({"classifier_6__bias": torch.zeros(5, 1)}, ("classifier.6.bias", "5x1")),
    "whole numbers": ({"classifier_6__weight": torch.zeros(5, 9, dtype=torch.int8)}, ("classifier.6.weight", "int8")),
    "no running mean": ({"features_4__running_mean": None}, ("features.4.running_mean", "lacks")),
    "a variance too short": ({"features_8__running_var": torch.ones(3)}, ("features.8.running_var", "3")),
    "weight norm": ({"features_0__weight_g": torch.ones(4, 1, 1, 1)}, ("features.0.weight_g", "weight norm")),
    "LoRA": ({"features_0__lora_A": torch.ones(2, 2)}, ("features.0.lora_A", "LoRA")),
    "a bias too long": ({"features_0__bias": torch.ones(5)}, ("features.0.bias of shape 5", "4 outputs")),
}


@pytest.mark.parametrize("what", STRANGE)
def test_what_is_strange_is_named(what: str, tmp_path: Path) -> None:
    changes, named = STRANGE[what]
    with pytest.raises(VerydeepError) as caught:
        convert_state_dict(changed(**changes), tmp_path / "net.pth")
    message = str(caught.value)
    assert "\n" not in message and str(tmp_path / "net.pth") in message
    assert all(word in message for word in named), message


OTHER_HEADS: dict[str, dict[str, Tensor | None]] = {
    "a layer more": {"head__weight": torch.zeros(5, 9)},
    "a layer less": {"classifier_3__weight": None},
    "no square of positions": {"classifier_0__weight": torch.zeros(9, 8 * 48)},
    "fewer inputs than channels": {"classifier_0__weight": torch.zeros(9, 3)},
    "no inputs": {"classifier_0__weight": torch.zeros(9, 0)},
    "other inputs of the last layer": {"classifier_6__weight": torch.zeros(5, 8)},
    "one output": {"classifier_6__weight": torch.zeros(1, 9), "classifier_6__bias": torch.zeros(1)},
}


@pytest.mark.parametrize("what", OTHER_HEADS)
def test_other_heads_are_left_out_by_name(what: str, tmp_path: Path) -> None:
    net = convert_state_dict(changed(**OTHER_HEADS[what]), tmp_path)
    assert len(net.tensors) == 26 and not any(name.startswith("fc") for name in net.tensors)
    assert "its head (classifier.0, classifier.3, classifier.6" in net.left_out


@pytest.mark.parametrize("other", ["alexnet", "squeezenet1_0", "mobilenet_v2"])
def test_other_nets_with_features_are_refused(other: str, tmp_path: Path) -> None:
    need("torchvision")
    with torch.device("meta"):
        net = getattr(import_torchvision().models, other)().features
    with pytest.raises(VerydeepError, match="VGG"):
        convert_state_dict({f"features.{name}": tensor for name, tensor in net.state_dict().items()}, tmp_path)
