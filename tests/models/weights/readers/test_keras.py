"""Keras's own nets, on Keras's own preprocessing, against what is read of the files that Keras writes or reads."""

import importlib
import os
import warnings
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
    assert "BGR" in net.assumption and "3x3" in net.notes[0]


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


def test_other_layers_with_weights_are_named(keras: ModuleType, tmp_path: Path) -> None:
    """A layer that may change what the convolutions give, or holds them."""
    trunk = keras_net(keras, "D", top=False)
    pooled = keras.layers.GlobalAveragePooling2D()(trunk.output)
    normed = keras.layers.BatchNormalization()(pooled)
    keras.Model(trunk.inputs, normed).save_weights(tmp_path / "own.weights.h5")
    with pytest.raises(VerydeepError, match=r"own\.weights\.h5.*'batch_normalization'"):
        read_keras(tmp_path / "own.weights.h5")
    within = keras.Sequential([trunk, keras.layers.GlobalAveragePooling2D()])
    within.save_weights(tmp_path / "within.weights.h5")
    with pytest.raises(VerydeepError, match=r"within\.weights\.h5.*'functional'"):
        read_keras(tmp_path / "within.weights.h5")


def write_layers(path: Path, **layers: tuple[tuple[int, ...], ...]) -> Path:
    with h5py.File(path, "w") as file:
        for name, shapes in layers.items():
            for number, shape in enumerate(shapes):
                file.create_dataset(f"{name}/{name}/{number}", data=torch.rand(shape).numpy())
    return path


STRANGE: dict[str, tuple[dict[str, tuple[tuple[int, ...], ...]], tuple[str, ...]]] = {
    "Theano's kernels": ({"block1_conv1": ((4, 3, 3, 3), (4,))}, ("4x3x3x3", "conv1_1", "Theano")),
    "an FC layer as a convolution": ({"fc1": ((3, 3, 8, 9), (9,))}, ("3x3x8x9", "fc6")),
    "a convolution as an FC layer": ({"block1_conv1": ((27, 4), (4,))}, ("27x4", "conv1_1")),
    "two kernels": ({"block1_conv1": ((3, 3, 3, 4), (3, 3, 3, 4))}, ("3x3x3x4", "conv1_1")),
    "no square of positions": ({"block5_conv3": ((3, 3, 8, 8), (8,)), "fc1": ((48, 9), (9,))}, ("48", "fc6", "8")),
    "FC layers alone": ({"fc1": ((72, 9), (9,))}, ("72", "fc6")),
    "a fourth convolution in block 1": ({"block1_conv3": ((3, 3, 4, 4), (4,))}, ("block1_conv3",)),
    "a number for a layer": ({"block1_conv1": ((),)}, ("conv1_1",)),
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


def test_a_layer_without_outputs_is_left_to_others(tmp_path: Path) -> None:
    path = write_layers(tmp_path / "net.h5", block5_conv3=((3, 3, 8, 8),), fc1=((72, 0),))
    assert read_keras(path).tensors["fc6.weight"].shape == (0, 8, 3, 3)


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
    assert any("Only the convolutions were read: its head (dense_49, dense_50)" in note for note in net.notes)
    for layer in base.layers:
        if (name := layer.name.replace("block", "conv").replace("_conv", "_")) + ".weight" in net.tensors:
            kernel, bias = (torch.as_tensor(values) for values in layer.get_weights())
            assert torch.equal(net.tensors[f"{name}.weight"], kernel.permute(3, 2, 0, 1))
            assert torch.equal(net.tensors[f"{name}.bias"], bias)


def test_a_keras_archive_is_reported_what_is_inside(keras: ModuleType, tmp_path: Path) -> None:
    keras_net(keras, "D").save(tmp_path / "mine.keras")
    with pytest.raises(VerydeepError, match=r"mine\.keras is an archive of Keras 3: .*model\.weights\.h5"):
        read_weight_file(tmp_path / "mine.keras")
