"""A cache of arrays on disk, image by image.

It is a folder with a subfolder for each kind of array (a view or a layer, at a test scale). A subfolder holds files of
some images each: the keys of the images (n,) and their arrays (n, ...). Several processes may write at once.
"""

import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from verydeep.disk import check_room
from verydeep.engine.cache_folder import cache_folder
from verydeep.errors import ResourceError, VerydeepError
from verydeep.json_files import write_json
from verydeep.models.weights.model_folder import write_tensors
from verydeep.ops.arrays import AnyArray, Int64Array

FLUSH_SECONDS = 30
"""Time after which arrays are written: what a kill may cost."""
FLUSH_BYTES = 256 << 20
"""Size of the arrays that may wait in memory: a GPU computes gigabytes in 30 seconds."""

KEYS = "keys"
"""Name of the array of the images' keys in a file."""
DESCRIPTION = "about.json"

_DAMAGE = (SafetensorError, OSError, ValueError)

Arrays = Mapping[str, AnyArray]
"""Name -> (n, ...) array of n images."""


def count_bytes(arrays_by_kind: Mapping[str, Arrays]) -> int:
    """Return the size of all arrays."""
    return sum(array.nbytes for arrays in arrays_by_kind.values() for array in arrays.values())


class ArrayCache:
    """One folder of arrays, and the arrays that wait to be written into it; they are written at the end of ``with``."""

    def __init__(self, folder: Path, description: Mapping[str, Any], *, must_write: bool = False) -> None:
        """Open a folder, which need not exist.

        Args:
            folder: holds the arrays.
            description: facts for a person, written to about.json; an empty one is not written.
            must_write: whether arrays that cannot be written are an error; otherwise computing continues.
        """
        self.folder, self.description, self.must_write = folder, description, must_write
        self.write_error = ""
        """Why arrays could not be written; empty where nothing failed."""
        self._waiting: list[tuple[Int64Array, Mapping[str, Arrays]]] = []
        self._waiting_bytes = 0
        self._flushed = time.monotonic()

    def __enter__(self) -> "ArrayCache":
        return self

    def __exit__(self, *_: object) -> None:
        self._flush()

    @classmethod
    def open(
        cls, name: str, conditions: Mapping[str, Any], notes: Mapping[str, Any], *, must_write: bool = False
    ) -> "ArrayCache":
        """Open the folder of these conditions in the user's cache folder.

        Args:
            name: of the folder that holds the arrays of all conditions.
            conditions: everything that changes an array, as JSON values: each set of conditions has a folder.
            notes: more facts for a person.
            must_write: whether arrays that cannot be written are an error.
        """
        key = hashlib.sha256(json.dumps(conditions, sort_keys=True).encode()).hexdigest()[:32]
        return cls(cache_folder() / name / key, {**conditions, **notes}, must_write=must_write)

    def keys(self, kind: str) -> Int64Array:
        """Return the keys of the images that have arrays of a kind, ascending."""
        parts = [np.empty(0, np.int64)]
        for path in self._files(kind):
            with suppress(*_DAMAGE), safe_open(path, framework="numpy") as file:
                parts.append(_read_keys(file))
        return np.unique(np.concatenate(parts))

    def load(self, kind: str, keys: Int64Array | None = None) -> tuple[Int64Array, Arrays] | None:
        """Read the arrays of one kind; a damaged file counts as missing.

        Args:
            kind: of the arrays.
            keys: of the images to read; None reads all.

        Returns:
            Keys (n,), ascending, and arrays (n, ...), no image twice; None where there are none.
        """
        parts = list[tuple[Int64Array, Arrays]]()
        for path in self._files(kind):
            with suppress(*_DAMAGE), safe_open(path, framework="numpy") as file:
                file_keys = _read_keys(file)
                chosen = np.ones(len(file_keys), np.bool_) if keys is None else np.isin(file_keys, keys)
                if not chosen.any():
                    continue
                arrays = {name: file.get_tensor(name) for name in file.keys() if name != KEYS}  # noqa: SIM118
                _check_arrays(arrays, len(file_keys), parts[0][1] if parts else arrays)
                parts.append((file_keys[chosen], {name: array[chosen] for name, array in arrays.items()}))
        if not parts:
            return None
        all_keys, first = np.unique(np.concatenate([file_keys for file_keys, _ in parts]), return_index=True)
        return all_keys, {name: np.concatenate([arrays[name] for _, arrays in parts])[first] for name in parts[0][1]}

    def add(self, keys: Int64Array, arrays_by_kind: Mapping[str, Arrays]) -> None:
        """Add the arrays of some images; they are written after a while.

        Raises:
            ResourceError: arrays must be written and cannot.
        """
        if len(keys):
            self._waiting.append((keys, arrays_by_kind))
            self._waiting_bytes += count_bytes(arrays_by_kind)
        if time.monotonic() - self._flushed > FLUSH_SECONDS or self._waiting_bytes > FLUSH_BYTES:
            self._flush()
            self.check_written()

    def _flush(self) -> None:
        """Write the arrays that wait, one file for each kind; all of them have the same kinds."""
        parts, self._waiting, self._waiting_bytes, self._flushed = self._waiting, [], 0, time.monotonic()
        if not parts or self.write_error:
            return
        keys = np.concatenate([keys for keys, _ in parts])
        try:
            self._write_description()
            for kind, names in parts[0][1].items():
                arrays = {name: np.concatenate([arrays[kind][name] for _, arrays in parts]) for name in names}
                tensors = {name: torch.from_numpy(array) for name, array in {KEYS: keys, **arrays}.items()}
                write_tensors(self.folder / kind / f"{time.time_ns()}-{os.getpid()}.safetensors", tensors, {})
        except VerydeepError as error:
            self.write_error = str(error)

    def reserve(self, num_bytes: int) -> None:
        """Write nothing if the disk has no room for all that is to come.

        Raises:
            ResourceError: arrays must be written and cannot.
        """
        try:
            check_room(self.folder, num_bytes)
        except ResourceError as error:
            self.write_error = str(error)
        self.check_written()

    def check_written(self) -> None:
        """Raise the error of writing if arrays must be written.

        Raises:
            ResourceError: arrays could not be written.
        """
        if self.must_write and self.write_error:
            raise ResourceError(self.write_error)

    def _files(self, kind: str) -> Iterator[Path]:
        yield from sorted((self.folder / kind).glob("*.safetensors"))

    def _write_description(self) -> None:
        if self.description and not (self.folder / DESCRIPTION).exists():
            with suppress(VerydeepError):  # another process may be writing the same; only people read it
                write_json(self.folder / DESCRIPTION, self.description)


def _read_keys(file: Any) -> Int64Array:
    """Return the keys of a file; a ValueError if they are none."""
    keys: Int64Array = file.get_tensor(KEYS)
    if keys.ndim != 1 or keys.dtype != np.int64:
        raise ValueError("keys of another form")
    return keys


def _check_arrays(arrays: Arrays, count: int, others: Arrays) -> None:
    """Raise a ValueError if arrays have not ``count`` images, or another form than those of other files."""
    forms = {name: (array.dtype, array.shape[1:]) for name, array in arrays.items()}
    if any(array.shape[:1] != (count,) for array in arrays.values()) or forms != {
        name: (array.dtype, array.shape[1:]) for name, array in others.items()
    }:
        raise ValueError("arrays of another form")
