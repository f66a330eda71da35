"""Caffe's .caffemodel, the form in which the authors gave their nets away.

The file is a message of protocol buffers, ``NetParameter``, of whose hundreds of fields a handful matters here. Caffe
has kept layers in three kinds of message: V0 (2013), V1 (2014, the authors'), and LayerParameter (since 2015).
"""

import math
import mmap
import re
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from verydeep.errors import VerydeepError
from verydeep.models.weights.foreign import CAFFE_INPUT, MOST_VALUES, ForeignNet
from verydeep.models.weights.readers.protobuf import (
    BYTES,
    FIXED32,
    FIXED64,
    MOST_FIELDS,
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

_WITH_WEIGHTS = re.compile(r"conv[1-5]_[1-4]|fc[678]")

_NET_FIELDS = {1: BYTES, 2: BYTES, 3: BYTES, 4: VARINT, 5: VARINT, 6: BYTES, 7: VARINT, 8: BYTES, 100: BYTES}
"""NetParameter: name, layers, input, input_dim, force_backward, state, debug_info, input_shape, layer."""
_V1_LAYERS, _LAYER = 2, 100
_V0, _V1_NAME, _V1_TYPE, _V1_BLOBS = 1, 4, 5, 6
_LRN = 15
"""A value of V1's type."""
_SIDES, _SHAPE = (1, 2, 3, 4), 7
_NUMBERS = {5: (4, FIXED32), 8: (8, FIXED64)}
"""Of a blob, data and double_data: bytes a number, and the wire type of one that is not packed with others."""
_MOST_AXES = 32

_COPY = (
    "and only V1 layers are read, as the authors' files have them: with Caffe's caffe_pb2, copy name and blobs of each "
    "of its layers to `layers` of a new NetParameter, and save that"
)


def read_caffemodel(path: Path) -> ForeignNet:
    """Read a net of Caffe's, V1 layers.

    Raises:
        VerydeepError: the file is damaged, its layers are of another kind of message, or of shapes or names that no
            net of the paper has.
    """
    try:
        with path.open("rb") as file:
            buffer = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError) as error:
        raise VerydeepError(f"{path} cannot be read ({error}): give the .caffemodel file itself.") from None
    try:
        return ForeignNet("Caffe, V1 layers", _net(path, buffer), CAFFE_INPUT, "ceil")
    except DamagedError as error:
        raise VerydeepError(f"{path} is damaged or incomplete ({error}): get it again.") from None


def looks_like_caffemodel(head: bytes) -> bool:
    """Whether a file's first bytes may be those of a net of Caffe's, of any kind of layers; it has no magic number.

    They must run, field by field, from the name of the net into its first layer.
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
    """A V1 layer."""

    name: str = ""
    kind: int = 0
    blobs: list[Field] = field(default_factory=list)


@dataclass
class _Blob:
    """Numbers, as their bytes, and their shape."""

    shape: tuple[int, ...]
    numbers: bytearray
    bytes_each: int

    def tensor(self, *shape: int) -> Tensor:
        """The numbers as float32; those of 4 bytes are not copied."""
        numbers = np.frombuffer(self.numbers, dtype=f"<f{self.bytes_each}")
        with np.errstate(over="ignore"):  # what is beyond float32 becomes infinite, which is found with the NaN
            return torch.from_numpy(numbers.astype(np.float32, copy=False)).reshape(shape)


def _net(path: Path, buffer: memoryview) -> dict[str, Tensor]:
    """The weights by our names, fc6 reshaped."""
    tensors: dict[str, Tensor] = {}
    for found in fields(buffer, 0, len(buffer)):
        if found.number == _LAYER:
            raise VerydeepError(f"{path} holds LayerParameter messages (Caffe since 2015), {_COPY}.")
        if found.number == _V1_LAYERS:
            layer = _layer(path, buffer, bytes_field(found))
            if layer.blobs:
                tensors |= _weights(path, buffer, layer, tensors)
    if not tensors:
        raise VerydeepError(f"{path} holds no weights: give the .caffemodel of a trained net, not its definition.")
    if "fc6.weight" in tensors:
        tensors["fc6.weight"] = _as_convolution(path, tensors)
    return tensors


def _layer(path: Path, buffer: memoryview, message: Field) -> _Layer:
    layer = _Layer()
    for found in fields(buffer, message.start, message.end):
        if found.number == _V0:
            raise VerydeepError(f"{path} holds V0 layers (Caffe of 2013), {_COPY}.")
        if found.number == _V1_NAME:
            layer.name = bytes(buffer[bytes_field(found).start : found.end][:100]).decode("utf-8", errors="replace")
        elif found.number == _V1_TYPE and found.wire == VARINT:
            layer.kind = found.value
        elif found.number == _V1_BLOBS:
            layer.blobs.append(bytes_field(found))
    if layer.kind == _LRN:
        raise VerydeepError(
            f"{path} normalizes responses (layer {layer.name!r}), which is not read from Caffe's files."
        )
    return layer


def _weights(path: Path, buffer: memoryview, layer: _Layer, taken: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weight and bias of a layer in our layout, those of fc6 still (out, in, 1, 1)."""
    name = layer.name
    if not _WITH_WEIGHTS.fullmatch(name) or f"{name}.weight" in taken:
        raise VerydeepError(
            f"{path} holds weights for a layer {name!r:.40}, which no net of the paper has, or which comes twice: it "
            "is no VGG net that can be read."
        )
    if len(layer.blobs) != 2:
        raise VerydeepError(f"{path} holds {len(layer.blobs)} blobs for its layer {name}, not a weight and a bias.")
    weight, bias = (_blob(path, buffer, blob, name) for blob in layer.blobs)
    shape = weight.shape
    if name.startswith("fc"):
        shape = (*shape[-2:], 1, 1) if shape[:-2] in ((), (1, 1)) else ()  # (out, in) or, of old, (1, 1, out, in)
    if len(shape) != 4 or shape[2] != shape[3] or bias.shape not in ((shape[0],), (1, 1, 1, shape[0])):
        wanted = "(out, in)" if name.startswith("fc") else "(out, in, k, k)"
        raise VerydeepError(
            f"{path} holds a weight of shape {weight.shape} and a bias of shape {bias.shape} for its layer {name}, "
            f"where {wanted} and (out) are read: it is damaged, or no VGG net with fully connected layers."
        )
    return {f"{name}.weight": weight.tensor(*shape), f"{name}.bias": bias.tensor(shape[0])}


