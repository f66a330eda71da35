"""Where the boxes of a split lie: its own, XML files, Kaggle's LOC lists, or a user's boxes.csv.

They are handed on as they were written, one image at a time; ``truth`` decides what of it can be used.
"""

import csv
import os
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from verydeep.data.annotations import Annotation, Instance, read_box, read_xml
from verydeep.data.folder import ANNOTATIONS, WNID, list_images
from verydeep.data.imagenet import KAGGLE_ANNOTATIONS, read_localizations
from verydeep.data.split import Split
from verydeep.errors import VerydeepError

TABLE = "boxes.csv"
COLUMNS = ("path", "label", "xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class BoxList:
    """Boxes that were read with the split: Tiny-ImageNet's and the generated set's."""

    split: Split
    from_imagenet: bool

    def read(self, index: int) -> Annotation | None:
        """What is known about one image; None if nothing."""
        split = self.split
        assert split.boxes is not None and split.labels is not None
        name = split.class_names[split.labels[index]]
        rows = [tuple(box) for box in split.boxes[index].tolist()]
        found = [Instance(f"Box {n} of {split.path(index)}", name, row) for n, row in enumerate(rows, start=1)]
        return Annotation(tuple(found)) if found else None

    def strangers(self) -> list[str]:
        """Annotations whose image is not there: those of the sets themselves were matched when they were opened."""
        return []


@dataclass(frozen=True)
class BoxTable:
    """Lines of a CSV file: the user's, or Kaggle's."""

    path: Path
    lines: dict[str, list[tuple[int, list[str]]]]
    """File of the split -> line number and fields (label, xmin, ymin, xmax, ymax) of each of its boxes."""
    files: tuple[str, ...]
    unknown: tuple[int, ...]
    """Lines that name a file that is not there."""
    from_imagenet: bool

    def read(self, index: int) -> Annotation | None:
        """What was written about one image; None if it has no line.

        Raises:
            VerydeepError: a line has no box.
        """
        lines = self.lines.get(self.files[index])
        if lines is None:
            return None
        found = []
        for line, (name, *numbers) in lines:
            where = f"Line {line} of {self.path}"
            found.append(Instance(where, name.strip(), read_box(numbers, where)))
        return Annotation(tuple(found))

    def strangers(self) -> list[str]:
        """Lines whose image is not there."""
        return [f"Line {line} of {self.path}" for line in self.unknown]


@dataclass(frozen=True)
class BoxXmlFiles:
    """A folder of XML files, one for each image."""

    folder: Path
    names: tuple[str | None, ...]
    """Of each file of the split: its XML below ``folder`` without suffix; None if it has none."""
    unknown: tuple[str, ...]
    """Those whose image is not there."""
    from_imagenet: bool

    def read(self, index: int) -> Annotation | None:
        """What was written about one image; None if it has no file.

        Raises:
            VerydeepError: the file cannot be read or is not an annotation.
        """
        name = self.names[index]
        return None if name is None else read_xml(self.folder / f"{name}.xml")

    def strangers(self) -> list[str]:
        """Files whose image is not there."""
        return [str(self.folder / f"{name}.xml") for name in self.unknown]


Source = BoxList | BoxTable | BoxXmlFiles


def find_source(split: Split, root: Path) -> Source:
    """Where the boxes of a split lie, ``root`` being the folder of the whole data set.

    The first of these that is there: the split's own; ``boxes.csv``; ``Annotations/<part>/`` or ``Annotations/`` (with
    the images' folders or flat, so ILSVRC's box archives as they unpack); those of Kaggle's tree; Kaggle's
    ``LOC_<part>_solution.csv``, which lacks the size that the boxes were drawn at, so comes last; XML beside the
    images.

    Raises:
        VerydeepError: there are none, or a table is damaged.
    """
    imagenet = all(WNID.fullmatch(name) for name in split.class_names)
    if split.labels is None:
        raise VerydeepError(f"{split.root} has no labels, so its boxes cannot be told apart; choose a labeled part.")
    if split.boxes is not None:
        return BoxList(split, imagenet)
    if (root / TABLE).is_file():
        return _read_table(split, root)
    part = split.root.name
    below = PurePosixPath(split.root.relative_to(root).as_posix()) if split.root.is_relative_to(root) else part
    of_part = (root / ANNOTATIONS / below, root / ANNOTATIONS / part, root / KAGGLE_ANNOTATIONS / part)
    for folder in (*of_part, root / ANNOTATIONS):
        if folder.is_dir():
            return _match(split, folder, root if folder == root / ANNOTATIONS else split.root, imagenet)
    if (root / f"LOC_{part}_solution.csv").is_file():
        return _read_localizations(split, root / f"LOC_{part}_solution.csv")
    if _find_xml(split.root):
        return _match(split, split.root, split.root, imagenet)
    raise VerydeepError(
        f"{root} holds no boxes: write them to {root / TABLE} with the columns {','.join(COLUMNS)}, or put XML files "
        f"of the images' names into {root / ANNOTATIONS}."
    )


def _read_table(split: Split, root: Path) -> BoxTable:
    """boxes.csv: one line for each box, its path relative to ``root``."""
    path = root / TABLE
    inside = split.root.relative_to(root).as_posix()
    file_of = {PurePosixPath(inside, file).as_posix(): file for file in split.files}
    lines: dict[str, list[tuple[int, list[str]]]] = {}
    unknown = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as text:
            reader = csv.reader(text)
            header = tuple(name.strip() for name in next(reader, []))
            if header != COLUMNS:
                raise VerydeepError(f"Line 1 of {path} is not {','.join(COLUMNS)} but {','.join(header)!r}.")
            for row in reader:
                if not row:
                    continue
                named = PurePosixPath(row[0].strip())
                file = file_of.get(named.as_posix())
                if file is not None:
                    lines.setdefault(file, []).append((reader.line_num, row[1:] or [""]))
                elif ".." in named.parts or named.is_absolute() or not (root / named).is_file():
                    unknown.append(reader.line_num)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise VerydeepError(f"{path} cannot be read as CSV in UTF-8 ({error}).") from None
    _refuse_fractions(path, lines)
    return BoxTable(path, lines, split.files, tuple(unknown), from_imagenet=False)


def _refuse_fractions(path: Path, lines: Mapping[str, Sequence[tuple[int, Sequence[str]]]]) -> None:
    """Boxes in units of the image would pass for boxes of one pixel in its corner."""
    fractions = re.compile(r"\s*(0|1|[01]?\.[0-9]+)\s*")
    numbers = [number for boxes in lines.values() for _, fields in boxes for number in fields[1:]]
    if any("." in number for number in numbers) and all(map(fractions.fullmatch, numbers)):
        raise VerydeepError(f"All boxes of {path} are fractions of their images: multiply by widths and heights.")


def _read_localizations(split: Split, path: Path) -> BoxTable:
    """Kaggle's list, which names images without folder and suffix."""
    listed = read_localizations(path)
    lines = {}
    for file in split.files:
        if (boxes := listed.pop(PurePosixPath(file).stem, None)) is not None:
            lines[file] = boxes
    there = {PurePosixPath(file).stem for file in list_images(split.root)} if listed else set()
    unknown = sorted(line for stem, boxes in listed.items() if stem not in there for line, _ in boxes)
    return BoxTable(path, lines, split.files, tuple(unknown), from_imagenet=True)


def _find_xml(folder: Path) -> set[str]:
    """The XML files in a folder and below: POSIX paths relative to it, without suffix."""
    found: set[str] = set()
    pending = [""]
    while pending:
        inside = pending.pop()
        with os.scandir(folder / inside) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.name.endswith(".xml"):
                    found.add(inside + entry.name[: -len(".xml")])
                elif entry.is_dir(follow_symlinks=False):
                    pending.append(f"{inside}{entry.name}/")
    return found


def _match(split: Split, folder: Path, images: Path, imagenet: bool) -> BoxXmlFiles:
    """Which file belongs to which image: that of its path, or one of its name that lies in no class's folder.

    Args:
        split: the images.
        folder: of the XML files.
        images: all images that they can belong to are in here, those of other parts too.
        imagenet: whether the classes are synsets; other synsets in the archive of boxes are then left alone.
    """
    xml, classes = _find_xml(folder), set(split.class_names)
    flat = {_name(file): file for file in xml if _folder(file) not in classes}
    names = []
    for image in split.files:
        same = os.path.splitext(image)[0]  # noqa: PTH122 - a million files
        names.append(same if same in xml else flat.get(_name(same)))
    shared = [name for name, count in Counter(names).items() if name is not None and count > 1]
    if shared:
        first, second, *_ = (split.files[index] for index, name in enumerate(names) if name == shared[0])
        raise VerydeepError(
            f"{folder / shared[0]}.xml could belong to {first} or to {second}: put it into its class's folder there."
        )
    unused = xml.difference(name for name in names if name is not None)
    if imagenet:
        unused = {name for name in unused if _folder(name) in classes or not WNID.fullmatch(_folder(name))}
    return BoxXmlFiles(folder, tuple(names), tuple(_without_image(unused, images, classes)), imagenet)


def _without_image(unused: set[str], images: Path, classes: set[str]) -> list[str]:
    """Those of the XML files whose image is not there, in no part of the set."""
    if not unused:
        return []
    there = [os.path.splitext(file)[0] for file in list_images(images)]  # noqa: PTH122
    names, with_folders = {_name(file) for file in there}, {(_folder(file), _name(file)) for file in there}
    return sorted(
        file
        for file in unused
        if ((_folder(file), _name(file)) not in with_folders if _folder(file) in classes else _name(file) not in names)
    )


def _name(file: str) -> str:
    return file.rpartition("/")[2]


def _folder(file: str) -> str:
    """The name of the folder that a file lies in directly."""
    return _name(file.rpartition("/")[0])
