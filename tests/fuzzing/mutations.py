"""Seeded mutations of files: of their bytes, and of the structure of their formats."""

import copy
import gzip
import io
import json
import pickletools
import random
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import pairwise
from typing import Any

CANARY = "executed"
"""A file that the payloads of pickles make in the current folder."""

_NUMBERS = (0, 1, -1, 2, 127, 255, 256, 2**15, 2**16 - 1, 2**31 - 1, 2**31, 2**32 - 1, 2**53, 2**63 - 1, 2**64 - 1)
_TEXTS = (
    *("", " ", "\0", "\x1b[31m\a", "../../outside", "/outside", "..", ".", "a" * 300, "a" * 200_000, "%s%n", "{0.x}"),
    *("<script>alert(1)</script>", "&lt;", "\ud800", "e\u0301", "nan", "inf", "-inf", "1e999", "-0", "0x10", "1_000"),
    *("\u202etxt", "\r\n", "\n", "'", '"', "[red]x[/red]", "[/]", "true", "null", "٣", "💥", "A", "256", "256-512"),
)
_PAYLOADS = (
    b"cos\nsystem\n(X\x0f\x00\x00\x00touch executed\n\x85tR.",
    b"cos\nsystem\nX\x0e\x00\x00\x00touch executed\x85R.",
    b"cposix\nsystem\nX\x0e\x00\x00\x00touch executed\x85R.",
    b"cbuiltins\nexec\nX\x14\x00\x00\x00open('executed','w')\x85R.",
    b"cbuiltins\neval\nX\x14\x00\x00\x00open('executed','w')\x85R.",
    b"c__builtin__\neval\nX\x14\x00\x00\x00open('executed','w')\x85R.",
    b"csubprocess\nPopen\nX\x0e\x00\x00\x00touch executed\x85R.",
    b"(X\x0e\x00\x00\x00touch executedios\nsystem\n.",
    b"\x8c\x02os\x8c\x06system\x93\x8c\x0etouch executed\x85R.",
    b"cbuiltins\ngetattr\n0cbuiltins\nopen\nX\x08\x00\x00\x00executedX\x01\x00\x00\x00w\x86R.",
    b"cbuiltins\nbytearray\nJ\xff\xff\xff\x7f\x85R",
    b"cnumpy\nzeros\nJ\xff\xff\xff\x7f\x85R",
    b"ctorch\nzeros\nJ\xff\xff\xff\x7f\x85R",
    b"ctorch.hub\nload\n",
    b"ctorch._utils\n_rebuild_tensor_v2\n(tR",
    b"ctorch._utils\n_rebuild_parameter\nN\x88N\x87R",
    b"ctorch\nSize\n(J\xff\xff\xff\x7fJ\xff\xff\xff\x7ftR",
    b"cbuiltins\nlist\nX\x04\x00\x00\x00abcd\x85R",
    b"cargparse\nNamespace\n)\x81}b",
    b"cpathlib\nPosixPath\nX\x01\x00\x00\x00/\x85R",
    b"ccollections\nOrderedDict\n)R",
    *(b"\x8e" + struct.pack("<Q", 2**62), b"\x8d" + struct.pack("<Q", 2**62), b"\x95" + struct.pack("<Q", 2**62)),
    *(b"T\xff\xff\xff\x7f", b"X\xff\xff\xff\x7f", b"\x8b\xff\xff\xff\x7f", b"B\xff\xff\xff\x7f", b"\x82\x01"),
    *(b"Pabc\n", b"Q", b"b", b"R", b"\x81", b"\x92", b"s", b"u", b"e", b"a", b"0", b"1", b"2", b"(", b"l", b"d", b"t"),
    *(
        b"]" * 50_000,
        b"(" * 50_000,
        b"N" + b"\x85" * 50_000,
        b"]q\xc8" + b"".join(b"h\xc8h\xc8\x86q\xc8" for _ in range(60)),
    ),
    *(b"r\xff\xff\xff\x7f", b"p2147483647\n", b"j\xff\xff\xff\x7f"),
)
_ELEMENTS = (
    '<!DOCTYPE a [<!ENTITY b "c">]>',
    '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>&b;',
    '<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;"><!ENTITY c "&b;&b;&b;&b;&b;&b;">]>&c;',
    '<?xml version="1.0" encoding="utf-7"?>',
    '<?xml version="1.0" encoding="utf-16"?>',
    '<?xml version="1.0" encoding="unknown"?>',
    '<?xml version="1.1" encoding="cp037"?>',
    '<a xmlns:b="c" b:d="e"/>',
    '<xi:include xmlns:xi="http://www.w3.org/2001/XInclude" href="/etc/passwd" parse="text"/>',
    *("<a>" * 50_000, "<a>" * 50_000 + "</a>" * 50_000, "<a/>" * 50_000, "<![CDATA[x]]>", "<!-- -- -->", "&#0;", "&b;"),
    *("<object/>", "<bndbox/>", "<name/>", "<object>", "</object>", "<xmin>nan</xmin>", "<xmin>1e308</xmin>"),
    *("<size><width>0</width><height>-1</height></size>", "<a " + " ".join(f"b{n}='c'" for n in range(5000)) + "/>"),
)


