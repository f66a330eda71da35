"""Find files and folders by names that people wrote: accents may be stored in another way, and bytes may be escaped."""

import os
import re
from collections.abc import Sequence
from pathlib import Path, PurePath, PurePosixPath

from verydeep.data.folders.listing import normalize_name
from verydeep.errors import DataError
from verydeep.paths import describe_read_error, is_file, real_path


class PathFinder:
    """Finds files and folders below a root by the normal forms of their names; each folder is listed once at most.

    A million names are looked up in seconds, also where none of them exists.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._whole_roots = Path(os.path.abspath(root)), real_path(root)  # noqa: PTH100 - as typed, and behind links
        self._own_names = {normalize_name(whole.name) for whole in self._whole_roots}
        self._names: dict[str, dict[str, str] | None] = {}
        """Folder -> name or normal form -> name of an entry; None for a folder that may not be listed."""
        self._folded: dict[str, dict[str, str]] = {}
        """Folder -> normal form in lower case -> name of an entry."""
        self._others: set[str] = set()
        """Entries of listed folders that are no files."""

    def find(self, path: PurePath) -> str | None:
        """Return the POSIX path of a file or folder below the root as the system writes it; None if there is none.

        Backslashes are read as slashes, as Windows writes them, unless a name has them.

        Raises:
            DataError: it may exist, but its folder may not be read.
        """
        found = self._find(path)
        return self._find(_with_slashes(path)) if found is None and _has_backslash(path) else found

    def find_file(self, path: PurePath) -> str | None:
        """Return what ``find`` returns for a file, also by its whole path or one that begins with the root's name.

        Returns:
            The path below the root; None for a folder, or if there is none.

        Raises:
            DataError: it may exist, but its folder may not be read.
        """
        if path.is_absolute():
            for whole in self._whole_roots:
                if path.is_relative_to(whole):
                    path = path.relative_to(whole)
        found = self.find(path)
        if found is None:
            first, *rest = _with_slashes(path).parts or ("",)
            if rest and normalize_name(first) in self._own_names:
                found = self.find(PurePosixPath(*rest))
        if found is None or self._names.get(found.rpartition("/")[0]) is not None:
            return None if found in self._others else found
        return found if (self.root / found).is_file() else None

    def _find(self, path: PurePath) -> str | None:
        parts = path.parts
        if ".." in parts or path.is_absolute() or not parts:
            return None
        folder = ""
        try:
            for part in parts:
                name = self._find_entry(folder, part)
                if name is None:
                    return None
                folder = f"{folder}/{name}" if folder else name
        except PermissionError as error:
            raise DataError(describe_read_error(error.filename, error)) from error
        except (OSError, ValueError):
            return None
        return folder

    def _find_entry(self, folder: str, part: str) -> str | None:
        """Return the name of an entry of a folder, which exists.

        Raises:
            OSError: the folder may not be read, or it is a file.
            ValueError: the name has a zero byte.
        """
        names = self._list(folder)
        if names is None:
            (self.root / folder / part).lstat()
            return part
        if name := names.get(part) or names.get(normalize_name(part)):
            return name
        other = self._fold(folder).get(part.casefold())
        # A file system may not tell upper and lower case apart.
        return other if other is not None and os.path.lexists(self.root / folder / part) else None

    def find_other_case(self, path: PurePath) -> str | None:
        """Return the path of an entry whose names have other upper or lower case than those of ``path``, if any."""
        folder = ""
        try:
            for part in (_with_slashes(path) if _has_backslash(path) else path).parts:
                normal = normalize_name(part)
                name = (self._list(folder) or {}).get(normal) or self._fold(folder)[normal.casefold()]
                folder = f"{folder}/{name}" if folder else name
        except (OSError, KeyError):
            return None
        return folder or None

    def _fold(self, folder: str) -> dict[str, str]:
        if folder not in self._folded:
            self._folded[folder] = {each.casefold(): name for each, name in (self._list(folder) or {}).items()}
        return self._folded[folder]

    def _list(self, folder: str) -> dict[str, str] | None:
        if folder not in self._names:
            try:
                with os.scandir(self.root / folder) as entries:
                    is_file_of = {entry.name: is_file(entry) for entry in entries}
            except PermissionError:
                self._names[folder] = None
                return None
            names = sorted(is_file_of)
            self._names[folder] = {normalize_name(name): name for name in names} | {name: name for name in names}
            self._others |= {f"{folder}/{name}" if folder else name for name in names if not is_file_of[name]}
        return self._names[folder]


def _has_backslash(path: PurePath) -> bool:
    return any("\\" in part for part in path.parts)


def _with_slashes(path: PurePath) -> PurePath:
    return PurePosixPath(str(path).replace("\\", "/"))


def ask_for(name: str | None) -> str:
    """Return "; did you mean 'a.jpg'?"; nothing without a name."""
    return f"; did you mean {name!r}?" if name else ""


def describe_lost_paths(finder: PathFinder, table: Path, line: int, named: str, files: Sequence[str]) -> str:
    """Return a sentence about a table none of whose paths exists, with a path that does.

    Args:
        finder: finds files below the folder at which the paths of the table begin.
        table: the table.
        line: number of a line.
        named: path in this line.
        files: paths of photographs; one with the same name is preferred.
    """
    if other := finder.find_other_case(PurePosixPath(named)):
        return f"No path in {table} is a file: line {line} has {named!r}{ask_for(other)}"
    name = re.split(r"[/\\]", named)[-1]
    same = [file for file in files if PurePath(file).name.casefold() == name.casefold()]
    example = next((file for file in same if PurePath(file).name == name), next(iter([*same, *files]), ""))
    such = f", such as {example!r}" if example else ""
    return f"No path in {table} is a file: paths begin at {finder.root}{such}, and line {line} has {named!r}."
