"""Places of box annotations: the split itself, XML files, Kaggle's LOC lists, or a user's boxes.csv.

A source gives the boxes of one image at a time as they were written; ``box_annotations`` checks and corrects them.
"""

import os
import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from verydeep.data.annotations import SIDES, Annotation, Instance, parse_box, read_xml
from verydeep.data.folders.csv_files import read_csv
from verydeep.data.folders.folder import WNID
from verydeep.data.folders.listing import list_files, list_images, normalize_name
from verydeep.data.folders.path_finder import PathFinder, describe_lost_paths
from verydeep.data.folders.split_folders import ANNOTATIONS
from verydeep.data.sets.imagenet import KAGGLE_ANNOTATIONS, read_localizations
from verydeep.data.split import Split
from verydeep.errors import DataError

TABLE = "boxes.csv"
COLUMNS = ("path", "label", *SIDES)


Line = tuple[int, list[str]]
"""Number of a line, and its fields: label, xmin, ymin, xmax, ymax."""


@dataclass(frozen=True)
class BoxSource:
    """Annotations of the images of a split."""

    read: Callable[[int], Annotation | None]
    """Return the annotation of one image, by its index; None if it has none. Raises DataError if it is damaged."""
    unmatched: tuple[str, ...]
    """Descriptions of annotations without an image: "Line 7 of /data/boxes.csv ('cat/9.jpg') has no image ..."."""
    is_imagenet: bool
    """Whether the annotations are ImageNet's own, whose defects are known."""
    is_complete: bool = False
    """Whether every image has an annotation, which is not so in ILSVRC."""
    place: Path | None = None
    """The table or the folder that holds the annotations; None if they were read with the split."""


def find_box_source(split: Split, root: Path) -> BoxSource | None:
    """Find the boxes of a split of the data set in ``root``; None if there are none.

    The first that exists of: the boxes of the split itself; ``boxes.csv``; ``Annotations/<split>/`` or ``Annotations/``
    (with the images' folders or flat, as ILSVRC's archives of boxes unpack); the annotations of Kaggle's tree; Kaggle's
    ``LOC_<split>_solution.csv``, which comes late because it lacks the size of the annotated images; XML files next to
    the images.

    Raises:
        DataError: the split has no labels, or a table is damaged.
    """
    is_imagenet = all(WNID.fullmatch(name) for name in split.class_names)
    if split.labels is None:
        raise DataError(f"{split.root} has no labels, so its boxes have no classes; choose a split with labels.")
    if split.boxes is not None:
        return BoxSource(partial(_read_split, split), (), is_imagenet, is_complete=True)
    root = _find_annotated_folder(split, root)
    if (root / TABLE).is_file():
        return _read_table(split, root)
    name = split.root.name
    below = PurePosixPath(split.root.relative_to(root).as_posix()) if split.root.is_relative_to(root) else name
    own_folders = (root / ANNOTATIONS / below, root / ANNOTATIONS / name, root / KAGGLE_ANNOTATIONS / name)
    for folder in (*own_folders, root / ANNOTATIONS):
        if folder.is_dir():
            return _match_xml_files(split, folder, root if folder == root / ANNOTATIONS else split.root, is_imagenet)
    if (root / f"LOC_{name}_solution.csv").is_file():
        return _read_localizations(split, root / f"LOC_{name}_solution.csv")
    if _list_xml(split.root):
        return _match_xml_files(split, split.root, split.root, is_imagenet)
    return None


def _find_annotated_folder(split: Split, root: Path) -> Path:
    """Return the folder that holds boxes: ``root``, or one below it if the zip file held its folder twice."""
    below = split.root.relative_to(root) if split.root.is_relative_to(root) else Path()
    places = [root, *(root.joinpath(*below.parts[:depth]) for depth in range(1, len(below.parts) + 1))]
    contents = (TABLE, ANNOTATIONS, KAGGLE_ANNOTATIONS)
    return next((place for place in places if any((place / name).exists() for name in contents)), root)


def _read_split(split: Split, index: int) -> Annotation | None:
    """Return boxes that were read with the split: those of Tiny-ImageNet and the generated set."""
    assert split.boxes is not None and split.labels is not None
    name, path = split.class_names[split.labels[index]], split.path(index)
    boxes = [tuple(box) for box in split.boxes[index].tolist()]
    instances = [Instance(f"Box {number} of {path}", name, box) for number, box in enumerate(boxes, start=1)]
    return Annotation(tuple(instances)) if instances else None


def _read_lines(path: Path, files: Sequence[str], lines: Mapping[str, Sequence[Line]], index: int) -> Annotation | None:
    if files[index] not in lines:
        return None
    instances = []
    for line, (name, *numbers) in lines[files[index]]:
        where = f"Line {line} of {path}"
        instances.append(Instance(where, name.strip(), parse_box(numbers, where)))
    return Annotation(tuple(instances))


def _read_file(folder: Path, names: Sequence[str | None], index: int) -> Annotation | None:
    name = names[index]
    return None if name is None else read_xml(folder / f"{name}.xml")


def _make_table(
    path: Path, split: Split, lines: Mapping[str, Sequence[Line]], unmatched: Sequence[str], *, is_imagenet: bool
) -> BoxSource:
    return BoxSource(partial(_read_lines, path, split.files, lines), tuple(unmatched), is_imagenet, place=path)


def _describe_unmatched(annotation: str, other_case: str | None = None) -> str:
    """Return what is wrong with an annotation without an image, with the image whose name differs only in case."""
    there = "" if other_case is None else f", but {other_case!r} is there"
    return f"{annotation} has no image in the data set{there}"