def mutate(rng: random.Random, content: bytes, kind: str) -> bytes:
    """Return the content of a file of this kind after one to four mutations, half of them of its structure."""
    for _ in range(min(4, 1 + int(rng.expovariate(1.0)))):
        change = STRUCTURES[kind] if kind in STRUCTURES and rng.random() < 0.6 else change_bytes
        try:
            content = change(rng, content)
        except Exception:  # an earlier mutation has destroyed the structure
            content = change_bytes(rng, content)
    return content


def change_bytes(rng: random.Random, content: bytes) -> bytes:
    """Flip bits, cut, copy, delete or insert bytes, or write a number that is special."""
    size = len(content)
    at, length = rng.randrange(size + 1), min(size, int(2 ** rng.uniform(0, 12)))
    piece = content[at : at + length]
    match rng.randrange(8):
        case 0:
            return content[:at]
        case 1:
            return content[:at] + content[at + length :]
        case 2:
            return content[:at] + piece + content[at:]
        case 3:
            other = rng.randrange(size + 1)
            return content[:other] + piece + content[other + len(piece) :]
        case 4:
            return content[:at] + rng.randbytes(min(length, 64)) + content[at:]
        case 5:
            form = rng.choice("BHIQ")
            number = rng.choice(_NUMBERS) % 2 ** (8 * struct.calcsize(form))
            new = struct.pack(rng.choice("<>") + form, number)
            return content[:at] + new + content[at + len(new) :]
        case 6:
            return content[:at] + rng.choice(_TEXTS).encode("utf-8", "surrogatepass") + content[at:]
        case _:
            changed = bytearray(content)
            for _ in range(rng.choice((1, 1, 2, 8)) if changed else 0):
                changed[rng.randrange(size)] ^= 1 << rng.randrange(8)
            return bytes(changed)


def hostile_value(rng: random.Random, value: Any = None) -> Any:
    """Return a JSON value of a kind that a reader may not expect."""
    is_number = isinstance(value, int | float)
    near = [value + 1, -value, value * 2**40] if is_number else [[value], {"a": value}, str(value)]
    return rng.choice(
        (
            *_NUMBERS,
            *_TEXTS,
            *near,
            0.5,
            1e308,
            -1e308,
            1e-320,
            float("nan"),
            float("inf"),
            10**400,
            True,
            False,
            None,
            [],
            {},
            [[]],
            [None],
            [1, 2],
            ["a", "b"],
            [0] * 100_000,
            {"": 0},
        )
    )


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Return each container within a JSON value with each of its keys."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [(value, key) for key, _ in items] + [place for _, inner in items for place in _places(inner)]


