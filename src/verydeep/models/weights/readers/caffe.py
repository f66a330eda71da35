"""Reader of Caffe's .caffemodel files, the form in which the authors published their nets.

The file is a message of protocol buffers, ``NetParameter``, of whose hundreds of fields a handful matters here. Caffe
has had three kinds of layer messages: V0 (2013), V1 (2014, the authors'), and LayerParameter (since 2015). The last two
are read.
"""

import math
import mmap
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from torch import Tensor

from verydeep.errors import WeightsError
from verydeep.models.weights.readers.layers import SourceLayer, printable, refuse_normalization, to_float32
from verydeep.models.weights.readers.protobuf import (
    BYTES,
    FIXED32,
    FIXED64,
    MAX_FIELDS,
    VARINT,
    DamagedError,
    Field,
    append_singles,
    bytes_field,
    fields,
    next_field,
    read_tag,
    read_varint,
)
from verydeep.models.weights.readers.recognition import recognize_net
from verydeep.models.weights.weight_file import CAFFE_INPUT, MAX_VALUES, WeightFile

_NET_FIELDS = {1: BYTES, 2: BYTES, 3: BYTES, 4: VARINT, 5: VARINT, 6: BYTES, 7: VARINT, 8: BYTES, 100: BYTES}
"""NetParameter: name, layers, input, input_dim, force_backward, state, debug_info, input_shape, layer."""
_V1_LAYERS, _LAYER = 2, 100
_V0 = 1
_FIELDS = {_V1_LAYERS: (4, 5, 6), _LAYER: (1, 2, 7)}
"""Numbers of the fields name, type and blobs of a V1 layer and of a LayerParameter."""
_V1_TYPES = {4: "Convolution", 14: "InnerProduct", 15: "LRN", 19: "Sigmoid", 27: "SigmoidCrossEntropyLoss"}
"""Numbers of a V1 layer's types -> the names that LayerParameter has for them."""
_WITH_WEIGHT = ("", "Convolution", "InnerProduct")
_SIDES, _SHAPE = (1, 2, 3, 4), 7
_NUMBERS = {5: (4, FIXED32), 8: (8, FIXED64)}
"""Fields of a blob, data and double_data: bytes of a number, and the wire type of a number that is not packed."""
_MAX_AXES = 32


def read_caffemodel(path: Path) -> WeightFile:
    """Read a net of Caffe with V1 layers or those since 2015.

    Raises:
        WeightsError: the file is damaged, has V0 layers, or has no net of the paper.
    """
    try:
        with path.open("rb") as file:
            buffer = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} cannot be read ({error}): give the .caffemodel file itself.") from None
    try:
        layers, form = _read_layers(path, buffer)
        converted = [_convert_layer(path, buffer, layer) for layer in layers if layer.blobs]
    except DamagedError as error:
        raise WeightsError(f"{path} is damaged or incomplete ({error}): download it again.") from None
    has_sigmoid = any(layer.kind.startswith("Sigmoid") for layer in layers)
    obstacle = "ends with a sigmoid and no soft-max over classes" if has_sigmoid else ""
    net = recognize_net(converted, path, obstacle=obstacle)
    return WeightFile(f"Caffe, {form}", net.tensors, CAFFE_INPUT, "ceil", notes=net.notes, left_out=net.head.left_out)


def looks_like_caffemodel(head: bytes) -> bool:
    """Whether a file's first bytes may be those of a net of Caffe, with any kind of layers; it has no magic number.

    They must lead, field by field, from the name of the net into its first layer.
    """
    buffer, at = memoryview(head), 0
    try:
        while at < len(head):
            number, wire, at = read_tag(buffer, at, len(head))
            if _NET_FIELDS.get(number) != wire:
                return False
            value, at = read_varint(buffer, at, len(head))
            if number in (_V1_LAYERS, _LAYER):
                inner, wire, start = read_tag(buffer, at, len(head))
                length, start = read_varint(buffer, start, len(head))
                return wire == BYTES and inner <= 4 and start + length <= at + value
            if number in (1, 3) and not bytes(buffer[at : at + value]).decode("utf-8", errors="ignore").isprintable():
                return False
            at += value if wire == BYTES else 0
    except DamagedError:
        return False
    return False


@dataclass
class _Layer:
    """A layer: its name, its type as LayerParameter calls it, and the fields of its blobs."""

    name: str = ""
    kind: str = ""
    blobs: list[Field] = field(default_factory=list)


@dataclass
class _Blob:
    """Shape and bytes of the numbers of a blob."""

    shape: tuple[int, ...]
    numbers: bytearray
    bytes_each: int

    def to_tensor(self, *shape: int) -> Tensor:
        """Return the numbers as float32; those of 4 bytes are not copied."""
        return to_float32(np.frombuffer(self.numbers, dtype=f"<f{self.bytes_each}")).reshape(shape)


def _read_layers(path: Path, buffer: memoryview) -> tuple[list[_Layer], str]:
    """Read names, types and places of the blobs of all layers, and the name of their kind of message."""
    layers: list[_Layer] = []
    form = "V1 layers"
    for found in fields(buffer, 0, len(buffer)):
        if found.number in _FIELDS:
            layers.append(_read_layer(path, buffer, bytes_field(found)))
            form = "V1 layers" if found.number == _V1_LAYERS else "LayerParameter"
    if not any(layer.blobs for layer in layers):
        raise WeightsError(f"{path} has no weights: give the .caffemodel of a trained net, not its definition.")
    return layers, form


