"""Reader of HDF5 files that may be damaged or malicious: bounded in memory and time, and without other files.

Attributes are not read: in a damaged file, HDF5's library may search for one endlessly.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import IO, TYPE_CHECKING

from torch import Tensor

from verydeep.errors import VerydeepError, WeightsError, require_extra
from verydeep.models.weights.readers.layers import to_float32
from verydeep.models.weights.weight_file import MAX_VALUES
from verydeep.paths import utf8_path

if TYPE_CHECKING:
    import h5py

_MAX_ENTRIES = 2000
"""Groups and datasets that are read; a file of VGG-19 has a hundred."""
_MAX_DEPTH = 10
"""Levels of groups; a net within a net within a net has seven."""


@dataclass(frozen=True, eq=False)
class Group:
    """A group of an HDF5 file that has numbers."""

    path: tuple[str, ...]
    """The names that lead to it."""
    values: dict[str, Tensor]
    """Name -> floating-point numbers, float32."""


def read_groups(path: Path, *places: str, file: IO[bytes] | None = None) -> tuple[str, list[Group]]:
    """Read the groups below the first of ``places`` that exists, or else those of the file itself ("").

    Whole numbers, such as the states of random generators, are left out.

    Args:
        path: of the file, for messages.
        places: names of groups.
        file: the content of the file, if it is another than that at the path.

    Returns:
        The place, and the groups that have numbers.

    Raises:
        WeightsError: the file is damaged, declares more than it holds or points to other files.
        ResourceError: h5py is not installed.
    """
    with require_extra(f"Reading {path}", "h5py", "keras"):
        import h5py  # noqa: PLC0415 - an extra, needed only here
    try:
        space = path.stat().st_size
        with utf8_path(path) as readable, h5py.File(readable if file is None else file, "r") as root:
            content = _Content(path, space)
            names = content.names(root)
            place = next((place for place in places if place in names), "")
            return place, list(content.groups(content.child(root, place) if place else root, ()))
    except VerydeepError:
        raise
    except Exception as error:  # h5py raises any error of HDF5 for a damaged file
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise WeightsError(
            f"{path} cannot be read ({reason:.200}): it is damaged, or of another format; download it again."
        ) from None


class _Content:
    """Reads a file, counts the entries and bytes, and refuses more than a net has."""

    def __init__(self, path: Path, space: int) -> None:
        self.path, self.space = path, space
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

    def groups(self, group: "h5py.Group", path: tuple[str, ...]) -> Iterator[Group]:
        """Yield the group and the groups in it, as far as they have numbers."""
        import h5py  # noqa: PLC0415 - as above

        if len(path) > _MAX_DEPTH:
            raise self.refused(f"has groups within groups below {group.name!r:.80}")
        values: dict[str, Tensor] = {}
        for name in self.names(group):
            child = self.child(group, name)
            if not isinstance(child, h5py.Dataset):
                yield from self.groups(child, (*path, name))
            elif child.dtype.kind not in "iu":
                values[name] = self.values(child)
        if values:
            yield Group(path, values)

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
            raise self.refused(f"declares {dataset.shape} values for {dataset.name!r:.80}, more than it holds")
        return to_float32(dataset[()])

    def refused(self, what: str) -> WeightsError:
        """Return the error for content that Keras does not write."""
        return WeightsError(f"{self.path} {what}, unlike Keras's files: load it in Keras and save its weights again.")
