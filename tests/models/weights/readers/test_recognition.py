"""Nets that people build of VGG's layers, against what is read of them: any prefix, any names, any head."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from tests.models.weights.readers.source_nets import (
    CHANNELS,
    CONFIGURATIONS,
    assert_close,
    fill,
    photograph,
    plain_features,
    plain_logits,
)
from verydeep.configs.networks import NETWORKS
from verydeep.errors import VerydeepError, WeightsError
from verydeep.models.weights.reading import read_weight_file
from verydeep.models.weights.weight_file import RGB_INPUT, WeightFile

SIDES = 101, 98
"""Rounded down, pool5 has 3x3 positions."""
D = [name for name, _ in NETWORKS["D"].convs()]


def features(network: str = "D", *, batch_norm: bool = False) -> nn.Sequential:
    layers: list[nn.Module] = []
    channels = 3
    for out, convs in zip(CHANNELS, CONFIGURATIONS[network], strict=True):
        for _ in range(convs):
            norm = [nn.BatchNorm2d(out)] if batch_norm else []
            layers += [nn.Conv2d(channels, out, 3, padding=1), *norm, nn.ReLU()]
            channels = out
        layers.append(nn.MaxPool2d(2))
    return nn.Sequential(*layers)


def linears(fc6: int = 9, fc7: int = 9, outputs: int = 5, inputs: int = CHANNELS[-1] * 9) -> list[nn.Module]:
    """Three linear layers behind a map of 3x3 positions, without dropout."""
    return [nn.Flatten(), nn.Linear(inputs, fc6), nn.ReLU(), nn.Linear(fc6, fc7), nn.ReLU(), nn.Linear(fc7, outputs)]


def conv_names(names: list[str], net: nn.Sequential) -> dict[str, Tensor]:
    """The convolutions of a sequence, and their batch norms, under other names."""
    layers = [layer for layer in net if isinstance(layer, nn.Conv2d)]
    return {
        f"{name}.{kind}": values
        for name, layer in zip(names, layers, strict=True)
        for kind, values in layer.state_dict().items()
    }


def saved(tensors: dict[str, Tensor], path: Path, suffix: str = ".pth") -> WeightFile:
    path = path / f"net{suffix}"
    if suffix == ".pth":
        torch.save(tensors, path)
    else:
        save_file(tensors, path)
    return read_weight_file(path)


def through(net: nn.Module, file: WeightFile, images: Tensor) -> Tensor:
    """What the source net gives for images that are prepared as the file's input convention says."""
    mean, divisor = (torch.tensor(values)[:, None, None] for values in (file.input.mean_rgb, file.input.divisor_rgb))
    with torch.no_grad():
        result: Tensor = net((images - mean) / divisor)
    return result


def assert_whole(file: WeightFile, net: nn.Module) -> None:
    images = photograph(*SIDES)
    assert_close(plain_logits(file, images).flatten(1), through(net, file, images))


def assert_trunk(file: WeightFile, net: nn.Module) -> None:
    images = photograph(*SIDES)
    assert not any(name.startswith("fc") for name in file.tensors)
    assert_close(plain_features(file, images), through(net, file, images))


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("prefix", ["", "model.", "backbone.", "module.", "net.encoder.", "_orig_mod.model.", "a.0.1."])
def test_prefixes_change_nothing(prefix: str, batch_norm: bool, suffix: str, tmp_path: Path) -> None:
    net = fill(nn.Sequential(features("A", batch_norm=batch_norm), nn.Sequential(*linears())))
    names = {"0.": "features.", "1.": "classifier."}
    plain = {names[name[:2]] + name[2:]: values for name, values in net.state_dict().items()}
    assert_whole(saved({prefix + name: values for name, values in plain.items()}, tmp_path, suffix), net)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_names_within_sequences_alone(suffix: str, tmp_path: Path) -> None:
    """As fastai saves Sequential(body, head), and people a single sequence of all layers."""
    for number, net in enumerate((
        nn.Sequential(nn.Sequential(features()), nn.Sequential(*linears())),
        nn.Sequential(*features(), *linears()),
        nn.Sequential(nn.Identity(), nn.Dropout(0), *features("E", batch_norm=True), *linears()),
    )):  # fmt: skip
        (tmp_path / str(number)).mkdir()
        assert_whole(saved(fill(net).state_dict(), tmp_path / str(number), suffix), net)