def change_values(rng: random.Random, values: Any) -> Any:
    """Change one value somewhere within a JSON value: replaced, removed, moved, renamed."""
    places = _places(values)
    if not places or rng.random() < 0.03:
        return hostile_value(rng, values)
    container, key = rng.choice(places)
    match rng.randrange(6):
        case 0:
            del container[key]
        case 1:
            other, other_key = rng.choice(places)
            container[key], other[other_key] = other[other_key], container[key]
        case 2 if isinstance(container, dict):
            container[rng.choice(_TEXTS)] = container.pop(key)
        case 2:
            container.append(container[key])
        case _:
            container[key] = hostile_value(rng, container[key])
    return values


def _remove_or_repeat(rng: random.Random, items: list[Any], at: int, num_changes: int) -> int:
    """Choose one of so many changes: 0 removes an item, 1 puts a copy of another one before it; return the choice."""
    change = rng.randrange(num_changes)
    if change == 0:
        del items[at]
    elif change == 1:
        items.insert(at, copy.copy(items[rng.randrange(len(items))]))
    return change


def _dump(values: Any) -> bytes:
    return json.dumps(values).encode()


def change_json(rng: random.Random, content: bytes) -> bytes:
    """Change a value of a JSON file, or make it nest deeply."""
    if rng.random() < 0.05:
        depth = rng.choice((500, 200_000))
        return rng.choice((b'{"a":' * depth + b"0" + b"}" * depth, b"[" * depth + b"]" * depth))
    return _dump(change_values(rng, json.loads(content)))


def change_json_lines(rng: random.Random, content: bytes) -> bytes:
    """Change a line of a file with a JSON value on each line."""
    lines = content.split(b"\n")
    at = rng.randrange(len(lines))
    if _remove_or_repeat(rng, lines, at, 4) > 1:
        lines[at] = change_json(rng, lines[at])
    return b"\n".join(lines)


def change_safetensors(rng: random.Random, content: bytes) -> bytes:
    """Change the header of a safetensors file; its length is right again."""
    length = int.from_bytes(content[:8], "little")
    header, data = json.loads(content[8 : 8 + length]), content[8 + length :]
    if rng.random() < 0.3:
        names = [name for name in header if name != "__metadata__"]
        one, two = header[rng.choice(names)], header[rng.choice(names)]
        field = rng.choice(("dtype", "shape", "data_offsets"))
        if field == "dtype":
            one[field] = rng.choice(("F64", "F16", "BF16", "I64", "U8", "BOOL", "F8_E4M3", "F4", "C64", "I8", "X"))
        else:
            one[field] = two[field]
    else:
        header = change_values(rng, header)
    text = _dump(header)
    return struct.pack("<Q", len(text)) + text + data


def _split_pickles(content: bytes) -> tuple[list[bytes], bytes]:
    """Return the operations of the pickles at the beginning of a file, and the rest."""
    stream, operations, end = io.BytesIO(content), list[bytes](), 0
    while True:
        try:
            places = [place for _, _, place in pickletools.genops(stream)]
        except ValueError:
            return operations, content[end:]
        places = [place for place in places if place is not None] + [stream.tell()]
        operations += [content[a:b] for a, b in pairwise(places)]
        end = stream.tell()


def change_pickle(rng: random.Random, content: bytes) -> bytes:
    """Insert, remove, repeat or move operations of a pickle; some insertions would run code."""
    operations, rest = _split_pickles(content)
    at = rng.randrange(len(operations))
    match _remove_or_repeat(rng, operations, at, 6):
        case 0 | 1:
            pass
        case 2:
            operations[at] = change_bytes(rng, operations[at])
        case 3:
            names = [place for place, each in enumerate(operations) if each[:1] == b"c"] or [at]
            target = rng.choice(
                (
                    b"cos\nsystem\n",
                    b"cbuiltins\neval\n",
                    b"ctorch\nload\n",
                    b"cos.path\njoin\n",
                    b"cbuiltins\nint\n",
                    b"ctorch\nByteStorage\n",
                    b"ctorch\nDoubleStorage\n",
                )
            )
            operations[rng.choice(names)] = target
        case _:
            operations.insert(at, rng.choice(_PAYLOADS))
    return b"".join(operations) + rest


