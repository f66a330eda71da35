"""What one annotation says about one image, and the XML format of Pascal VOC and ILSVRC.

XML comes from strangers: a file is read up to a size, and one that declares a document type or entities, which can grow
without end or name other files, is refused.
"""

import math
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from verydeep.errors import VerydeepError

LARGEST_XML = 1_000_000
"""Bytes; ILSVRC's have about a thousand."""

_LONGEST_NUMBER = 32  # characters
_SIDES = ("xmin", "ymin", "xmax", "ymax")


@dataclass(frozen=True)
class Instance:
    """One box as it was written."""

    where: str
    """'Object 2 of /data/x.xml' or 'Line 7 of /data/boxes.csv'."""
    name: str
    """What is in it: a class's name, a WNID, or words."""
    xyxy: tuple[float, float, float, float]
    """Inclusive, counted from 0; finite."""


@dataclass(frozen=True)
class Annotation:
    """All that was written about one image."""

    instances: tuple[Instance, ...]
    size: tuple[float, float] | None = None
    """(width, height) of the image that the boxes were drawn on; None: the file's."""


def read_xml(path: Path) -> Annotation:
    """Read one file in the format of Pascal VOC and ILSVRC.

    The file name written inside is not looked at (ILSVRC has '%s' there), and numbers may have decimals. VOC counts
    pixels from 1, ILSVRC and others from 0.

    Raises:
        VerydeepError: it cannot be read, is too large, declares a document type, or is not an annotation.
    """
    try:
        with path.open("rb") as file:
            text = file.read(LARGEST_XML + 1)
    except OSError as error:
        raise VerydeepError(f"{path} cannot be read: {error.strerror}.") from error
    if len(text) > LARGEST_XML:
        raise VerydeepError(f"{path} has more than {LARGEST_XML:,} bytes, too many for an annotation.")
    if b"<!DOCTYPE" in text or b"<!ENTITY" in text or b"\0" in text:  # zeros: UTF-16, where the words look otherwise
        raise VerydeepError(f"{path} declares a document type or is not UTF-8, which no annotation needs.")
    try:
        root = ET.fromstring(text)
    except (ET.ParseError, ValueError, LookupError) as error:  # LookupError: an encoding that nobody knows
        raise VerydeepError(f"{path} is not XML ({error}).") from None
    first = 1 if "VOC" in root.findtext("source/database", "") else 0
    instances = []
    for number, element in enumerate(root.findall("object"), start=1):
        where = f"Object {number} of {path}"
        corners = [element.findtext(f"bndbox/{side}", "") for side in _SIDES]
        x1, y1, x2, y2 = read_box(corners, where)
        box = (x1 - first, y1 - first, x2 - first, y2 - first)
        instances.append(Instance(where, element.findtext("name", "").strip(), box))
    width, height = (_number(root.findtext(f"size/{side}", "0")) for side in ("width", "height"))
    known = width is not None and height is not None and min(width, height) >= 1
    return Annotation(tuple(instances), (width, height) if known else None)  # type: ignore[arg-type]


def read_box(texts: Iterable[str], where: str) -> tuple[float, float, float, float]:
    """Four numbers that are finite.

    Raises:
        VerydeepError: there are not four, or one is no number; the sentence begins with ``where``.
    """
    numbers = [_number(text) for text in texts]
    if len(numbers) != 4 or None in numbers:
        raise VerydeepError(f"{where} has a box that is not four numbers (xmin, ymin, xmax, ymax).")
    x1, y1, x2, y2 = (number for number in numbers if number is not None)
    return x1, y1, x2, y2


def _number(text: str) -> float | None:
    """A finite number of a length that a person would write."""
    try:
        number = float(text) if len(text) <= _LONGEST_NUMBER else math.nan
    except ValueError:
        return None
    return number if math.isfinite(number) else None