class Numbered(nn.Module):
    """Every layer an attribute, as in tutorials: conv1, bn1, conv2, ..., fc1."""

    def __init__(self, *, batch_norm: bool) -> None:
        super().__init__()
        self.steps: list[nn.Module] = []
        number = 0
        for layer in (*features(batch_norm=batch_norm), *linears()):
            name = {nn.Conv2d: "conv", nn.BatchNorm2d: "bn", nn.Linear: "fc"}.get(type(layer), "")
            number += name in ("conv", "fc")
            if name:
                self.add_module(f"{name}{number}", layer)
            self.steps.append(layer)

    def forward(self, x: Tensor) -> Tensor:
        for step in self.steps:
            x = step(x)
        return x


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("batch_norm", [False, True])
def test_convolutions_are_known_by_their_order(batch_norm: bool, suffix: str, tmp_path: Path) -> None:
    net = fill(Numbered(batch_norm=batch_norm))
    file = saved(net.state_dict(), tmp_path, suffix)
    assert_whole(file, net)
    assert "conv1 to conv13 are taken for conv1_1 to conv5_3" in file.notes[0]
    assert "Its linear layers (fc14, fc15, fc16) are taken for fc6, fc7 and fc8" in file.notes[1]


@pytest.mark.parametrize(
    "name",
    [str, "vgg.{}".format, "{}.0".format, lambda name: f"net.block{name[4]}.conv{name[6]}", "conv_layers/{}".format],
)
def test_the_papers_and_keras_names_in_any_file(name: Callable[[str], str], tmp_path: Path) -> None:
    trunk = fill(features())
    assert isinstance(trunk, nn.Sequential)
    file = saved(conv_names([name(each) for each in D], trunk), tmp_path)
    assert_trunk(file, trunk)
    assert file.notes == ()


def test_the_papers_own_names_mean_the_papers_own_input(tmp_path: Path) -> None:
    net = fill(nn.Sequential(*features(), *linears()))
    assert isinstance(net, nn.Sequential)
    heads = {
        f"{name}.{kind}": values
        for name, layer in zip(("fc6", "fc7", "fc8"), (net[-5], net[-3], net[-1]), strict=True)
        for kind, values in layer.state_dict().items()
    }
    file = saved(conv_names(D, net) | heads, tmp_path)
    assert_whole(file, net)
    assert file.input == RGB_INPUT and str(RGB_INPUT) in file.assumption and len(file.notes) == 1


def test_averaged_models_and_checkpoints_of_lightning(tmp_path: Path) -> None:
    net = fill(nn.Sequential(*features(), *linears()))
    averaged = torch.optim.swa_utils.AveragedModel(net)
    assert "n_averaged" in averaged.state_dict()
    assert_whole(saved(averaged.state_dict(), tmp_path), net)
    weights = {f"model.{name}": values for name, values in net.state_dict().items()} | {"loss_fn.weight": torch.ones(5)}
    checkpoint = {
        "epoch": 3,
        "pytorch-lightning_version": "2.1",
        "state_dict": weights,
        "hyper_parameters": {"lr": 0.1},
    }
    torch.save(checkpoint, tmp_path / "last.ckpt")
    assert_whole(read_weight_file(tmp_path / "last.ckpt"), net)


@pytest.mark.parametrize(("fc6", "fc7"), [(9, 6), (6, 9)])
def test_hidden_layers_of_two_widths_are_filled_up_exactly(fc6: int, fc7: int, tmp_path: Path) -> None:
    net = fill(nn.Sequential(*features("A"), *linears(fc6, fc7)))
    file = saved(net.state_dict(), tmp_path)
    assert_whole(file, net)
    assert file.tensors["fc7.weight"].shape == (9, 9, 1, 1) and f"{fc6} and {fc7} units" in " ".join(file.notes)


def test_a_bias_that_is_missing_is_zero(tmp_path: Path) -> None:
    layers = linears()
    layers[-1] = nn.Linear(9, 5, bias=False)
    net = fill(nn.Sequential(*features("A"), *layers))
    assert_whole(saved(net.state_dict(), tmp_path), net)


C = CHANNELS[-1]
HEADS: dict[str, Callable[[], list[nn.Module]]] = {
    "one": lambda: [nn.Linear(9 * C, 5)],
    "one, pooled": lambda: [nn.Linear(C, 5)],
    "two": lambda: [nn.Linear(9 * C, 9), nn.Linear(9, 5)],
    "four": lambda: [nn.Linear(9 * C, 9), nn.Linear(9, 9), nn.Linear(9, 9), nn.Linear(9, 5)],
    "three, pooled": lambda: linears(inputs=C),
    "no chain": lambda: [nn.Linear(9 * C, 9), nn.Linear(9 * C, 9), nn.Linear(9, 5)],
    "another map": lambda: linears(inputs=6 * C),
    "one output": lambda: linears(outputs=1),
    "batch norm": lambda: [nn.BatchNorm1d(9 * C), *linears()],
    "batch norm, pooled": lambda: [nn.BatchNorm1d(2 * C), nn.Linear(2 * C, 9), nn.BatchNorm1d(9), nn.Linear(9, 5)],
    "a convolution": lambda: [nn.Conv2d(C, 5, 1)],
    "a decoder": lambda: [nn.ConvTranspose2d(C, 4, 2), nn.BatchNorm2d(4), nn.Conv2d(4, 3, 3)],
    "two heads": lambda: [nn.Linear(9 * C, 5), nn.Linear(9 * C, 3)],
    "a recurrent net": lambda: [nn.LSTM(C, 6)],
}


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("names", ["places", "paper", "order"])
@pytest.mark.parametrize("head", HEADS)
def test_other_heads_are_left_out_by_name(head: str, names: str, suffix: str, tmp_path: Path) -> None:
    trunk, layers = fill(features()), nn.Sequential(*HEADS[head]())
    assert isinstance(trunk, nn.Sequential)
    tensors = {f"my_head.{name}": values for name, values in layers.state_dict().items()}
    convs = {"places": [], "paper": [f"vgg.{name}" for name in D], "order": [f"c{n}" for n in range(13)]}[names]
    body = (
        conv_names(convs, trunk) if convs else {f"body.{name}": values for name, values in trunk.state_dict().items()}
    )
    file = saved(body | tensors, tmp_path, suffix)
    assert_trunk(file, trunk)
    assert "its head (my_head" in file.left_out
    assert (names == "order") == ("do not tell where it pools" in " ".join(file.notes))


