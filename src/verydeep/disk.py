"""Room on disks, and errors of writing: a sentence names what cannot be written, why, and what to do."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from verydeep.errors import ResourceError
from verydeep.wording import size_text

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
"""Error numbers of a full disk, and of a quota that is used up."""


def check_room(path: Path, num_bytes: int, held: int = 0) -> None:
    """Refuse to begin what a disk has no room for.

    Args:
        path: what is to be written; it need not exist.
        num_bytes: the most bytes that it will take.
        held: bytes of what exists and will be replaced.

    Raises:
        ResourceError: there is no room.
    """
    free = shutil.disk_usage(existing_part(path)).free + held
    if free < num_bytes:
        raise ResourceError(
            f"{path} needs {size_text(num_bytes)}, and its disk has {size_text(free)} free: make room, or choose "
            "another place."
        )


def existing_part(path: Path) -> Path:
    """Return a path, or the first folder above it that exists."""
    return next(each for each in (path, *path.absolute().parents) if os.path.exists(each))  # noqa: PTH110 - never raises


@contextmanager
def explain_write(path: Path) -> Iterator[None]:
    """Turn an OSError of writing a file into a sentence.

    Raises:
        ResourceError: the file cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise write_error(path, error) from error


def write_error(path: Path | str, error: OSError) -> ResourceError:
    """Return the error of a file or folder that cannot be written."""
    if isinstance(error, PermissionError):
        return ResourceError(f"{path} may not be written: change its permissions, or choose another place.")
    if error.errno == errno.EROFS:
        return ResourceError(f"{path} cannot be written (its disk is read-only): choose another place.")
    if isinstance(error, FileNotFoundError) and os.path.isdir(os.path.dirname(os.path.abspath(path))):  # noqa: PTH100, PTH112, PTH120 - as of /proc
        return ResourceError(f"{path} cannot be made in this place: choose another.")
    if isinstance(error, FileNotFoundError) or error.errno == errno.ESTALE:
        return ResourceError(f"{path} cannot be written (its folder was removed): run the same command again.")
    reason = "its disk or your quota is full" if error.errno in NO_ROOM else error.strerror or str(error)
    return ResourceError(f"{path} cannot be written ({reason}): make room, or choose another place.")
