"""Reader of HDF5 files that may be damaged or malicious: bounded in memory and time, and without other files.

Attributes are not read: in a damaged file, HDF5's library may search for one endlessly.
"""

from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from verydeep.errors import ResourceError, VerydeepError, WeightsError
from verydeep.models.weights.readers.layers import to_float32
from verydeep.models.weights.weight_file import MAX_VALUES

if TYPE_CHECKING:
    import h5py

_MAX_ENTRIES = 2000
"""Groups and datasets that are read; a file of VGG-19 has a hundred."""
_MAX_DEPTH = 4
"""Levels of groups in that of a layer, whose weights are one or two levels below it."""


def read_layers(path: Path, *places: str) -> tuple[str, dict[str, list[Tensor]]]:
    """Read layer -> weights from the first of the groups ``places`` that exists, or else from the file itself ("").

    Weights are all datasets of a group and of the groups in it, float32.

    Returns:
        The place, and the layers that have weights.

    Raises:
        WeightsError: the file is damaged, announces more than it has or points to other files.
        ResourceError: h5py is not installed.
    """
    try:
        import h5py  # noqa: PLC0415 - an extra, needed only here
    except ImportError:
        raise ResourceError(f"Reading {path} needs h5py: pip install 'verydeep[keras]'.") from None
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
    except Exception as error:  # h5py raises any error of HDF5 for a damaged file
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise WeightsError(
            f"{path} cannot be read ({reason:.200}): it is damaged, or of another format; download it again."
        ) from None


class _Content:
    """Reads a file, counts the entries and bytes, and refuses more than a net has."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.space = path.stat().st_size
        self.entries = 0

    def names(self, group: "h5py.Group") -> list[str]:
        """Return the names in a group."""
        names: list[str] = []

        def append(name: bytes) -> bool | None:
            names.append(name.decode())
            return True if len(names) > _MAX_ENTRIES else None  # anything but None ends it

        group.id.links.iterate(append)
        self.entries += len(names)
        if self.entries > _MAX_ENTRIES:
            raise self.refused(f"has more than {_MAX_ENTRIES} groups")
        return names

    def child(self, parent: "h5py.Group", name: str) -> "h5py.Group | h5py.Dataset":
        """Return the group or dataset under a name of this file; links are refused."""
        import h5py  # noqa: PLC0415 - as above

        if "/" in name or parent.get(name, getclass=True, getlink=True) is not h5py.HardLink:
            raise self.refused(f"has a link to somewhere else, {name!r:.80}")
        return parent[name]

    def weights(self, found: "h5py.Group | h5py.Dataset", depth: int = 0) -> Iterator[Tensor]:
        """Yield the values of a dataset, or of all datasets in a group."""
        import h5py  # noqa: PLC0415 - as above

        if isinstance(found, h5py.Dataset):
            yield self.values(found)
        elif depth > _MAX_DEPTH:
            raise self.refused(f"has groups within groups below {found.name!r:.80}")
        else:
            for name in self.names(found):
                yield from self.weights(self.child(found, name), depth + 1)

    def values(self, dataset: "h5py.Dataset") -> Tensor:
        """Return the values of a dataset, float32."""
        if dataset.dtype.kind != "f":
            raise self.refused(f"has {dataset.name!r:.80} of type {dataset.dtype}")
        if dataset.external or dataset.is_virtual or dataset.id.get_create_plist().get_nfilters():
            raise self.refused(f"has {dataset.name!r:.80} compressed or in another file")
        count = prod(dataset.shape)
        size = count * dataset.dtype.itemsize
        self.space -= size
        if self.space < 0 or dataset.id.get_storage_size() < size or count > MAX_VALUES:
            raise self.refused(f"announces {dataset.shape} values for {dataset.name!r:.80}, more than it has")
        return to_float32(dataset[()])

    def refused(self, what: str) -> WeightsError:
        """Return the error for content that Keras does not write."""
        return WeightsError(f"{self.path} {what}, unlike Keras's files: load it in Keras and save its weights again.")
