"""The shards of an archive: files with descriptors of some images each, read a few rows at a time."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from verydeep.engine.caching.array_cache import KEYS
from verydeep.engine.descriptors.cache import DESCRIPTORS
from verydeep.errors import DataError, ResourceError
from verydeep.models.weights.model_folder import write_tensors
from verydeep.ops.arrays import BoolArray, Float16Array, Int64Array, UInt8Array
from verydeep.paths import utf8_path

SHARDS = "shards"
PATHS, PATH_IDS = "paths", "path_ids"
_FORM = {DESCRIPTORS: ("F16", 2), PATH_IDS: ("I64", 1), KEYS: ("I64", 1), PATHS: ("U8", 1)}
"""Type and number of dimensions of each array."""

VALUES_AT_ONCE = 2**21
"""Values in float32 that are compared at once: 8 MB stay in a processor's cache; more made one query 4 times slower."""


class DamagedShardError(DataError):
    """A shard is damaged and has to be set aside."""


FileState = tuple[int, int, int]
"""Inode, size and modification time of a file: another file in its place has another state."""


@dataclass(frozen=True)
class Shard:
    """A file of n images: ``descriptors`` (n, D) float16 of length one, ``path_ids`` and ``keys`` (n,), ``paths``.

    ``path_ids`` are 64 bits of a hash of an image's path, and ``keys`` are its key, which changes with the file
    (``hash_images``). ``paths`` are bytes, each path ended by a zero.

    The file is opened for each reading, since an archive may have more shards than a process may have open files. Each
    time it is the same file, whose rows are the same images, or an error.
    """

    path: Path
    state: FileState

    @classmethod
    def at(cls, path: Path) -> "Shard":
        """Return the shard as it is now.

        Raises:
            ResourceError: it has gone, or cannot be read.
        """
        with explain_unreadable(path):
            return cls(path, read_state(path))

    @contextmanager
    def open(self) -> Iterator[Any]:
        """Open the file.

        Raises:
            DamagedShardError: it is damaged.
            ResourceError: it has gone, was replaced, or cannot be read.
        """
        try:
            with explain_unreadable(self.path), utf8_path(self.path) as path, safe_open(path, framework="pt") as file:
                if read_state(self.path) != self.state:  # once it is open: if the state is the same, it is this file
                    raise FileNotFoundError
                _check_form(file)
                yield file
        except SafetensorError as error:
            raise DamagedShardError(
                f"{self.path} is damaged ({error}): run `verydeep features` again, which describes its images again."
            ) from None

    def read_ids(self) -> tuple[Int64Array, Int64Array]:
        """Read the ``path_ids`` and ``keys`` (n,) of a shard that is complete."""
        with self.open() as file:
            file.get_slice(DESCRIPTORS), file.get_slice(PATHS)
            return file.get_tensor(PATH_IDS).numpy(), file.get_tensor(KEYS).numpy()

    def read_paths(self) -> list[str]:
        """Read the paths of its images, relative to the folder of the archive's images, or absolute."""
        with self.open() as file:
            return unpack_paths(file.get_tensor(PATHS).numpy())

    def __len__(self) -> int:
        with self.open() as file:
            return int(file.get_slice(DESCRIPTORS).get_shape()[0])

    def read_rows(self, at_once: int) -> Iterator[Tensor]:
        """Read its descriptors in order, (at most ``at_once``, D) float16 at a time."""
        with self.open() as file:
            rows = file.get_slice(DESCRIPTORS)
            count = rows.get_shape()[0]
            for first in range(0, count, at_once):
                yield rows[first : min(first + at_once, count)]

    def read_some(self, rows: Int64Array) -> Float16Array:
        """Read the descriptors (n, D) of some rows (n,)."""
        with self.open() as file:
            descriptors = file.get_slice(DESCRIPTORS)
            return torch.cat([descriptors[row : row + 1] for row in rows.tolist()]).numpy()

    def drop(self, dropped: BoolArray) -> None:
        """Remove the images where ``dropped`` (n,) is true; ``Shard.at`` returns the new shard.

        Raises:
            DamagedShardError: it is damaged.
            ResourceError: it has gone, or the disk is full.
        """
        if dropped.all():
            self.path.unlink()
            return
        remaining = np.flatnonzero(~dropped)
        paths = self.read_paths()
        with self.open() as file:
            tensors = {name: file.get_tensor(name)[remaining] for name in (DESCRIPTORS, PATH_IDS, KEYS)}
        tensors[PATHS] = torch.from_numpy(pack_paths([paths[row] for row in remaining]))
        write_tensors(self.path, tensors, {})


