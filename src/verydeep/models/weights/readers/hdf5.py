"""What an HDF5 file holds: never more than its own size, never of other files, and never for ever.

Attributes are not read: in a damaged file HDF5's library can search for one without end.
"""

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from verydeep.errors import VerydeepError
from verydeep.models.weights.foreign import MOST_VALUES

if TYPE_CHECKING:
    import h5py

_MOST_ENTRIES = 2000
"""Of groups and datasets that are looked at; a file of VGG-19 has a hundred."""
_MOST_DEPTH = 4
"""Of groups within that of a layer, whose weights lie one or two below it."""


def read_layers(path: Path, *places: str) -> tuple[str, dict[str, list[Tensor]]]:
    """The first of the groups that is there, the file itself where none is (""), and of its groups those with weights.

    Weights are all datasets in a group and in those below it, float32.

    Raises:
        VerydeepError: the file is damaged, announces more than it holds or points to other files, or h5py is not
            installed.
    """
    try:
        import h5py  # noqa: PLC0415 - an extra, needed here alone
    except ImportError:
        raise VerydeepError(f"Reading {path} needs h5py: pip install 'verydeep[keras]'.") from None
    try:
        with h5py.File(path, "r") as file:
            content = _Content(path)
            names = content.names(file)
            place = next((place for place in places if place in names), "")
            layers = content.child(file, place) if place else file
            groups = ((name, list(content.weights(content.child(layers, name)))) for name in content.names(layers))
            return place, {name: weights for name, weights in groups if weights}
    except VerydeepError:
        raise
    except Exception as error:  # of a damaged file, h5py raises whatever HDF5 comes across
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise VerydeepError(
            f"{path} cannot be read ({reason:.200}): it is damaged, or of another format; get it anew."
        ) from None


class _Content:
    """Counts what has been seen of a file, and refuses what would be too much."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.space = path.stat().st_size
        self.entries = 0

    def names(self, group: "h5py.Group") -> list[str]:
        """Of what is in a group."""
        names: list[str] = []

        def take(name: bytes) -> bool | None:
            names.append(name.decode())
            return True if len(names) > _MOST_ENTRIES else None  # anything but None ends it

        group.id.links.iterate(take)
        self.entries += len(names)
        if self.entries > _MOST_ENTRIES:
            raise self.refused(f"has more than {_MOST_ENTRIES} groups")
        return names

    def child(self, parent: "h5py.Group", name: str) -> "h5py.Group | h5py.Dataset":
        """What lies in this very file under a name, not what a link points to."""
        import h5py  # noqa: PLC0415 - as above

        if "/" in name or parent.get(name, getclass=True, getlink=True) is not h5py.HardLink:
            raise self.refused(f"has a link to somewhere else, {name!r:.80}")
        return parent[name]

    def weights(self, found: "h5py.Group | h5py.Dataset", depth: int = 0) -> Iterator[Tensor]:
        """The values of a dataset, or of all datasets in a group."""
        import h5py  # noqa: PLC0415 - as above

        if isinstance(found, h5py.Dataset):
            yield self.values(found)
        elif depth > _MOST_DEPTH:
            raise self.refused(f"has groups within groups below {found.name!r:.80}")
        else:
            for name in self.names(found):
                yield from self.weights(self.child(found, name), depth + 1)

    def values(self, dataset: "h5py.Dataset") -> Tensor:
        """Of any shape, float32."""
        if dataset.dtype.kind != "f":
            raise self.refused(f"has {dataset.name!r:.80} of type {dataset.dtype}")
        if dataset.external or dataset.is_virtual or dataset.id.get_create_plist().get_nfilters():
            raise self.refused(f"has {dataset.name!r:.80} compressed or in another file")
        count = prod(dataset.shape)
        size = count * dataset.dtype.itemsize
        self.space -= size
        if self.space < 0 or dataset.id.get_storage_size() < size or count > MOST_VALUES:
            raise self.refused(f"announces {dataset.shape} values for {dataset.name!r:.80}, more than there are")
        return torch.from_numpy(np.asarray(dataset[()], dtype=np.float32))

    def refused(self, what: str) -> VerydeepError:
        """In one sentence."""
        return VerydeepError(f"{self.path} {what}, as Keras writes none: load it in Keras and save its weights anew.")
