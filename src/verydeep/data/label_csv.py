"""People's own photographs with several labels each, or none: a CSV with the columns ``path,label``.

A line names a photograph below the folder of the CSV, and its labels joined by semicolons: ``beach/1.jpg,sea;dog``;
after the comma nothing for a photograph that has none of the labels. Either ``labels.csv`` lists them all and a seeded
share is held out, or ``train.csv`` and ``test.csv`` say which are learned from and which are tested on.
"""

import csv
import os
from pathlib import Path, PurePosixPath

import numpy as np

from verydeep.data.split import Split
from verydeep.errors import VerydeepError

COLUMNS = ("path", "label")
LABELS, TRAIN, TEST = "labels.csv", "train.csv", "test.csv"

Listed = dict[str, tuple[int, frozenset[str]]]
"""File -> its line and labels."""


def find_label_csv(root: Path) -> tuple[str, ...]:
    """``labels.csv``, or ``train.csv`` and ``test.csv``, as they lie in ``root``; empty if none do.

    Raises:
        VerydeepError: one of train.csv and test.csv without the other, or labels.csv beside them.
    """
    there = tuple(name for name in (LABELS, TRAIN, TEST) if (root / name).is_file())
    if there in ((), (LABELS,), (TRAIN, TEST)):
        return there
    raise VerydeepError(
        f"{root} holds {' and '.join(there)}: keep {LABELS} for all photographs, or {TRAIN} and {TEST} for two parts."
    )


def open_labels(root: Path) -> Split:
    """All photographs of labels.csv.

    Raises:
        VerydeepError: a CSV that cannot be read or has other columns, a line that is not a path and its labels, a
            photograph listed twice or not there, an empty label, or no labels at all.
    """
    listed = _read(root / LABELS)
    return _split(root, "all", listed, _classes(listed, root / LABELS), LABELS)


def open_divided_labels(root: Path) -> tuple[Split, Split]:
    """The photographs of train.csv and those of test.csv, the classes being those of train.csv.

    Raises:
        VerydeepError: as ``open_labels``, a photograph in both, or a label that test.csv alone has.
    """
    train, test = _read(root / TRAIN), _read(root / TEST)
    classes = _classes(train, root / TRAIN)
    for file, (line, labels) in test.items():
        if file in train:
            raise VerydeepError(
                f"Line {line} of {root / TEST} lists {file}, as line {train[file][0]} of {TRAIN} does: what is learned "
                "from cannot be tested on, so remove one of them."
            )
        if strangers := labels - set(classes):
            raise VerydeepError(
                f"Line {line} of {root / TEST} gives {file} the label {min(strangers)!r}, which {TRAIN} lacks: correct "
                "it, or add photographs to learn it from."
            )
    layout = f"{TRAIN} and {TEST}"
    return _split(root, "train", train, classes, layout), _split(root, "test", test, classes, layout)


def _read(path: Path) -> Listed:
    listed: Listed = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as text:
            reader = csv.reader(text, strict=True)
            header = tuple(name.strip() for name in next(reader, []))
            if header != COLUMNS:
                raise VerydeepError(f"Line 1 of {path} is not {','.join(COLUMNS)} but {','.join(header)!r}.")
            for row in reader:
                if row:
                    where = f"Line {reader.line_num} of {path}"
                    file, labels = _read_row(row, path.parent, where)
                    if file in listed:
                        raise VerydeepError(
                            f"{where} lists {file}, as line {listed[file][0]} does: remove one of them."
                        )
                    listed[file] = reader.line_num, labels
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise VerydeepError(f"{path} cannot be read as CSV in UTF-8 ({error}): save it as that.") from None
    return listed


def _read_row(row: list[str], root: Path, where: str) -> tuple[str, frozenset[str]]:
    """The photograph's path in its one spelling, and its labels."""
    if len(row) != 2:
        raise VerydeepError(f"{where} is not a path and its labels, joined by semicolons: {','.join(row)!r}.")
    file = PurePosixPath(row[0].strip())
    for whole in (os.path.abspath(root), root.resolve()):  # noqa: PTH100 - as typed, and behind links
        if file.is_relative_to(whole):
            file = file.relative_to(whole)
    if not row[0].strip() or ".." in file.parts or file.is_absolute() or not (root / file).is_file():
        raise VerydeepError(f"{where} lists {row[0].strip()!r}, which is no file below {root}: correct or remove it.")
    labels = [label.strip() for label in row[1].split(";")] if row[1].strip() else []
    if "" in labels:
        raise VerydeepError(
            f"{where} gives {file} an empty label ({row[1].strip()!r}): remove the semicolon or fill it."
        )
    return file.as_posix(), frozenset(labels)


def _classes(listed: Listed, path: Path) -> list[str]:
    classes = sorted({label for _, labels in listed.values() for label in labels})
    if not classes:
        raise VerydeepError(f"{path} gives no photograph a label: write labels behind the paths.")
    return classes


def _split(root: Path, name: str, listed: Listed, classes: list[str], layout: str) -> Split:
    files = sorted(listed)
    marks = [[1 if label in listed[file][1] else -1 for label in classes] for file in files]  # (n, K)
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
