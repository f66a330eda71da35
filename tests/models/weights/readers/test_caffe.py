"""Caffe's files, written with Caffe's own messages by protobuf; and files that lie."""

import io
import pickle
import tracemalloc
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from safetensors.torch import save as save_safetensors
from torch import Tensor
from torch.nn import functional

from tests.foreign_files import (
    LRN,
    SIGMOID,
    caffe_blob,
    caffe_messages,
    caffe_net,
    layer_names,
    require_peer,
    thin_weights,
    write_caffemodel,
)
from verydeep.errors import VerydeepError
from verydeep.models.weights.readers.caffe import looks_like_caffemodel, read_caffemodel
from verydeep.models.weights.weight_file import CAFFE_INPUT


def assert_equal(found: Mapping[str, Tensor], wanted: Mapping[str, Tensor]) -> None:
    assert list(found) == list(wanted)
    for name, tensor in wanted.items():
        assert found[name].dtype == torch.float32
        assert found[name].shape == tensor.shape, name
        assert torch.equal(found[name], tensor), name


def read(path: Path, content: bytes) -> Mapping[str, Tensor]:
    path.write_bytes(content)
    return read_caffemodel(path).tensors


def refusal(path: Path, content: bytes) -> str:
    """The sentence, which names the file."""
    with pytest.raises(VerydeepError) as caught:
        read(path, content)
    sentence = str(caught.value)
    assert sentence.startswith(str(path)), sentence
    assert sentence.endswith(".") and "\n" not in sentence
    return sentence.removeprefix(str(path))


@pytest.mark.parametrize("old_shape", [True, False])
@pytest.mark.parametrize("network", ["D", "E"])
def test_all_weights_come_back(network: str, old_shape: bool, tmp_path: Path) -> None:
    tensors = thin_weights(network)
    path = tmp_path / "net.caffemodel"
    path.write_bytes(caffe_net(tensors, old_shape=old_shape).SerializeToString())
    net = read_caffemodel(path)
    assert_equal(net.tensors, tensors)
    assert (net.format, net.input, net.pooling) == ("Caffe, V1 layers", CAFFE_INPUT, "ceil")
    assert net.input.order == "BGR"
    assert net.class_names == net.class_words == ()
    assert net.notes == ("Its FC layers see 2x2 positions, so it is taken for a net of crop 64.",)


def test_orders_of_axes_are_caffes(tmp_path: Path) -> None:
    """By Caffe's formula: number ((o * in + i) * k + row) * k + column of a blob, and the same of fc6's inputs."""
    net = caffe_net(thin_weights("D", side=2))
    blobs = {layer.name: layer.blobs[0] for layer in net.layers if layer.blobs}
    for name, (inside, k) in {"conv2_1": (3, 3), "fc6": (8, 2)}.items():
        blobs[name].data[:] = [
            1000 * o + 100 * i + 10 * row + column
            for o in range(len(blobs[name].data) // (inside * k * k))
            for i in range(inside)
            for row in range(k)
            for column in range(k)
        ]
    found = read(tmp_path / "net", net.SerializeToString())
    assert found["conv2_1.weight"].shape == (4, 3, 3, 3) and found["fc6.weight"].shape == (7, 8, 2, 2)
    assert found["conv2_1.weight"][3, 2, 1, 0] == 3210
    assert found["fc6.weight"][6, 5, 1, 0] == 6510


@pytest.mark.parametrize(("height", "width"), [(64, 63), (61, 64)])
def test_outputs_are_those_of_opencvs_reader(height: int, width: int, tmp_path: Path) -> None:
    """OpenCV reads Caffe's files by itself, and computes: layouts, the order of fc6's inputs, rounding of poolings."""
    require_peer("opencv-python-headless", "4.14.0.94")
    import cv2
    from google.protobuf import text_format

    tensors = thin_weights("D", side=2)
    write_caffemodel(tmp_path / "net.caffemodel", tensors)
    definition = caffe_net(tensors)
    definition.input_dim[2:] = [height, width]
    for layer in definition.layers:
        layer.ClearField("blobs")
    (tmp_path / "net.prototxt").write_text(text_format.MessageToString(definition), encoding="utf-8")
    theirs = cv2.dnn.readNetFromCaffe(str(tmp_path / "net.prototxt"), str(tmp_path / "net.caffemodel"))
    image = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(1))
    theirs.setInput(image.numpy())

    net = read_caffemodel(tmp_path / "net.caffemodel")
    x = image
    for name in layer_names(net.tensors):
        if name.startswith("pool"):
            x = functional.max_pool2d(x, 2, ceil_mode=net.pooling == "ceil")
        elif name.startswith("relu"):
            x = x.relu()
        elif name != "prob":
            weight, bias = net.tensors[f"{name}.weight"], net.tensors[f"{name}.bias"]
            x = functional.conv2d(x, weight, bias, padding=int(name.startswith("conv")))
    assert x.shape == (1, 5, 1, 1) and x.std() > 0.1
    torch.testing.assert_close(x.flatten(), torch.from_numpy(theirs.forward("fc8")).flatten(), rtol=1e-5, atol=1e-5)


