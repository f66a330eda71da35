"""Export of a net as an ONNX file: dense, for any batch, height and width.

The graph is written layer by layer. Its nodes have the paper's names, its poolings their rounding, and FC layers are
convolutions. PyTorch's own exporter would unroll LRN, name the nodes differently, and fix the size of the images where
pooling rounds up.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor, nn

from verydeep.errors import WeightsError, require_extra
from verydeep.files import atomic_write
from verydeep.models.export.description import IMAGES, describe_input, describe_outputs, metadata
from verydeep.models.vgg import VGG, Dropout
from verydeep.models.weights.model_folder import ModelConfig

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

OPSET, IR_VERSION = 17, 8
"""Versions of 2022, which all present readers of ONNX support."""

MAX_BYTES = 2**31 - 2**20
"""The largest size of the weights: a protobuf message ends at 2 GiB."""


def write_onnx(path: Path, model: VGG, config: ModelConfig) -> None:
    """Write a net, complete or not at all; class names go into ``metadata_props``, as JSON.

    Raises:
        WeightsError: the weights are too large for one file.
        ResourceError: onnx is not installed, or the file cannot be written.
    """
    num_bytes = sum(4 * parameter.numel() for parameter in model.parameters())
    if num_bytes > MAX_BYTES:
        raise WeightsError(
            f"The weights take {num_bytes / 1e9:.1f} GB, more than an ONNX file can hold: give `format=torch-export`."
        )
    with require_extra("Writing ONNX files", "onnx", "onnx"):
        content = make_onnx_model(model, config).SerializeToString()
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)


def make_onnx_model(model: VGG, config: ModelConfig) -> "ModelProto":
    """Return the ONNX model: images -> scores and posterior; or boxes; or the features of a trunk.

    Raises:
        ImportError: onnx is not installed.
    """
    from onnx import TensorProto, helper  # noqa: PLC0415 - an extra

    outputs = describe_outputs(config)
    dense = next(iter(outputs))
    layers = {name: layer for name, layer in model.named_children() if not isinstance(layer, Dropout)}
    nodes = [helper.make_node("Sub", [IMAGES, "mean_rgb"], ["centered"], "mean")]
    for name, layer in layers.items():
        is_last = name == next(reversed(layers))
        nodes.append(make_node(name, layer, nodes[-1].output[0], dense if is_last else name))
    if "posterior" in outputs:
        nodes += [
            helper.make_node("GlobalAveragePool", [dense], ["means"], "average"),
            helper.make_node("Flatten", ["means"], ["logits"], "flatten"),
            helper.make_node("Softmax", ["logits"], ["posterior"], "softmax", axis=1),
        ]
    channels = [layer.out_channels for layer in model.weight_layers().values()][-1]
    shapes: dict[str, list[str | int | None]] = {
        dense: ["batch", channels, "map_height", "map_width"],
        "posterior": ["batch", channels],
    }
    graph = helper.make_graph(
        nodes,
        f"verydeep_{config.network}",
        inputs=[
            helper.make_tensor_value_info(
                IMAGES, TensorProto.FLOAT, ["batch", 3, "height", "width"], describe_input(config)
            )
        ],
        outputs=[
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shapes[name], text) for name, text in outputs.items()
        ],
    )
    net = helper.make_model(
        graph, producer_name="verydeep", ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)]
    )
    values = metadata(config).items()
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in values}
    helper.set_model_props(net, texts)
    # Last, because the helpers copy their arguments.
    net.graph.initializer.append(make_tensor("mean_rgb", model.mean_rgb.reshape(1, 3, 1, 1)))
    for name, tensor in model.state_dict().items():
        net.graph.initializer.append(make_tensor(name, tensor))
    return net


def make_node(name: str, layer: nn.Module, source: str, target: str) -> "NodeProto":
    """Return the ONNX operator of one layer."""
    from onnx import helper  # noqa: PLC0415 - an extra

    match layer:
        case nn.Conv2d():
            inputs, pads = [source, f"{name}.weight", f"{name}.bias"], [int(layer.padding[0])] * 4
            return helper.make_node("Conv", inputs, [target], name, kernel_shape=list(layer.kernel_size), pads=pads)
        case nn.ReLU():
            return helper.make_node("Relu", [source], [target], name)
        case nn.LocalResponseNorm(size=size, alpha=alpha, beta=beta, k=k):
            return helper.make_node("LRN", [source], [target], name, size=size, alpha=alpha, beta=beta, bias=float(k))
        case nn.MaxPool2d():
            return helper.make_node(
                "MaxPool", [source], [target], name,
                kernel_shape=[2, 2], strides=[2, 2], ceil_mode=int(layer.ceil_mode),
            )  # fmt: skip
        case _:
            raise AssertionError(f"{name}: {layer}")


def make_tensor(name: str, tensor: Tensor) -> "TensorProto":
    """Return the values of a weight as an ONNX tensor."""
    from onnx import numpy_helper  # noqa: PLC0415 - an extra

    return numpy_helper.from_array(tensor.detach().cpu().contiguous().numpy(), name)
