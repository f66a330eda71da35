"""Files that are complete or absent: written beside their place, brought to the disk, then renamed; and locks."""

import json
import math
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import IO, Any, TextIO, TypeVar

import msgspec
from platformdirs import user_cache_path

from verydeep.errors import DataError, VerydeepError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

T = TypeVar("T")


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
    with writing(path) as beside:  # the escaped bytes of a file name that is not UTF-8 are JSON, too
        beside.write_text(text, encoding="utf-8", errors="backslashreplace")


def read_json(path: Path, kind: type[T], file_format: FileFormat | None = None) -> T:
    """Read a JSON file as a value of a type, such as a dataclass or a TypedDict.

    Args:
        path: of the file.
        kind: the type, against which every field is checked.
        file_format: the head that the file must have; it then has to give every field of a dataclass, too.

    Raises:
        VerydeepError: the file is missing, damaged, of another kind or of another format; the class is the format's,
            otherwise DataError.
    """
    error = DataError if file_format is None else file_format.error
    repair = "remove it" if file_format is None else f"restore it, or run {file_format.made_by} again"
    try:
        values = json.loads(path.read_text(encoding="utf-8"), parse_float=_parse_finite, parse_constant=_parse_finite)
        if file_format is not None:
            _check_head(path, values, file_format)
            required = [field.name for field in fields(kind)] if is_dataclass(kind) else []
            if missing := [name for name in required if name not in values]:
                raise ValueError(f"without {', '.join(missing)}")
        return msgspec.convert(values, kind)
    except OSError as reason:
        raise error(f"{path} cannot be read ({reason}): {repair}.") from None
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
