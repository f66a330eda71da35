"""Time to read an annotation, and to refuse one that is made to do harm.

    python -m benchmarks.annotations --write        # from the repository's root

Ours reads an ordinary file with all its checks; the peer is ElementTree's parser alone. Harmful files must not take
longer than ordinary ones: entities that expand to a gigabyte, and a megabyte of spaces.
"""

import argparse
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.timing import interleave, rate, report, speedup, table
from verydeep.data.annotations import LARGEST_XML, read_xml
from verydeep.errors import DataError

BOX = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>30</xmax><ymax>40</ymax></bndbox>"
OBJECT = f"<object><name>n01440764</name>{BOX}</object>"
ENTITIES = '<!DOCTYPE a [<!ENTITY a "ha">' + "".join(
    f'<!ENTITY {after} "{f"&{before};" * 10}">' for before, after in zip("abcdefghi", "bcdefghij", strict=True)
)
FILES = {
    "ordinary": f"<annotation><size><width>500</width><height>375</height></size>{OBJECT * 3}</annotation>",
    "entities": f"{ENTITIES}]><annotation>&j;</annotation>",
    "a megabyte": "<annotation>" + " " * LARGEST_XML,
}


def refuse(path: Path, count: int) -> None:
    """Read a harmful file ``count`` times; each time must be an error."""
    for _ in range(count):
        try:
            read_xml(path)
        except DataError:
            continue
        raise SystemExit(f"{path.name} was not refused: nothing to compare.")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one repeat, to see that it works")
    parser.add_argument("--write", action="store_true", help="write the table to benchmarks/results/")
    options = parser.parse_args()
    count = 10 if options.quick else 200
    with tempfile.TemporaryDirectory() as folder:
        paths = {name: Path(folder) / f"{name}.xml" for name in FILES}
        for name, path in paths.items():
            path.write_text(FILES[name])
        sides: dict[str, Callable[[], object]] = {
            "ordinary, ElementTree": lambda: [ET.parse(paths["ordinary"]) for _ in range(count)],
            "ordinary": lambda: [read_xml(paths["ordinary"]) for _ in range(count)],
            "entities": lambda: refuse(paths["entities"], count),
            "a megabyte": lambda: refuse(paths["a megabyte"], count),
        }
        seconds = interleave(sides, 1 if options.quick else 15)
    peer = seconds["ordinary, ElementTree"]
    rows = [[name, rate(times, count), speedup(peer, times)] for name, times in seconds.items()]
    header = ["file", "files/s", "times as fast as ElementTree on an ordinary file"]
    report("annotations", "Annotations", table(header, rows), torch.device("cpu"), [], write=options.write)


if __name__ == "__main__":
    main()
