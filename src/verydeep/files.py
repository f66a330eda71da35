"""Files that appear complete or not at all, JSON files of checked types, and locks."""

import errno
import hashlib
import json
import math
import os
import re
import secrets
import shutil
import stat
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, fields, is_dataclass
from itertools import count
from pathlib import Path
from typing import IO, Any, TextIO, TypeVar

import msgspec

from verydeep.disk import check_room, existing_part, explain_write, write_error
from verydeep.errors import DataError, OptionError, ResourceError, VerydeepError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

T = TypeVar("T")


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


_KINDS = {stat.S_ISFIFO: "pipe", stat.S_ISSOCK: "socket", stat.S_ISCHR: "device", stat.S_ISBLK: "device"}


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


MAX_NAME_BYTES = 120
"""Bytes of names that verydeep chooses; file systems take 255, but other names are added."""


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
    """Give the path of a file to a library that takes UTF-8 alone, and calls a file missing that may not be read.

    Raises:
        OSError: the file cannot be opened.
    """
    with path.open("rb") as file:
        yield path if escape_bytes(str(path)) == str(path) else Path(f"/dev/fd/{file.fileno()}")


@dataclass(frozen=True)
class CsvLines:
    """A text file for a writer of CSV: its lines end with a line feed alone.

    The writer itself keeps its carriage returns, because only then Python quotes those in names (before 3.13).
    """

    file: TextIO

    def write(self, line: str) -> int:
        """Write a line of CSV."""
        return self.file.write(line.removesuffix("\r\n") + "\n")


_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")


@contextmanager
def temporary_folder(path: Path) -> Iterator[Path]:
    """Make a folder next to ``path`` for this writer alone, and remove it at the end.

    The folder of a process that was killed is removed by the next one that writes there, whatever a library had left in
    it. The system tells them apart: a lock ends with its process.

    Raises:
        OSError: the folder cannot be made.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    for entry in path.parent.iterdir():
        if _TEMPORARY.fullmatch(entry.name):
            _remove_abandoned(entry)
    with ExitStack() as stack:
        while True:
            folder = path.with_name(f".{shorten_name(path.name)}.{secrets.token_hex(4)}.tmp")
            folder.mkdir()
            stack.callback(shutil.rmtree, folder, ignore_errors=True)
            # Before it is locked, another process may take it for abandoned, and remove it.
            with suppress(FileNotFoundError):
                if stack.enter_context(_lock_folder(folder)) is not False and folder.exists():
                    break
        yield folder


def _remove_abandoned(folder: Path) -> None:
    """Remove a temporary folder if the process that made it has ended."""
    with suppress(OSError):  # just removed, or another user's
        if sys.platform != "win32":
            with _lock_folder(folder) as is_free:
                if is_free:
                    shutil.rmtree(folder, ignore_errors=True)
        elif time.time() - folder.stat().st_mtime > 24 * 3600:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _lock_folder(folder: Path) -> Iterator[bool | None]:
    """Lock a folder until the end, or until the process ends.

    Yields:
        Whether the lock was free; None if the system has no locks for folders.
    """
    if sys.platform == "win32":
        yield None
        return
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield _try_flock(descriptor)
    finally:
        os.close(descriptor)


def _try_flock(descriptor: int) -> bool | None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Give a temporary file to write to, which replaces ``path`` at the end; a kill leaves the old file or the new one.

    Writers of one file do not disturb each other: the last one to end decides.

    Raises:
        ResourceError: the folder cannot be made or the file cannot be written.
    """
    try:
        with temporary_folder(path) as folder:
            temporary = folder / "file"
            temporary.touch(exist_ok=False)
            mode = temporary.stat().st_mode
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            temporary.chmod(mode)  # safetensors makes files that nobody else may read
            temporary.replace(path)
    except OSError as error:
        if path.is_dir():
            raise ResourceError(f"{path} cannot be written: it is a folder; give the name of a file in it.") from error
        raise write_error(path, error) from error
    if os.name == "posix":
        with explain_write(path):
            descriptor = os.open(path.parent, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)


