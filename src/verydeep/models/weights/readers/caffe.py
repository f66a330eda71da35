"""Reader of Caffe's .caffemodel files, the form in which the authors published their nets.

The file is a message of protocol buffers, ``NetParameter``, of whose hundreds of fields a handful matters here. Caffe
has had three kinds of layer messages: V0 (2013), V1 (2014, the authors'), and LayerParameter (since 2015).
"""

import math
import mmap
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from torch import Tensor

from verydeep.errors import WeightsError
from verydeep.models.weights.readers.layers import check_layer_name, refuse_normalization, square_side, to_float32
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
from verydeep.models.weights.weight_file import CAFFE_INPUT, MAX_VALUES, WeightFile

_NET_FIELDS = {1: BYTES, 2: BYTES, 3: BYTES, 4: VARINT, 5: VARINT, 6: BYTES, 7: VARINT, 8: BYTES, 100: BYTES}
"""NetParameter: name, layers, input, input_dim, force_backward, state, debug_info, input_shape, layer."""
_V1_LAYERS, _LAYER = 2, 100
_V0, _V1_NAME, _V1_TYPE, _V1_BLOBS = 1, 4, 5, 6
_LRN = 15
"""The value of a V1 layer's type for local response normalization."""
_SIDES, _SHAPE = (1, 2, 3, 4), 7
_NUMBERS = {5: (4, FIXED32), 8: (8, FIXED64)}
"""Fields of a blob, data and double_data: bytes of a number, and the wire type of a number that is not packed."""
_MAX_AXES = 32

_COPY = (
    "and only V1 layers, those of the authors' files, are supported: with Caffe's caffe_pb2, copy name and blobs of "
    "each layer to the field layers of a new NetParameter, and save that"
)


def read_caffemodel(path: Path) -> WeightFile:
    """Read a net of Caffe with V1 layers.

    Raises:
        WeightsError: the file is damaged, its layers are another kind of message, or no net of the paper has their
            shapes or names.
    """
    try:
        with path.open("rb") as file:
            buffer = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} cannot be read ({error}): give the .caffemodel file itself.") from None
    try:
        return WeightFile("Caffe, V1 layers", _read_net(path, buffer), CAFFE_INPUT, "ceil")
    except DamagedError as error:
        raise WeightsError(f"{path} is damaged or incomplete ({error}): download it again.") from None


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
    """A V1 layer: its name, its type and the fields of its blobs."""

    name: str = ""
    kind: int = 0
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


def _read_net(path: Path, buffer: memoryview) -> dict[str, Tensor]:
    """Read the weights under our names, fc6 as a convolution."""
    tensors: dict[str, Tensor] = {}
    for found in fields(buffer, 0, len(buffer)):
        if found.number == _LAYER:
            raise WeightsError(f"{path} has LayerParameter messages (Caffe since 2015), {_COPY}.")
        if found.number == _V1_LAYERS:
            layer = _read_layer(path, buffer, bytes_field(found))
            if layer.blobs:
                tensors |= _read_weights(path, buffer, layer, tensors)
    if not tensors:
        raise WeightsError(f"{path} has no weights: give the .caffemodel of a trained net, not its definition.")
    if "fc6.weight" in tensors:
        tensors["fc6.weight"] = _to_convolution(path, tensors)
    return tensors


def _read_layer(path: Path, buffer: memoryview, message: Field) -> _Layer:
    layer = _Layer()
    for found in fields(buffer, message.start, message.end):
        if found.number == _V0:
            raise WeightsError(f"{path} has V0 layers (Caffe of 2013), {_COPY}.")
        if found.number == _V1_NAME:
            layer.name = bytes(buffer[bytes_field(found).start : found.end][:100]).decode("utf-8", errors="replace")
        elif found.number == _V1_TYPE and found.wire == VARINT:
            layer.kind = found.value
        elif found.number == _V1_BLOBS:
            layer.blobs.append(bytes_field(found))
    if layer.kind == _LRN:
        refuse_normalization(layer.name, path)
    return layer


def _read_weights(path: Path, buffer: memoryview, layer: _Layer, earlier: dict[str, Tensor]) -> dict[str, Tensor]:
    """Read weight and bias of a layer in our layout, the weight of fc6 still (out, in, 1, 1)."""
    name = layer.name
    check_layer_name(name, earlier, path)
    if len(layer.blobs) != 2:
        raise WeightsError(f"{path} has {len(layer.blobs)} blobs in layer {name}, not weight and bias: it is damaged.")
    weight, bias = (_read_blob(path, buffer, blob, name) for blob in layer.blobs)
    shape = weight.shape
    if name.startswith("fc"):
        shape = (*shape[-2:], 1, 1) if shape[:-2] in ((), (1, 1)) else ()  # (out, in) or, of old, (1, 1, out, in)
    if len(shape) != 4 or shape[2] != shape[3] or bias.shape not in ((shape[0],), (1, 1, 1, shape[0])):
        expected = "(out, in)" if name.startswith("fc") else "(out, in, k, k)"
        raise WeightsError(
            f"{path} has a weight of shape {weight.shape} and a bias of shape {bias.shape} in layer {name}, instead of "
            f"{expected} and (out): it is damaged, or not a VGG net with fully connected layers."
        )
    return {f"{name}.weight": weight.to_tensor(*shape), f"{name}.bias": bias.to_tensor(shape[0])}


def _to_convolution(path: Path, tensors: dict[str, Tensor]) -> Tensor:
    """Return fc6 as a convolution of the last map; its inputs are in the order channel, row, column."""
    out, inputs = tensors["fc6.weight"].shape[:2]
    last = [len(tensors[name]) for name in sorted(tensors) if name.startswith("conv5_") and name.endswith(".bias")]
    channels = last[-1] if last else 0
    side = square_side(inputs, channels, "fc6", path)
    return tensors["fc6.weight"].reshape(out, channels, side, side)


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
            f"{path} announces a blob of shape {shape} for its layer {layer} but has {len(numbers) // bytes_each} "
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
