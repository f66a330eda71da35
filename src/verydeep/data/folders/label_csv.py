"""People's own photographs with one label each, several or none: a CSV file with the columns ``path,label``.

A line names a photograph below the folder of the CSV file, and its labels joined by semicolons:
``beach/1.jpg,sea;dog``. The second field is empty if the photograph has none of the labels. Either ``labels.csv`` lists
all photographs, and a share chosen by the seed is held out; or ``train.csv`` and ``test.csv`` list training and test
photographs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath

import numpy as np

from verydeep.data.folders.csv_files import read_csv
from verydeep.data.folders.division import divide
from verydeep.data.folders.listing import find_similar_names, list_images, normalize_name
from verydeep.data.folders.path_finder import PathFinder, ask_for, describe_lost_paths
from verydeep.data.folders.split_folders import find_only_folder
from verydeep.data.split import Split
from verydeep.errors import DataError
from verydeep.wording import count_of

COLUMNS = ("path", "label")
LABELS, TRAIN, TEST = "labels.csv", "train.csv", "test.csv"

Lines = dict[str, tuple[int, frozenset[str]]]
"""File -> number of its line, and its labels."""


def find_labeled_folder(root: Path) -> Path | None:
    """Return the folder that holds CSV files of labels with our columns: ``root``, or a single folder below it."""
    return next((tables[0].parent for tables in _list_tables(root) if not _explain_unused(tables)), None)


def describe_unused_tables(root: Path) -> str:
    """Return a sentence about why CSV files named as ours are not read, or nothing if there are none."""
    return next((reason for tables in _list_tables(root) if (reason := _explain_unused(tables))), "")


def _list_tables(root: Path) -> Iterator[list[Path]]:
    """Yield the CSV files of ``root`` that are named as ours, and those of a single folder below it."""
    folder: Path | None = root
    while folder is not None:
        tables = [folder / name for name in (LABELS, TRAIN, TEST) if (folder / name).is_file()]
        if tables in ([folder / LABELS], [folder / TRAIN, folder / TEST]):
            yield tables
        name = find_only_folder(folder)
        folder = None if name is None else folder / name


def _explain_unused(tables: list[Path]) -> str:
    for path in tables:
        try:
            if next(read_csv(path, COLUMNS), None) is None:
                return f"{path} gives no photograph a label; write labels after the paths."
        except DataError as error:
            return str(error)
    return ""


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


def has_single_labels(root: Path, tables: Sequence[str]) -> bool:
    """Whether CSV files of ``find_label_csv`` give each photograph exactly one label; true if there are none.

    Raises:
        DataError: a CSV file is damaged.
    """
    return all(len(labels) == 1 for name in tables for _, labels in _read_lines(root / name).values())


def label_split_names(root: Path) -> tuple[str, ...]:
    """Return the splits of a folder that ``find_labeled_folder`` found."""
    return ("train", "val", "all") if find_label_csv(root) == (LABELS,) else ("train", "val", "test", "all")


def open_label_split(
    root: Path, name: str, *, seed: int, val_fraction: float, group_by: str | None = None, strict: bool = True
) -> Split:
    """Read one split of photographs with a single label each; the arguments are those of ``folder.open_folder``.

    Without ``strict``, photographs may have several labels or none, lines that are wrong are the split's problems, and
    nothing is divided.

    Raises:
        DataError: a CSV file is damaged, or a photograph has several labels or none.
    """
    problems: list[str] | None = None if strict else []
    if find_label_csv(root) == (LABELS,):
        split = open_labels(root, problems)
    else:
        split = open_divided_labels(root, problems)[name == "test"]
    if not strict:
        return replace(split, problems=tuple(problems or ()))
    assert split.relevance is not None
    counts = (split.relevance > 0).sum(axis=1)
    if (counts != 1).any():
        index = int((counts != 1).argmax())
        number = "several labels" if counts[index] else "no label"
        raise DataError(
            f"{split.layout} in {root} gives {split.files[index]} {number}: `verydeep train` and "
            "`verydeep evaluate` need exactly one for each photograph. Only `verydeep transfer` takes several or none, "
            "and tests the classifier itself."
        )
    labels = split.relevance.argmax(axis=1).astype(np.int64)
    split = replace(split, name=name, labels=labels, relevance=None)
    return divide(split, name, seed=seed, val_fraction=val_fraction, group_by=group_by)


def open_labels(root: Path, problems: list[str] | None = None) -> Split:
    """Read all photographs of labels.csv; ``problems`` gets a sentence for each line that is otherwise an error.

    Raises:
        DataError: the CSV file cannot be read or has other columns, a line is not a path and its labels, a photograph
            is listed twice or missing, or there are no labels.
    """
    lines = _read_lines(root / LABELS, problems)
    split = _make_split(root, "all", lines, _class_names(lines, root / LABELS), LABELS)
    split = _add_remark_on_blanks(split, lines, problems)
    unlisted = [image for image in list_images(root) if image not in lines]
    notes = (*split.notes, *_describe_unlisted(root, unlisted))
    return replace(split, notes=notes, num_unused=len(unlisted))


def open_divided_labels(root: Path, problems: list[str] | None = None) -> tuple[Split, Split]:
    """Read the photographs of train.csv and those of test.csv; the classes are those of train.csv.

    ``problems`` gets a sentence for each line that is otherwise an error.

    Raises:
        DataError: a CSV file is damaged, lists a photograph of the other, or test.csv has a label that train.csv lacks.
    """
    train, test = _read_lines(root / TRAIN, problems), _read_lines(root / TEST, problems)
    classes = _class_names(train, root / TRAIN)
    for file, (line, labels) in test.items():
        if file in train:
            _report(
                problems,
                f"Line {line} of {root / TEST} lists {file}, as line {train[file][0]} of {TRAIN} does; remove one of "
                "them, because training photographs cannot be tested on.",
            )
        if unknown := labels - set(classes):
            _report(
                problems,
                f"Line {line} of {root / TEST} gives {file} the label {min(unknown)!r}, which {TRAIN} lacks; correct "
                "it, or add training photographs with it.",
            )
    layout = f"{TRAIN} and {TEST}"
    parts = _make_split(root, "train", train, classes, layout), _make_split(root, "test", test, classes, layout)
    return _add_remark_on_blanks(parts[0], {**train, **test}, problems), parts[1]


def _add_remark_on_blanks(split: Split, lines: Lines, problems: list[str] | None) -> Split:
    """Return the split with a note on photographs without a label, where others have one and not several.

    The cell may be empty by mistake, unless there is a single class, which a photograph shows or not. ``problems`` gets
    the sentence instead, because no net can be trained on them.
    """
    blank = [file for file, (_, labels) in lines.items() if not labels]
    if not blank or len(split.class_names) == 1 or any(len(labels) > 1 for _, labels in lines.values()):
        return split
    such = blank[0] if len(blank) == 1 else f"such as {blank[0]}"
    remark = (
        f"{split.layout} gives no label to {len(blank):,} of {count_of(len(lines), 'photograph')} ({such}): `verydeep "
        "train` needs a label for each; `verydeep transfer` takes them as examples of no class, and reports mean AP."
    )
    if problems is None:
        return replace(split, notes=(*split.notes, remark))
    problems.append(remark)
    return split


def _report(problems: list[str] | None, text: str) -> None:
    """Add a problem to a list, or raise it where there is none."""
    if problems is None:
        raise DataError(text)
    problems.append(text)


def _read_lines(path: Path, problems: list[str] | None = None) -> Lines:
    lines: Lines = {}
    finder = PathFinder(path.parent)
    rows = list(read_csv(path, COLUMNS))
    if len(rows) > 1 and not any(finder.find_file(PurePosixPath(row[0].strip())) for _, row in rows):
        raise DataError(describe_lost_paths(finder, path, rows[0][0], rows[0][1][0].strip(), list_images(path.parent)))
    for number, row in rows:
        where = f"Line {number} of {path}"
        try:
            file, labels = _parse_row(row, finder, where)
        except DataError as error:
            _report(problems, str(error))
            continue
        if file in lines:
            _report(problems, f"{where} lists {file}, as line {lines[file][0]} does; remove one of them.")
        lines.setdefault(file, (number, labels))
    return lines


def _parse_row(row: list[str], finder: PathFinder, where: str) -> tuple[str, frozenset[str]]:
    """Return the photograph's path below ``root``, and its labels."""
    if len(row) != 2:
        raise DataError(
            f"{where} has {count_of(len(row), 'field')}: write a path and labels; quote labels that are joined by "
            "semicolons."
        )
    named = PurePosixPath(row[0].strip())
    file = finder.find_file(named)
    if file is None:
        raise DataError(
            f"{where} lists {row[0].strip()!r}, which is not a file below {finder.root}"
            + (ask_for(finder.find_other_case(named)) or "; correct or remove it.")
        )
    labels = [normalize_name(label.strip()) for label in row[1].split(";")] if row[1].strip() else []
    if "" in labels:
        raise DataError(
            f"{where} gives {file} an empty label ({row[1].strip()!r}); remove a semicolon or write the label."
        )
    return file, frozenset(labels)


def _describe_unlisted(root: Path, unlisted: Sequence[str]) -> tuple[str, ...]:
    if not unlisted:
        return ()
    count, such = ("1 image", "") if len(unlisted) == 1 else (f"{len(unlisted):,} images", "such as ")
    return (f"Not used: {count} in {root} that {LABELS} does not list ({such}{unlisted[0]}).",)


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
        notes=tuple(
            f"The labels {one!r} and {other!r} of {layout} differ only in case or spaces; they are two classes."
            for one, other in find_similar_names(classes)
        ),
    )