def _read_layer(path: Path, buffer: memoryview, message: Field) -> _Layer:
    layer = _Layer()
    name, kind, blobs = _FIELDS[message.number]
    for found in fields(buffer, message.start, message.end):
        if message.number == _V1_LAYERS and found.number == _V0:
            raise WeightsError(
                f"{path} has V0 layers (Caffe of 2013), which are not supported: with Caffe's caffe_pb2, copy name and "
                "blobs of each layer to the field 'layer' of a new NetParameter, and save that."
            )
        if found.number == name:
            layer.name = _read_text(buffer, found)
        elif found.number == kind:
            layer.kind = _V1_TYPES.get(found.value, "other") if found.wire == VARINT else _read_text(buffer, found)
        elif found.number == blobs:
            layer.blobs.append(bytes_field(found))
    if layer.kind == "LRN":
        refuse_normalization(layer.name, path)
    return layer


def _read_text(buffer: memoryview, found: Field) -> str:
    return printable(bytes(buffer[bytes_field(found).start : found.end][:100]).decode("utf-8", errors="replace"))


def _convert_layer(path: Path, buffer: memoryview, layer: _Layer) -> SourceLayer:
    """Return a layer with weights in our layout."""
    name = layer.name
    blobs = [_read_blob(path, buffer, blob, name) for blob in layer.blobs]
    sizes = [math.prod(blob.shape) for blob in blobs]
    has_vectors = max(blobs[0].shape) == sizes[0] and not (len(blobs) == 2 and sizes[1] < sizes[0])
    if layer.kind not in _WITH_WEIGHT or has_vectors:  # such as batch norm
        return SourceLayer(
            name, {f"blob {n}": blob.to_tensor(size) for n, (blob, size) in enumerate(zip(blobs, sizes, strict=True))}
        )
    if len(blobs) != 2:
        raise WeightsError(f"{path} has {len(blobs)} blobs in layer {name}, not weight and bias: it is damaged.")
    weight, bias = blobs
    shape, outputs = weight.shape, sizes[1]
    if shape[:-2] in ((), (1, 1)) and shape[-2] == outputs:  # (out, in) or, of old, (1, 1, out, in)
        shape = shape[-2:]
    if len(shape) not in (2, 4) or shape[2:3] != shape[3:] or outputs != shape[0] or max(bias.shape) != outputs:
        raise WeightsError(
            f"{path} has a weight of shape {weight.shape} and a bias of shape {bias.shape} in layer {name}, instead of "
            "(out, in, k, k) or (out, in), and (out): it is damaged, or not a VGG net."
        )
    return SourceLayer(name, {"weight": weight.to_tensor(*shape), "bias": bias.to_tensor(outputs)})


def _read_blob(path: Path, buffer: memoryview, message: Field, layer: str) -> _Blob:
    """Read a blob, and check that its shape and its numbers fit each other."""
    sides, shape = [0, 0, 0, 0], None
    numbers, bytes_each = bytearray(), 4
    at = message.start
    for _ in range(MAX_FIELDS):
        if at == message.end:
            break
        found, after = next_field(buffer, at, message.end)
        if found.number in _SIDES and found.wire == VARINT:
            sides[found.number - 1] = found.value
        elif found.number == _SHAPE:
            shape = _read_shape(buffer, bytes_field(found))
        elif found.number in _NUMBERS:
            bytes_each, single = _NUMBERS[found.number]
            if found.wire == single:
                after = append_singles(numbers, buffer, at, message.end, found)
            else:
                length = bytes_field(found).end - found.start
                if length % bytes_each or length > bytes_each * MAX_VALUES:
                    raise DamagedError(f"the numbers of {layer} at byte {at} are cut or too many")
                numbers += buffer[found.start : found.end]
        at = after
    shape = tuple(sides) if shape is None else shape
    if at < message.end or len(numbers) > bytes_each * MAX_VALUES:
        raise DamagedError(f"a blob of {layer} has too many parts or numbers")
    if min(shape) < 1 or math.prod(shape) * bytes_each != len(numbers):
        raise WeightsError(
            f"{path} declares a blob of shape {shape} for its layer {layer} but has {len(numbers) // bytes_each} "
            "numbers: it is damaged, or has no weights."
        )
    return _Blob(shape, numbers, bytes_each)


def _read_shape(buffer: memoryview, message: Field) -> tuple[int, ...]:
    """Read the dimensions of a BlobShape, packed or not."""
    shape: list[int] = []
    for found in fields(buffer, message.start, message.end):
        if found.number == 1 and found.wire == VARINT:
            shape.append(found.value)
        elif found.number == 1:
            at = bytes_field(found).start
            while at < found.end and len(shape) <= _MAX_AXES:
                side, at = read_varint(buffer, at, found.end)
                shape.append(side)
        if not 0 < len(shape) <= _MAX_AXES:
            break
    if not 0 < len(shape) <= _MAX_AXES:
        raise DamagedError(f"a shape at byte {message.start} has {len(shape)} axes")
    return tuple(shape)
