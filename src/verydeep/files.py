"""Files that appear complete or not at all, checks of the places they are written to, and locks."""

import errno
import os
import re
import secrets
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TextIO

from verydeep.disk import existing_part, explain_write, write_error
from verydeep.errors import OptionError, ResourceError
from verydeep.paths import shorten_name

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl


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
        raise OptionError(
            f"`{parameter}` {folder} holds files that do not belong to {contents}: choose a new folder.", parameter
        )
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
