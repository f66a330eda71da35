"""Find files and folders by names that people wrote: accents may be stored in another way, and bytes may be escaped."""

import os
import re
from collections.abc import Sequence
from pathlib import Path, PurePath, PurePosixPath

from verydeep.data.folders.listing import normalize_name
from verydeep.errors import DataError
from verydeep.files import describe_read_error


class PathFinder:
    """Finds files and folders below a root by the normal forms of their names; each folder is listed once at most."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._names: dict[str, dict[str, str]] = {}
        """Folder -> normal form -> name of an entry, of the folders that were listed."""
        self._folded: dict[str, dict[str, str]] = {}
        """The same without upper and lower case."""

    def find(self, path: PurePath) -> str | None:
        """Return the POSIX path of a file or folder below the root as the system writes it; None if there is none.

        Backslashes are read as slashes, as Windows writes them, unless a name has them.

        Raises:
            DataError: it may exist, but its folder may not be read.
        """
        found = self._find(path)
        if found is None and "\\" in str(path):
            return self._find(PurePosixPath(str(path).replace("\\", "/")))
        return found

    def _find(self, path: PurePath) -> str | None:
        if ".." in path.parts or path.is_absolute() or not path.parts:
            return None
        try:
            if (self.root / path).exists():
                return path.as_posix()
            parts: list[str] = []
            for part in path.parts:
                folder = "/".join(parts)
                exact = (self.root / folder / part).exists()
                name = part if exact else self._list(folder).get(normalize_name(part))
                if name is None:
                    return None
                parts.append(name)
        except PermissionError as error:
            raise DataError(describe_read_error(error.filename, error)) from error
        except OSError:  # a part is a file, or a name is too long
            return None
        return "/".join(parts)

    def find_other_case(self, path: PurePath) -> str | None:
        """Return the path of an entry whose names have other upper or lower case than those of ``path``, if any."""
        parts: list[str] = []
        try:
            for part in PurePosixPath(str(path).replace("\\", "/")).parts:
                folder, normal = "/".join(parts), normalize_name(part)
                names = self._list(folder)
                if folder not in self._folded:
                    self._folded[folder] = {each.casefold(): name for each, name in names.items()}
                parts.append(names.get(normal) or self._folded[folder][normal.casefold()])
        except (OSError, KeyError):
            return None
        return "/".join(parts) or None

    def _list(self, folder: str) -> dict[str, str]:
        if folder not in self._names:
            self._names[folder] = {normalize_name(name): name for name in sorted(os.listdir(self.root / folder))}  # noqa: PTH208
        return self._names[folder]


def ask_for(name: str | None) -> str:
    """Return "; did you mean 'a.jpg'?"; nothing without a name."""
    return f"; did you mean {name!r}?" if name else ""


def describe_lost_paths(table: Path, line: int, named: str, files: Sequence[str]) -> str:
    """Return a sentence about a table none of whose paths exists, with a path that does.

    Args:
        table: lies in the folder at which its paths begin.
        line: number of a line.
        named: path in this line.
        files: paths of photographs; one with the same name is preferred.
    """
    name = re.split(r"[/\\]", named)[-1]
    same = [file for file in files if PurePath(file).name.casefold() == name.casefold()]
    example = next((file for file in same if PurePath(file).name == name), next(iter([*same, *files]), ""))
    such = f", such as {example!r}" if example else ""
    return f"No path in {table} is a file: paths begin at {table.parent}{such}, and line {line} has {named!r}."
