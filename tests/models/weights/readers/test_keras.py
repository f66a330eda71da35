"""Keras's own nets, on Keras's own preprocessing, against what is read of the files that Keras writes or reads."""

import importlib
import os
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from torch import Tensor

from tests.models.weights.readers.source_nets import (
    CHANNELS,
    CONFIGURATIONS,
    assert_close,
    photograph,
    plain_features,
    plain_logits,
    rewrite,
)
from tests.peers import need
from verydeep.configs.networks import NETWORKS
from verydeep.errors import VerydeepError
from verydeep.models.weights.readers.keras import read_keras
from verydeep.models.weights.reading import read_weight_file
from verydeep.models.weights.weight_file import CAFFE_INPUT

pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # of Keras's own code
h5py = pytest.importorskip("h5py", reason="h5py comes with verydeep[keras]")

SIDES = 101, 130
"""Neither equal nor multiples of 32: rounded down, pool5 has 3x4 positions; fc1 sees 3x3 of these, cut out."""


@pytest.fixture(scope="module")
def keras() -> ModuleType:
    need("keras")
    os.environ["KERAS_BACKEND"] = "torch"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return importlib.import_module("keras")


def keras_net(keras: ModuleType, network: str, *, top: bool = True, side: int = 3) -> Any:
    """A thin one, its layers called as in keras.applications, with five classes; each of them matters."""
    keras.utils.set_random_seed(3)
    layers = keras.layers
    x = images = keras.Input((32 * side + 5, 32 * side + 2, 3) if top else (None, None, 3))
    he: dict[str, Any] = {"kernel_initializer": "he_normal", "bias_initializer": keras.initializers.RandomNormal(0, 5)}
    for block, (channels, convs) in enumerate(zip(CHANNELS, CONFIGURATIONS[network], strict=True), start=1):
        for place in range(1, convs + 1):
            name = f"block{block}_conv{place}"
            x = layers.Conv2D(channels, 3, activation="relu", padding="same", name=name, **he)(x)
        x = layers.MaxPooling2D((2, 2), strides=(2, 2), name=f"block{block}_pool")(x)
    if top:
        x = layers.Flatten(name="flatten")(x)
        x = layers.Dense(9, activation="relu", name="fc1", **he)(x)
        x = layers.Dense(9, activation="relu", name="fc2", **he)(x)
        x = layers.Dense(5, name="predictions", **he)(x)
    return keras.Model(images, x, name=f"vgg{NETWORKS[network].num_weight_layers}")


def seen(keras: ModuleType, images: Tensor) -> Any:
    """What Keras's own function makes of RGB, 0-255: rows, columns, channels."""
    return keras.applications.vgg16.preprocess_input(images.permute(0, 2, 3, 1).numpy().copy())


def write_2016(path: Path, net: Any) -> None:
    """The layout of vgg16_weights_tf_dim_ordering_tf_kernels.h5, which Keras itself has to read below."""
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = [layer.name.encode() for layer in net.layers]
        for layer in net.layers:
            group = file.create_group(layer.name)
            names = [f"{layer.name}_W_1:0", f"{layer.name}_b_1:0"][: len(layer.weights)]
            group.attrs["weight_names"] = [name.encode() for name in names]
            for name, values in zip(names, layer.get_weights(), strict=True):
                group.create_dataset(name, data=values)


def write_whole(path: Path, net: Any) -> None:
    net.save(path)


def write_keras_3(path: Path, net: Any) -> None:
    net.save_weights(path)


WRITERS: dict[str, tuple[str, Callable[[Path, Any], None]]] = {
    "weights of 2016": ("weights_tf.h5", write_2016),
    "whole model": ("model.h5", write_whole),
    "weights of Keras 3": ("net.weights.h5", write_keras_3),
}


