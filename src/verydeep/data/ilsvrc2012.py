"""The thousand classes of ILSVRC-2012: their WNIDs, in Caffe's order, the devkit's numbers and words.

ilsvrc2012.csv beside this file was made from the devkit's meta.mat. The numbers of the devkits of 2012 to 2015 are the
same.
"""

import csv
from dataclasses import dataclass
from importlib.resources import files


@dataclass(frozen=True)
class KnownClass:
    """What the devkit says about one class."""

    devkit_id: int
    """1 to 1000, in an order of its own (1 is the kit fox): what the test server counts in."""
    words: str
    """'tench, Tinca tinca'; two classes are called 'crane'."""


def known_classes() -> dict[str, KnownClass]:
    """WNID -> class, sorted by WNID: place k is output k of nets trained in Caffe's order."""
    text = files("verydeep.data").joinpath("ilsvrc2012.csv").read_text(encoding="utf-8")
    return {row["wnid"]: KnownClass(int(row["devkit_id"]), row["words"]) for row in csv.DictReader(text.splitlines())}
