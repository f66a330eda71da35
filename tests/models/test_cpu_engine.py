"""The CPU engine against float64 and against PyTorch's kernels, on any shape; and where there is nothing to compute."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from tests.conftest import picture
from tests.he_weights import draw_he_weights
from verydeep.configs.networks import NETWORKS, Conv, Network
from verydeep.errors import VerydeepError
from verydeep.models.cpu_engine import INSTRUCTION_SETS, CpuNet, can_compute, describe_engine, find_instruction_set
from verydeep.models.pieces import average_map
from verydeep.models.vgg import VGG

pytestmark = pytest.mark.skipif(find_instruction_set() is None, reason=describe_engine())
needs_bf16 = pytest.mark.skipif(not can_compute(bf16=True), reason=describe_engine())

HERE = INSTRUCTION_SETS[: 1 + INSTRUCTION_SETS.index(find_instruction_set() or "avx2")]
"""The instruction sets that this processor has kernels for."""

MULTIPLY_ADDS = 5e7
"""Of the largest layer, so that float64 takes a fraction of a second."""


def net_of(name: str, *, width: float = 1 / 16, crop: int = 64, ceil_mode: bool = True, classes: int = 7) -> VGG:
    net = VGG(NETWORKS[name], classes, crop=crop, width=width, fc_width=40, ceil_mode=ceil_mode).eval()
    draw_he_weights(net, 3)
    return net


def photographs(count: int, height: int, width: int) -> Tensor:
    """(count, 3, height, width) uint8 in the memory format that decoding leaves."""
    return torch.from_numpy(np.stack([picture(height, width, seed) for seed in range(count)])).permute(0, 3, 1, 2)


def rms(values: Tensor) -> float:
    return float(values.double().square().mean().sqrt())


def relative_error(ours: Tensor, exact: Tensor) -> float:
    """Root mean square of the error, relative to that of the exact values."""
    return rms(ours.double() - exact) / rms(exact)


@st.composite
def layer_shapes(draw: st.DrawFn) -> tuple[int, int, int, int, int]:
    """Images, height, width, channels in and out of one convolution."""
    height, width = draw(st.integers(1, 300)), draw(st.integers(1, 300))
    inputs = draw(st.integers(1, min(512, max(1, int(MULTIPLY_ADDS / (75 * height * width))))))  # from 3 by 5x5
    budget = int(MULTIPLY_ADDS / (9 * height * width * inputs))
    outputs = draw(st.integers(1, min(512, max(1, budget))))
    return draw(st.integers(1, min(9, max(1, budget // outputs)))), height, width, inputs, outputs


@given(layer_shapes(), st.sampled_from([3, 5]), st.booleans(), st.sampled_from(HERE))
@example((1, 1, 1, 1, 1), 3, True, HERE[-1])
@example((1, 1, 1, 1, 1), 5, True, HERE[-1])
@example((3, 4, 5, 512, 512), 3, False, HERE[-1])
@example((2, 6, 5, 512, 200), 5, False, HERE[-1])
@example((9, 14, 14, 17, 33), 3, True, HERE[0])
@example((1, 300, 1, 64, 64), 3, True, HERE[-1])
@example((2, 9, 239, 64, 40), 3, True, HERE[-1])
@settings(max_examples=25)
@torch.no_grad()
def test_a_convolution_errs_as_float32_does(
    shape: tuple[int, int, int, int, int], kernel: int, ceil_mode: bool, instruction_set: str
) -> None:
    count, height, width, inputs, outputs = shape
    network = Network("two", ((Conv(inputs, kernel), Conv(outputs, kernel)),))
    model = VGG(network, 0, crop=32, ceil_mode=ceil_mode).eval()
    draw_he_weights(model, height * width)
    net = CpuNet(model, instruction_set=instruction_set)
    images = photographs(count, height, width)
    found = net.activations(images, ["conv1_1", "relu1_1", "conv1_2"])
    layers = [
        (images.double() - model.mean_rgb.double()[:, None, None], model.conv1_1, found["conv1_1"]),
        (found["relu1_1"].double(), model.conv1_2, found["conv1_2"]),
    ]
    for x, conv, ours in layers:
        weight, bias = conv.weight.double(), conv.bias.double()
        exact = F.conv2d(x, weight, bias, padding=kernel // 2)
        scale = F.conv2d(x.abs(), weight.abs(), bias.abs(), padding=kernel // 2)
        assert ours.shape == exact.shape and rms(ours.double() - exact) <= 3e-6 * rms(scale)
    # What follows a convolution runs inside it, and two 3x3 ones run as one, unless their own results are wanted. The
    # bits are equal.
    assert torch.equal(found["relu1_1"], found["conv1_1"].relu())
    if ceil_mode or min(height, width) > 1:
        pooled = F.max_pool2d(found["conv1_2"].relu(), 2, ceil_mode=ceil_mode)
        assert torch.equal(net.activations(images, ["pool1"])["pool1"], pooled)


@pytest.mark.parametrize(("name", "ceil_mode"), [*product(sorted(NETWORKS), [True, False])])
@torch.inference_mode()
def test_every_net_computes_what_pytorch_computes(name: str, ceil_mode: bool) -> None:
    model = net_of(name, ceil_mode=ceil_mode)
    exact, net = net_of(name, ceil_mode=ceil_mode).double(), CpuNet(model)
    for shape in ((2, 64, 64), (1, 97, 131)):
        images = photographs(*shape)
        layers = [layer for layer, _ in model.named_children()]
        ours, theirs = net.activations(images, layers), exact.activations(images.double(), layers)
        for layer in layers:
            assert ours[layer].shape == theirs[layer].shape
            assert relative_error(ours[layer], theirs[layer]) < 3e-6, layer
        torch.testing.assert_close(net(images), ours["fc8"], rtol=0, atol=0)
        assert relative_error(net.logits(images), exact.logits(images.double())) < 3e-6


@pytest.mark.parametrize("instruction_set", HERE)
@torch.inference_mode()
def test_instruction_sets_agree(instruction_set: str) -> None:
    model, images = net_of("D", width=0.2), photographs(2, 75, 91)
    ours = CpuNet(model, instruction_set=instruction_set)(images)
    assert relative_error(ours, net_of("D", width=0.2).double()(images.double())) < 3e-6


@torch.inference_mode()
def test_results_depend_neither_on_the_batch_nor_on_threads() -> None:
    net, images = CpuNet(net_of("D", width=0.25)), photographs(5, 83, 70)
    together, threads = net(images), torch.get_num_threads()
    assert torch.equal(together, torch.cat([net(image[None]) for image in images]))
    try:
        for number in (1, 3):
            torch.set_num_threads(number)
            assert torch.equal(together, net(images))
    finally:
        torch.set_num_threads(threads)
    with ThreadPoolExecutor(4) as pool:
        sizes = [images, images[:1], images[:, :, :64, :64], images[1:4]] * 4
        expected = [net(size) for size in sizes[:4]] * 4
        assert all(torch.equal(*pair) for pair in zip(pool.map(net, sizes), expected, strict=True))


@torch.inference_mode()
def test_any_memory_format_is_read_as_it_is() -> None:
    net, images = CpuNet(net_of("A")), photographs(3, 70, 81)
    expected = net(images)
    flipped = images.flip(3).flip(3)
    wide = torch.cat([images, images], dim=3).narrow(3, 81, 81)
    for each in (images.contiguous(), images.float(), images.float().contiguous(), flipped, wide, wide.float()):
        assert torch.equal(net(each), expected)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
@torch.inference_mode()
def test_what_is_not_finite_stays_so(bad: float) -> None:
    model = net_of("A", width=0.25)
    images = photographs(1, 80, 100).float()
    images[0, 1, 33, 50] = bad
    layers = ["conv1_1", "pool1", "conv2_1", "relu5_2", "pool5", "fc6", "relu7", "fc8"]
    ours, theirs = CpuNet(model).activations(images, layers), model.activations(images, layers)
    for layer in layers:
        assert not theirs[layer].isfinite().all()
        assert not (ours[layer].isfinite() & ~theirs[layer].isfinite()).any(), layer
    with torch.no_grad():
        model.conv5_2.bias[3] = float("nan")
    net = CpuNet(model)
    assert net(photographs(1, 80, 100)).isnan().all()
    assert net.activations(photographs(1, 80, 100), ["relu5_2"])["relu5_2"][:, 3].isnan().all()


@torch.inference_mode()
def test_tiny_huge_and_no_images() -> None:
    trunk = VGG(NETWORKS["A"], 0, crop=32, width=1 / 16).eval()
    draw_he_weights(trunk, 1)
    net = CpuNet(trunk)
    for height, width in ((1, 1), (1, 40), (33, 1), (40, 20_000)):
        images = photographs(1, height, width)
        assert net(images).shape == trunk(images).shape
        assert relative_error(net(images), trunk(images).double()) < 3e-6
    classifier = net_of("A")
    assert CpuNet(classifier)(photographs(1, 64, 64)[:0]).shape == (0, 7, 1, 1)
    assert CpuNet(classifier).activations(photographs(1, 96, 64)[:0], ["fc6"])["fc6"].shape == (0, 40, 2, 1)
    with pytest.raises(ValueError, match="too small for fc8 at crop 64"):
        CpuNet(classifier)(photographs(1, 64, 31))
    with pytest.raises(VerydeepError, match="has no layer relu9") as ours:
        CpuNet(classifier).activations(photographs(1, 64, 64), ["relu9"])
    with pytest.raises(VerydeepError) as theirs:
        classifier.activations(photographs(1, 64, 64), ["relu9"])
    assert str(ours.value) == str(theirs.value)


@torch.inference_mode()
def test_pieces_of_large_images_are_the_whole() -> None:
    model = net_of("A", width=1 / 32)
    images = photographs(1, 70, 25_000)
    for layer in (None, "pool5", "relu2_1"):
        expected = average_map(model, images, layer)
        torch.testing.assert_close(average_map(CpuNet(model), images, layer), expected, rtol=1e-4, atol=1e-4)


@needs_bf16
@pytest.mark.parametrize("name", ["D", "B-5x5"])
@torch.inference_mode()
def test_bf16_errs_no_more_than_that_of_pytorch(name: str) -> None:
    model, images = net_of(name, width=0.5, classes=0), photographs(4, 160, 190)
    exact, net = net_of(name, width=0.5, classes=0).double()(images.double()), CpuNet(model, bf16=True)
    with torch.autocast("cpu", torch.bfloat16):
        theirs = model.to(memory_format=torch.channels_last)(images)  # type: ignore[call-overload]
    # On random weights as large as PyTorch's; on real ones smaller (docs/cpu-engine.md).
    assert 1e-4 < relative_error(net(images), exact) <= 1.1 * relative_error(theirs, exact)


@torch.inference_mode()
def test_fc6_on_a_map_takes_tiles_of_positions() -> None:
    """A 7x7 kernel, on maps of 3x5 positions (one by one), 4x4 and 3x11; odd numbers leave some alone."""
    model = net_of("A", crop=224, width=1 / 8)
    for bf16, tolerance in ((False, 3e-6), (True, 2e-2))[: 1 + can_compute(bf16=True)]:
        net = CpuNet(model, bf16=bf16)
        for height, width in ((288, 352), (320, 320), (288, 544)):
            found = net.activations(photographs(1, height, width), ["pool5", "fc6", "fc8"])
            weight, bias = model.fc6.weight.double(), model.fc6.bias.double()
            exact = F.conv2d(found["pool5"].double(), weight, bias)
            assert found["fc6"].shape == exact.shape and relative_error(found["fc6"], exact) < tolerance
            whole = model.activations(photographs(1, height, width), ["fc8"])["fc8"]
            assert relative_error(found["fc8"], whole.double()) < tolerance


FULL = """
import resource
import torch
from verydeep.configs.networks import NETWORKS
from verydeep.errors import ResourceError
from verydeep.models.cpu_engine import CpuNet
from verydeep.models.vgg import VGG

torch.set_num_threads(1)
small, large = (VGG(NETWORKS["A"], 0, width=width).eval() for width in (1 / 8, 1))
net, images = CpuNet(small), torch.zeros(1, 3, 2500, 2500)
net(images[:, :, :64, :64])
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + (40 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for attempt in (lambda: CpuNet(large), lambda: net(images)):
    try:
        attempt()
    except (ResourceError, MemoryError) as error:
        print(error)
net(images[:, :, :64, :64])
"""


def test_lack_of_memory_is_an_error() -> None:
    done = subprocess.run([sys.executable, "-c", FULL], capture_output=True, text=True, check=True)
    packing, running = done.stdout.splitlines()
    assert "packed weights" in packing and "1 images of 2500x2500 pixels" in running