@pytest.mark.parametrize("writer", WRITERS)
@pytest.mark.parametrize("network", ["D", "E"])
def test_logits_are_the_sources(keras: ModuleType, network: str, writer: str, tmp_path: Path) -> None:
    source = keras_net(keras, network)
    name, write = WRITERS[writer]
    write(tmp_path / name, source)
    images = photograph(*source.input_shape[1:3])
    logits = torch.from_numpy(source.predict(seen(keras, images), verbose=0))
    if writer == "weights of 2016":  # that Keras takes it back says that it is its own layout
        source = keras_net(keras, network)
        source.set_weights([0 * values for values in source.get_weights()])
        source.load_weights(tmp_path / name)
        assert torch.equal(torch.from_numpy(source.predict(seen(keras, images), verbose=0)), logits)
    net = read_keras(tmp_path / name)
    assert_close(plain_logits(net, images).flatten(1), logits)
    assert (net.format, net.input, net.pooling) == ("Keras", CAFFE_INPUT, "floor")
    layers = [*(layer for layer, _ in NETWORKS[network].convs()), "fc6", "fc7", "fc8"]
    assert {name.split(".")[0] for name in net.tensors} == set(layers)
    assert net.tensors["fc6.weight"].shape == (9, CHANNELS[-1], 3, 3)
    assert "BGR" in net.assumption and "3x3" in net.notes[-1]


@pytest.mark.parametrize("writer", WRITERS)
def test_a_net_without_top(keras: ModuleType, writer: str, tmp_path: Path) -> None:
    source = keras_net(keras, "D", top=False)
    name, write = WRITERS[writer]
    write(tmp_path / name, source)
    net = read_keras(tmp_path / name)
    images = photograph(*SIDES)
    features = torch.from_numpy(source.predict(seen(keras, images), verbose=0)).permute(0, 3, 1, 2)
    assert_close(plain_features(net, images), features)
    assert features.shape[2:] == (3, 4)
    assert not any(name.startswith("fc") for name in net.tensors)


def test_nets_that_keras_has_not_are_reported_by_order(keras: ModuleType, tmp_path: Path) -> None:
    """Keras 3 calls the convolutions of A and B conv2d, conv2d_1, ... as it does those of D and E."""
    for network in ("A", "B"):
        source = keras_net(keras, network)
        source.save_weights(tmp_path / "net.weights.h5")
        net = read_keras(tmp_path / "net.weights.h5")
        images = photograph(*source.input_shape[1:3])
        logits = torch.from_numpy(source.predict(seen(keras, images), verbose=0))
        assert_close(plain_logits(net, images).flatten(1), logits)


def test_a_cut_net_is_not_taken_for_another(keras: ModuleType, tmp_path: Path) -> None:
    """D up to block 4 has as many convolutions as B; its channels change elsewhere."""
    source = keras_net(keras, "D", top=False)
    cut = keras.Model(source.inputs, source.get_layer("block4_conv3").output)
    cut.save_weights(tmp_path / "cut.weights.h5")
    with pytest.raises(VerydeepError, match=r"cut\.weights\.h5.* 10 convolutions"):
        read_keras(tmp_path / "cut.weights.h5")


def test_batch_norm_between_convolutions_is_refused(keras: ModuleType, tmp_path: Path) -> None:
    x = images = keras.Input((None, None, 3))
    for channels, convs in zip(CHANNELS, CONFIGURATIONS["D"], strict=True):
        for _ in range(convs):
            x = keras.layers.Conv2D(channels, 3, padding="same", activation="relu")(x)
        x = keras.layers.MaxPooling2D()(keras.layers.BatchNormalization()(x))
    keras.Model(images, x).save_weights(tmp_path / "own.weights.h5")
    with pytest.raises(VerydeepError, match=r"batch_normalization\.0 of shape 4, which may change"):
        read_keras(tmp_path / "own.weights.h5")


def own_heads(keras: ModuleType) -> dict[str, list[Any]]:
    """Heads as people put them on the convolutions."""
    layers = keras.layers
    return {
        "one": [layers.Flatten(), layers.Dense(5)],
        "pooled": [layers.GlobalAveragePooling2D(), layers.Dense(5)],
        "pooled, three": [layers.GlobalMaxPooling2D(), layers.Dense(9), layers.Dense(9), layers.Dense(5)],
        "batch norm": [layers.GlobalAveragePooling2D(), layers.BatchNormalization(), layers.Dense(5)],
        "sigmoid": [layers.Flatten(), layers.Dense(9, "relu"), layers.Dense(9, "relu"), layers.Dense(5, "sigmoid")],
        "tanh": [layers.Flatten(), layers.Dense(9, "tanh"), layers.Dense(9, "relu"), layers.Dense(5)],
        "one output": [layers.Flatten(), layers.Dense(9, "relu"), layers.Dense(9, "relu"), layers.Dense(1)],
        "convolution": [layers.Conv2D(5, 1, name="score"), layers.Activation("softmax")],
    }


