"""The thousand classes of ILSVRC-2012: their WNIDs in Caffe's order, with the numbers and words of the devkit.

ilsvrc2012.csv in this folder was made from the devkit's meta.mat. The devkits of 2012 to 2015 have the same numbers.
"""

import csv
from dataclasses import dataclass
from importlib.resources import files


@dataclass(frozen=True)
class IlsvrcClass:
    """One class, as the devkit lists it."""

    devkit_id: int
    """1 to 1000, in an order of its own (1 is the kit fox); the test server expects these numbers."""
    words: str
    """'tench, Tinca tinca'; two classes are called 'crane'."""


def ilsvrc_classes() -> dict[str, IlsvrcClass]:
    """Return WNID -> class, sorted by WNID: place k is output k of nets trained in Caffe's order."""
    text = files("verydeep.data.sets").joinpath("ilsvrc2012.csv").read_text(encoding="utf-8")
    return {row["wnid"]: IlsvrcClass(int(row["devkit_id"]), row["words"]) for row in csv.DictReader(text.splitlines())}
