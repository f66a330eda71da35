"""A net as an ONNX file: dense, of any batch, height and width.

The graph is written layer by layer: the nodes carry the paper's names, poolings their rounding, and FC layers are the
convolutions that they are stored as. PyTorch's own exporter would unroll LRN, name the nodes its own way, and fix the
size of the images where pooling rounds up.
"""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor, nn

from verydeep.errors import VerydeepError
from verydeep.files import atomic_write
from verydeep.models.export.description import IMAGES, describe, input_in_words, outputs_in_words
from verydeep.models.vgg import VGG, Dropout
from verydeep.models.weights.native import ModelConfig

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto, TensorProto

OPSET, IR_VERSION = 17, 8
"""Of 2022: what reads ONNX today reads these."""

MOST_BYTES = 2**31 - 2**20
"""Of the weights: a protobuf message ends at 2 GiB."""


def write_onnx(path: Path, model: VGG, config: ModelConfig) -> None:
    """Write a net, complete or not at all; class names go into the file's ``metadata_props``, as JSON.

    Raises:
        VerydeepError: onnx is not installed, the weights are too many for one file, or it cannot be written.
    """
    num_bytes = sum(4 * parameter.numel() for parameter in model.parameters())
    if num_bytes > MOST_BYTES:
        raise VerydeepError(
            f"The weights take {num_bytes / 1e9:.1f} GB, and an ONNX file holds 2: give --format torch-export."
        )
    try:
        content = onnx_model(model, config).SerializeToString()
    except ImportError:
        raise VerydeepError("Writing ONNX files needs onnx: pip install 'verydeep[onnx]'.") from None
    with atomic_write(path) as temporary:
        temporary.write_bytes(content)


def onnx_model(model: VGG, config: ModelConfig) -> "ModelProto":
    """The net as ONNX has it: images -> scores and posterior; or boxes; or the features of a trunk.

    Raises:
        ImportError: onnx is not installed.
    """
    from onnx import TensorProto, helper  # noqa: PLC0415 - an extra

    outputs = outputs_in_words(config)
    dense = next(iter(outputs))
    layers = {name: layer for name, layer in model.named_children() if not isinstance(layer, Dropout)}
    nodes = [helper.make_node("Sub", [IMAGES, "mean_rgb"], ["centered"], "mean")]
    for name, layer in layers.items():
        is_last = name == next(reversed(layers))
        nodes.append(layer_node(name, layer, nodes[-1].output[0], dense if is_last else name))
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
                IMAGES, TensorProto.FLOAT, ["batch", 3, "height", "width"], input_in_words(config)
            )
        ],
        outputs=[
            helper.make_tensor_value_info(name, TensorProto.FLOAT, shapes[name], words)
            for name, words in outputs.items()
        ],
    )
    net = helper.make_model(
        graph, producer_name="verydeep", ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)]
    )
    texts = {key: each if isinstance(each, str) else json.dumps(each) for key, each in describe(config).items()}
    helper.set_model_props(net, texts)
    # Last, as the helpers copy what they are given.
    net.graph.initializer.append(onnx_tensor("mean_rgb", model.mean_rgb.reshape(1, 3, 1, 1)))
    for name, tensor in model.state_dict().items():
        net.graph.initializer.append(onnx_tensor(name, tensor))
    return net


def layer_node(name: str, layer: nn.Module, source: str, target: str) -> "NodeProto":
    """One layer: which of ONNX's operators it is."""
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


def onnx_tensor(name: str, tensor: Tensor) -> "TensorProto":
    """The values of a weight."""
    from onnx import numpy_helper  # noqa: PLC0415 - an extra

    return numpy_helper.from_array(tensor.detach().cpu().contiguous().numpy(), name)
