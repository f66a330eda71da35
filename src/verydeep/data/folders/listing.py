"""List the files of folders, without what systems, cameras and cloud drives leave there."""

import os
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

from verydeep.data.pixels.formats import (
    FORMATS,
    describe_unread,
    find_format,
    find_holder,
    is_decodable,
)
from verydeep.errors import DataError
from verydeep.paths import describe_read_error, is_folder, real_path, special_kind
from verydeep.wording import escape_controls

SYSTEM_FOLDERS = frozenset(
    (
        *("$RECYCLE.BIN", "$Recycle.Bin", "$recycle.bin", "RECYCLER", "System Volume Information"),  # Windows
        *("lost+found", "LOST.DIR", "__MACOSX", "Network Trash Folder", "Temporary Items", "TheVolumeSettingsFolder"),
        *("@eaDir", "@tmp", "@sharebin", "#recycle", "#Recycle", "#snapshot"),  # Synology
        *("@Recycle", "@Recently-Snapshot", "@__thumb", "@Trash", "~snapshot"),  # QNAP and NetApp
        *("iPod Photo Cache", "iPhoto Library", "CaptureOne"),
        *("THMBNL", "_gsdata_", "__pycache__", "node_modules"),  # Sony's cameras, GoodSync, and programs
    )
)
"""Names of folders that no person makes; names with a dot at the beginning are hidden anyway."""

LIBRARIES = (".photoslibrary", ".photolibrary", ".aplibrary", ".lrdata", ".lrcat-data", ".cocatalog", ".cosessiondb")
"""Ends of names of folders in which a program keeps copies and thumbnails of photographs."""

SYSTEM_FILES = frozenset({"Thumbs.db", "ehthumbs.db", "ehthumbs_vista.db", "desktop.ini", "Desktop.ini", "Icon\r"})
"""Names of files that no person makes."""

MAX_NAMES = 5
"""Kinds of omitted entries that a sentence names."""

SYSTEMS = "a program, a camera or a cloud drive"
"""What makes such folders and files, as notes say."""


def is_of_system(name: str) -> bool:
    """Whether a file or folder of this name was left by a system, a camera or a cloud drive."""
    if name in SYSTEM_FOLDERS or name in SYSTEM_FILES or name.startswith("~$") or name.endswith(LIBRARIES):
        return True
    return name.startswith("FOUND.") and name[6:].isdigit()  # of Windows' chkdsk


def is_leftover(name: str) -> bool:
    """Whether a file or folder of this name is hidden, or was left by a system, a camera or a cloud drive."""
    return name.startswith(".") or is_of_system(name)


@dataclass
class Omissions:
    """Files and folders that a listing left out, counted by name."""

    folders: Counter[str] = field(default_factory=Counter)
    """Name -> number of folders."""
    files: Counter[str] = field(default_factory=Counter)
    """Name, or its beginning -> number of files that are named like images."""
    special: Counter[str] = field(default_factory=Counter)
    """Pipe, socket or device -> number of those that are named like images."""
    unread: Counter[tuple[str, str]] = field(default_factory=Counter)
    """(suffix or format, format) of images that are not read -> their number."""

    def sentences(self, folder: Path) -> list[str]:
        """Return a sentence about each kind of omission in a folder."""
        counts = {f"folder {name}": count for name, count in self.folders.most_common()}
        counts |= {f"file {name}": count for name, count in self.files.most_common()}
        sentences = []
        if counts:
            sentences.append(f"Left out of {folder}, because {SYSTEMS} made them: {_join_counts(counts)}.")
        if self.special:
            sentences.append(f"Left out of {folder}, because they are not files: {_join_counts(self.special)}.")
        return sentences + describe_unread(self.unread, folder)


def list_files(
    folder: Path, is_wanted: Callable[["os.DirEntry[str]"], bool], omissions: Omissions | None = None
) -> list[str]:
    """Return certain files in a folder and its subfolders, as sorted POSIX paths relative to it.

    Hidden files and folders, those that systems leave behind, and links that lead back to a folder around them are left
    out. Pipes, sockets and devices are left out, too. A broken link and a subfolder that may not be read are listed
    like files, so that reading them reports the reason.

    Args:
        folder: to list.
        is_wanted: whether a file belongs to the list, by its name.
        omissions: counts what is left out.

    Raises:
        DataError: the folder itself cannot be read.
    """
    return sorted(_walk(folder, is_wanted, Omissions() if omissions is None else omissions))


