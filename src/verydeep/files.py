"""Files that are complete or absent: written beside their place, brought to the disk, then renamed; and locks."""

import json
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, TextIO

from platformdirs import user_cache_path

from verydeep.errors import VerydeepError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl


def cache_folder() -> Path:
    """Where generated sets and downloads are kept: the platform's user cache, moved by VERYDEEP_CACHE."""
    moved = os.environ.get("VERYDEEP_CACHE")
    return Path(moved) if moved else user_cache_path("verydeep", appauthor=False)


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Give a path to write to; at the end it takes the place of ``path``. A kill leaves the old file or the new one.

    Raises:
        VerydeepError: the folder cannot be made or the file cannot be written.
    """
    beside = path.with_name(path.name + ".tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield beside
        with beside.open("rb+") as file:
            os.fsync(file.fileno())
        beside.chmod(_usual_mode())  # safetensors makes files that nobody else may read
        beside.replace(path)
    except OSError as error:
        with suppress(OSError):
            beside.unlink()
        raise VerydeepError(f"{path} cannot be written ({error}): make room, or choose another place.") from error
    except BaseException:
        with suppress(OSError):
            beside.unlink()
        raise
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextmanager
def writing_text(path: Path) -> Iterator[TextIO]:
    """The same of a text file, opened.

    Raises:
        VerydeepError: as ``writing``.
    """
    with writing(path) as beside, beside.open("w", newline="", encoding="utf-8") as file:
        yield file


def _usual_mode() -> int:
    """Of a new file, as the user's umask has it."""
    umask = os.umask(0)
    os.umask(umask)
    return 0o666 & ~umask


def check_out(folder: Path, ours: Callable[[str], bool], what: str) -> None:
    """Refuse to write into a folder of other things.

    Args:
        folder: what --out names; perhaps not there.
        ours: whether a name there is one of ours.
        what: we write, for the message.

    Raises:
        VerydeepError: it is a file, or holds something that is not ours.
    """
    if folder.exists() and not folder.is_dir():
        raise VerydeepError(f"--out {folder} is a file: choose a folder.")
    if folder.exists() and not all(ours(entry.name) for entry in folder.iterdir()):
        raise VerydeepError(f"--out {folder} holds other things than {what}: choose a new folder.")


def write_json(path: Path, values: Any) -> None:
    """Write a JSON file."""
    text = json.dumps(values, indent=1, ensure_ascii=False) + "\n"
    with writing(path) as beside:  # of names that are no UTF-8, the escaped bytes are JSON, too
        beside.write_text(text, encoding="utf-8", errors="backslashreplace")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        VerydeepError: it is missing or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise VerydeepError(f"{path} cannot be read ({error}): restore it from what wrote it.") from None


@contextmanager
def locking(path: Path) -> Iterator[bool]:
    """Hold a lock that one process at a time can have; yields whether it is had, without waiting.

    The system frees it when the process ends, however it does. The file stays: it means nothing by itself.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        yield _lock(file)


def _lock(file: IO[bytes]) -> bool:
    try:
        if sys.platform == "win32":
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            # Of the process: unlike flock's, it does not live on in forked workers that outlive a killed one.
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        return True  # some network file systems know no locks; that is no reason not to work there
    return True
