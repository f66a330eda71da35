"""Drawn weights against the formulas; which layers are taken from which net, and the reasons given."""

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from tests.models.plain_twin import fill
from verydeep.configs.networks import NETWORKS
from verydeep.configs.recipes import Initialization
from verydeep.errors import VerydeepError
from verydeep.models.initialization import WeightSource, draw_layer, initialize, initialize_from
from verydeep.models.vgg import VGG

CLASSES = ("ant", "bell", "crab")


def net_of(name: str, *, classes: int = 3, crop: int = 32, width: float = 1 / 8, fc_width: int = 96) -> VGG:
    return VGG(NETWORKS[name], classes, crop=crop, width=width, fc_width=fc_width)


def fans(net: VGG, name: str) -> tuple[int, int]:
    """Inputs of one output and outputs of one input; an FC layer is a matrix, whatever kernel it is kept as."""
    out, inside, height, width = net.weight_layers()[name].weight.shape
    return inside * height * width, out if name.startswith("fc") else out * height * width


@pytest.mark.parametrize("name", ["conv1_1", "conv4_2", "conv3_3", "fc6", "fc7", "fc8"])
def test_glorot_is_uniform_within_its_bound(name: str) -> None:
    """U(-b, b), b = sqrt(6 / (fan_in + fan_out)): the bound is nearly reached, the deviation is b / sqrt(3)."""
    net = net_of("C", classes=50, crop=64)
    initialize(net, "glorot", seed=4)
    weight = net.weight_layers()[name].weight.detach()
    bound = math.sqrt(6 / sum(fans(net, name)))
    assert 0.98 * bound < float(weight.abs().max()) <= bound * (1 + 1e-6)
    assert float(weight.std()) == pytest.approx(bound / math.sqrt(3), rel=5 / math.sqrt(2 * weight.numel()))
    assert abs(float(weight.mean())) < 5 * bound / math.sqrt(3 * weight.numel())


def test_the_fans_above_give_the_known_bounds() -> None:
    """At the paper's size Glorot's bound is 0.0998 for conv1_1, 0.01434 for fc6, 0.0343 for fc8 (docs/choices.md)."""
    with torch.device("meta"):
        net = VGG(NETWORKS["A"])
    bounds = [math.sqrt(6 / sum(fans(net, name))) for name in ("conv1_1", "fc6", "fc8")]
    assert bounds == pytest.approx([0.0998, 0.01434, 0.0343], rel=1e-3)


@pytest.mark.parametrize("name", ["conv1_1", "conv4_2", "fc6", "fc8"])
def test_the_normal_scheme_has_its_deviation(name: str) -> None:
    net, std = net_of("D", classes=50), 0.01
    initialize(net, "normal", seed=4)
    weight = net.weight_layers()[name].weight.detach()
    assert float(weight.std()) == pytest.approx(std, rel=5 / math.sqrt(2 * weight.numel()))
    assert abs(float(weight.mean())) < 5 * std / math.sqrt(weight.numel())
    within = float((weight.abs() < std).float().mean())
    assert abs(within - 0.6827) < 5 * math.sqrt(0.6827 * 0.3173 / weight.numel())


@pytest.mark.parametrize("scheme", ["glorot", "normal"])
def test_biases_begin_at_zero(scheme: Initialization) -> None:
    net = net_of("E")
    fill(net)
    initialize(net, scheme)
    assert all(bool((layer.bias == 0).all()) for layer in net.weight_layers().values() if layer.bias is not None)


def test_a_draw_is_a_function_of_seed_and_layer() -> None:
    one, other = net_of("D"), net_of("D")
    initialize(one, "glorot", seed=7)
    for name in reversed(other.weight_layers()):
        torch.manual_seed(1)
        torch.rand(13)
        draw_layer(other, name, "glorot", 7)
    for name, tensor in one.state_dict().items():
        assert torch.equal(tensor, other.state_dict()[name])
    alike = [one.get_parameter(f"{name}.weight") for name in ("conv4_2", "conv4_3", "conv5_1", "conv5_2", "conv5_3")]
    assert not any(torch.equal(a, b) for a, b in pairwise(alike))


@pytest.mark.parametrize("scheme", ["glorot", "normal"])
def test_each_seed_draws_other_weights(scheme: Initialization) -> None:
    nets = [net_of("A") for _ in range(4)]
    for net, seed in zip(nets, (0, 1, 2, 2**31), strict=True):
        initialize(net, scheme, seed=seed)
    for name in nets[0].weight_layers():
        firsts = {float(net.get_parameter(f"{name}.weight").flatten()[0].detach()) for net in nets}
        assert len(firsts) == 4, f"{name} is the same for several seeds"


def test_drawing_leaves_the_global_generator_alone() -> None:
    net = net_of("A")
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    initialize(net)
    assert torch.equal(torch.rand(3), expected)


def logit_deviation(net: VGG) -> float:
    """By formula: inputs of RMS 73, fan_in and deviation of each layer, half of the power behind a ReLU."""
    power = 73.0**2
    for name in net.weight_layers():
        power *= fans(net, name)[0] * 0.01**2 * (0.5 if name != "fc8" else 1)
    return math.sqrt(power)