def change_zip(rng: random.Random, content: bytes) -> bytes:
    """Change a member of a zip archive, its name, size or compression; the checksums are right again."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = [(info.filename, archive.read(info)) for info in archive.infolist()]
    at = rng.randrange(len(members))
    compression = zipfile.ZIP_STORED
    name, data = members[at]
    match _remove_or_repeat(rng, members, at, 9):
        case 0 | 1:
            pass
        case 2:
            members[at] = (rng.choice(("../outside", "/outside", f"../{name}", name.upper(), "", *_TEXTS[:8])), data)
        case 3:
            compression = rng.choice((zipfile.ZIP_DEFLATED, zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2))
            members[at] = (name, data + bytes(rng.choice((0, 1 << 16, 1 << 24))))
        case 4:
            members[at] = (name, members[rng.randrange(len(members))][1])
        case _:
            pickles = [place for place, (member, _) in enumerate(members) if member.endswith((".pkl", ".json", ".h5"))]
            at = rng.choice(pickles or [at])
            name, data = members[at]
            ending = name.rpartition(".")[2]
            members[at] = (name, mutate(rng, data, {"pkl": "pickle", "h5": "hdf5"}.get(ending, ending)))
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", compression) as archive:
        for name, data in members:
            archive.writestr(zipfile.ZipInfo(name.replace("\0", "0")), data, compression)
    changed = target.getvalue()
    if rng.random() < 0.15:  # the directory at the end: sizes, offsets, flags, numbers of entries
        at = changed.find(b"PK\1\2") + rng.randrange(46 + 22)
        changed = changed[:at] + rng.choice((b"\xff", b"\0", b"\x7f", b"\xff" * 4)) + changed[at + 1 :]
    return changed


def change_hdf5(rng: random.Random, content: bytes) -> bytes:
    """Change groups, datasets, links and types of an HDF5 file by its own library."""
    import h5py
    import numpy as np

    file_bytes = io.BytesIO(content)
    with h5py.File(file_bytes, "r+") as file:
        places: list[Any] = [file]
        file.visititems(lambda _, each: places.append(each) if isinstance(each, h5py.Group) else None)
        group = rng.choice(places)
        names = list(group)
        name = rng.choice(names) if names and rng.random() < 0.6 else rng.choice(("more", "kernel:0", "0", "layers"))
        if name in group and rng.random() < 0.8:
            del group[name]
        if name in group:
            return file_bytes.getvalue()
        shape = rng.choice(((), (0,), (4,), (3, 3, 3, 4), (2**20, 2**10), (2**40, 2**20), (1,) * 32, (4, 0, 2)))
        match rng.randrange(9):
            case 0:
                group[name] = h5py.ExternalLink(rng.choice(("/etc/passwd", "../outside.h5", "other.h5")), "/")
            case 1:
                group[name] = h5py.SoftLink(rng.choice(("/", f"{group.name}/{name}", "/none", "../..", "")))
            case 2:
                group[name] = rng.choice(places)
            case 3:
                dtype = rng.choice(
                    (
                        "f2",
                        ">f4",
                        "f8",
                        "c8",
                        "u1",
                        "i8",
                        "S5",
                        "f4,i4",
                        "(2,)f4",
                        h5py.string_dtype(),
                        h5py.vlen_dtype(np.float32),
                        h5py.ref_dtype,
                    )
                )
                group.create_dataset(name, shape, dtype)
            case 4:
                form = rng.choice(
                    (
                        {"compression": "gzip"},
                        {"chunks": True},
                        {"fillvalue": 3},
                        {"shuffle": True},
                        {"scaleoffset": 2},
                        {"fletcher32": True},
                        {"maxshape": (None,) * len(shape)},
                    )
                )
                group.create_dataset(name, shape, "f4", **form)
            case 5:
                group.create_dataset(name, (4,), "f4", external=[("../outside.h5", 0, 16)])
            case 6:
                data = rng.choice((float("nan"), float("inf"), 1e38, [1.0] * 7, np.ones((3, 3, 3, 4), "f4"), ["a"]))
                group.create_dataset(name, data=data)
            case 7:
                inner = group.create_group(name)
                for _ in range(rng.choice((1, 20, 200))):
                    inner = inner.create_group("a")
            case _:
                group.attrs[rng.choice(("layer_names", "weight_names", "model_config"))] = rng.choice(
                    ([], ["a"], 3, "{" * 2000, h5py.Empty("f4"), np.zeros(1000))
                )
    return file_bytes.getvalue()


_Message = list[tuple[int, int, Any]]
"""Fields of a message of protocol buffers: number, wire type, value; a value is a message itself if it can be one."""


def _read_varint(content: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[at]
        at, value, shift = at + 1, value | (byte & 127) << shift, shift + 7
        if byte < 128:
            return value, at


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 128:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def _read_message(content: bytes, depth: int = 0) -> _Message:
    fields, at = list[tuple[int, int, Any]](), 0
    while at < len(content):
        tag, at = _read_varint(content, at)
        number, wire = tag >> 3, tag & 7
        value: Any
        if wire == 0:
            value, at = _read_varint(content, at)
        elif wire == 2:
            length, at = _read_varint(content, at)
            value, at = content[at : at + length], at + length
            if len(value) < length:
                raise ValueError("cut")
            with suppress(ValueError, IndexError):
                value = _read_message(value, depth + 1) if depth < 4 and len(value) < 100_000 and value else value
        elif wire in (1, 5):
            length = 8 if wire == 1 else 4
            value, at = content[at : at + length], at + length
        else:
            raise ValueError("no field")
        if number == 0 or at > len(content):
            raise ValueError("no field")
        fields.append((number, wire, value))
    return fields


def _write_message(fields: _Message) -> bytes:
    out = bytearray()
    for number, wire, value in fields:
        out += _varint(number << 3 | wire)
        data = _write_message(value) if isinstance(value, list) else value
        if wire == 0:
            out += _varint(data)
        else:
            out += (_varint(len(data)) if wire == 2 else b"") + data
    return bytes(out)


def change_protobuf(rng: random.Random, content: bytes) -> bytes:
    """Change a field of a message of protocol buffers; the lengths around it are right again."""
    message = _read_message(content)
    lists = [message]
    for each in lists:
        lists += [value for _, _, value in each if isinstance(value, list)]
    fields = rng.choice([each for each in lists if each] or [message])
    at = rng.randrange(len(fields))
    number, wire, value = fields[at]
    match _remove_or_repeat(rng, fields, at, 7):
        case 0 | 1:
            pass
        case 2:
            fields[at] = (rng.choice((1, 2, 4, 5, 6, 7, 8, 100, 2**28)), wire, value)
        case 3:
            new = rng.choice(_TEXTS).encode("utf-8", "surrogatepass") if wire == 2 else rng.choice(_NUMBERS) % 2**64
            fields[at] = (number, wire, new if wire in (0, 2) else value)
        case 4:
            fields[at : at + 1] = [fields[at]] * rng.choice((2, 50, 20_000 if not isinstance(value, list) else 50))
        case 5:
            inner = _write_message(rng.choice(lists))
            fields.insert(at, (rng.choice((1, 2, 6, 7, 100)), 2, inner))
        case _:
            if wire == 2:
                inner = _write_message(value) if isinstance(value, list) else value
                fields[at] = (number, wire, change_bytes(rng, inner))
            else:
                fields[at] = (number, 0, rng.choice(_NUMBERS) % 2**64)
    return _write_message(message)


def _read_elements(content: bytes) -> list[list[Any]]:
    """Return type and content of each element of a MATLAB file; arrays and compressed data are lists themselves."""
    elements, at = list[list[Any]](), 0
    while at + 8 <= len(content):
        first, length = struct.unpack_from("<II", content, at)
        if first >> 16:
            elements.append([first & 0xFFFF, content[at + 4 : at + 4 + min(4, first >> 16)], True])
            at += 8
            continue
        data = content[at + 8 : at + 8 + length]
        if len(data) < length:
            raise ValueError("cut")
        at += 8 + length + (0 if first == 15 else -length % 8)
        if first == 14:
            data = _read_elements(data)
        elif first == 15:
            data = _read_elements(zlib.decompress(data))
        elements.append([first, data, False])
    return elements


def _write_elements(elements: list[list[Any]]) -> bytes:
    out = bytearray()
    for kind, value, small in elements:
        data = _write_elements(value) if isinstance(value, list) else value
        if kind == 15:
            data = zlib.compress(data)
        if small and len(data) <= 4:
            out += struct.pack("<HH", kind & 0xFFFF, len(data)) + data.ljust(4, b"\0")
        else:
            out += struct.pack("<II", kind, len(data)) + data + (b"" if kind == 15 else bytes(-len(data) % 8))
    return bytes(out)


def change_matlab(rng: random.Random, content: bytes) -> bytes:
    """Change an element of a MATLAB file of level 5; the lengths around it are right again."""
    head, elements = content[:128], _read_elements(content[128:])
    lists = [elements]
    for each in lists:
        lists += [value for _, value, _ in each if isinstance(value, list)]
    chosen = rng.choice([each for each in lists if each])
    at = rng.randrange(len(chosen))
    value = chosen[at][1]
    match _remove_or_repeat(rng, chosen, at, 7):
        case 0 | 1:
            pass
        case 2:
            chosen[at][0] = rng.choice((1, 2, 3, 5, 6, 7, 9, 12, 13, 14, 15, 16, 17, 18, 0, 255))
        case 3:
            chosen[at : at + 1] = [chosen[at]] * rng.choice((2, 100))
        case 4 if not isinstance(value, list):
            form = rng.choice((1, 2, 4))
            numbers = [rng.choice((*_NUMBERS, 1, 2, 3, 4)) % 2**32 for _ in range(form)]
            chosen[at][1] = struct.pack(f"<{form}I", *numbers)
        case 5:
            chosen[at] = [14, [list(chosen[at])], False]
        case _:
            data = _write_elements(value) if isinstance(value, list) else value
            chosen[at][1] = change_bytes(rng, data)
    return head + _write_elements(elements)


def change_tar(rng: random.Random, content: bytes) -> bytes:
    """Change a member of a tar: name, kind, size, link, order; the checksums are right again."""
    if content[:2] == b"\x1f\x8b":
        return gzip.compress(change_tar(rng, gzip.decompress(content)), 1)
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        files = [member for member in archive if member.isfile()]
        members = [(member, (archive.extractfile(member) or io.BytesIO()).read()) for member in files]
    at = rng.randrange(len(members))
    member, data = members[at]
    match _remove_or_repeat(rng, members, at, 9):
        case 0 | 1:
            pass
        case 2:
            outside = (f"../{member.name}", f"/{member.name}", f"./{member.name}", f"a/../../{member.name}")
            member.name = rng.choice((*outside, *_TEXTS[:10])).replace("\0", "0").replace("\ud800", "?")
        case 3:
            member.type = rng.choice(
                (
                    tarfile.SYMTYPE,
                    tarfile.LNKTYPE,
                    tarfile.CHRTYPE,
                    tarfile.BLKTYPE,
                    tarfile.FIFOTYPE,
                    tarfile.DIRTYPE,
                    tarfile.CONTTYPE,
                    tarfile.AREGTYPE,
                    b"Z",
                    b"S",
                )
            )
            member.linkname = rng.choice(("/etc/passwd", "../../outside", member.name, "a" * 200))
        case 4:
            member.size = rng.choice((0, 1, member.size + 1, 2**20, 2**33, 2**40, 2**62))
        case 5:
            member.pax_headers = {
                rng.choice(("size", "path", "GNU.sparse.size", "GNU.sparse.map", "linkpath", "hdrcharset")): rng.choice(
                    ("0", "-1", "1e9", "99999999999", "../outside", "0,99999999,5,5", "a" * 9999)
                )
            }
        case 6 if data[257:262] == b"ustar":  # a tar within a tar
            members[at] = (member, change_tar(rng, data))
            member.size = len(members[at][1])
        case _:
            members[at] = (member, change_bytes(rng, data))
            member.size = len(members[at][1])
    stream = io.BytesIO()
    form = rng.choice((tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT))
    for member, data in members:
        stream.write(member.tobuf(form, "utf-8", "surrogateescape") + data + bytes(-len(data) % 512))
    changed = stream.getvalue() + bytes(rng.choice((0, 512, 1024, 1024, 10240)))
    if rng.random() < 0.1:  # any place of a header, with a checksum that is right
        header = bytearray(changed[:512])
        place = rng.randrange(500)
        header[place : place + 4] = rng.choice((b"\xff" * 4, b"\x80\0\0\0", b"    ", b"7777"))
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        changed = bytes(header) + changed[512:]
    return changed


def _change_parts(rng: random.Random, content: bytes, split: str, hostile: Sequence[str]) -> bytes:
    parts = re.split(split, content.decode("utf-8", "surrogateescape"))
    at = rng.randrange(len(parts))
    match _remove_or_repeat(rng, parts, at, 5):
        case 0 | 1:
            pass
        case 2:
            other = rng.randrange(len(parts))
            parts[at], parts[other] = parts[other], parts[at]
        case 3:
            parts[at] = str(rng.choice((*_NUMBERS, 0.5, -1.5, 1e308)))
        case _:
            parts[at] = rng.choice(hostile)
    return "".join(parts).replace("\ud800", "?").encode("utf-8", "surrogateescape")


def change_xml(rng: random.Random, content: bytes) -> bytes:
    """Change a tag or a text of an XML file, or declare entities."""
    return _change_parts(rng, content, r"(<[^>]*>)", (*_ELEMENTS, *_TEXTS))


def change_table(rng: random.Random, content: bytes) -> bytes:
    """Change a field, a line or the separators of a CSV file or a list."""
    match rng.randrange(12):
        case 0:
            return content.replace(b"\n", rng.choice((b"\r", b"\r\n", b"\n\n")))
        case 1:
            return content.replace(b",", rng.choice((b";", b"\t", b",,", b" ")))
        case 2:
            return rng.choice((b"\xef\xbb\xbf", b"\xff\xfe", b"\0")) + content
        case 3:
            return content.decode("utf-8", "replace").encode(rng.choice(("utf-16", "utf-32", "latin-1")), "replace")
        case _:
            return _change_parts(rng, content, r'([,;\t\n" ]+)', _TEXTS)


STRUCTURES: dict[str, Callable[[random.Random, bytes], bytes]] = {
    "json": change_json,
    "jsonl": change_json_lines,
    "safetensors": change_safetensors,
    "pickle": change_pickle,
    "zip": change_zip,
    "hdf5": change_hdf5,
    "protobuf": change_protobuf,
    "matlab": change_matlab,
    "tar": change_tar,
    "xml": change_xml,
    "table": change_table,
}
