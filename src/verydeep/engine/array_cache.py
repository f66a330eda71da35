"""Arrays of images kept on the disk as they are computed: what is there is not computed again.

A shelf is a folder. In it lies a folder for each kind of array (a view or a layer, at a test scale), and in that files
of some images each: ``indices`` (n,), which images, and arrays (n, ...) of them. Several processes may write at once.
"""

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from verydeep.errors import VerydeepError
from verydeep.files import write_json, writing
from verydeep.ops.arrays import AnyArray, Int64Array

FLUSH_SECONDS = 30
"""What a kill may cost."""
FLUSH_BYTES = 256 << 20
"""What may wait in memory: a GPU gives gigabytes in that time."""

INDICES = "indices"

Arrays = Mapping[str, AnyArray]


class ArrayCache:
    """One folder, and what waits to be written into it."""

    def __init__(self, folder: Path, about: Mapping[str, Any]) -> None:
        """``about`` is told to people, in about.json; nothing is where it is empty."""
        self.folder, self.about = folder, about
        self.write_error = ""
        """Why keeping failed, if it did; computing goes on without it."""
        self.waiting: list[tuple[Int64Array, Mapping[str, Arrays]]] = []
        self.waiting_bytes = 0
        self.flushed = time.monotonic()

    def files(self, kind: str) -> Iterator[Path]:
        """Of one kind, in a fixed order."""
        yield from sorted((self.folder / kind).glob("*.safetensors"))

    def indices(self, kind: str) -> Int64Array:
        """Of which images one kind is there, ascending; of nothing else is read."""
        found = [np.empty(0, np.int64)]
        for path in self.files(kind):
            with suppress(SafetensorError, OSError), safe_open(path, framework="numpy") as file:
                found.append(file.get_tensor(INDICES))
        return np.unique(np.concatenate(found))

    def load(self, kind: str, wanted: Int64Array | None = None) -> tuple[Int64Array, Arrays] | None:
        """Indices, ascending, and arrays of one kind, no image twice; of all images or of those that are wanted.

        A damaged file is as if it had never been written.
        """
        kept = []
        for path in self.files(kind):
            with suppress(SafetensorError, OSError), safe_open(path, framework="numpy") as file:
                indices = file.get_tensor(INDICES)
                chosen = np.ones(len(indices), np.bool_) if wanted is None else np.isin(indices, wanted)
                if not chosen.any():
                    continue
                held = {name: file.get_tensor(name)[chosen] for name in file.keys() if name != INDICES}  # noqa: SIM118
                indices = indices[chosen]
                kept.append((indices, held))
        if not kept:
            return None
        indices, first = np.unique(np.concatenate([each for each, _ in kept]), return_index=True)
        names = kept[0][1]
        return indices, {name: np.concatenate([held[name] for _, held in kept])[first] for name in names}

    def add(self, indices: Int64Array, held: Mapping[str, Arrays]) -> None:
        """Keep arrays of these images, by kind and name, soon."""
        if len(indices):
            self.waiting.append((indices, held))
            self.waiting_bytes += sum(array.nbytes for arrays in held.values() for array in arrays.values())
        if time.monotonic() - self.flushed > FLUSH_SECONDS or self.waiting_bytes > FLUSH_BYTES:
            self.close()

    def close(self) -> None:
        """Write what waits, one file a kind."""
        parts, self.waiting, self.waiting_bytes, self.flushed = self.waiting, [], 0, time.monotonic()
        if not parts or self.write_error:
            return
        indices = np.concatenate([each for each, _ in parts])
        try:
            if self.about and not (self.folder / "about.json").exists():
                with suppress(VerydeepError):  # another process may be writing the same; it is only told to people
                    write_json(self.folder / "about.json", self.about)
            for kind, names in parts[0][1].items():
                arrays = {name: np.concatenate([held[kind][name] for _, held in parts]) for name in names}
                with writing(self.folder / kind / f"{time.time_ns()}-{os.getpid()}.safetensors") as beside:
                    save_file({INDICES: indices, **arrays}, beside)
        except (VerydeepError, SafetensorError) as error:
            self.write_error = str(error)


def find_missing(
    kept: Mapping[str, Int64Array], kinds: Sequence[str], count: int
) -> list[tuple[list[str], Int64Array]]:
    """Which kinds lack which of ``count`` images; those that lack the same together, so that one is decoded once."""
    groups: dict[bytes, list[str]] = {}
    for kind in kinds:
        missing = np.ones(count, np.bool_)
        missing[kept[kind]] = False
        if missing.any():
            groups.setdefault(missing.tobytes(), []).append(kind)
    return [(group, np.flatnonzero(np.frombuffer(missing, np.bool_))) for missing, group in groups.items()]
