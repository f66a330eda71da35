"""MatConvNet's files, written by SciPy in both forms; and files that lie."""

import itertools
import struct
import sys
import tracemalloc
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.foreign_files import cell, matconvnet_layers, thin_weights, write_matconvnet
from verydeep.errors import VerydeepError
from verydeep.models.weights.readers.matconvnet import read_matconvnet
from verydeep.models.weights.weight_file import RGB_INPUT

scipy_io = pytest.importorskip("scipy.io", reason="scipy comes with verydeep[test]")

WNIDS = ("n01440764", "n01443537", "n01484850", "n01491361", "n01494475")
WORDS = ("tench, Tinca tinca", "goldfish", "great white shark, séláchien", "tiger shark", "hammerhead")


CROP_NOTE = "Its FC layers see 2x2 positions, so it is taken for a net of crop 64."


def assert_equal(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    assert list(found) == list(wanted)
    for name, tensor in wanted.items():
        assert found[name].dtype == torch.float32 and found[name].is_contiguous()
        assert found[name].shape == tensor.shape, name
        assert torch.equal(found[name], tensor), name


def save(path: Path, **content: object) -> Path:
    scipy_io.savemat(path, content, oned_as="row")
    return path


def refusal(path: Path) -> str:
    """The sentence, which names the file."""
    with pytest.raises(VerydeepError) as caught:
        read_matconvnet(path)
    sentence = str(caught.value)
    assert str(path) in sentence
    assert sentence.endswith(".") and "\n" not in sentence
    return sentence


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize("old", [False, True])
@pytest.mark.parametrize("network", ["D", "E"])
def test_all_weights_come_back(network: str, old: bool, compressed: bool, tmp_path: Path) -> None:
    tensors = thin_weights(network)
    path = tmp_path / "net.mat"
    write_matconvnet(path, tensors, old=old, compressed=compressed, wnids=WNIDS, words=WORDS)
    net = read_matconvnet(path)
    assert_equal(net.tensors, tensors)
    assert (net.format, net.input, net.pooling) == ("MatConvNet", RGB_INPUT, "ceil")
    assert (net.class_names, net.class_words, net.notes) == (WNIDS, WORDS, (CROP_NOTE,))


def test_orders_of_axes_are_matconvnets(tmp_path: Path) -> None:
    """filters(row, column, in, out), by four loops."""
    layers = matconvnet_layers(thin_weights("D"), old=True)
    for layer in layers.flat:
        if layer["name"] in ("conv2_1", "fc6"):
            for row, column, i, o in itertools.product(*map(range, layer["filters"].shape)):
                layer["filters"][row, column, i, o] = 1000 * o + 100 * i + 10 * row + column
    found = read_matconvnet(save(tmp_path / "net.mat", layers=layers)).tensors
    assert found["conv2_1.weight"].shape == (4, 3, 3, 3) and found["fc6.weight"].shape == (7, 8, 2, 2)
    assert found["conv2_1.weight"][3, 2, 1, 0] == 3210
    assert found["fc6.weight"][6, 5, 1, 0] == 6510


def test_a_trunk_is_read(tmp_path: Path) -> None:
    trunk = thin_weights("E", side=0)
    assert_equal(read_matconvnet(write_matconvnet(tmp_path / "trunk.mat", trunk)).tensors, trunk)


def test_names_of_ones_own_change_nothing(tmp_path: Path) -> None:
    layers, tensors = matconvnet_layers(thin_weights("D")), thin_weights("D")
    for layer in layers.flat:
        layer["name"] = {"fc6": "a", "fc7": "b", "fc8": "c"}.get(layer["name"], f"my_{layer['name']}")
    assert_equal(read_matconvnet(save(tmp_path / "net.mat", layers=layers)).tensors, tensors)


@pytest.mark.parametrize("what", ["one output", "a sigmoid", "a layer more"])
def test_other_heads_are_left_out_by_name(what: str, tmp_path: Path) -> None:
    layers = matconvnet_layers(thin_weights("D", classes=1 if what == "one output" else 5))
    fc8 = layers[0, -2]
    if what == "one output":
        kernel, bias = fc8["weights"][0]
        fc8["weights"] = cell(kernel[..., 0], bias)  # as MATLAB drops last dimensions of 1
    elif what == "a sigmoid":
        layers[0, -1]["type"] = "sigmoid"
    else:
        layers = cell(*layers[0, :-1], {**fc8, "name": "fc9"})
    about = {"classes": {"name": cell(*WNIDS), "description": cell(*WORDS)}}
    net = read_matconvnet(save(tmp_path / "net.mat", layers=layers, meta=about))
    assert_equal(net.tensors, thin_weights("D", side=0))
    assert net.class_names == net.class_words == ()
    reason = {"one output": "has one output", "a sigmoid": "ends with a sigmoid"}.get(what, "is not that of a VGG net")
    assert "its head (fc6, fc7, fc8" in net.left_out and reason in net.left_out


@pytest.mark.parametrize("dtype", [np.float64, ">f4", np.int16])
def test_numbers_of_any_type_are_read(dtype: Any, tmp_path: Path) -> None:
    """MATLAB stores whole numbers small, and computes in doubles."""
    tensors = {name: (9 * tensor).round() for name, tensor in thin_weights("D").items()}
    layers = matconvnet_layers(tensors)
    for layer in layers.flat:
        if "weights" in layer:
            layer["weights"] = cell(*(array.astype(dtype) for array in layer["weights"][0]))
    assert_equal(read_matconvnet(save(tmp_path / "net.mat", layers=layers)).tensors, tensors)


@pytest.mark.parametrize(("pad", "rounding"), [(1, "ceil"), (0, "floor")])
def test_padding_of_poolings_states_how_they_round(pad: int, rounding: str, tmp_path: Path) -> None:
    path = write_matconvnet(tmp_path / "net.mat", thin_weights("D"), pool_pad=pad)
    assert read_matconvnet(path).pooling == rounding


@pytest.mark.parametrize("shape", [(3,), (3, 1), (1, 1, 3)])
@pytest.mark.parametrize("old", [False, True])
def test_the_mean_is_the_files(old: bool, shape: tuple[int, ...], tmp_path: Path) -> None:
    mean = np.array([129.1863, 104.7624, 93.594]).reshape(shape)
    net = read_matconvnet(write_matconvnet(tmp_path / "net.mat", thin_weights("D"), old=old, mean=mean))
    assert net.input.mean_rgb == (129.1863, 104.7624, 93.594)
    assert (net.input.order, net.input.divisor_rgb, net.notes) == ("RGB", (1, 1, 1), (CROP_NOTE,))


def test_of_a_mean_image_the_mean_is_taken(tmp_path: Path) -> None:
    image = np.random.default_rng(0).uniform(0, 255, (5, 4, 3))
    net = read_matconvnet(write_matconvnet(tmp_path / "net.mat", thin_weights("D"), mean=image))
    assert net.input.mean_rgb == pytest.approx([image[:, :, channel].mean() for channel in range(3)])
    assert "mean image" in net.notes[-1]


def test_without_a_mean_ilsvrcs_is_taken_and_stated(tmp_path: Path) -> None:
    for number, form in enumerate(({"mean": None}, {"mean": None, "old": True})):
        net = read_matconvnet(write_matconvnet(tmp_path / f"{number}.mat", thin_weights("D"), **form))  # type: ignore[arg-type]
        assert net.input == RGB_INPUT
        assert "does not state its mean RGB" in net.notes[-1]


@pytest.mark.parametrize("mean", [(0, 0), (300.0, 1.0, 1.0), (np.nan, 1.0, 1.0), "mean.png", np.ones((2, 2, 4)), ()])
def test_what_is_no_mean_is_refused(mean: object, tmp_path: Path) -> None:
    about = {"normalization": {"averageImage": mean if isinstance(mean, str) else np.array(mean, float)}}
    path = save(tmp_path / "net.mat", layers=matconvnet_layers(thin_weights("D")), meta=about)
    assert "a mean (averageImage of shape" in refusal(path)


def test_names_that_do_not_fit_the_outputs_are_left_out(tmp_path: Path) -> None:
    path = write_matconvnet(tmp_path / "net.mat", thin_weights("D", classes=4), wnids=WNIDS, words=WORDS)
    net = read_matconvnet(path)
    assert net.class_names == net.class_words == ()
    assert "names 5 classes for 4 outputs" in net.notes[-1]


def changed(place: str, **fields: object) -> np.ndarray:
    """The layers of D with one of them changed; a field that is None is left out."""
    layers = matconvnet_layers(thin_weights("D"))
    layer = next(layer for layer in layers.flat if layer["name"] == place)
    layer.update(fields)
    for name in [name for name, value in fields.items() if value is None]:
        del layer[name]
    return layers


def weights(kernel: tuple[int, ...], bias: int) -> np.ndarray:
    return cell(np.ones(kernel, np.float32), np.ones((1, bias), np.float32))


@pytest.mark.parametrize(
    ("layers", "words"),
    [
        (changed("conv5_3", type="bnorm"), "a layer 'conv5_3 (bnorm)', which no net"),
        (changed("conv1_2", name="conv1_1"), "two layers that may be conv1_1, 'conv1_1' and 'conv1_1'"),
        (changed("pool1", type="lrn"), "uses local response normalization (layer 'pool1')"),
        (changed("conv3_1", weights=None), "no weights in its layer 'conv3_1'"),
        (changed("conv3_1", weights=cell(np.ones((3, 3, 4, 5)))), "one kernel and one bias in its layer conv3_1"),
        (changed("conv3_1", weights=cell(np.ones((3, 3, 4, 5)), "bias")), "one kernel and one bias in its layer"),
        (changed("conv3_1", weights=weights((3, 3, 4, 5), 4)), "shape (3, 3, 4, 5) and 4 biases in layer conv3_1"),
        (changed("conv3_1", weights=weights((3, 1, 4, 5), 5)), "shape (3, 1, 4, 5) and 5 biases in layer conv3_1"),
        (changed("conv3_1", weights=weights((3, 3, 4, 5, 2), 5)), "shape (3, 3, 4, 5, 2)"),
        (changed("conv3_1", weights=weights((0, 0, 4, 5), 5)), "shape (0, 0, 4, 5)"),
        (changed("conv3_1", stride=2.0), "stride (2.0,) in its layer conv3_1, where the nets of the paper have 1"),
        (changed("conv3_1", dilate=2.0), "dilate (2.0,)"),
        (changed("conv3_1", pad=0.0), "pad (0.0,) in its layer conv3_1, where the nets of the paper have 1"),
        (changed("fc6", pad=[[3.0, 3.0, 3.0, 3.0]]), "pad (3.0, 3.0, 3.0, 3.0) in its layer fc6, where the"),
        (changed("pool2", pad=0.0), "(0.0, 0.0, 0.0, 0.0), (0.0, 1.0, 0.0, 1.0), but all must have"),
        (changed("pool2", method="avg"), "a pooling ('pool2') that is not the maximum"),
        (changed("pool2", stride=[[1.0, 1.0]]), "a pooling ('pool2') that is not the maximum"),
        (changed("pool2", pool=[[3.0, 3.0]]), "a pooling ('pool2') that is not the maximum"),
        (np.ones((1, 3)), "not a cell of structures"),
        (cell("conv1_1", "relu1_1"), "is not a structure"),
        (changed("conv3_1", weights=cell(np.ones((3, 3, 4, 5)) + 1j, np.ones(5))), "complex numbers"),
    ],
)  # fmt: skip
def test_what_is_no_net_of_the_paper_is_refused(layers: np.ndarray, words: str, tmp_path: Path) -> None:
    assert words in refusal(save(tmp_path / "net.mat", layers=layers))


def test_other_forms_are_refused_by_name(tmp_path: Path) -> None:
    layers = matconvnet_layers(thin_weights("D"))
    one = cell({"name": "conv1_1f", "value": np.ones((3, 3, 3, 3))})
    assert "DagNN" in refusal(save(tmp_path / "dag.mat", layers=layers, params=one, vars=one))
    sentence = refusal(save(tmp_path / "within.mat", net={"layers": layers}, stats=1.0))
    assert "has 'net', 'stats' and no variable 'layers'" in sentence and "'-struct'" in sentence
    scipy_io.savemat(tmp_path / "level4.mat", {"layers": np.ones((2, 2))}, format="4")
    assert "not a MATLAB file of level 5" in refusal(tmp_path / "level4.mat")
    hdf5 = (
        b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(116) + bytes(8) + b"\0\2IM" + bytes(384) + b"\x89HDF\r\n\x1a\n"
    )
    (tmp_path / "hdf5.mat").write_bytes(hdf5)
    sentence = refusal(tmp_path / "hdf5.mat")
    assert "version 7.3 (HDF5)" in sentence and "'-v7'" in sentence
    (tmp_path / "empty.mat").write_bytes(b"")
    assert "level 5" in refusal(tmp_path / "empty.mat")
    for path in (tmp_path, tmp_path / "missing"):
        assert "cannot be read" in refusal(path)


def test_without_scipy_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_matconvnet(tmp_path / "net.mat", thin_weights("D"))
    monkeypatch.setitem(sys.modules, "scipy.io", None)
    assert refusal(path) == f"Reading {path} needs SciPy: pip install 'verydeep[matconvnet]'."


def read_or_refuse(path: Path, content: bytes) -> str:
    """All that may happen: a net, or one sentence; in little memory."""
    path.write_bytes(content)
    tracemalloc.start()
    sentence = ""
    try:
        read_matconvnet(path)
    except VerydeepError as error:
        sentence = str(error)
        assert str(path) in sentence and "\n" not in sentence
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 3_000_000 + 20 * len(content)
    return sentence


def beginning(path: Path, *, compressed: bool) -> bytes:
    """A file of some kilobytes: the first layers of a net."""
    tensors = {name: tensor for name, tensor in thin_weights("D").items() if name.startswith("conv1")}
    write_matconvnet(path, tensors, wnids=WNIDS, words=WORDS, compressed=compressed)
    return path.read_bytes()


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return beginning(tmp_path_factory.getbasetemp() / "plain.mat", compressed=False)


@pytest.fixture(scope="module", params=[False, True])
def small(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Plain and compressed."""
    return beginning(tmp_path_factory.getbasetemp() / "small.mat", compressed=request.param)


def test_a_file_cut_anywhere_is_refused(small: bytes, tmp_path: Path) -> None:
    path = tmp_path / "net.mat"
    assert read_or_refuse(path, small) == ""
    (first,) = struct.unpack("<I", small[132:136])
    between = 136 + first  # the variables are complete there
    for size in (*range(0, len(small), 13), between - 1, between, between + 1, len(small) - 1):
        assert bool(read_or_refuse(path, small[:size])) == (size != between), size


@settings(max_examples=120)
@given(flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 7)), min_size=1, max_size=4))
def test_flipped_bits_do_no_harm(
    flips: list[tuple[float, int]], small: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    damaged = bytearray(small)
    for place, bit in flips:
        damaged[int(place * len(damaged))] ^= 1 << bit
    sentence = read_or_refuse(tmp_path_factory.getbasetemp() / "flipped.mat", bytes(damaged))
    if damaged[128] == small[128] == 15 and damaged[136:] != small[136:]:
        assert sentence, "what is compressed has a checksum"


@settings(max_examples=120)
@given(data=st.data())
def test_parts_that_are_moved_doubled_or_invented_do_no_harm(
    data: st.DataObject, small: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    places = st.integers(0, len(small) // 8).map(lambda place: 8 * place)
    first, second, third = (data.draw(places) for _ in range(3))
    piece = data.draw(st.one_of(st.binary(max_size=40), st.just(small[min(second, third) : max(second, third)])))
    read_or_refuse(tmp_path_factory.getbasetemp() / "moved.mat", small[:first] + piece + small[second:])


@settings(max_examples=150)
@given(data=st.data())
def test_other_numbers_anywhere_do_no_harm(
    data: st.DataObject, plain: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Types, dimensions and lengths replaced by others, also within what is compressed, its checksum right."""
    (first,) = struct.unpack("<I", plain[132:136])
    variable = bytearray(plain[128 : 136 + first])
    for _ in range(data.draw(st.integers(1, 3))):
        place = 4 * data.draw(st.integers(0, len(variable) // 4 - 1))
        number = data.draw(
            st.one_of(st.integers(0, 20), st.sampled_from((0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 0x40001)))
        )
        variable[place : place + 4] = struct.pack("<I", number)
    content = bytes(variable)
    if data.draw(st.booleans()):
        squeezed = zlib.compress(content)
        content = struct.pack("<II", 15, len(squeezed)) + squeezed
    read_or_refuse(tmp_path_factory.getbasetemp() / "other.mat", plain[:128] + content)


def test_many_empty_arrays_take_little_memory(tmp_path: Path) -> None:
    """As many as are let through to SciPy, which gives each an object of its own."""
    empty = bytes([14, 0, 0, 0, 0, 0, 0, 0]) * 90_000
    head = struct.pack("<4I2I2i2I6sxx", 6, 8, 1, 0, 5, 8, 1, 90_000, 1, 6, b"layers")
    content = struct.pack("<II", 14, len(head) + len(empty)) + head + empty
    sentence = read_or_refuse(tmp_path / "net.mat", b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1IM" + content)
    assert "is not a structure" in sentence