def _walk(folder: Path, is_wanted: Callable[["os.DirEntry[str]"], bool], omissions: Omissions) -> Iterator[str]:
    pending = [""]
    while pending:
        inside = pending.pop()
        try:
            opened = _open_folder(folder / inside)
        except DataError:
            if not inside:
                raise
            yield inside.rstrip("/")  # read as a file, it reports the reason
            continue
        with opened as entries:
            for entry in entries:
                if is_folder(entry):
                    if is_leftover(entry.name):
                        omissions.folders[entry.name] += 1
                    elif _is_folder_below(entry):
                        pending.append(f"{inside}{entry.name}/")
                elif is_leftover(entry.name):
                    if os.path.splitext(entry.name)[1].lower() in FORMATS:  # noqa: PTH122
                        omissions.files[_describe_leftover(entry.name)] += 1
                elif is_wanted(entry):
                    if kind := special_kind(entry):
                        omissions.special[kind] += 1
                    else:
                        yield inside + entry.name


def list_images(folder: Path, omissions: Omissions | None = None) -> list[str]:
    """Return the images in a folder and its subfolders that can be decoded, as ``list_files`` does.

    An image is known by its suffix, or by its content if the suffix is unknown.
    """
    omissions = Omissions() if omissions is None else omissions

    def is_read(entry: "os.DirEntry[str]") -> bool:
        kind = find_holder(entry.name) or find_format(entry)
        if kind is None or is_decodable(kind):
            return kind is not None
        suffix = os.path.splitext(entry.name)[1]  # noqa: PTH122
        omissions.unread[suffix if suffix.lower() in FORMATS or kind not in FORMATS.values() else kind, kind] += 1
        return False

    return list_files(folder, is_read, omissions)


def holds_images(folder: Path) -> bool:
    """Whether a folder or one of its subfolders holds an image file, or cannot be read."""
    return _holds(folder, _is_image)


def holds_files(folder: Path) -> bool:
    """Whether a folder or one of its subfolders holds a file that no system left there, or cannot be read."""
    return _holds(folder, lambda _: True)


def _holds(folder: Path, is_wanted: Callable[["os.DirEntry[str]"], bool]) -> bool:
    try:
        return next(_walk(folder, is_wanted, Omissions()), None) is not None
    except DataError:
        return True


def has_own_images(folder: Path) -> bool:
    """Whether image files lie directly in a folder."""
    with _open_folder(folder) as entries:
        return any(not is_leftover(entry.name) and not is_folder(entry) and _is_image(entry) for entry in entries)


def list_subfolders(folder: Path) -> list[str]:
    """Return the names of the folders directly in a folder, sorted.

    Hidden ones, those of systems, and links that lead back to a folder around them are left out.

    Raises:
        DataError: the folder cannot be read.
    """
    with _open_folder(folder) as entries:
        return sorted(entry.name for entry in entries if not is_leftover(entry.name) and _is_folder_below(entry))


def normalize_name(name: str) -> str:
    """Return a name as text to compare and to print: in the normal form NFC, with escapes for what is no text.

    Systems store accents as parts of letters, or as letters of their own. Control characters and bytes that are no
    UTF-8 become escapes.
    """
    if name.isascii() and name.isprintable():
        return name
    return escape_controls(unicodedata.normalize("NFC", name))


def find_similar_names(names: Iterable[str]) -> list[tuple[str, str]]:
    """Return pairs of names that differ only in case or spaces, and so are easily one name written in two ways."""

    def key(name: str) -> str:
        return " ".join(name.casefold().split())

    return [(one, other) for one, other in pairwise(sorted(names, key=key)) if key(one) == key(other)]


def _is_image(entry: "os.DirEntry[str]") -> bool:
    return find_format(entry) is not None


def _open_folder(folder: Path) -> "AbstractContextManager[Iterator[os.DirEntry[str]]]":
    try:
        return os.scandir(folder)
    except OSError as error:
        raise DataError(describe_read_error(folder, error)) from error


def _describe_leftover(name: str) -> str:
    """Return the name of a leftover file, or the beginning that it shares with others."""
    return next((f"{beginning}*" for beginning in ("._", "~$", ".") if name.startswith(beginning)), name)


def _is_folder_below(entry: "os.DirEntry[str]") -> bool:
    return is_folder(entry) and not (entry.is_symlink() and _leads_back(Path(entry.path)))


def _leads_back(link: Path) -> bool:
    """Whether a symbolic link points to a folder around it, so that following it would never end."""
    return real_path(link.parent).is_relative_to(real_path(link))


def _join_counts(counts: "Counter[str] | dict[str, int]") -> str:
    texts = [
        f"{count:,} {noun.replace(' ', 's ', 1) if count > 1 and ' ' in noun else noun + 's' * (count > 1)}"
        for noun, count in counts.items()
    ]
    rest = len(texts) - MAX_NAMES
    return ", ".join(texts[:MAX_NAMES] + ([f"{rest} more kinds"] if rest > 0 else []))
