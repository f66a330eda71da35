"""Thin nets in the files of other systems, written by these systems' own means: Caffe's messages, MATLAB's arrays."""

import ast
import os
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

BLOCKS = {"D": (2, 2, 3, 3, 3), "E": (2, 2, 4, 4, 4)}
CHANNELS = (3, 4, 5, 6, 8)

CONVOLUTION, INNER_PRODUCT, LRN, POOLING, RELU, SIGMOID, SOFTMAX = 4, 14, 15, 17, 18, 19, 20
"""V1's types of layer, as caffe.proto numbers them."""


def thin_weights(
    network: str = "D", fc_width: int = 7, classes: int = 5, side: int = 2, seed: int = 0
) -> Mapping[str, Tensor]:
    """Weights in our layout, no two of their numbers alike; no FC layers if ``side``, that of fc6's kernel, is 0."""
    generator = torch.Generator().manual_seed(seed)
    shapes, channels = {}, 3
    for block, (depth, out) in enumerate(zip(BLOCKS[network], CHANNELS, strict=True), start=1):
        for place in range(1, depth + 1):
            shapes[f"conv{block}_{place}"] = (out, channels, 3, 3)
            channels = out
    if side:
        shapes |= {"fc6": (fc_width, channels, side, side), "fc7": (fc_width, fc_width, 1, 1)}
        shapes["fc8"] = (classes, fc_width, 1, 1)
    tensors = {}
    for name, shape in shapes.items():
        tensors[f"{name}.weight"] = torch.randn(shape, generator=generator) / (shape[1] * shape[2] ** 2) ** 0.5
        tensors[f"{name}.bias"] = torch.randn(shape[:1], generator=generator)
    return tensors


def layer_names(tensors: Mapping[str, Tensor]) -> list[str]:
    """The layers with weights and those between them, in the net's order."""
    weighted = [name.removesuffix(".weight") for name in tensors if name.endswith(".weight")]
    names = []
    for name, following in zip(weighted, [*weighted[1:], ""], strict=True):
        names.append(name)
        if name != "fc8":
            names.append(f"relu{name[-1] if name.startswith('fc') else name.removeprefix('conv')}")
        if name.startswith("conv") and following[:5] != name[:5]:
            names.append(f"pool{name[4]}")
    return [*names, "prob"] if "fc8" in weighted else names


def caffe_messages(*, packed: bool = True, raw_blobs: bool = False) -> SimpleNamespace:
    """Caffe's NetParameter and BlobProto, of caffe.proto as caffe-onnx carries it, made classes by protobuf.

    Without ``packed`` each of a blob's numbers is written as a field of its own; with ``raw_blobs`` a layer's blobs are
    bytes that one has serialized oneself.
    """
    require_peer("caffe-onnx", "0.1.2")
    require_peer("protobuf", "7.36.2")
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

    schema = descriptor_pb2.FileDescriptorProto.FromString(_schema())
    fields = {message.name: {field.name: field for field in message.field} for message in schema.message_type}
    fields["BlobProto"]["data"].options.packed = fields["BlobProto"]["double_data"].options.packed = packed
    if raw_blobs:
        blobs = fields["V1LayerParameter"]["blobs"]
        blobs.type = descriptor_pb2.FieldDescriptorProto.TYPE_BYTES
        blobs.ClearField("type_name")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(schema)
    classes = {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"caffe.{name}"))
        for name in ("NetParameter", "BlobProto")
    }
    return SimpleNamespace(**classes)


def require_peer(package: str, version: str) -> None:
    """Skip where a package is not installed; where VERYDEEP_REQUIRE_PEERS is set, its absence is a failure."""
    try:
        distribution(package)
    except PackageNotFoundError:
        missing = pytest.fail if os.environ.get("VERYDEEP_REQUIRE_PEERS") else pytest.skip
        missing(f"{package} is not installed: pip install --no-deps {package}=={version}")


@cache
def _schema() -> bytes:
    """caffe.proto, compiled by others: the descriptor within caffe_pb2.py, whose classes only protobuf < 4 can make."""
    source = Path(str(distribution("caffe-onnx").locate_file("proto/caffe_pb2.py"))).read_text(encoding="utf-8")
    nodes = ast.walk(ast.parse(source))
    call = next(node.value for node in nodes if isinstance(node, ast.keyword) and node.arg == "serialized_pb")
    assert isinstance(call, ast.Call)
    return bytes(ast.literal_eval(call.args[0]).encode("latin-1"))