def test_a_trunk_is_read(tmp_path: Path) -> None:
    tensors = thin_weights("E", side=0)
    assert_equal(read_caffemodel(write_caffemodel(tmp_path / "trunk", tensors)).tensors, tensors)


@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_numbers_may_be_packed_or_not_and_double(packed: bool, double: bool, tmp_path: Path) -> None:
    tensors = thin_weights("D", fc_width=40, side=5)  # fc6 has 8,000 numbers: several scans, and its shape behind them
    net = caffe_net(tensors, caffe_messages(packed=packed), double=double, old_shape=False)
    content = net.SerializeToString()
    assert_equal(read(tmp_path / "net", content), tensors)


def test_numbers_may_come_in_several_pieces(tmp_path: Path) -> None:
    """Packed and single ones in turn, other fields between them; a gradient beside them is left out."""
    messages, raw = caffe_messages(), caffe_messages(raw_blobs=True)
    tensors = thin_weights("D")
    net = raw.NetParameter()
    for name in dict.fromkeys(key.split(".")[0] for key in tensors):
        layer = net.layers.add(name=name, type=4)
        for kind in ("weight", "bias"):
            blob = caffe_blob(
                tensors[f"{name}.{kind}"].flatten(1 if name[:2] == "fc" and kind == "weight" else 0)
                if name[:2] == "fc"
                else tensors[f"{name}.{kind}"],
                messages=messages,
            )
            values = list(blob.data)
            del blob.data[:]
            pieces = b""
            for place, start in enumerate(range(0, len(values), 3)):
                form = caffe_messages(packed=place % 2 == 0) if place < 2 else None
                piece = (form or messages).BlobProto(data=values[start : start + 3], diff=[7.0])
                pieces += piece.SerializeToString()
            layer.blobs.append(pieces + blob.SerializeToString())
    assert_equal(read(tmp_path / "net", net.SerializeToString()), tensors)


def test_layers_since_2015_are_read_and_those_of_2013_refused_with_an_advice_that_works(tmp_path: Path) -> None:
    messages, tensors = caffe_messages(), thin_weights("D")
    v1 = caffe_net(tensors, messages, old_shape=False)
    v0, new = messages.NetParameter(name="v0"), messages.NetParameter(name="new")
    for layer in v1.layers:
        v0.layers.add(
            bottom=layer.bottom, top=layer.top, layer={"name": layer.name, "type": "conv", "blobs": layer.blobs}
        )
        new.layer.add(name=layer.name, type="Convolution", bottom=layer.bottom, blobs=layer.blobs)
    assert "V0 layers (Caffe of 2013)" in refusal(tmp_path / "v0", v0.SerializeToString())
    assert "copy name and blobs of each layer to the field 'layer' of a new" in refusal(
        tmp_path / "v0", v0.SerializeToString()
    )
    advised = messages.NetParameter()
    for layer in v0.layers:
        advised.layer.add(name=layer.layer.name, blobs=layer.layer.blobs)
    assert_equal(read(tmp_path / "advised", advised.SerializeToString()), tensors)
    assert_equal(read(tmp_path / "new", new.SerializeToString()), tensors)
    assert read_caffemodel(tmp_path / "new").format == "Caffe, LayerParameter"
    for kind, word in (
        ("LRN", "uses local response normalization (layer 'bn')"),
        ("BatchNorm", "bn.blob 0 of shape 3, which may change"),
    ):
        changed = messages.NetParameter()
        changed.CopyFrom(new)
        add_vector(changed.layer.add(name="bn", type=kind), 3)
        assert word in refusal(tmp_path / "changed", changed.SerializeToString())
    new.layer.add(name="loss", type="SigmoidCrossEntropyLoss")
    (tmp_path / "new").write_bytes(new.SerializeToString())
    assert "ends with a sigmoid and no soft-max" in read_caffemodel(tmp_path / "new").left_out


def empty(blob: Any) -> None:
    """As many numbers as a shape with a 0 asks for."""
    blob.shape.dim.extend((0, 3, 3, 3) if blob.height > 1 else (0,))
    blob.ClearField("data")