@pytest.mark.parametrize("suffix", [".h5", ".keras", ".weights.h5"])
@pytest.mark.parametrize("head", range(8))
def test_the_convolutions_within_a_net_with_a_head_of_ones_own(
    keras: ModuleType, head: int, suffix: str, tmp_path: Path
) -> None:
    """The VGG net is one layer of a sequence, and its own layers are within."""
    base = keras_net(keras, "D", top=False)
    name, layers = list(own_heads(keras).items())[head]
    if suffix == ".weights.h5" and name in ("sigmoid", "tanh"):
        pytest.skip("weights alone do not tell the activations")
    net = keras.Sequential([keras.Input((101, 130, 3)), keras.layers.RandomFlip(), base, *layers])
    path = tmp_path / f"mine{suffix}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net.save_weights(path) if suffix == ".weights.h5" else net.save(path)
    read = read_weight_file(path)
    images = photograph(*SIDES)
    features = torch.from_numpy(base.predict(seen(keras, images), verbose=0)).permute(0, 3, 1, 2)
    assert_close(plain_features(read, images), features)
    assert not any(name.startswith("fc") for name in read.tensors)
    assert "its head (" in read.left_out


@pytest.mark.parametrize("suffix", [".h5", ".keras", ".weights.h5"])
def test_three_dense_layers_of_any_name_and_width_are_read(keras: ModuleType, suffix: str, tmp_path: Path) -> None:
    base, layers = keras_net(keras, "D", top=False), keras.layers
    he: dict[str, Any] = {"kernel_initializer": "he_normal", "bias_initializer": keras.initializers.RandomNormal(0, 5)}
    dense = [layers.Dense(9, "relu", name="z", **he), layers.Dense(7, name="m", **he), layers.Dense(4, name="a", **he)]
    head = [layers.Flatten(), dense[0], layers.Dropout(0.5), dense[1], layers.ReLU(), dense[2]]
    net = keras.Sequential([keras.Input((101, 98, 3)), base, *head])
    path = tmp_path / f"mine{suffix}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net.save_weights(path) if suffix == ".weights.h5" else net.save(path)
    read, images = read_weight_file(path), photograph(101, 98)
    assert_close(plain_logits(read, images).flatten(1), torch.from_numpy(net.predict(seen(keras, images), verbose=0)))
    assert read.tensors["fc7.weight"].shape == (9, 9, 1, 1)
    notes = " ".join(read.notes)
    assert (
        "are taken for fc6, fc7 and fc8, with a ReLU" in notes and "9 and 7 units; the narrower is filled up" in notes
    )


def test_keras_1_counts_its_convolutions(keras: ModuleType, tmp_path: Path) -> None:
    """convolution2d_1 to convolution2d_13, with numbers that do not sort as texts do; Theano's kernels are refused."""
    source = keras_net(keras, "D", top=False)
    convs = [layer.get_weights() for layer in source.layers if layer.get_weights()]
    for path, order in ((tmp_path / "net.h5", (0, 1, 2, 3)), (tmp_path / "theano.h5", (3, 2, 0, 1))):
        with h5py.File(path, "w") as file:
            for number, (kernel, bias) in enumerate(convs, start=1):
                name = f"convolution2d_{number}"
                file.create_dataset(f"{name}/{name}_W", data=kernel.transpose(order))
                file.create_dataset(f"{name}/{name}_b", data=bias)
            file.create_dataset("dense_1/dense_1_W", data=kernel[0, 0])
            file.create_dataset("dense_1/dense_1_b", data=bias)
    read, images = read_keras(tmp_path / "net.h5"), photograph(*SIDES)
    features = torch.from_numpy(source.predict(seen(keras, images), verbose=0)).permute(0, 3, 1, 2)
    assert_close(plain_features(read, images), features)
    with pytest.raises(VerydeepError, match=r"theano\.h5 has a kernel of shape 4x3x3x3 in 'convolution2d_1'"):
        read_keras(tmp_path / "theano.h5")


def write_layers(path: Path, **layers: tuple[tuple[int, ...], ...]) -> Path:
    with h5py.File(path, "w") as file:
        for name, shapes in layers.items():
            for number, shape in enumerate(shapes):
                file.create_dataset(f"{name}/{name}/{number}", data=torch.rand(shape).numpy())
    return path


