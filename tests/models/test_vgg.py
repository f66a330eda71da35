"""The nets against a twin of plain layers, against torchvision's, and against the paper's words."""

import importlib.util
import os
import re
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.conftest import picture
from tests.he_weights import draw_he_weights
from tests.models.plain_twin import PlainTwin, fill
from tests.peers import import_torchvision
from tests.table1 import CONTEXT, TABLE_1
from verydeep.configs.networks import NETWORKS
from verydeep.engine.runtime import Runtime
from verydeep.errors import VerydeepError
from verydeep.models.vgg import VGG

MEAN = (131.0, 96.0, 57.0)
ALL = sorted(TABLE_1)
CROP = 64


def images_of(count: int, height: int, width: int) -> Tensor:
    """(count, 3, height, width) uint8 RGB."""
    pixels = np.stack([picture(height, width, seed) for seed in range(count)])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous()


def small(name: str, *, crop: int = CROP, seed: int = 0, ceil_mode: bool = True, dropout: float = 0.5) -> VGG:
    net = VGG(
        NETWORKS[name],
        7,
        crop=crop,
        width=1 / 16,
        fc_width=24,
        mean_rgb=MEAN,
        ceil_mode=ceil_mode,
        dropout=dropout,
    )
    fill(net, seed)
    return net.eval()


def twin_of(net: VGG) -> PlainTwin:
    return PlainTwin(net.network.name, net.state_dict(), MEAN, ceil=net.ceil_mode)


def assert_same(ours: Tensor, theirs: Tensor, tolerance: float = 1e-5) -> None:
    """Equal within ``tolerance`` of the spread of the values, of which there has to be one."""
    assert ours.shape == theirs.shape
    spread = float(theirs.std())
    assert spread > 0.05
    assert float((ours - theirs).abs().max()) <= tolerance * float(theirs.abs().max())


@pytest.mark.parametrize("name", ALL)
def test_logits_equal_the_plain_twins(name: str) -> None:
    net, crops = small(name), images_of(3, CROP, CROP)
    with torch.no_grad():
        logits = net.logits(crops)
        scores = net(crops)
    assert scores.shape == (3, 7, 1, 1)
    assert_same(logits, twin_of(net).logits(crops))
    assert_same(scores[:, :, 0, 0], twin_of(net).logits(crops))


@pytest.fixture(scope="module")
def paper_sized() -> dict[str, Tensor]:
    """Weights of fc6-fc8 at the paper's size, shared by all nets of this module: half a gigabyte."""
    generator = torch.Generator().manual_seed(11)
    tensors = {}
    for name, shape in (("fc6", (4096, 512, 7, 7)), ("fc7", (4096, 4096, 1, 1)), ("fc8", (1000, 4096, 1, 1))):
        bound = (6 / (shape[1] * shape[2] * shape[3])) ** 0.5
        tensors[f"{name}.weight"] = torch.empty(shape).uniform_(-bound, bound, generator=generator)
        tensors[f"{name}.bias"] = torch.empty(shape[0]).normal_(0, 10, generator=generator)
    tensors["fc8.weight"] *= 0.03
    tensors["fc8.bias"] *= 0.1
    return tensors


def full_sized(name: str, fc: dict[str, Tensor]) -> VGG:
    """A net of the paper's size around the shared FC layers."""
    with torch.device("meta"):
        net = VGG(NETWORKS[name], mean_rgb=MEAN)
    generator = torch.Generator().manual_seed(12)
    tensors = dict(fc)
    for key, empty in net.state_dict().items():
        if key not in tensors and key.endswith("weight"):
            tensors[key] = torch.empty(empty.shape).normal_(0, (2 / empty[0].numel()) ** 0.5, generator=generator)
        elif key not in tensors:
            tensors[key] = torch.empty(empty.shape).normal_(0, 10, generator=generator)
    net.load_state_dict(tensors, assign=True)
    return net.eval()


@pytest.mark.parametrize("name", ["A-LRN", "C"])
def test_logits_equal_the_plain_twins_at_the_papers_size(name: str, paper_sized: dict[str, Tensor]) -> None:
    """Two that torchvision does not have; A, B, D and E stand in the next test."""
    net, crop = full_sized(name, paper_sized), images_of(1, 224, 224)
    with torch.no_grad():
        logits = net.logits(crop)
    assert logits.shape == (1, 1000)
    assert_same(logits, twin_of(net).logits(crop))


