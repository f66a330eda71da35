"""timm's own nets, on timm's own preprocessing, against what is read of their files."""

import importlib
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from tests.models.weights.readers.source_nets import (
    CONFIGURATIONS,
    assert_close,
    fill,
    photograph,
    plain_features,
    plain_logits,
    torch_configuration,
)
from tests.peers import import_torchvision, need
from verydeep.configs.networks import NETWORKS
from verydeep.models.weights.readers.state_dicts import read_safetensors
from verydeep.models.weights.readers.torch_nets import convert_state_dict, timm_names
from verydeep.models.weights.weight_file import TORCHVISION_INPUT, WeightFile

FC = ("fc6", "fc7", "fc8")
MLP_RATIO = 1 / 256
"""timm's fc2 always gives 4096; this leaves 16 to fc1."""


@pytest.fixture(scope="module")
def timm() -> ModuleType:
    need("torchvision")
    need("timm")
    import_torchvision()
    return importlib.import_module("timm")


def timm_net(timm: ModuleType, network: str, *, batch_norm: bool = False) -> nn.Module:
    """A thin one of timm's own making, with five classes."""
    norm = nn.BatchNorm2d if batch_norm else None
    configuration = torch_configuration(network)
    return fill(timm.models.vgg.VGG(configuration, num_classes=5, mlp_ratio=MLP_RATIO, norm_layer=norm))


def saved(net: nn.Module, path: Path) -> WeightFile:
    save_file(net.state_dict(), path)
    return convert_state_dict(read_safetensors(path), path)


def prepared(timm: ModuleType, images: torch.Tensor, variant: str) -> torch.Tensor:
    """What timm's evaluation makes of an image that has the right size already."""
    config = timm.data.resolve_data_config(pretrained_cfg=timm.get_pretrained_cfg(variant).to_dict())
    mean, std = (torch.tensor(config[key])[:, None, None] for key in ("mean", "std"))
    return (images / 255 - mean) / std


@pytest.mark.parametrize("network", CONFIGURATIONS)
@pytest.mark.parametrize("batch_norm", [False, True])
def test_logits_are_the_sources(timm: ModuleType, network: str, batch_norm: bool, tmp_path: Path) -> None:
    source = timm_net(timm, network, batch_norm=batch_norm)
    net = saved(source, tmp_path / "model.safetensors")
    images = photograph(231, 250)
    variant = f"vgg{NETWORKS[network].num_weight_layers}{'_bn' * batch_norm}.tv_in1k"
    with torch.no_grad():
        assert_close(plain_logits(net, images).flatten(1), source(prepared(timm, images, variant)))
    assert net.format == ("timm, batch norm folded" if batch_norm else "timm")
    assert {name.split(".")[0] for name in net.tensors} == {*(name for name, _ in NETWORKS[network].convs()), *FC}
    assert (net.input, net.pooling) == (TORCHVISION_INPUT, "floor")
    assert "timm" in net.assumption
    (note,) = net.notes  # that of the thin fc1
    assert "16 and 4096 units; the narrower is filled up with zeros" in note and net.tensors["fc6.bias"].shape == (
        4096,
    )


@pytest.mark.parametrize("network", CONFIGURATIONS)
def test_names_are_timms(timm: ModuleType, network: str) -> None:
    source = timm_net(timm, network)
    layers = [name for name, layer in source.named_modules() if isinstance(layer, nn.Conv2d | nn.Linear)]
    assert list(timm_names(NETWORKS[network]).values()) == layers
    assert list(timm_names(NETWORKS[network])) == [*(name for name, _ in NETWORKS[network].convs()), *FC]


def test_a_trunk_of_timms_is_read_as_torchvisions(timm: ModuleType, tmp_path: Path) -> None:
    source = timm_net(timm, "D", batch_norm=True)
    source.pre_logits, source.head = nn.Identity(), nn.Identity()
    save_file(source.state_dict(), tmp_path / "trunk.safetensors")
    tensors = read_safetensors(tmp_path / "trunk.safetensors")
    net = convert_state_dict(tensors, tmp_path)
    images = photograph(70, 101)
    with torch.no_grad():
        features = source.forward_features(prepared(timm, images, "vgg16_bn.tv_in1k"))  # type: ignore[operator]
    assert_close(plain_features(net, images), features)
    assert net.input == TORCHVISION_INPUT


def test_what_vgg_has_not_is_left_out(timm: ModuleType, tmp_path: Path) -> None:
    tensors = dict(timm_net(timm, "A").state_dict())
    net = convert_state_dict(tensors | {"head.norm.weight": torch.zeros(5)}, tmp_path)
    assert "its head (pre_logits.fc1, pre_logits.fc2, head.fc, head.norm) is not that of a VGG net" in net.left_out
    net = convert_state_dict(tensors | {"pre_logits.fc1.weight": torch.zeros(8, 7, 7)}, tmp_path)
    assert not any(name.startswith("fc") for name in net.tensors)