STRANGE: dict[str, tuple[dict[str, tuple[tuple[int, ...], ...]], tuple[str, ...]]] = {
    "Theano's kernels": ({"block1_conv1": ((4, 3, 3, 3), (4,))}, ("4x3x3x3", "block1_conv1", "Theano")),
    "an FC layer as a convolution": (
        {"fc1": ((3, 3, 8, 9), (9,))},
        ("fc1.weight of shape 9x8x3x3", "not those of a VGG net"),
    ),
    "a convolution as an FC layer": ({"block1_conv1": ((27, 4), (4,))}, ("no convolutions", "block1_conv1")),
    "two kernels": (
        {"block1_conv1": ((3, 3, 3, 4), (3, 3, 3, 4))},
        ("no convolutions", "block1_conv1.0 of shape 3x3x3x4"),
    ),
    "FC layers alone": ({"fc1": ((72, 9), (9,))}, ("no convolutions", "fc1.weight of shape 9x72")),
    "a number for a layer": ({"block1_conv1": ((),)}, ("no convolutions",)),
}


@pytest.mark.parametrize("what", STRANGE)
def test_what_is_strange_is_named(what: str, tmp_path: Path) -> None:
    layers, named = STRANGE[what]
    path = write_layers(tmp_path / "net.h5", **layers)
    with pytest.raises(VerydeepError) as caught:
        read_keras(path)
    message = str(caught.value)
    assert "\n" not in message and str(path) in message
    assert all(word in message for word in named), message


@pytest.mark.parametrize("missing", ["block4_conv2", "block1_conv1"])
def test_what_is_missing_is_left_out(missing: str, tmp_path: Path) -> None:
    convs = {"block1_conv1": (3, 3, 3, 4), "block4_conv2": (3, 3, 7, 7), "block5_conv3": (3, 3, 8, 8)}
    path = write_layers(tmp_path / "net.h5", **{name: (shape,) for name, shape in convs.items() if name != missing})
    assert {f"block{name[4]}_conv{name[6]}" for name in read_keras(path).tensors} == convs.keys() - {missing}


def test_the_convolutions_under_a_head_of_ones_own_are_read(keras: ModuleType, tmp_path: Path) -> None:
    """As people build on Keras's VGG-16: pooling, then dense layers of their own, saved as a whole."""
    base = keras_net(keras, "D", top=False)
    x = keras.layers.GlobalMaxPooling2D()(base.output)
    x = keras.layers.Dense(6, activation="relu", name="dense_49")(x)
    model = keras.Model(base.input, keras.layers.Dense(2, name="dense_50")(x))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.save(tmp_path / "mine.h5")
    net = read_keras(tmp_path / "mine.h5")
    assert set(net.tensors) == {f"{name}.{kind}" for name, _ in NETWORKS["D"].convs() for kind in ("weight", "bias")}
    assert net.left_out == "its head (dense_49, dense_50) pools globally"
    for layer in base.layers:
        if (name := layer.name.replace("block", "conv").replace("_conv", "_")) + ".weight" in net.tensors:
            kernel, bias = (torch.as_tensor(values) for values in layer.get_weights())
            assert torch.equal(net.tensors[f"{name}.weight"], kernel.permute(3, 2, 0, 1))
            assert torch.equal(net.tensors[f"{name}.bias"], bias)


def test_damaged_archives_are_refused(keras: ModuleType, tmp_path: Path) -> None:
    path = tmp_path / "mine.keras"
    keras_net(keras, "D").save(path)
    content = path.read_bytes()
    rewrite(path, lambda name, entry: entry + bytes(2**22) * name.endswith("h5"), zipfile.ZIP_DEFLATED)
    with pytest.raises(VerydeepError, match=r"mine\.keras declares more numbers than it holds"):
        read_weight_file(path)
    for damaged in (content[:-9], content[: len(content) // 2], content.replace(b"config.json", b"other_.json")):
        path.write_bytes(damaged)
        with pytest.raises(VerydeepError, match=r"mine\.keras is damaged"):
            read_weight_file(path)
    path.write_bytes(content.replace(b"\x89HDF", b"\x89HDX"))
    with pytest.raises(VerydeepError, match=r"mine\.keras"):
        read_weight_file(path)