def add_vector(layer: Any, size: int) -> None:
    layer.blobs.add(num=1, channels=1, height=1, width=size, data=[1.0] * size)


def set_matrix(layer: Any, outputs: int, inputs: int) -> None:
    layer.ClearField("blobs")
    layer.blobs.add(shape={"dim": [outputs, inputs]}, data=[1.0] * outputs * inputs)
    add_vector(layer, outputs)


Change = Callable[[Any], object]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda layers: add_vector(layers["relu5_3"], 9), "relu5_3.blob 0 of shape 9, which may change"),
        (lambda layers: setattr(layers["conv1_2"], "name", "conv1_1"), "two layers that may be conv1_1"),
        (lambda layers: setattr(layers["pool1"], "type", LRN), "uses local response normalization (layer 'pool1')"),
        (lambda layers: layers["conv3_1"].blobs.pop(), "1 blobs in layer conv3_1"),
        (lambda layers: layers["conv3_1"].blobs.add(num=1, channels=1, height=1, width=1, data=[1]), "3 blobs"),
        (lambda layers: layers["fc7"].blobs[0].ClearField("data"), "(1, 1, 7, 7) for its layer fc7 but has 0"),
        (lambda layers: layers["fc7"].blobs[0].data.append(1), "for its layer fc7 but has 50 numbers"),
        (lambda layers: setattr(layers["fc7"].blobs[0], "width", -7), "for its layer fc7 but has 49 numbers"),
        (lambda layers: setattr(layers["fc7"].blobs[0], "width", 1 << 30), "for its layer fc7 but has 49 numbers"),
        (lambda layers: layers["fc7"].blobs[0].shape.dim.extend([7, 8]), "shape (7, 8) for its layer fc7"),
        (lambda layers: layers["fc7"].blobs[0].shape.dim.extend([1] * 33), "has 33 axes"),
        (lambda layers: layers["fc7"].blobs[0].shape.SetInParent(), "has 0 axes"),
        (lambda layers: layers["conv4_1"].blobs[1].shape.dim.extend([2, 3]), "a bias of shape (2, 3) in"),
        (lambda layers: layers["fc6"].blobs[0].shape.dim.extend([32, 7]), "a weight of shape (32, 7) and a bias"),
        (lambda layers: layers["fc7"].blobs[0].shape.dim.extend([7, 1, 7, 1]), "a weight of shape (7, 1, 7, 1)"),
        (lambda layers: [empty(blob) for blob in layers["conv1_1"].blobs], "for its layer conv1_1 but has 0 numbers"),
        (lambda layers: layers["conv2_2"].blobs[0].shape.dim.extend([4, 4, 9, 1]), "(4, 4, 9, 1) and a bias of shape"),
    ],
)  # fmt: skip
def test_what_is_no_net_of_the_paper_is_refused(change: Change, words: str, tmp_path: Path) -> None:
    net = caffe_net(thin_weights("D"))
    change({layer.name: layer for layer in net.layers})
    assert words in refusal(tmp_path / "net", net.SerializeToString())


@pytest.mark.parametrize(
    "change",
    [
        lambda layers: setattr(layers["fc8"], "name", "fc8_flickr"),
        lambda layers: [setattr(layers[name], "name", f"my-{name}") for name in ("fc6", "fc7", "fc8")],
        lambda layers: [setattr(layers[name], "name", f"vgg/{name}") for name in list(layers)],
        lambda layers: setattr(layers["conv5_3"], "name", "conv5_3/new"),
        lambda layers: layers["fc6"].blobs[0].shape.dim.extend([7, 8, 2, 2]),
    ],
)
def test_names_of_ones_own_change_nothing(change: Change, tmp_path: Path) -> None:
    tensors = thin_weights("D")
    net = caffe_net(tensors)
    change({layer.name: layer for layer in net.layers})
    assert_equal(read(tmp_path / "net", net.SerializeToString()), tensors)