def _check_form(file: Any) -> None:
    """Raise a SafetensorError if the arrays of a shard are of other types or shapes than ``Shard`` says."""
    slices = {name: file.get_slice(name) for name in file.keys() if name in _FORM}  # noqa: SIM118 - no dictionary
    found = {name: (each.get_dtype(), len(each.get_shape())) for name, each in slices.items()}
    counts = {each.get_shape()[0] for name, each in slices.items() if name != PATHS and each.get_shape()}
    if any(form != _FORM[name] for name, form in found.items()) or len(counts) > 1:
        raise SafetensorError("arrays of another type or shape")


def read_state(path: Path) -> FileState:
    """Return what distinguishes a file from another one in its place."""
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


@contextmanager
def explain_unreadable(path: Path) -> Iterator[None]:
    """Raise a ResourceError with the reason if a shard has gone or cannot be read."""
    try:
        yield
    except FileNotFoundError:
        raise ResourceError(
            f"`verydeep features` is changing {path.parent.parent}: try again when it has finished."
        ) from None
    except OSError as error:
        raise ResourceError(f"{path} cannot be read ({error}): check its permissions and the disk.") from None


def list_shards(folder: Path) -> list[Shard]:
    """Return the shards of an archive in the order in which they were written.

    Raises:
        ResourceError: one disappears while they are listed.
    """
    return [Shard.at(path) for path in sorted((folder / SHARDS).glob("*.safetensors"))]


def read_all_rows(
    shards: Sequence[Shard], dimensions: int, device: torch.device, at_once: int | None = None
) -> Iterator[Tensor]:
    """Read the descriptors of all shards, (at most ``at_once``, D) float32 on the device at a time.

    All parts use one buffer, which the next part overwrites. Shards are memory-mapped. PyTorch converts float16 more
    than ten times as fast as NumPy (measured).

    Args:
        shards: the shards.
        dimensions: D, the same in all shards.
        device: where the rows are needed.
        at_once: number of rows; None takes as many as stay in a processor's cache.

    Raises:
        DataError: a shard is damaged or belongs to another archive.
    """
    buffer = torch.empty(at_once or max(1, VALUES_AT_ONCE // dimensions), dimensions, device=device)
    for shard in shards:
        for rows in shard.read_rows(len(buffer)):
            if rows.shape[1] != dimensions:
                raise DataError(
                    f"{shard.path} has {rows.shape[1]} dimensions, not {dimensions}: it belongs to another archive."
                )
            yield buffer[: len(rows)].copy_(rows)


def hash_paths(files: Sequence[str]) -> Int64Array:
    """Return (n,) ids of paths: 64 bits of a hash."""
    digests = b"".join(hashlib.sha256(_encode(file)).digest()[:8] for file in files)
    return np.frombuffer(digests, "<i8").astype(np.int64)


def pack_paths(files: Sequence[str]) -> UInt8Array:
    """Join paths as bytes, each ended by a zero, which no path contains."""
    return np.array(bytearray(b"".join(_encode(file) + b"\0" for file in files)))


def unpack_paths(paths: UInt8Array) -> list[str]:
    """Split the bytes of ``pack_paths`` into paths."""
    return paths.tobytes().decode("utf-8", "surrogateescape").split("\0")[:-1]


def _encode(path: str) -> bytes:
    """Return a path as the file system has it: bytes that are not UTF-8 reach Python as surrogates."""
    return path.encode("utf-8", "surrogateescape")
