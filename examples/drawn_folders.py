"""One draw of a transfer set as class folders of symbolic links, train/ and test/, for `verydeep train`.

    python examples/drawn_folders.py caltech DEST --seed 0

Photographs are drawn as `verydeep transfer --seed` draws them, so that a net and an SVM see the same division.
"""

import argparse
from pathlib import Path

from verydeep.data.transfer_sets import open_transfer_set

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("src", type=Path, metavar="SRC", help="Caltech-101, Caltech-256 or class folders")
parser.add_argument("dest", type=Path, metavar="DEST", help="a new folder")
parser.add_argument("--seed", type=int, default=0)
parser.add_argument("--num-test", type=int, help="photographs of each class, at most, a part of the set's own")
options = parser.parse_args()
partition = open_transfer_set(options.src, seed=options.seed, num_test=options.num_test, num_splits=1).partitions[0]
for part, split in (("train", partition.train), ("test", partition.test)):
    assert split is not None and split.labels is not None
    for index, label in enumerate(split.labels):
        link = options.dest / part / split.class_names[label] / split.path(index).name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(split.path(index).resolve())
