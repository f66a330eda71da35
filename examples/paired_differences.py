"""Which of several tests errs less, on the images that all of them saw: differences of top-1 error with 95% intervals.

python examples/paired_differences.py runs/photos-D-256-c64-s0/evaluations/val-dense-256 tests/crops tests/dense+crops
"""

import argparse
import csv
from itertools import combinations
from pathlib import Path

import numpy as np

from verydeep.ops.bootstrap import paired_difference
from verydeep.ops.metrics import wilson_interval


def wrong_answers(test: Path) -> dict[str, bool]:
    with (test / "predictions.csv").open(newline="", encoding="utf-8") as file:
        return {row["path"]: row["label"] != row["class1"] for row in csv.DictReader(file)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tests", type=Path, nargs="+", metavar="TEST", help="a folder that verydeep evaluate left")
    found = {test: wrong_answers(test) for test in parser.parse_args().tests}
    seen_by_all = sorted(set.intersection(*(set(each) for each in found.values())))
    if not seen_by_all:
        parser.error("no image was seen by all of these tests: name tests of the same images")
    wrong = {test: np.array([[each[path] for path in seen_by_all]]) for test, each in found.items()}
    print(f"{len(seen_by_all):,} images; top-1 error in percent, differences in points; intervals over images alone.")
    for test, each in wrong.items():
        print(f"{test}: {wilson_interval(each.sum(), each.size)}")
    for one, other in combinations(wrong, 2):
        print(f"{one} minus {other}: {paired_difference(wrong[one], wrong[other])}")


if __name__ == "__main__":
    main()
