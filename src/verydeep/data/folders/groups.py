r"""Groups of photographs that no random split separates: of one individual, plot or day.

Photographs of one individual look alike. If some are training images and others test images, a net is tested on what it
has seen, and the error is optimistic. Three texts name the groups:

    parent          the folder that holds a photograph, by its name
    groups.csv      a CSV file with the columns ``path,group``; a photograph with an empty group is a group of its own
    (plot\d+)       a regular expression, searched in the path of a photograph; its groups in parentheses are the name
"""

import hashlib
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from verydeep.data.folders.csv_files import read_csv
from verydeep.data.folders.listing import find_similar_names, normalize_name
from verydeep.data.split import Split
from verydeep.errors import DataError, OptionError
from verydeep.ops.arrays import Int64Array
from verydeep.wording import count_of

PARENT = "parent"
COLUMNS = ("path", "group")


def resolve_group_by(text: str) -> str:
    """Return the text that names groups from any working folder: the path of a CSV file becomes absolute.

    Raises:
        OptionError: the text is neither "parent", nor a CSV file, nor a regular expression with a group.
        DataError: there is no such CSV file.
    """
    if text == PARENT:
        return text
    if text.lower().endswith(".csv"):
        if not Path(text).is_file():
            raise DataError(f"{text} does not exist: `group_by` takes a CSV file with the columns path,group.")
        return os.path.abspath(text)  # noqa: PTH100 - links stay as they are
    try:
        num_groups = re.compile(text).groups
    except re.error as error:
        raise OptionError(
            f"`group_by={text}` is not a valid regular expression ({error}): correct it.", "group_by"
        ) from None
    if not num_groups:
        raise OptionError(
            f"`group_by={text}` has no part in parentheses: give `group_by=parent`, a CSV file, or a pattern such as "
            r"(plot\d+).",
            "group_by",
        )
    return text


def name_groups(files: Sequence[str], root: Path, group_by: str) -> tuple[str, ...]:
    """Return the name of each file's group.

    Args:
        files: POSIX paths relative to ``root``.
        root: folder of the files.
        group_by: text as ``resolve_group_by`` returns it.

    Raises:
        DataError: the CSV file cannot be read, or files have no group.
    """
    if group_by == PARENT:
        names = [PurePosixPath(file).parent.name or root.name for file in files]
    elif group_by.lower().endswith(".csv"):
        names = _read_names(files, root, Path(group_by))
    else:
        names = _find_names(files, group_by)
    return tuple(map(normalize_name, names))


def add_groups(split: Split, group_by: str | None) -> Split:
    """Return the split with the groups of its images; None leaves it as it is.

    Raises:
        DataError: the CSV file cannot be read, or images have no group.
    """
    if group_by is None:
        return split
    groups = name_groups(split.files, split.root, group_by)
    return replace(split, groups=groups, notes=(*split.notes, *describe_similar_groups(groups)))


def describe_similar_groups(groups: Iterable[str]) -> list[str]:
    """Return a note about names of groups that are easily one name written in two ways; none without them."""
    names = {group.replace("\0", ", ") for group in groups if not group.startswith("\0")}
    pairs = find_similar_names(sorted(names))
    if not pairs:
        return []
    such = f"such as {{!r}} and {{!r}} ({count_of(len(pairs), 'pair')})".format(*pairs[0])
    return [f"Groups whose names differ only in case or spaces are two groups, {such}: they may be on both sides."]


def number_groups(groups: Sequence[str], seed: int) -> Int64Array:
    """Return (n,) the number of each image's group, counted from 0 in the order of SHA-256 of ``<seed>:<name>``."""
    digests = {group: hashlib.sha256(f"{seed}:{group}".encode("utf-8", "surrogateescape")) for group in set(groups)}
    order = sorted(digests, key=lambda group: digests[group].digest())
    numbers = {group: number for number, group in enumerate(order)}
    return np.array([numbers[group] for group in groups], np.int64)


def _find_names(files: Sequence[str], pattern: str) -> list[str]:
    compiled = re.compile(pattern)
    matches = [compiled.search(normalize_name(file)) for file in files]
    missing = [file for file, match in zip(files, matches, strict=True) if match is None]
    _check_complete(f"`group_by={pattern}`", files, missing, "correct the pattern")
    return ["\0".join(part or "" for part in match.groups()) for match in matches if match is not None]


def _read_names(files: Sequence[str], root: Path, csv: Path) -> list[str]:
    group_of: dict[str, str] = {}
    line_of: dict[str, tuple[int, str]] = {}  # path without case -> number of its line, and the path
    for line, row in read_csv(csv, COLUMNS):
        if len(row) != len(COLUMNS):
            raise DataError(f"Line {line} of {csv} has {len(row)} fields: write a path and a group.")
        path, group = (normalize_name(field.strip()) for field in row)
        path = PurePosixPath(path).as_posix()
        line_of.setdefault(path.casefold(), (line, path))
        if group_of.setdefault(path, group) != group:
            raise DataError(f"Line {line} of {csv} gives {path} a second group, {group!r}: remove one of them.")
    for path, group in list(group_of.items()):
        group_of.setdefault(path.replace("\\", "/"), group)  # as Windows writes it, unless a name has backslashes
    names = []
    for file in files:
        found = [group_of[place] for place in _list_places(file, root, csv) if place in group_of]
        names.append(found[0] if found else None)
    missing = [file for file, name in zip(files, names, strict=True) if name is None]
    remedy = "add lines with their paths and groups"
    if missing:
        other_case = [line_of.get(place.casefold()) for place in _list_places(missing[0], root, csv)]
        if line_and_path := next(filter(None, other_case), None):
            remedy = "line {} has {!r}, which differs in case".format(*line_and_path)
    _check_complete(str(csv), files, missing, remedy)
    return [name or f"\0{file}" for file, name in zip(files, names, strict=True)]


def _list_places(file: str, root: Path, csv: Path) -> list[str]:
    """Return the paths by which a CSV file may name a file: from the data's folder or from its own, or the whole."""
    places = (file, f"{root.name}/{file}", os.path.relpath(root / file, csv.parent), str((root / file).absolute()))
    return [normalize_name(place) for place in places]


def _check_complete(source: str, files: Sequence[str], missing: Sequence[str], remedy: str) -> None:
    if missing:
        count = f"{len(missing):,} of {len(files):,} photographs"
        raise DataError(f"{source} gives no group to {count}, such as {missing[0]}: {remedy}.")
