"""Places of box annotations: the split itself, XML files, Kaggle's LOC lists, or a user's boxes.csv.

A source gives the boxes of one image at a time as they were written; ``box_annotations`` checks and corrects them.
"""

import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from verydeep.data.annotations import Annotation, Instance, parse_box, read_xml
from verydeep.data.csv_files import read_csv
from verydeep.data.folder import ANNOTATIONS, WNID, list_files, list_images
from verydeep.data.imagenet import KAGGLE_ANNOTATIONS, read_localizations
from verydeep.data.split import Split
from verydeep.errors import DataError

TABLE = "boxes.csv"
COLUMNS = ("path", "label", "xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class SplitBoxes:
    """Boxes that were read with the split: those of Tiny-ImageNet and the generated set."""

    split: Split
    is_imagenet: bool

    def read(self, index: int) -> Annotation | None:
        """Return the annotation of one image; None if it has none."""
        split = self.split
        assert split.boxes is not None and split.labels is not None
        name = split.class_names[split.labels[index]]
        boxes = [tuple(box) for box in split.boxes[index].tolist()]
        path = split.path(index)
        instances = [Instance(f"Box {number} of {path}", name, box) for number, box in enumerate(boxes, start=1)]
        return Annotation(tuple(instances)) if instances else None

    def unmatched(self) -> list[str]:
        """Return annotations without an image; there are none here."""
        return []


@dataclass(frozen=True)
class BoxTable:
    """Lines of a CSV file: the user's, or Kaggle's."""

    path: Path
    lines: dict[str, list[tuple[int, list[str]]]]
    """File of the split -> line number and fields (label, xmin, ymin, xmax, ymax) of each of its boxes."""
    files: tuple[str, ...]
    unmatched_lines: tuple[int, ...]
    """Lines whose image does not exist."""
    is_imagenet: bool

    def read(self, index: int) -> Annotation | None:
        """Return the annotation of one image; None if it has no line.

        Raises:
            DataError: a line has no box.
        """
        lines = self.lines.get(self.files[index])
        if lines is None:
            return None
        instances = []
        for line, (name, *numbers) in lines:
            where = f"Line {line} of {self.path}"
            instances.append(Instance(where, name.strip(), parse_box(numbers, where)))
        return Annotation(tuple(instances))

    def unmatched(self) -> list[str]:
        """Return lines whose image does not exist."""
        return [f"Line {line} of {self.path}" for line in self.unmatched_lines]


@dataclass(frozen=True)
class BoxXmlFiles:
    """A folder of XML files, one for each image."""

    folder: Path
    names: tuple[str | None, ...]
    """For each file of the split its XML file below ``folder``, without suffix; None if it has none."""
    unmatched_names: tuple[str, ...]
    """XML files whose image does not exist."""
    is_imagenet: bool

    def read(self, index: int) -> Annotation | None:
        """Return the annotation of one image; None if it has no file.

        Raises:
            DataError: the file cannot be read or is not an annotation.
        """
        name = self.names[index]
        return None if name is None else read_xml(self.folder / f"{name}.xml")

    def unmatched(self) -> list[str]:
        """Return files whose image does not exist."""
        return [str(self.folder / f"{name}.xml") for name in self.unmatched_names]


BoxSource = SplitBoxes | BoxTable | BoxXmlFiles


def find_box_source(split: Split, root: Path) -> BoxSource:
    """Find the boxes of a split of the data set in ``root``.

    The first that exists of: the boxes of the split itself; ``boxes.csv``; ``Annotations/<split>/`` or ``Annotations/``
    (with the images' folders or flat, as ILSVRC's archives of boxes unpack); the annotations of Kaggle's tree; Kaggle's
    ``LOC_<split>_solution.csv``, which comes late because it lacks the size of the annotated images; XML files next to
    the images.

    Raises:
        DataError: there are no boxes, or a table is damaged.
    """
    is_imagenet = all(WNID.fullmatch(name) for name in split.class_names)
    if split.labels is None:
        raise DataError(f"{split.root} has no labels, so its boxes have no classes; choose a split with labels.")
    if split.boxes is not None:
        return SplitBoxes(split, is_imagenet)
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
    raise DataError(
        f"{root} holds no boxes; write them to {root / TABLE} with the columns {','.join(COLUMNS)}, or put XML files "
        f"with the images' names into {root / ANNOTATIONS}."
    )


def _read_table(split: Split, root: Path) -> BoxTable:
    """Read boxes.csv: one line for each box, with a path relative to ``root``."""
    path = root / TABLE
    inside = split.root.relative_to(root).as_posix()
    file_of = {PurePosixPath(inside, file).as_posix(): file for file in split.files}
    lines: dict[str, list[tuple[int, list[str]]]] = {}
    unmatched = []
    for number, row in read_csv(path, COLUMNS):
        named = PurePosixPath(row[0].strip())
        file = file_of.get(named.as_posix())
        if file is not None:
            lines.setdefault(file, []).append((number, row[1:] or [""]))
        elif ".." in named.parts or named.is_absolute() or not (root / named).is_file():
            unmatched.append(number)
    _refuse_fractions(path, lines)
    return BoxTable(path, lines, split.files, tuple(unmatched), is_imagenet=False)


def _refuse_fractions(path: Path, lines: Mapping[str, Sequence[tuple[int, Sequence[str]]]]) -> None:
    """Refuse boxes in units of the image, which would pass for boxes of one pixel in its corner."""
    fractions = re.compile(r"\s*(0|1|[01]?\.[0-9]+)\s*")
    numbers = [number for boxes in lines.values() for _, fields in boxes for number in fields[1:]]
    if any("." in number for number in numbers) and all(map(fractions.fullmatch, numbers)):
        raise DataError(f"All boxes in {path} are fractions of their images; multiply them by widths and heights.")


def _read_localizations(split: Split, path: Path) -> BoxTable:
    """Read Kaggle's list, which names images without folder and suffix."""
    boxes_of = read_localizations(path)
    lines = {}
    for file in split.files:
        if (boxes := boxes_of.pop(PurePosixPath(file).stem, None)) is not None:
            lines[file] = boxes
    stems = {PurePosixPath(file).stem for file in list_images(split.root)} if boxes_of else set()
    unmatched = sorted(line for stem, boxes in boxes_of.items() if stem not in stems for line, _ in boxes)
    return BoxTable(path, lines, split.files, tuple(unmatched), is_imagenet=True)


def _list_xml(folder: Path) -> set[str]:
    """Return the XML files in a folder and below: POSIX paths relative to it, without suffix."""
    return {file.removesuffix(".xml") for file in list_files(folder, {".xml"}) if file.endswith(".xml")}


def _match_xml_files(split: Split, folder: Path, images: Path, is_imagenet: bool) -> BoxXmlFiles:
    """Match images with XML files: of the same path, or of the same name in no class's folder.

    Args:
        split: the images.
        folder: of the XML files.
        images: the folder of all images that the XML files can belong to, those of other splits too.
        is_imagenet: whether the classes are synsets; boxes of other synsets in the folder are then ignored.
    """
    xml, classes = _list_xml(folder), set(split.class_names)
    flat = {_name(file): file for file in xml if _folder(file) not in classes}
    names = []
    for image in split.files:
        same = os.path.splitext(image)[0]  # noqa: PTH122 - a million files
        names.append(same if same in xml else flat.get(_name(same)))
    shared = [name for name, count in Counter(names).items() if name is not None and count > 1]
    if shared:
        first, second, *_ = (split.files[index] for index, name in enumerate(names) if name == shared[0])
        raise DataError(
            f"{folder / shared[0]}.xml could belong to {first} or to {second}; put it into a folder with its class's "
            "name there."
        )
    unused = xml.difference(name for name in names if name is not None)
    if is_imagenet:
        unused = {name for name in unused if _folder(name) in classes or not WNID.fullmatch(_folder(name))}
    return BoxXmlFiles(folder, tuple(names), tuple(_without_image(unused, images, classes)), is_imagenet)


def _without_image(unused: set[str], images: Path, classes: set[str]) -> list[str]:
    """Return those of the XML files whose image exists in no split of the set."""
    if not unused:
        return []
    stems = [os.path.splitext(file)[0] for file in list_images(images)]  # noqa: PTH122
    names, with_folders = {_name(file) for file in stems}, {(_folder(file), _name(file)) for file in stems}
    return sorted(
        file
        for file in unused
        if ((_folder(file), _name(file)) not in with_folders if _folder(file) in classes else _name(file) not in names)
    )


def _name(file: str) -> str:
    return file.rpartition("/")[2]


def _folder(file: str) -> str:
    """Return the name of the folder that directly contains a file."""
    return _name(file.rpartition("/")[0])
