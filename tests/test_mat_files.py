"""The walk through MATLAB's files: MATLAB's own pass, and files that lie cost nothing."""

import os
import struct
import tracemalloc
import zlib
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from verydeep.errors import DataError, VerydeepError
from verydeep.mat_files import check_mat_file

scipy_io = pytest.importorskip("scipy.io", reason="scipy comes with verydeep[test]")

PLAIN = ("double", "matrix", "minus", "multi", "onechar", "string", "stringarray", "unicode", "cell", "cellnest",
         "emptycell", "structarr", "structnest", "3dmatrix", "scalarcell", "bool")  # fmt: skip
SPECIAL = {"complex": "complex numbers", "sparse": "class 5", "object": "class 3", "func": "class 16", "hdf5": "7.3"}


def check(path: Path, needed: Sequence[str]) -> tuple[str, ...]:
    with path.open("rb") as file:
        names = check_mat_file(file, path, needed, DataError)
        assert file.tell() == 0
    return names


def matlabs(kind: str) -> list[Path]:
    """Files that MATLAB 5.3 to 8 wrote, of either byte order; SciPy's tests carry them."""
    folder = Path(scipy_io.__file__).parent / "matlab" / "tests" / "data"
    if not folder.is_dir():
        (pytest.fail if os.environ.get("VERYDEEP_REQUIRE_PEERS") else pytest.skip)("SciPy came without its tests")
    found = [path for path in folder.glob(f"test{kind}_*.mat") if "_4.2c" not in path.name]
    assert found
    return found


@pytest.mark.parametrize("kind", PLAIN)
def test_files_of_matlab_itself_pass(kind: str) -> None:
    for path in matlabs(kind):
        names = [name for name in scipy_io.loadmat(path) if not name.startswith("__")]
        assert check(path, names) == tuple(names)


@pytest.mark.parametrize(("kind", "words"), SPECIAL.items())
def test_what_no_net_holds_is_refused_where_it_is_wanted(kind: str, words: str) -> None:
    for path in matlabs(kind):
        with pytest.raises(VerydeepError, match=words):
            check(path, (f"test{kind}",))
        if kind != "hdf5":
            assert check(path, ("layers",)) == (f"test{kind}",)


HEADER = b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1IM"
CELL, STRUCT, CHAR, SPARSE, DOUBLE, SINGLE, UINT8, OPAQUE = 1, 2, 4, 5, 6, 7, 9, 17


def element(kind: int, content: bytes, announced: int | None = None) -> bytes:
    size = len(content) if announced is None else announced
    return struct.pack("<II", kind, size) + content + bytes(-len(content) % 8)


def array(kind: int, shape: tuple[int, ...], body: bytes = b"", name: bytes = b"") -> bytes:
    head = element(6, struct.pack("<II", kind, 0)) + element(5, struct.pack(f"<{len(shape)}i", *shape))
    return element(14, head + element(1, name) + body)


def compressed(content: bytes) -> bytes:
    squeezed = zlib.compress(content, 9)
    return struct.pack("<II", 15, len(squeezed)) + squeezed


def nested(depth: int) -> bytes:
    """Cells within cells, written from within."""
    parts = [array(DOUBLE, (1, 1), element(9, bytes(8)))]
    size = len(parts[0])
    for level in range(depth):
        head = array(CELL, (1, 1), name=b"layers" if level == depth - 1 else b"")[8:]
        parts.append(struct.pack("<II", 14, len(head) + size) + head)
        size += 8 + len(head)
    return b"".join(reversed(parts))


def fields(names: bytes, each: int) -> bytes:
    return struct.pack("<HHi", 5, 4, each) + element(1, names)


