"""Paths and names of files: what they lead to, and names that file systems and libraries accept."""

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

MAX_NAME_BYTES = 120
"""Bytes of names that verydeep chooses; file systems take 255, but other names are added."""

_KINDS = {stat.S_ISFIFO: "pipe", stat.S_ISSOCK: "socket", stat.S_ISCHR: "device", stat.S_ISBLK: "device"}


def describe_read_error(path: Path | str, error: OSError) -> str:
    """Return a sentence about a file or folder that exists but cannot be read, or does not exist."""
    if isinstance(error, PermissionError):
        return f"{path} may not be read: change its permissions."
    return f"{path} cannot be read: {error.strerror or error}."


def is_folder(entry: "os.DirEntry[str]") -> bool:
    """Whether an entry is a folder; a link in a circle, or to a place that may not be read, is not."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def is_file(entry: "os.DirEntry[str]") -> bool:
    """Whether an entry is a file; a link in a circle, or to a place that may not be read, is not."""
    try:
        return entry.is_file()
    except OSError:
        return False


def special_kind(path: "os.DirEntry[str] | Path") -> str:
    """Return "pipe", "socket" or "device" for what is none of file, folder and broken link; nothing for those."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return ""
    return next((kind for is_kind, kind in _KINDS.items() if is_kind(mode)), "")


def real_path(path: Path) -> Path:
    """Return the whole path of a file or folder, behind links; links in a circle lead to one of them.

    ``Path.resolve`` raises a RuntimeError for those, before Python 3.13.
    """
    return Path(os.path.realpath(path))


def shorten_name(name: str) -> str:
    """Return a name that file systems accept; the end of a long one becomes a hash."""
    encoded = os.fsencode(name)
    if len(encoded) <= MAX_NAME_BYTES:
        return name
    whole_letters = encoded[:MAX_NAME_BYTES].decode("utf-8", "ignore").encode()
    beginning = os.fsdecode(whole_letters)  # the system's encoding may be another one
    return f"{beginning}-{hashlib.sha256(encoded).hexdigest()[:8]}"


def number_paths(path: Path, suffix: str = "") -> Iterator[Path]:
    """Yield a path, then those with a number before its suffix: name, name-2, name-3, ..."""
    yield path
    for number in count(2):
        yield path.with_name(f"{path.name.removesuffix(suffix)}-{number}{suffix}")


def escape_bytes(name: str) -> str:
    """Return a file's name that every encoding can write: bytes that are not UTF-8 become escapes, as in JSON."""
    return name.encode("utf-8", "backslashreplace").decode()


@contextmanager
def utf8_path(path: Path) -> Iterator[Path]:
    """Give the path of a file to a library that accepts only UTF-8 and reports an unreadable file as missing.

    Raises:
        OSError: the file cannot be opened.
    """
    with path.open("rb") as file:
        yield path if escape_bytes(str(path)) == str(path) else Path(f"/dev/fd/{file.fileno()}")