@pytest.fixture(scope="module")
def torchvision() -> ModuleType:
    """The peer; where VERYDEEP_REQUIRE_PEERS is set, its absence is a failure."""
    if importlib.util.find_spec("torchvision") is None:
        reason = "torchvision is not installed: pip install --no-deps torchvision==0.28.0"
        if os.environ.get("VERYDEEP_REQUIRE_PEERS"):
            pytest.fail(reason)
        pytest.skip(reason)
    return import_torchvision()


@pytest.mark.parametrize(("name", "theirs"), [("A", "vgg11"), ("B", "vgg13"), ("D", "vgg16"), ("E", "vgg19")])
def test_logits_equal_torchvisions(
    name: str, theirs: str, paper_sized: dict[str, Tensor], torchvision: ModuleType
) -> None:
    net, crop = full_sized(name, paper_sized), images_of(1, 224, 224)
    with torch.device("meta"):
        peer = torchvision.models.get_model(theirs, weights=None, init_weights=False)
    ours = list(net.state_dict().values())
    flat = [tensor if tensor.dim() != 4 or "features" in key else tensor.reshape(tensor.shape[0], -1)
            for key, tensor in zip(peer.state_dict(), ours, strict=True)]  # fmt: skip
    peer.load_state_dict(dict(zip(peer.state_dict(), flat, strict=True)), assign=True)
    with torch.no_grad():
        expected = peer.eval()(crop - torch.tensor(MEAN).view(3, 1, 1))
        logits = net.logits(crop)
    assert_same(logits, expected, tolerance=1e-4)