def caffe_blob(tensor: Tensor, *, messages: SimpleNamespace, old_shape: bool = True, double: bool = False) -> Any:
    """A blob; FC weights and biases have leading dimensions of 1 in the old form of shape."""
    numbers = {"double_data" if double else "data": tensor.flatten().tolist()}
    if not old_shape:
        return messages.BlobProto(shape={"dim": tensor.shape}, **numbers)
    sides = (1,) * (4 - tensor.ndim) + tuple(tensor.shape)
    return messages.BlobProto(**dict(zip(("num", "channels", "height", "width"), sides, strict=True)), **numbers)


def caffe_net(tensors: Mapping[str, Tensor], messages: SimpleNamespace | None = None, **form: bool) -> Any:
    """A NetParameter with V1 layers, as the authors' files have them."""
    messages = messages or caffe_messages()
    net = messages.NetParameter(name="VGG_ILSVRC_16_layers", input=["data"], input_dim=[1, 3, 224, 224])
    below = "data"
    for name in layer_names(tensors):
        in_place = name.startswith("relu")
        layer = net.layers.add(name=name, bottom=[below], top=[below if in_place else name])
        below = layer.top[0]
        kinds = {"conv": CONVOLUTION, "relu": RELU, "pool": POOLING, "prob": SOFTMAX}
        layer.type = kinds.get(name[:4], INNER_PRODUCT)
        if name.startswith("pool"):
            layer.pooling_param.kernel_size = layer.pooling_param.stride = 2
        if f"{name}.weight" in tensors:
            weight = tensors[f"{name}.weight"]
            if name.startswith("fc"):
                weight = weight.flatten(1)  # channel, row, column
                layer.inner_product_param.num_output = len(weight)
            else:
                layer.convolution_param.num_output = len(weight)
                layer.convolution_param.pad.append(1)
                layer.convolution_param.kernel_size.append(3)
            blobs = [weight, tensors[f"{name}.bias"]]
            layer.blobs.extend(caffe_blob(blob, messages=messages, **form) for blob in blobs)
            layer.blobs_lr.extend([1, 2])
    return net


def write_caffemodel(path: Path, tensors: Mapping[str, Tensor]) -> Path:
    """A file as the authors gave away, of weights in our layout; conv1_1 takes BGR."""
    path.write_bytes(caffe_net(tensors).SerializeToString())
    return path


def matconvnet_layers(tensors: Mapping[str, Tensor], *, old: bool = False, pool_pad: int = 1) -> np.ndarray:
    """The cell of layers, of the form of 2014 or a later one; ``pool_pad`` is what poolings add below and right."""
    layers = []
    for name in layer_names(tensors):
        layer: dict[str, Any] = {"name": name, "type": {"prob": "softmax"}.get(name, name[:4])}
        if name.startswith("pool"):
            layer |= {"method": "max", "pool": np.array([[2.0, 2.0]]), "stride": np.array([[2.0, 2.0]])}
            layer["pad"] = np.array([[0.0, pool_pad, 0.0, pool_pad]])
        elif f"{name}.weight" in tensors:
            kernel = tensors[f"{name}.weight"].permute(2, 3, 1, 0).numpy()  # (H, W, in, out)
            bias = tensors[f"{name}.bias"].numpy()[None]
            layer |= {"type": "conv", "stride": np.array([[1.0, 1.0]])}
            layer["pad"] = np.full((1, 4), float(name.startswith("conv")))
            layer |= {"filters": kernel, "biases": bias} if old else {"weights": cell(kernel, bias)}
        layers.append(layer)
    return cell(*layers)


def cell(*items: object) -> np.ndarray:
    """What SciPy writes as a cell of one row."""
    row = np.empty((1, len(items)), dtype=object)
    for place, item in enumerate(items):
        row[0, place] = item
    return row


def write_matconvnet(
    path: Path,
    tensors: Mapping[str, Tensor],
    *,
    old: bool = False,
    pool_pad: int = 1,
    mean: object = (123.68, 116.779, 103.939),
    wnids: tuple[str, ...] = (),
    words: tuple[str, ...] = (),
    compressed: bool = False,
) -> Path:
    """A file of MatConvNet's, of weights in our layout; conv1_1 takes RGB."""
    from scipy.io import savemat

    normalization = {"imageSize": np.array([[224.0, 224.0, 3.0]]), "keepAspect": True, "interpolation": "bilinear"}
    normalization |= {} if mean is None else {"averageImage": np.array(mean, np.float64)}
    about: dict[str, object] = {"normalization": normalization}
    about |= {"classes": {"name": cell(*wnids), "description": cell(*words)}} if wnids else {}
    content = {"layers": matconvnet_layers(tensors, old=old, pool_pad=pool_pad)} | (about if old else {"meta": about})
    savemat(path, content, do_compression=compressed, oned_as="row")
    return path
