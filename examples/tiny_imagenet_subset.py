"""Some classes of Tiny-ImageNet as class folders of symbolic links, with boxes and a test part that is known.

    python examples/tiny_imagenet_subset.py tiny-imagenet-200 DEST --classes 20 --train 350

Takes the first WNIDs in sorted order. Of each class's training photographs, by the number in their name, the first
--train go to DEST/train, the others to DEST/test; the official val becomes DEST/val; all boxes go to DEST/boxes.csv.
"""

import argparse
import shutil
from pathlib import Path

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("src", type=Path, metavar="SRC", help="Tiny-ImageNet, unpacked")
parser.add_argument("dest", type=Path, metavar="DEST", help="a new folder")
parser.add_argument("--classes", type=int, default=20)
parser.add_argument("--train", type=int, default=350, help="training photographs a class")
options = parser.parse_args()
table = ["path,label,xmin,ymin,xmax,ymax"]


def link(part: str, wnid: str, photographs: list[Path], boxes: dict[str, list[str]]) -> None:
    (options.dest / part / wnid).mkdir(parents=True)
    for photograph in photographs:
        (options.dest / part / wnid / photograph.name).symlink_to(photograph.resolve())
        table.append(",".join([f"{part}/{wnid}/{photograph.name}", wnid, *boxes[photograph.name]]))


val = [line.split() for line in (options.src / "val/val_annotations.txt").read_text().splitlines()]
for wnid in sorted((options.src / "wnids.txt").read_text().split())[: options.classes]:
    lines = (options.src / "train" / wnid / f"{wnid}_boxes.txt").read_text().splitlines()
    boxes = {name: box for name, *box in map(str.split, lines)}
    photographs = [options.src / "train" / wnid / "images" / name for name in boxes]
    photographs.sort(key=lambda path: int(path.stem.split("_")[1]))
    link("train", wnid, photographs[: options.train], boxes)
    link("test", wnid, photographs[options.train :], boxes)
    boxes = {name: box for name, its_wnid, *box in val if its_wnid == wnid}
    link("val", wnid, [options.src / "val/images" / name for name in boxes], boxes)
(options.dest / "boxes.csv").write_text("\n".join(table) + "\n")
shutil.copy(options.src / "words.txt", options.dest)