@pytest.mark.parametrize("ceil_mode", [True, False])
@pytest.mark.parametrize("name", ALL)
def test_dense_scores_are_the_twins_of_each_window_in_its_context(name: str, ceil_mode: bool) -> None:
    """Score (i, j) is the twin's of the window at rows [32i, 32i + crop) and columns [32j, 32j + crop).

    The twin sees just the window's receptive field, cut from the image in steps of 32 so that its poolings lie as
    before; beyond the image's own border there is zero padding, as in the whole.
    """
    height, width = 227, 331
    net, image = small(name, ceil_mode=ceil_mode), images_of(1, height, width)
    twin, margin, side = twin_of(net), -(-CONTEXT[name] // 32) * 32, CROP // 32
    with torch.no_grad():
        scores = net(image)[0]  # (K, h, w)
    rounded = [-(-length // 32) if ceil_mode else length // 32 for length in (height, width)]
    assert scores.shape == (7, rounded[0] - 1, rounded[1] - 1)
    for i in range(scores.shape[1]):
        for j in range(scores.shape[2]):
            top, left = max(0, 32 * i - margin), max(0, 32 * j - margin)
            cut = image[:, :, top : 32 * i + CROP + margin, left : 32 * j + CROP + margin]
            y, x = i - top // 32, j - left // 32
            expected = twin.classify(twin.features(cut)[:, :, y : y + side, x : x + side])[0]
            assert_same(scores[:, i, j], expected, tolerance=3e-5)


def test_context_matters_to_dense_scores() -> None:
    """The test above can fail: without its context an inner window scores otherwise (section 3.2)."""
    net, image = small("D"), images_of(1, 227, 331)
    with torch.no_grad():
        dense, alone = net(image)[0, :, 2, 3], net.logits(image[:, :, 64:128, 96:160])[0]
    assert float((dense - alone).abs().max()) > 1e-3 * float(dense.abs().max())


@pytest.mark.parametrize("name", ALL)
def test_scores_see_no_further_than_the_receptive_field(name: str) -> None:
    """Changing everything beyond CONTEXT changes nothing; the next pixel does.

    Weights are positive, so that nothing cancels, and small, so that LRN grows with what it is given.
    """
    net = small(name).double()
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_(parameter.abs() + 0.01)
        net.get_parameter("conv1_1.weight").mul_(1e-3)
        net.get_parameter("conv1_1.bias").mul_(1e-3)
    length = 32 * 12
    position, context = 5, CONTEXT[name]
    first, behind = 32 * position - context, 32 * position + CROP + context
    image = torch.full((1, 3, CROP, length), 200.0)
    far = image.clone()
    far[..., :first], far[..., behind:] = 255.0, 255.0
    nearer_left, nearer_right = far.clone(), far.clone()
    nearer_left[..., first], nearer_right[..., behind - 1] = 255.0, 255.0
    with torch.no_grad():
        base, unseen, left, right = (
            net(x.double())[0, :, 0, position] for x in (image, far, nearer_left, nearer_right)
        )
    assert torch.equal(base, unseen)
    assert (left != base).all()
    assert (right != base).all()


@pytest.mark.parametrize("name", ALL)
def test_at_the_crops_size_dense_is_the_crop(name: str) -> None:
    net, crops = small(name), images_of(2, CROP, CROP)
    with torch.no_grad():
        scores, logits = net(crops), net.logits(crops)
    assert scores.shape[2:] == (1, 1)
    assert torch.equal(scores[:, :, 0, 0], logits)
    assert_same(twin_of(net).dense(crops, CROP // 32), scores)


def test_logits_are_the_mean_over_positions() -> None:
    net, images = small("B"), images_of(2, 97, 150)
    dense = twin_of(net).dense(images, CROP // 32)
    height, width = dense.shape[2:]
    assert (height, width) == (3, 4)
    positions = [dense[:, :, i, j] for i in range(height) for j in range(width)]
    by_hand = torch.stack(positions).sum(dim=0) / len(positions)
    with torch.no_grad():
        assert_same(net.logits(images), by_hand)


def test_channel_order_matters() -> None:
    net, crops = small("A"), images_of(2, CROP, CROP)
    with torch.no_grad():
        rgb, bgr = net.logits(crops), net.logits(crops.flip(1))
    assert float((rgb - bgr).abs().max()) > 0.1


def test_the_mean_is_subtracted() -> None:
    """An image of the mean color is zero to the first layer: only its biases are left."""
    net = small("A")
    image = torch.tensor(MEAN).view(1, 3, 1, 1).expand(1, 3, CROP, CROP)
    seen: dict[str, Tensor] = {}
    net.get_submodule("conv1_1").register_forward_hook(lambda _m, inputs, output: seen.update(x=inputs[0], y=output))
    with torch.no_grad():
        net(image)
    assert seen["x"].abs().max() == 0
    assert torch.equal(seen["y"][0, :, 5, 9], net.get_parameter("conv1_1.bias"))


def test_bytes_and_floats_of_an_image_give_the_same() -> None:
    net, crops = small("A"), images_of(2, CROP, CROP)
    with torch.no_grad():
        expected = net.logits(crops.float())
        for dtype in (torch.uint8, torch.int32, torch.int64):
            assert torch.equal(net.logits(crops.to(dtype)), expected)


def test_memory_format_gives_the_same() -> None:
    net, images = small("D"), images_of(2, 75, 107)
    with torch.no_grad():
        expected = net(images.float())
        net = Runtime(torch.device("cpu"), bf16=False).place(net)
        assert net.get_parameter("conv2_1.weight").is_contiguous(memory_format=torch.channels_last)
        assert_same(net(images.float().contiguous(memory_format=torch.channels_last)), expected)


def test_state_dict_holds_the_papers_layers_and_no_mean() -> None:
    layers = [
        "conv1_1",
        "conv2_1",
        "conv3_1",
        "conv3_2",
        "conv4_1",
        "conv4_2",
        "conv5_1",
        "conv5_2",
        "fc6",
        "fc7",
        "fc8",
    ]
    keys = [f"{layer}.{what}" for layer in layers for what in ("weight", "bias")]
    assert list(small("A").state_dict()) == keys
    assert list(small("A").weight_layers()) == layers


def test_layers_carry_the_papers_names() -> None:
    names = [
        "conv1_1",
        "relu1_1",
        "conv1_2",
        "relu1_2",
        "pool1",
        "conv2_1",
        "relu2_1",
        "conv2_2",
        "relu2_2",
        "pool2",
        "conv3_1",
        "relu3_1",
        "conv3_2",
        "relu3_2",
        "conv3_3",
        "relu3_3",
        "pool3",
        "conv4_1",
        "relu4_1",
        "conv4_2",
        "relu4_2",
        "conv4_3",
        "relu4_3",
        "pool4",
        "conv5_1",
        "relu5_1",
        "conv5_2",
        "relu5_2",
        "conv5_3",
        "relu5_3",
        "pool5",
        "fc6",
        "relu6",
        "drop6",
        "fc7",
        "relu7",
        "drop7",
        "fc8",
    ]
    assert [name for name, _ in small("D").named_children()] == names
    assert [name for name, _ in small("A-LRN").named_children()][:4] == ["conv1_1", "relu1_1", "norm1_1", "pool1"]
    assert not any(isinstance(layer, nn.LocalResponseNorm) for layer in small("A").children())


def test_hooks_give_features() -> None:
    net, images = small("A"), images_of(2, 100, 140)
    seen: dict[str, Tensor] = {}
    for name in ("pool5", "relu7"):
        net.get_submodule(name).register_forward_hook(lambda _m, _i, output, name=name: seen.update({name: output}))
    with torch.no_grad():
        net(images)
    assert_same(seen["pool5"], twin_of(net).features(images))
    assert seen["relu7"].shape == (2, 24, 3, 4)
    assert float(seen["relu7"].min()) == 0


@pytest.mark.parametrize("p", [0.5, 0.25])
def test_dropout_lies_behind_fc6_and_fc7(p: float) -> None:
    net, crops = small("A", dropout=p), images_of(64, CROP, CROP)
    seen: dict[str, Tensor] = {}
    for name in ("relu6", "drop6", "fc7", "relu7", "drop7", "fc8"):
        net.get_submodule(name).register_forward_hook(
            lambda _m, inputs, output, name=name: seen.update({f"{name} in": inputs[0], name: output})
        )
    torch.manual_seed(3)
    with torch.no_grad():
        net.train()(crops)
    for relu, drop, fc in (("relu6", "drop6", "fc7"), ("relu7", "drop7", "fc8")):
        alive = seen[relu] > 0
        dropped = (seen[drop] == 0) & alive
        share = float(dropped.sum() / alive.sum())
        assert abs(share - p) < 5 * (p * (1 - p) / float(alive.sum())) ** 0.5
        kept = alive & ~dropped
        assert torch.allclose(seen[drop][kept], seen[relu][kept] / (1 - p))
        assert torch.equal(seen[f"{fc} in"], seen[drop])
    assert (seen["drop6"] > 0).ne(seen["drop7"] > 0).any()


def test_given_masks_are_what_is_dropped() -> None:
    net, crops = small("B-5x5"), images_of(3, CROP, CROP)
    generator = torch.Generator().manual_seed(8)
    keep6, keep7 = (torch.rand(3, 24, generator=generator) < 0.5 for _ in range(2))
    twin = twin_of(net)
    expected = twin.classify(twin.features(crops), keep6, keep7)
    with torch.no_grad():
        logits = net.train().logits(crops, {"drop6": keep6, "drop7": keep7})
        swapped = net.logits(crops, {"drop6": keep7, "drop7": keep6})
    assert_same(logits, expected)
    assert float((swapped - expected).abs().max()) > 0.05


def test_dropout_does_nothing_in_eval_mode_or_at_zero() -> None:
    net, crops = small("A"), images_of(2, CROP, CROP)
    masks = {name: torch.zeros(2, 24, dtype=torch.bool) for name in ("drop6", "drop7")}
    with torch.no_grad():
        expected = net.logits(crops)
        assert torch.equal(net.logits(crops, masks), expected)
        net.train().set_dropout(0)
        assert torch.equal(net.logits(crops), expected)
        net.set_dropout(0.5)
        assert not torch.equal(net.logits(crops), expected)


@pytest.mark.parametrize(
    "arguments",
    [
        {"crop": 0},
        {"crop": 100},
        {"crop": -32},
        {"num_classes": -1},
        {"width": 0.0},
        {"width": -1.0},
        {"fc_width": 0},
        {"dropout": 1.0},
        {"dropout": -0.1},
    ],
)
def test_arguments_out_of_range_are_reported(arguments: dict[str, Any]) -> None:
    with pytest.raises(VerydeepError, match=re.escape(str(next(iter(arguments.values()))))):
        VGG(NETWORKS["A"], **{"num_classes": 3, **arguments})


def test_a_trunk_ends_at_pool5() -> None:
    """Its map is what the whole net gives to fc6, and it has the parameters of the convolutions alone."""
    shape = {"crop": 64, "width": 0.1, "fc_width": 9}
    whole, trunk = VGG(NETWORKS["D"], 5, **shape).eval(), VGG(NETWORKS["D"], 0, **shape).eval()
    draw_he_weights(whole)
    trunk.load_state_dict({name: each for name, each in whole.state_dict().items() if name.startswith("conv")})
    images = 255 * torch.rand(2, 3, 77, 130)
    with torch.inference_mode():
        found = whole.activations(images, ["relu5_3", "pool5", "fc7"])
        assert torch.equal(trunk(images), found["pool5"]) and found["pool5"].shape == (2, 51, 3, 5)
        assert torch.equal(found["fc7"], whole.fc7(whole.relu6(whole.fc6(found["pool5"]))))
        assert found["relu5_3"].min() == 0 and found["fc7"].min() < 0
    assert {name.split("_")[0][:4] for name in trunk.state_dict()} == {"conv"}
    with pytest.raises(VerydeepError, match=r"Net D has no layer fc6 \(`layer`\): choose one of .*pool5"):
        trunk.activations(images, ["fc6"])
