"""JSON files of checked types, with a head that tells their kind and format."""

import json
import math
import sys
from dataclasses import dataclass, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from verydeep.disk import check_room
from verydeep.errors import DataError, VerydeepError
from verydeep.files import atomic_write
from verydeep.paths import describe_read_error, special_kind

if sys.platform == "win32":
    pass
else:
    pass


T = TypeVar("T")


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
