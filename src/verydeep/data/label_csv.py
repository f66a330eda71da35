"""People's own photographs with several labels each, or none: a CSV file with the columns ``path,label``.

A line names a photograph below the folder of the CSV file, and its labels joined by semicolons:
``beach/1.jpg,sea;dog``. The second field is empty if the photograph has none of the labels. Either ``labels.csv`` lists
all photographs, and a share chosen by the seed is held out; or ``train.csv`` and ``test.csv`` list training and test
photographs.
"""

import os
from pathlib import Path, PurePosixPath

import numpy as np

from verydeep.data.csv_files import read_csv
from verydeep.data.listing import normalize_name
from verydeep.data.path_finder import PathFinder
from verydeep.data.split import Split
from verydeep.errors import DataError

COLUMNS = ("path", "label")
LABELS, TRAIN, TEST = "labels.csv", "train.csv", "test.csv"

Lines = dict[str, tuple[int, frozenset[str]]]
"""File -> number of its line, and its labels."""


def find_label_csv(root: Path) -> tuple[str, ...]:
    """Return which of the CSV files are in ``root``: ``labels.csv``, ``train.csv`` and ``test.csv``, or none.

    Raises:
        DataError: only one of train.csv and test.csv is there, or labels.csv is there as well.
    """
    names = tuple(name for name in (LABELS, TRAIN, TEST) if (root / name).is_file())
    if names in ((), (LABELS,), (TRAIN, TEST)):
        return names
    raise DataError(
        f"{root} holds {' and '.join(names)}; keep {LABELS} for all photographs, or {TRAIN} and {TEST} for two splits."
    )


def open_labels(root: Path) -> Split:
    """Read all photographs of labels.csv.

    Raises:
        DataError: the CSV file cannot be read or has other columns, a line is not a path and its labels, a photograph
            is listed twice or missing, or there are no labels.
    """
    lines = _read_lines(root / LABELS)
    return _make_split(root, "all", lines, _class_names(lines, root / LABELS), LABELS)


def open_divided_labels(root: Path) -> tuple[Split, Split]:
    """Read the photographs of train.csv and those of test.csv; the classes are those of train.csv.

    Raises:
        DataError: a CSV file is damaged, lists a photograph of the other, or test.csv has a label that train.csv lacks.
    """
    train, test = _read_lines(root / TRAIN), _read_lines(root / TEST)
    classes = _class_names(train, root / TRAIN)
    for file, (line, labels) in test.items():
        if file in train:
            raise DataError(
                f"Line {line} of {root / TEST} lists {file}, as line {train[file][0]} of {TRAIN} does; remove one of "
                "them, because training photographs cannot be tested on."
            )
        if unknown := labels - set(classes):
            raise DataError(
                f"Line {line} of {root / TEST} gives {file} the label {min(unknown)!r}, which {TRAIN} lacks; correct "
                "it, or add training photographs with it."
            )
    layout = f"{TRAIN} and {TEST}"
    return _make_split(root, "train", train, classes, layout), _make_split(root, "test", test, classes, layout)


def _read_lines(path: Path) -> Lines:
    lines: Lines = {}
    finder = PathFinder(path.parent)
    for number, row in read_csv(path, COLUMNS):
        where = f"Line {number} of {path}"
        file, labels = _parse_row(row, finder, where)
        if file in lines:
            raise DataError(f"{where} lists {file}, as line {lines[file][0]} does; remove one of them.")
        lines[file] = number, labels
    return lines


def _parse_row(row: list[str], finder: PathFinder, where: str) -> tuple[str, frozenset[str]]:
    """Return the photograph's path below ``root``, and its labels."""
    if len(row) != 2:
        raise DataError(f"{where} is not a path and its labels, joined by semicolons: {','.join(row)!r}.")
    root, named = finder.root, PurePosixPath(row[0].strip())
    for whole in (os.path.abspath(root), root.resolve()):  # noqa: PTH100 - as typed, and behind links
        if named.is_relative_to(whole):
            named = named.relative_to(whole)
    file = finder.find(named)
    if file is None or not (root / file).is_file():
        raise DataError(f"{where} lists {row[0].strip()!r}, which is not a file below {root}; correct or remove it.")
    labels = [normalize_name(label.strip()) for label in row[1].split(";")] if row[1].strip() else []
    if "" in labels:
        raise DataError(f"{where} gives {file} an empty label ({row[1].strip()!r}); remove the semicolon or fill it.")
    return file, frozenset(labels)


def _class_names(lines: Lines, path: Path) -> list[str]:
    classes = sorted({label for _, labels in lines.values() for label in labels})
    if not classes:
        raise DataError(f"{path} gives no photograph a label; write labels after the paths.")
    return classes


def _make_split(root: Path, name: str, lines: Lines, classes: list[str], layout: str) -> Split:
    files = sorted(lines)
    marks = [[1 if label in lines[file][1] else -1 for label in classes] for file in files]  # (n, K)
    return Split(
        name=name,
        root=root,
        files=tuple(files),
        labels=None,
        class_names=tuple(classes),
        class_words=tuple(classes),
        layout=layout,
        camera_rotation=True,
        relevance=np.array(marks, np.int8).reshape(-1, len(classes)),
    )