@pytest.mark.parametrize(("name", "published"), [("A", 4.5e-4), ("D", 1.4e-6), ("E", 1.1e-7)])
def test_deviation_001_makes_the_logits_of_deep_nets_vanish(name: str, published: float) -> None:
    """The formula gives the published figures at the paper's size, and the order of magnitude of a real small net."""
    with torch.device("meta"):
        paper = VGG(NETWORKS[name])
    assert logit_deviation(paper) == pytest.approx(published, rel=0.05)
    net = net_of(name, classes=20, crop=64, width=1 / 4)
    initialize(net, "normal", seed=2)
    generator = torch.Generator().manual_seed(1)
    images = torch.tensor((123.68, 116.779, 103.939)).view(3, 1, 1) + 73 * torch.randn(
        2, 3, 64, 64, generator=generator
    )
    with torch.no_grad():
        measured = float(net.logits(images).std())
    # Max-pooling takes the larger ones: up to a factor of two a pooling and layer, never an order of magnitude less.
    assert 0.3 < measured / logit_deviation(net) < 30


def source_of(net: VGG, classes: tuple[str, ...] = CLASSES) -> WeightSource:
    fill(net, seed=9)
    tensors = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    return WeightSource("runs/first", net.network.name, tensors, classes)


def taken_and_drawn(
    net: VGG, source: WeightSource, classes: tuple[str, ...] = CLASSES
) -> tuple[list[str], dict[str, str]]:
    """Names of the copied layers, and reasons of the others; the weights have to agree."""
    origins = initialize_from(net, classes, source, "glorot", seed=3)
    assert [origin.layer for origin in origins] == list(net.weight_layers())
    drawn = VGG(net.network, net.num_classes, crop=net.crop, width=net.width, fc_width=net.fc_width)
    initialize(drawn, "glorot", seed=3)
    for origin in origins:
        expected: dict[str, Tensor] = dict(source.tensors) if origin.copied else drawn.state_dict()
        for key in (f"{origin.layer}.weight", f"{origin.layer}.bias"):
            assert torch.equal(net.state_dict()[key], expected[key])
    return [o.layer for o in origins if o.copied], {o.layer: o.reason for o in origins if not o.copied}


@pytest.mark.parametrize("deep", ["B", "C", "D", "E"])
@pytest.mark.parametrize("shallow", ["A", "A-LRN"])
def test_deeper_nets_take_the_papers_layers_from_a(shallow: str, deep: str) -> None:
    """The first four convolutions of A and its FC layers; conv4_1 to conv5_2 would fit and are drawn all the same."""
    taken, drawn = taken_and_drawn(net_of(deep), source_of(net_of(shallow)))
    assert taken == ["conv1_1", "conv2_1", "conv3_1", "conv3_2", "fc6", "fc7", "fc8"]
    assert "conv4_1" in drawn and "conv5_2" in drawn


def test_the_shallow_net_takes_only_the_fc_layers_from_a() -> None:
    taken, drawn = taken_and_drawn(net_of("B-5x5"), source_of(net_of("A")))
    assert taken == ["fc6", "fc7", "fc8"]
    assert "8x3x3x3 there, 8x3x5x5 here" in drawn["conv1_1"]


@pytest.mark.parametrize("name", ["A", "D", "B-5x5"])
def test_the_same_network_is_taken_whole(name: str) -> None:
    taken, drawn = taken_and_drawn(net_of(name), source_of(net_of(name)))
    assert taken == list(net_of(name).weight_layers())
    assert not drawn


@pytest.mark.parametrize("classes", [("ant", "bell", "dog"), ("bell", "ant", "crab"), ("ant", "bell")])
def test_with_other_classes_the_last_layer_is_drawn(classes: tuple[str, ...]) -> None:
    net = net_of("D", classes=len(classes))
    taken, drawn = taken_and_drawn(net, source_of(net_of("D")), classes)
    assert list(drawn) == ["fc8"]
    assert "classes" in drawn["fc8"]
    assert "conv5_3" in taken


def test_with_another_crop_fc6_is_drawn() -> None:
    _, drawn = taken_and_drawn(net_of("D", crop=64), source_of(net_of("D")))
    assert list(drawn) == ["fc6"]
    assert "96x64x1x1 there, 96x64x2x2 here" in drawn["fc6"]


def test_e_takes_what_it_shares_with_d() -> None:
    _, drawn = taken_and_drawn(net_of("E"), source_of(net_of("D")))
    assert list(drawn) == ["conv3_4", "conv4_4", "conv5_4"]
    assert "no such layer" in drawn["conv3_4"]


def test_nothing_that_fits_is_an_error_and_changes_nothing() -> None:
    net = net_of("D", width=1 / 16, fc_width=32)
    fill(net, seed=1)
    before = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    with pytest.raises(VerydeepError, match="runs/first"):
        initialize_from(net, CLASSES, source_of(net_of("A")))
    assert all(torch.equal(tensor, before[name]) for name, tensor in net.state_dict().items())