LAYERS = b"layers"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (lambda: nested(20_000), "cells nested more than 16 deep"),  # SciPy 1.17 ends the process
        (lambda: array(CELL, (1 << 15, 1 << 14), name=LAYERS), "declares 536870913 arrays"),  # ... takes 4 GB
        (lambda: array(CELL, (1, 12), array(CELL, (30, 300), element(14, b"") * 9000) * 12, LAYERS), "108013"),
        (lambda: array(CELL, (0, 0)) * 100_001, "declares 100001 arrays"),
        (lambda: array(STRUCT, (1 << 15, 1 << 13), fields(b"", 8), LAYERS), "structures of 0 fields are declared"),
        (lambda: array(STRUCT, (1, 1), fields(b"a\0" * 5000, 2), LAYERS), "5000 fields are declared"),
        (lambda: array(STRUCT, (1, 1), fields(b"a\0" * 5, 0), LAYERS), "no fields"),
        (lambda: array(STRUCT, (1, 1), fields(b"a\0" * 5, -2), LAYERS), "no fields"),
        (lambda: array(CHAR, (1 << 12, 1 << 12), element(16, b""), LAYERS), "has 0 bytes"),
        (lambda: array(SINGLE, (1 << 15, 1 << 14), element(7, b"", 1 << 31), LAYERS), "is declared"),
        (lambda: array(SINGLE, (1 << 12, 1 << 12), element(7, b"", 1 << 26), LAYERS), "reaches beyond its array"),
        (lambda: array(SINGLE, (2, 2), element(7, bytes(12)), LAYERS), "an array of 4 numbers has 12 bytes"),
        (lambda: array(SINGLE, (1, 1), element(7, bytes(4)) + bytes(8), LAYERS), "longer than its content"),
        (lambda: array(SINGLE, (2, -2), element(7, bytes(16)), LAYERS), "a dimension below 0"),
        (lambda: array(SINGLE, (1,) * 40, element(7, bytes(4)), LAYERS), "no dimensions"),
        (lambda: array(SINGLE, (1, 1), element(15, bytes(4)), LAYERS), "has 4 bytes"),
        (lambda: array(SINGLE, (1, 1), struct.pack("<HHI", 7, 5, 0), LAYERS), "longer than 4 bytes"),
        (lambda: array(SPARSE, (1, 1), b"", LAYERS), "MATLAB's class 5"),
        (lambda: array(CELL, (1, 1), array(OPAQUE, (1, 1)), LAYERS), "MATLAB's class 17"),
        (lambda: array(CELL, (0, 0), b"", LAYERS) * 2, "two variables are called layers"),
        (lambda: array(DOUBLE, (1, 1), b"", b"x" * 100_000), "too long"),
        (lambda: element(14, b"", 1 << 31), "beyond the file's end"),
        (lambda: element(14, b""), "is not an array"),
        (lambda: element(14, bytes(80)), "no flags"),
        (lambda: element(9, b"12345678"), "is not an array"),
        (lambda: compressed(array(UINT8, (1, 20 << 20), element(2, bytes(20 << 20)), LAYERS)), "unlike weights"),
        (lambda: compressed(array(UINT8, (1, 10 << 20), element(2, bytes(10 << 20)), LAYERS)) * 2, "unlike weights"),
        (lambda: compressed(element(14, array(CELL, (1, 1), b"", LAYERS)[8:], 1 << 31)), "unlike weights"),
        (lambda: compressed(array(CELL, (0, 0), b"", LAYERS) + bytes(5 << 20)), "go on after their array"),
        (lambda: compressed(array(CELL, (0, 0), b"", LAYERS))[:-1] + b"\0", "cannot be inflated"),
        (lambda: compressed(compressed(array(CELL, (0, 0), b"", LAYERS))), "is not an array"),
        (lambda: struct.pack("<II", 15, 8) + bytes(8), "cannot be inflated"),
    ],
)  # fmt: skip
def test_lying_files_cost_nothing(content: Callable[[], bytes], words: str, tmp_path: Path) -> None:
    path = tmp_path / "net.mat"
    path.write_bytes(HEADER + content())
    tracemalloc.start()
    with pytest.raises(VerydeepError) as caught:
        check(path, ("layers",))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    sentence = str(caught.value)
    assert sentence.startswith(str(path)) and sentence.endswith(".") and "\n" not in sentence
    assert words in sentence
    assert peak < 2_000_000


def test_what_is_not_wanted_is_not_looked_into(tmp_path: Path) -> None:
    """Neither inflated nor walked through."""
    path = tmp_path / "net.mat"
    bomb = array(UINT8, (1, 20 << 20), element(2, bytes(20 << 20)), b"stats")
    for stats in (bomb, compressed(bomb)):
        path.write_bytes(HEADER + array(OPAQUE, (1, 1)) + stats + array(CELL, (0, 0), b"", LAYERS))
        assert check(path, ("layers",)) == ("", "stats", "layers")