@contextmanager
def atomic_folder(folder: Path, mark: str) -> Iterator[Path]:
    """Give a temporary folder to write files to, which become those of ``folder`` at the end.

    A new folder appears with all files at once. In one that exists the file that marks it as complete is removed first,
    and comes last.

    Args:
        folder: to write.
        mark: name of that file.

    Raises:
        ResourceError: a file cannot be written.
    """
    try:
        with temporary_folder(folder) as temporary:
            files = temporary / folder.name
            files.mkdir()
            try:
                yield files
            except ResourceError as error:
                raise ResourceError(str(error).replace(str(files), str(folder))) from error
            try:
                files.rename(folder)
            except OSError:
                if not folder.is_dir():  # an empty one would have been replaced
                    raise
                (folder / mark).unlink(missing_ok=True)
                for path in sorted(files.iterdir(), key=lambda path: path.name == mark):
                    path.replace(folder / path.name)
    except OSError as error:
        raise write_error(folder, error) from error


@contextmanager
def atomic_write_text(path: Path) -> Iterator[TextIO]:
    """Give a text stream in UTF-8 whose content replaces the file ``path`` at the end, as ``atomic_write`` does.

    Raises:
        ResourceError: the file cannot be written.
    """
    with (
        atomic_write(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file,
    ):
        yield file


def check_output_folder(folder: Path, is_ours: Callable[[str], bool], contents: str, parameter: str = "out") -> None:
    """Refuse to write into a folder that holds other files.

    Args:
        folder: the value of a parameter; it need not exist.
        is_ours: whether a file of this name may be there.
        contents: what will be written, for the message.
        parameter: its name.

    Raises:
        OptionError: the folder is a file, or holds a file that may not be there.
    """
    if folder.exists() and not folder.is_dir():
        raise OptionError(f"`{parameter}` {folder} is a file; choose a folder.", parameter)
    if folder.exists() and not all(
        is_ours(entry.name) or _TEMPORARY.fullmatch(entry.name) for entry in folder.iterdir()
    ):
        raise OptionError(f"`{parameter}` {folder} holds other files than {contents}; choose a new folder.", parameter)
    check_writable(folder)


def check_new_file(path: Path, parameter: str = "out") -> None:
    """Refuse to replace a file.

    Raises:
        OptionError: the file exists, or is a folder.
    """
    if os.path.isdir(path):  # noqa: PTH112 - never raises
        raise OptionError(f"`{parameter}` {path} is a folder: give the name of a file in it.", parameter)
    if os.path.lexists(path):
        raise OptionError(f"{path} exists: choose another `{parameter}`, or remove it.", parameter)


def check_writable(folder: Path) -> None:
    """Refuse a folder, which need not exist, that nothing can be written into.

    Raises:
        ResourceError: the folder may not be written, or it cannot be made.
    """
    existing = existing_part(folder)
    if not may_write(existing):
        is_read_only = os.name == "posix" and os.statvfs(existing).f_flag & os.ST_RDONLY
        raise write_error(existing, OSError(errno.EROFS if is_read_only else errno.EACCES, "")) from None


def may_write(folder: Path) -> bool:
    """Whether files can be made in a folder, by its permissions and those of its file system."""
    return os.access(folder, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids)


@dataclass(frozen=True)
class FileFormat:
    """The head of a kind of JSON files, and the words of an error about one of them."""

    kind: str
    """The value of ``model_type``."""
    number: int
    """The value of ``format``; it rises with every change of the fields."""
    made_by: str
    """The command that writes such files, in backticks."""
    error: type[VerydeepError] = DataError


def write_json(path: Path, values: Any, file_format: FileFormat | None = None) -> None:
    """Write a JSON file, with the head of its format if it has one."""
    head = {} if file_format is None else {"model_type": file_format.kind, "format": file_format.number}
    text = json.dumps({**head, **values} if head else values, indent=1, ensure_ascii=False) + "\n"
    check_room(path, len(text))
    with atomic_write(path) as temporary:  # the escaped bytes of a file name that is not UTF-8 are JSON, too
        temporary.write_text(text, encoding="utf-8", errors="backslashreplace")


def read_json(path: Path, kind: type[T], file_format: FileFormat | None = None) -> T:
    """Read a JSON file as a value of a type, such as a dataclass or a TypedDict.

    Args:
        path: of the file.
        kind: the type, against which every field is checked.
        file_format: the head that the file must have. The file must then give every field of a dataclass, too.

    Raises:
        VerydeepError: the file is missing, damaged, of another kind or of another format; the class is the format's,
            otherwise DataError.
    """
    error = DataError if file_format is None else file_format.error
    repair = "remove it" if file_format is None else f"restore it, or run {file_format.made_by} again"
    if kind_of_path := special_kind(path):
        raise error(f"{path} is a {kind_of_path}, not a file: {repair}.")
    try:
        values = json.loads(path.read_text(encoding="utf-8"), parse_float=_parse_finite, parse_constant=_parse_finite)
        if file_format is not None:
            _check_head(path, values, file_format)
            required = [field.name for field in fields(kind)] if is_dataclass(kind) else []
            if missing := [name for name in required if name not in values]:
                raise error(
                    f"{path} lacks {', '.join(missing)}: another version of verydeep wrote it, or it is damaged; run "
                    f"{file_format.made_by} again."
                )
        return msgspec.convert(values, kind)
    except PermissionError as reason:
        raise error(describe_read_error(path, reason)) from None
    except OSError as reason:
        raise error(f"{path} cannot be read ({reason.strerror or reason}): {repair}.") from None
    except msgspec.ValidationError as reason:
        what, _, field = str(reason).replace("`", "").partition(" - at $")
        place = f" at {field.lstrip('.')}" if field else ""
        raise error(f"{path} is damaged{place} ({what[0].lower()}{what[1:]}): {repair}.") from None
    except (ValueError, RecursionError) as reason:
        raise error(f"{path} is damaged ({reason}): {repair}.") from None


def _check_head(path: Path, values: Any, file_format: FileFormat) -> None:
    if not isinstance(values, dict) or values.get("model_type") != file_format.kind:
        raise file_format.error(f"{path} is another kind of file: its model_type is not {file_format.kind!r}.")
    number = values.get("format")
    if not isinstance(number, int) or number < file_format.number:
        raise file_format.error(
            f"{path} was written by an earlier version of verydeep: run {file_format.made_by} again."
        )
    if number > file_format.number:
        raise file_format.error(f"{path} was written by a later version of verydeep: upgrade verydeep.")


def _parse_finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(f"the number {text}")
    return value


@contextmanager
def try_lock(path: Path) -> Iterator[bool]:
    """Take a lock that only one process can have at a time, without waiting; yield whether it was free.

    The system frees it when the process ends, even by a kill. The file stays and means nothing by itself.

    Raises:
        ResourceError: the file cannot be made, or was removed meanwhile, and perhaps all that was next to it.
    """
    with explain_write(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab")
    with file:
        yield _lock(file)
    check_present(path)


def check_present(path: Path) -> None:
    """Refuse to go on in a folder whose files were removed meanwhile.

    Raises:
        ResourceError: this one of them is gone.
    """
    if not path.exists():
        raise ResourceError(
            f"{path} was removed meanwhile: remove what is left of {path.parent}, and run the command again."
        )


def _lock(file: IO[bytes]) -> bool:
    """Take the lock, without waiting; return whether it was free."""
    try:
        if sys.platform == "win32":
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            # Unlike flock's lock, this one belongs to the process: forked workers that outlive it do not keep it.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return True  # some network file systems have no locks; work goes on without
    return True
