"""Annotations of single images, and the XML format of Pascal VOC and ILSVRC.

XML files may come from strangers: only small ones are read, and one that declares a document type or entities, which
can grow without end or refer to other files, is refused.
"""

import math
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from verydeep.errors import DataError
from verydeep.paths import describe_read_error

LARGEST_XML = 1_000_000
"""Bytes; ILSVRC's files have about a thousand."""

XYXY = tuple[float, float, float, float]
"""A box: first and last pixel columns and rows, inclusive, counted from 0."""

_LONGEST_NUMBER = 32  # characters
SIDES = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class Instance:
    """One box as it was written."""

    where: str
    """'Object 2 of /data/x.xml' or 'Line 7 of /data/boxes.csv'."""
    name: str
    """The class of its object: a class name, a WNID, or words."""
    xyxy: XYXY
    """Finite numbers, not checked otherwise."""


@dataclass(frozen=True)
class Annotation:
    """All boxes of one image."""

    instances: tuple[Instance, ...]
    size: tuple[float, float] | None = None
    """(width, height) of the image on which the boxes were drawn; None: that of the file."""


def read_xml(path: Path) -> Annotation:
    """Read one file in the format of Pascal VOC and ILSVRC.

    The file name inside is ignored (ILSVRC has '%s' there), and numbers may have decimals. VOC counts pixels from 1,
    ILSVRC and others from 0.

    Raises:
        DataError: the file cannot be read, is too large, declares a document type, or is not an annotation.
    """
    root = _parse_xml(path)
    first = 1 if "VOC" in root.findtext("source/database", "") else 0
    instances = []
    for number, element in enumerate(root.findall("object"), start=1):
        where = f"Object {number} of {path}"
        corners = [element.findtext(f"bndbox/{side}", "") for side in SIDES]
        x1, y1, x2, y2 = parse_box(corners, where)
        box = (x1 - first, y1 - first, x2 - first, y2 - first)
        instances.append(Instance(where, element.findtext("name", "").strip(), box))
    width, height = (parse_number(root.findtext(f"size/{side}", "0")) for side in ("width", "height"))
    if width is None or height is None or min(width, height) < 1:
        return Annotation(tuple(instances))
    return Annotation(tuple(instances), (width, height))


def _parse_xml(path: Path) -> ET.Element:
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST_XML + 1)
    except OSError as error:
        raise DataError(describe_read_error(path, error)) from error
    if len(text) > LARGEST_XML:
        raise DataError(f"{path} has more than {LARGEST_XML:,} bytes, too many for an annotation.")
    if b"<!DOCTYPE" in text or b"<!ENTITY" in text or b"\0" in text:  # zeros: UTF-16, which spells the words otherwise
        raise DataError(f"{path} has a DOCTYPE or is not UTF-8: save it as plain XML in UTF-8.")
    try:
        return ET.fromstring(text)
    except (ET.ParseError, ValueError, LookupError) as error:  # LookupError: an unknown encoding
        raise DataError(f"{path} is not XML ({error}).") from None


def parse_box(texts: Iterable[str], where: str) -> XYXY:
    """Parse four finite numbers.

    Args:
        texts: of the numbers.
        where: the beginning of the error message.

    Raises:
        DataError: there are not four texts, or one is not a number.
    """
    numbers = [parse_number(text) for text in texts]
    if len(numbers) != 4 or None in numbers:
        raise DataError(f"{where} has a box that is not four numbers (xmin, ymin, xmax, ymax).")
    x1, y1, x2, y2 = (number for number in numbers if number is not None)
    return x1, y1, x2, y2


def parse_number(text: str) -> float | None:
    """Parse a finite number of a length that a person would write."""
    try:
        number = float(text) if len(text) <= _LONGEST_NUMBER else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) else None