def _read_table(split: Split, root: Path) -> BoxSource:
    """Read boxes.csv: one line for each box, with a path relative to ``root``."""
    path, finder = root / TABLE, PathFinder(root)
    inside = split.root.relative_to(root).as_posix()
    file_of = {PurePosixPath(inside, file).as_posix(): file for file in split.files}
    lines: dict[str, list[Line]] = {}
    unmatched: dict[int, str] = {}
    has_match = False
    for number, row in read_csv(path, COLUMNS):
        named = PurePosixPath(row[0].strip())
        existing = named.as_posix() if named.as_posix() in file_of else finder.find_file(named)
        if existing in file_of:
            lines.setdefault(file_of[existing], []).append((number, row[1:] or [""]))
        elif existing is None:
            unmatched[number] = row[0].strip()
        has_match = has_match or number not in unmatched
    if len(unmatched) > 1 and not has_match:
        raise DataError(describe_lost_paths(finder, path, *next(iter(unmatched.items())), list(file_of)))
    _refuse_fractions(path, lines)
    problems = [
        _describe_unmatched(f"Line {line} of {path} ({named!r})", finder.find_other_case(PurePosixPath(named)))
        for line, named in unmatched.items()
    ]
    return _make_table(path, split, lines, problems, is_imagenet=False)


def _refuse_fractions(path: Path, lines: Mapping[str, Sequence[Line]]) -> None:
    """Refuse boxes in units of the image, which would pass for boxes of one pixel in its corner."""
    fractions = re.compile(r"\s*(0|1|[01]?\.[0-9]+)\s*")
    numbers = [number for boxes in lines.values() for _, fields in boxes for number in fields[1:]]
    if any("." in number for number in numbers) and all(map(fractions.fullmatch, numbers)):
        raise DataError(f"All boxes in {path} are fractions of their images; multiply them by widths and heights.")


def _read_localizations(split: Split, path: Path) -> BoxSource:
    """Read Kaggle's list, which names images without folder and suffix."""
    boxes_of = read_localizations(path)
    lines = {}
    for file in split.files:
        if (boxes := boxes_of.pop(PurePosixPath(file).stem, None)) is not None:
            lines[file] = boxes
    stems = {PurePosixPath(file).stem for file in list_images(split.root)} if boxes_of else set()
    unmatched = {line: stem for stem, boxes in boxes_of.items() if stem not in stems for line, _ in boxes}
    problems = [_describe_unmatched(f"Line {line} of {path} ({stem!r})") for line, stem in sorted(unmatched.items())]
    return _make_table(path, split, lines, problems, is_imagenet=True)


def _list_xml(folder: Path) -> dict[str, str]:
    """Return the XML files in a folder and below: normal form -> POSIX path relative to it, both without suffix."""
    stems = (file.removesuffix(".xml") for file in list_files(folder, _is_xml))
    return {normalize_name(stem): stem for stem in stems}


def _is_xml(entry: "os.DirEntry[str]") -> bool:
    return entry.name.endswith(".xml")


def _match_xml_files(split: Split, folder: Path, images: Path, is_imagenet: bool) -> BoxSource:
    """Match images with XML files: of the same path, or of the same name in no class's folder.

    Args:
        split: the images.
        folder: of the XML files.
        images: the folder of all images that the XML files can belong to, those of other splits too.
        is_imagenet: whether the classes are synsets; boxes of other synsets in the folder are then ignored.
    """
    xml, classes = _list_xml(folder), set(split.class_names)
    flat = {_name(stem): stem for stem in xml if _folder(stem) not in classes}
    names = []
    for image in split.files:
        same = _normalize_stem(image)
        names.append(same if same in xml else flat.get(_name(same)))
    shared = [name for name, count in Counter(names).items() if name is not None and count > 1]
    if shared:
        first, second, *_ = (split.files[index] for index, name in enumerate(names) if name == shared[0])
        raise DataError(
            f"{folder / xml[shared[0]]}.xml could belong to {first} or to {second}; put it into a folder with its "
            "class's name there."
        )
    unused = xml.keys() - {name for name in names if name is not None}
    if is_imagenet:
        unused = {name for name in unused if _folder(name) in classes or not WNID.fullmatch(_folder(name))}
    without_image = _without_image(unused, images, classes)
    unmatched = tuple(_describe_unmatched(str(folder / f"{xml[name]}.xml"), other) for name, other in without_image)
    if 1 < len(xml) == len(unmatched):
        raise DataError(
            f"No XML file in {folder} has the name of an image: there is {next(iter(xml.values()))}.xml, and "
            f"{split.files[0]} needs {PurePosixPath(split.files[0]).with_suffix('.xml')}."
        )
    stems = [None if name is None else xml[name] for name in names]
    return BoxSource(partial(_read_file, folder, stems), unmatched, is_imagenet, place=folder)


def _without_image(unused: set[str], images: Path, classes: set[str]) -> list[tuple[str, str | None]]:
    """Return those of the XML files whose image exists in no split, each with an image that differs only in case."""
    if not unused:
        return []
    files = {_normalize_stem(file): file for file in list_images(images)}
    names, with_folders = {_name(stem) for stem in files}, {(_folder(stem), _name(stem)) for stem in files}
    other_case = {stem.casefold(): file for stem, file in files.items()}
    other_case |= {_name(stem).casefold(): file for stem, file in files.items()}
    return sorted(
        (file, other_case.get(file.casefold()))
        for file in unused
        if ((_folder(file), _name(file)) not in with_folders if _folder(file) in classes else _name(file) not in names)
    )


def _normalize_stem(file: str) -> str:
    return normalize_name(os.path.splitext(file)[0])  # noqa: PTH122 - a million files


def _name(file: str) -> str:
    return file.rpartition("/")[2]


def _folder(file: str) -> str:
    """Return the name of the folder that directly contains a file."""
    return _name(file.rpartition("/")[0])