@pytest.mark.parametrize(
    ("change", "head", "reason"),
    [
        (
            lambda layers: set_matrix(layers["fc6"], 7, 48),
            "fc6, fc7, fc8",
            "is not that of a VGG net",
        ),
        (
            lambda layers: set_matrix(layers["fc7"], 6, 7),
            "fc6, fc7, fc8",
            "is not that of a VGG net",
        ),
        (lambda layers: layers["fc7"].ClearField("blobs"), "fc6, fc8x", "is not that of a VGG net"),
        (lambda layers: set_matrix(layers["fc8"], 1, 7), "fc6, fc7, fc8", "has one output"),
        (lambda layers: setattr(layers["prob"], "type", SIGMOID), "fc6, fc7, fc8", "ends with a sigmoid"),
        (lambda layers: add_vector(layers["prob"], 7), "fc6, fc7, fc8, prob", "is not that of a VGG net"),
    ],
)
def test_other_heads_are_left_out_by_name(change: Change, head: str, reason: str, tmp_path: Path) -> None:
    net = caffe_net(thin_weights("D"))
    if "fc8x" in head:
        net.layers[-2].name = "fc8x"
    change({layer.name: layer for layer in net.layers} | {"fc8": net.layers[-2]})
    path = tmp_path / "net"
    path.write_bytes(net.SerializeToString())
    found = read_caffemodel(path)
    assert_equal(found.tensors, thin_weights("D", side=0))
    assert found.notes == () and found.left_out.startswith(f"its head ({head}) {reason}")


def test_what_is_no_file_of_weights_is_refused(tmp_path: Path) -> None:
    net = caffe_net(thin_weights("D"))
    for layer in net.layers:
        layer.ClearField("blobs")
    assert "has no weights" in refusal(tmp_path / "definition", net.SerializeToString())
    assert "cannot be read" in refusal(tmp_path / "empty", b"")
    for path in (tmp_path, tmp_path / "missing"):
        with pytest.raises(VerydeepError, match="cannot be read"):
            read_caffemodel(path)


@pytest.fixture(scope="module")
def small() -> tuple[bytes, Mapping[str, Tensor]]:
    """A file of less than a kilobyte: the last layers of a very thin net."""
    shapes = {
        "conv5_2": (2, 3, 1, 1),
        "conv5_3": (2, 2, 1, 1),
        "fc6": (3, 2, 2, 2),
        "fc7": (3, 3, 1, 1),
        "fc8": (2, 3, 1, 1),
    }
    tensors = {}
    for name, shape in shapes.items():
        tensors |= {f"{name}.weight": torch.randn(shape), f"{name}.bias": torch.randn(shape[:1])}
    return caffe_net(tensors).SerializeToString(), tensors


def test_a_file_cut_anywhere_is_refused_or_ends_between_layers(
    small: tuple[bytes, Mapping[str, Tensor]], tmp_path: Path
) -> None:
    content, tensors = small
    counts = []
    for size in range(len(content)):
        try:
            found = read(tmp_path / "net", content[:size])
        except VerydeepError:
            continue
        names = list(tensors)[: len(found)]
        assert_equal(found, {name: tensors[name] for name in names})
        counts.append(len(found))
    assert len(content) < 1000
    net = caffe_messages().NetParameter.FromString(content)
    assert len(counts) == len(net.layers) - 1 + len(net.input) + len(net.input_dim)  # these lie behind the layers
    assert set(counts) == set(range(2, len(tensors) + 1, 2))


def read_or_refuse(path: Path, content: bytes) -> None:
    """All that may happen: a net whose layers could be the paper's, or one sentence; in little memory."""
    path.write_bytes(content)
    tracemalloc.start()
    try:
        tensors = read_caffemodel(path).tensors
        assert all(tensor.numel() <= len(content) for tensor in tensors.values())
    except VerydeepError as error:
        assert str(path) in str(error) and "\n" not in str(error)
    finally:
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
    assert peak < 20 * len(content) + 500_000


