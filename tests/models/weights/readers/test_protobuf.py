"""The wire format, against the protobuf library's own coding."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from verydeep.models.weights.readers.protobuf import BYTES, VARINT, DamagedError, fields, read_varint

encoder = pytest.importorskip("google.protobuf.internal.encoder", reason="protobuf is not installed")
descriptor_pb2 = pytest.importorskip("google.protobuf.descriptor_pb2")


@given(number=st.integers(0, 2**64 - 1), before=st.binary(max_size=3), behind=st.binary(max_size=3))
def test_numbers_are_read_as_protobuf_writes_them(number: int, before: bytes, behind: bytes) -> None:
    pieces: list[bytes] = []
    encoder._EncodeVarint(pieces.append, number)
    coded = b"".join(pieces)
    content = memoryview(before + coded + behind)
    assert read_varint(content, len(before), len(content)) == (number, len(before) + len(coded))
    with pytest.raises(DamagedError, match="has no end"):
        read_varint(content, len(before), len(before) + len(coded) - 1)


@given(names=st.lists(st.text(max_size=300), max_size=4), number=st.integers(-(2**31), 2**31 - 1))
def test_fields_are_those_of_the_message(names: list[str], number: int) -> None:
    message = descriptor_pb2.FieldDescriptorProto(name="/".join(names), number=number)
    buffer = memoryview(message.SerializeToString())
    name, value = fields(buffer, 0, len(buffer))
    assert (name.number, name.wire, value.number, value.wire) == (1, BYTES, 3, VARINT)
    assert bytes(buffer[name.start : name.end]).decode() == "/".join(names)
    assert value.value == number % 2**64