def _as_convolution(path: Path, tensors: dict[str, Tensor]) -> Tensor:
    """fc6 as a convolution of the last map: its inputs lie there in the order channel, row, column."""
    out, inputs = tensors["fc6.weight"].shape[:2]
    channels = [len(tensors[name]) for name in sorted(tensors) if name.startswith("conv5_") and name.endswith(".bias")]
    side = math.isqrt(inputs // channels[-1]) if channels else 0
    if not channels or side * side * channels[-1] != inputs:
        raise VerydeepError(
            f"{path} holds an fc6 of {inputs} inputs, which is no square map of "
            f"{f'the {channels[-1]} channels' if channels else 'any channels, for there is no layer'} of conv5: it is "
            "damaged, or no VGG net."
        )
    return tensors["fc6.weight"].reshape(out, channels[-1], side, side)


def _blob(path: Path, buffer: memoryview, message: Field, layer: str) -> _Blob:
    """A blob whose shape and numbers fit each other."""
    sides, shape = [0, 0, 0, 0], None
    numbers, bytes_each = bytearray(), 4
    at = message.start
    for _ in range(MOST_FIELDS):
        if at == message.end:
            break
        found, after = next_field(buffer, at, message.end)
        if found.number in _SIDES and found.wire == VARINT:
            sides[found.number - 1] = found.value
        elif found.number == _SHAPE:
            shape = _shape(buffer, bytes_field(found))
        elif found.number in _NUMBERS:
            bytes_each, single = _NUMBERS[found.number]
            if found.wire == single:
                after = append_singles(numbers, buffer, at, message.end, found)
            else:
                length = bytes_field(found).end - found.start
                if length % bytes_each or length > bytes_each * MOST_VALUES:
                    raise DamagedError(f"the numbers of {layer} at byte {at} end amid one, or are too many")
                numbers += buffer[found.start : found.end]
        at = after
    shape = tuple(sides) if shape is None else shape
    if at < message.end or len(numbers) > bytes_each * MOST_VALUES:
        raise DamagedError(f"a blob of {layer} has too many parts or numbers")
    if min(shape) < 1 or math.prod(shape) * bytes_each != len(numbers):
        raise VerydeepError(
            f"{path} announces a blob of shape {shape} for its layer {layer} and holds {len(numbers) // bytes_each} "
            "numbers: it is damaged, or has no weights."
        )
    return _Blob(shape, numbers, bytes_each)


def _shape(buffer: memoryview, message: Field) -> tuple[int, ...]:
    """BlobShape: its dimensions, packed or not."""
    shape: list[int] = []
    for found in fields(buffer, message.start, message.end):
        if found.number == 1 and found.wire == VARINT:
            shape.append(found.value)
        elif found.number == 1:
            at = bytes_field(found).start
            while at < found.end and len(shape) <= _MOST_AXES:
                side, at = read_varint(buffer, at, found.end)
                shape.append(side)
        if not 0 < len(shape) <= _MOST_AXES:
            break
    if not 0 < len(shape) <= _MOST_AXES:
        raise DamagedError(f"a shape at byte {message.start} has {len(shape)} axes")
    return tuple(shape)
