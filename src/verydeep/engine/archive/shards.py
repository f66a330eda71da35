"""The shards of an archive: descriptors of some images each, read a few rows at a time."""

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

from verydeep.engine.caching.array_cache import INDICES
from verydeep.engine.descriptors.activations import DESCRIPTORS
from verydeep.errors import VerydeepError
from verydeep.models.weights.native import write_tensors
from verydeep.ops.arrays import BoolArray, Int64Array, UInt8Array

SHARDS = "shards"
PATHS, PATH_IDS = "paths", "path_ids"

VALUES_AT_ONCE = 2**21
"""Of descriptors in float32: 8 MB stay in a processor's cache, where more made one query four times as slow."""


class DamagedShardError(VerydeepError):
    """A shard that is to be set aside."""


FileState = tuple[int, int, int]
"""Of a file: a job that writes another in its place changes it."""


@dataclass(frozen=True)
class Shard:
    """A file of some images: row by row ``descriptors`` (n, D) float16 of length one, ``path_ids`` and ``indices``.

    The latter two are 64 bits of a hash of an image's path, and of its path, size and time (``image_ids``). ``paths``
    are their bytes, each path ended by a zero.

    It is opened as often as something is read, since an archive may have more shards than a process may have files
    open; each time it is the same file, whose rows are the same images, or an error.
    """

    path: Path
    state: FileState

    @classmethod
    def at(cls, path: Path) -> "Shard":
        """The shard that is there now.

        Raises:
            VerydeepError: it is gone, or cannot be read.
        """
        with explain_unreadable(path):
            return cls(path, state_of(path))

    @contextmanager
    def opened(self) -> Iterator[Any]:
        """The file.

        Raises:
            VerydeepError: it is damaged, gone or replaced since, or cannot be read.
        """
        try:
            with explain_unreadable(self.path), safe_open(self.path, framework="pt") as file:
                if state_of(self.path) != self.state:  # looked at once it is open: if it is the same, that was opened
                    raise FileNotFoundError
                yield file
        except SafetensorError as error:
            raise DamagedShardError(
                f"{self.path} is damaged ({error}): run verydeep features again, which describes its images anew."
            ) from None

    def ids(self) -> tuple[Int64Array, Int64Array]:
        """``path_ids`` and ``indices``, (n,) each, of a shard that has the rest, too."""
        with self.opened() as file:
            file.get_slice(DESCRIPTORS), file.get_slice(PATHS)
            return file.get_tensor(PATH_IDS).numpy(), file.get_tensor(INDICES).numpy()

    def paths(self) -> list[str]:
        """Of its images, as they stand in the archive."""
        with self.opened() as file:
            return unpacked(file.get_tensor(PATHS).numpy())

    def __len__(self) -> int:
        with self.opened() as file:
            return int(file.get_slice(DESCRIPTORS).get_shape()[0])

    def rows(self, at_once: int) -> Iterator[Tensor]:
        """Its descriptors, (at most ``at_once``, D) float16, in their order."""
        with self.opened() as file:
            rows = file.get_slice(DESCRIPTORS)
            count = rows.get_shape()[0]
            for first in range(0, count, at_once):
                yield rows[first : min(first + at_once, count)]

    def drop(self, dropped: BoolArray) -> None:
        """Forget some of its images, (n,); what the shard is then, ``Shard.at`` tells.

        Raises:
            VerydeepError: it is damaged or gone, or the disk is full.
        """
        if dropped.all():
            self.path.unlink()
            return
        kept = np.flatnonzero(~dropped)
        paths = self.paths()
        with self.opened() as file:
            tensors = {name: file.get_tensor(name)[kept] for name in (DESCRIPTORS, PATH_IDS, INDICES)}
        tensors[PATHS] = torch.from_numpy(packed([paths[row] for row in kept]))
        write_tensors(self.path, tensors, {})


def state_of(path: Path) -> FileState:
    """What tells a file from another one in its place."""
    status = path.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns


@contextmanager
def explain_unreadable(path: Path) -> Iterator[None]:
    """Say what it means that a shard is not there any more, or cannot be read."""
    try:
        yield
    except FileNotFoundError:
        raise VerydeepError(
            f"{path.parent.parent} is being changed by a job of verydeep features: try again when it has ended."
        ) from None
    except OSError as error:
        raise VerydeepError(f"{path} cannot be read ({error}): see to its permissions and the disk.") from None


def shards_of(folder: Path) -> list[Shard]:
    """Of an archive, in the order they were written in.

    Raises:
        VerydeepError: one is gone while they are listed.
    """
    return [Shard.at(path) for path in sorted((folder / SHARDS).glob("*.safetensors"))]


def all_rows(shards: Sequence[Shard], dimensions: int, device: torch.device) -> Iterator[Tensor]:
    """The descriptors of all shards, (some, D) float32 on the device, in one buffer that the next ones overwrite.

    Shards are mapped, not read as a whole; PyTorch converts float16 ten times as fast as NumPy and more (measured).

    Raises:
        VerydeepError: a shard is damaged, or of another archive.
    """
    buffer = torch.empty(max(1, VALUES_AT_ONCE // dimensions), dimensions, device=device)
    for shard in shards:
        for rows in shard.rows(len(buffer)):
            if rows.shape[1] != dimensions:
                raise VerydeepError(
                    f"{shard.path} has {rows.shape[1]} dimensions, not {dimensions}: it is of another archive."
                )
            yield buffer[: len(rows)].copy_(rows)


def path_ids(files: Sequence[str]) -> Int64Array:
    """(n,) 64 bits of a hash of each path."""
    digests = b"".join(hashlib.sha256(encoded(file)).digest()[:8] for file in files)
    return np.frombuffer(digests, "<i8").astype(np.int64)


def encoded(path: str) -> bytes:
    """A path as the file system has it; names that are no UTF-8 reach Python as surrogates."""
    return path.encode("utf-8", "surrogateescape")


def packed(files: Sequence[str]) -> UInt8Array:
    """Paths one behind the other, each ended by a zero byte, which no path holds."""
    return np.array(bytearray(b"".join(encoded(file) + b"\0" for file in files)))


def unpacked(paths: UInt8Array) -> list[str]:
    """The same as they were."""
    return paths.tobytes().decode("utf-8", "surrogateescape").split("\0")[:-1]