@settings(max_examples=100)
@given(flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(0, 7)), min_size=1, max_size=4))
def test_flipped_bits_do_no_harm(
    flips: list[tuple[float, int]], small: tuple[bytes, Mapping[str, Tensor]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    damaged = bytearray(small[0])
    for place, bit in flips:
        damaged[int(place * len(damaged))] ^= 1 << bit
    read_or_refuse(tmp_path_factory.getbasetemp() / "flipped", bytes(damaged))


@settings(max_examples=100)
@given(data=st.data())
def test_parts_that_are_moved_doubled_or_invented_do_no_harm(
    data: st.DataObject, small: tuple[bytes, Mapping[str, Tensor]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    content = small[0]
    places = st.integers(0, len(content))
    first, second, third = (data.draw(places) for _ in range(3))
    piece = data.draw(st.one_of(st.binary(max_size=40), st.just(content[min(second, third) : max(second, third)])))
    read_or_refuse(tmp_path_factory.getbasetemp() / "moved", content[:first] + piece + content[second:])


@settings(max_examples=100)
@given(content=st.binary(min_size=1, max_size=200))
@example(content=b"\x12\x02\x08\x01")
@example(content=b"\x12\x04\x32\x02\x28\x01")
def test_invented_files_do_no_harm(content: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    looks_like_caffemodel(content)
    read_or_refuse(tmp_path_factory.getbasetemp() / "invented", content)


def varint(value: int) -> bytes:
    low = bytes([value & 0x7F | (0x80 if value > 0x7F else 0)])
    return low + varint(value >> 7) if value > 0x7F else low


def message(number: int, content: bytes, announced: int | None = None) -> bytes:
    return varint(number << 3 | 2) + varint(len(content) if announced is None else announced) + content


NAMED = message(4, b"conv1_1")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (message(2, NAMED + 2 * message(6, message(5, b"\0" * 8, 1 << 33))), "reaches beyond"),
        (message(2, NAMED, 1 << 34), "reaches beyond"),
        (message(2, message(4, b"x", 1 << 63)), "reaches beyond"),
        (message(2, NAMED + 2 * message(6, b"\x08" + varint(1 << 40) + message(5, b"\0" * 8))), "has 2 numbers"),
        (message(2, NAMED + 2 * message(6, message(7, b"\x08" + varint(1 << 40)) + message(5, b"\0" * 8))), "has 2"),
        (message(2, NAMED + 2 * message(6, message(7, message(1, b"\1" * 10_000)))), "axes"),
        (message(2, NAMED + 2 * message(6, b"\x08\x01" * 20_000)), "too many parts"),
        (message(2, NAMED + 2 * message(6, message(5, b"\0" * 7))), "are cut or too many"),
        (message(2, NAMED + 2 * message(6, b"\x28\x01")), "of another type"),
        (message(2, b"") * 20_000, "more than 10000 fields"),
        (message(2, message(6, b"") * 20_000), "more than 10000 fields"),
        (message(2, NAMED + b"\x30\x01"), "of another type"),
        (b"\x10\x01", "of another type"),
        (b"\x0b" * 1000, "no field begins"),
        (b"\xff" * 1000, "has no end"),
        (b"\x00" * 1000, "no field begins"),
    ],
)  # fmt: skip
def test_lying_files_cost_nothing(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "net"
    path.write_bytes(content)
    tracemalloc.start()
    with pytest.raises(VerydeepError) as caught:
        read_caffemodel(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert words in str(caught.value)
    assert peak < 3_000_000


def test_files_of_caffe_are_known_from_their_beginning() -> None:
    messages = caffe_messages()
    v1 = caffe_net(thin_weights("D"), messages)
    for empty in ((), ("name",), ("name", "input", "input_dim")):
        for cleared in empty:
            v1.ClearField(cleared)
        assert all(looks_like_caffemodel(v1.SerializeToString()[:size]) for size in (100, 500, 4096))
    v0 = messages.NetParameter(name="CaffeNet", layers=[{"layer": {"name": "conv1_1"}, "bottom": ["data"]}])
    new = messages.NetParameter(name="CaffeNet", layer=[{"name": "conv1_1", "type": "Convolution"}])
    assert looks_like_caffemodel(v0.SerializeToString()) and looks_like_caffemodel(new.SerializeToString())


def archive() -> bytes:
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w") as file:
        file.writestr("conv1_1.npy", b"12345678")
    return memory.getvalue()


def torch_file(zipped: bool) -> bytes:
    memory = io.BytesIO()
    torch.save(dict(thin_weights("D")), memory, _use_new_zipfile_serialization=zipped)
    return memory.getvalue()


@pytest.mark.parametrize(
    "content",
    [
        b"", b"\n", b"\x12", b'name: "VGG_ILSVRC_16_layers"\ninput: "data"\n', b"\n\nname: VGG\nlayers {\n" * 9,
        b"\x89HDF\r\n\x1a\n" + bytes(99), b"MATLAB 5.0 MAT-file, Platform: GLNXA64".ljust(124) + b"\0\1IM" + bytes(99),
        b"\x08\x03\x12\x07pytorch\x1a\x052.0.1", b"\x08\0\x12\x06\x22\x04conv", b"\xff\xd8\xff\xe0\0\x10JFIF",
        b"{}", b"<html>\n<body>",
        archive(), torch_file(True), torch_file(False), pickle.dumps({"conv1_1": [1.0]}),
        save_safetensors({"conv1_1.weight": torch.ones(3)}), bytes(5000), b"\xff" * 5000, b"\x12" * 5000,
        b"\n" * 5000,
    ],
)  # fmt: skip
def test_other_files_are_not_taken_for_caffes(content: bytes) -> None:
    assert not looks_like_caffemodel(content[:4096])
