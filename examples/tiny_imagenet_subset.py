"""Some classes of Tiny-ImageNet as class folders of symbolic links, with a test part whose labels are known.

    python examples/tiny_imagenet_subset.py tiny-imagenet-200 DEST --classes 20 --train 350

Takes the first WNIDs in sorted order. Of each class's training photographs, sorted by the number in their name (_2 is
before _10), the first --train are linked into DEST/train, the others into DEST/test; the official val becomes DEST/val.
"""

import argparse
import shutil
from pathlib import Path


def link(photographs: list[Path], folder: Path) -> None:
    folder.mkdir(parents=True)
    for photograph in photographs:
        (folder / photograph.name).symlink_to(photograph.resolve())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("src", type=Path, metavar="SRC", help="Tiny-ImageNet, unpacked")
    parser.add_argument("dest", type=Path, metavar="DEST", help="a new folder")
    parser.add_argument("--classes", type=int, default=20)
    parser.add_argument("--train", type=int, default=350, help="training photographs a class")
    options = parser.parse_args()
    lines = (options.src / "val/val_annotations.txt").read_text().splitlines()
    wnid_of = dict(line.split()[:2] for line in lines)
    for wnid in sorted((options.src / "wnids.txt").read_text().split())[: options.classes]:
        photographs = list((options.src / "train" / wnid / "images").iterdir())
        photographs.sort(key=lambda path: int(path.stem.split("_")[1]))
        link(photographs[: options.train], options.dest / "train" / wnid)
        link(photographs[options.train :], options.dest / "test" / wnid)
        val = [options.src / "val/images" / name for name, its_wnid in wnid_of.items() if its_wnid == wnid]
        link(val, options.dest / "val" / wnid)
    shutil.copy(options.src / "words.txt", options.dest)


if __name__ == "__main__":
    main()