def changed(change: Callable[[dict[str, Tensor]], object]) -> dict[str, Tensor]:
    tensors = conv_names([f"c{n}" for n in range(13)], features())
    change(tensors)
    return tensors


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda net: net.pop("c12.weight"), "12 convolutions (c0.weight of shape 4x3x3x3, "),
        (lambda net: net.update({"c5.weight": torch.ones(6, 6, 5, 5)}), "13 convolutions"),
        (lambda net: net.update({"prelu.weight": torch.ones(4)}), "prelu.weight of shape 4, which may change"),
        (lambda net: net.update({"act.weight": torch.ones(1)}), "act.weight of shape 1, which may change"),
        (lambda net: net.update({"c0.bias": torch.ones(5)}), "c0.bias of shape 5 for 4 outputs"),
        (lambda net: net.update({"c3.weight": net["c3.weight"].to(torch.int8)}), "c3.weight of type torch.int8"),
        (lambda net: net.update({f"b.{name}": values + 1 for name, values in net.items()}), "several nets"),
    ],
)  # fmt: skip
def test_what_is_no_net_of_the_paper_is_named(
    change: Callable[[dict[str, Tensor]], object], words: str, tmp_path: Path
) -> None:
    with pytest.raises(WeightsError) as refusal:
        saved(changed(change), tmp_path)
    assert words in str(refusal.value) and str(tmp_path) in str(refusal.value) and "\n" not in str(refusal.value)


@pytest.mark.parametrize("name", ["a\nb", "x" * 100_000, ".".join("y" * 50_000), "9" * 10_000, "²" * 9, ""])
def test_strange_names_cost_nothing_and_stay_in_one_line(name: str, tmp_path: Path) -> None:
    for number, tensors in enumerate((
        {f"{name}.weight": torch.ones(4, 3, 3, 3)},
        changed(lambda net: net.update({f"{name}.weight": torch.ones(4)})),
        changed(lambda net: net.update({f"{name}.bias": torch.ones(1, 4)})),
        {f"{name}.{key}": values for key, values in changed(len).items()},
    )):  # fmt: skip
        (tmp_path / str(number)).mkdir()
        try:
            file = saved(tensors, tmp_path / str(number))
        except WeightsError as refusal:
            messages: tuple[str, ...] = (str(refusal),)
        else:
            messages = (file.left_out, *file.notes)
        assert all("\n" not in message and len(message) < 800 for message in messages)


def test_two_nets_in_one_state_dict_are_named(tmp_path: Path) -> None:
    trunk = features("A").state_dict()
    both = {f"{net}.{name}": values + number for number, net in enumerate("ab") for name, values in trunk.items()}
    with pytest.raises(WeightsError, match="has several nets, 'a' and 'b': save one of them alone"):
        saved(both, tmp_path)
    twice = {f"{net}.{name}.weight": torch.rand(3, 3, 3, 3) for net in "ab" for name in D}
    with pytest.raises(WeightsError, match=r"two layers that may be conv1_1, 'a\.conv1_1' and 'b\.conv1_1'"):
        saved(twice, tmp_path)


def test_batch_norms_that_do_not_stand_behind_each_convolution_are_refused(tmp_path: Path) -> None:
    net = Numbered(batch_norm=True)
    del net.bn7
    with pytest.raises(WeightsError, match=r"bn1\.weight of shape 4, which may change what the convolutions give"):
        saved(net.state_dict(), tmp_path)


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"", "is empty"),
        (b"<!DOCTYPE html>", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a pointer of Git LFS"),
        (b"\x93NUMPY", "is not a weight file in a known format"),
    ],
)
def test_a_file_that_has_no_weights_is_called_what_it_is(tmp_path: Path, content: bytes, kind: str) -> None:
    (tmp_path / "net.pth").write_bytes(content)
    with pytest.raises(VerydeepError, match=f"net.pth {kind}"):
        read_weight_file(tmp_path / "net.pth")
