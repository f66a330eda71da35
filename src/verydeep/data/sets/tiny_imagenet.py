"""Tiny-ImageNet's layout: 64x64 photographs with one box each.

`train/<wnid>/images/*.JPEG` with `train/<wnid>/<wnid>_boxes.txt` (name xmin ymin xmax ymax),
`val/images/*.JPEG` with `val/val_annotations.txt` (name wnid xmin ymin xmax ymax), `test/images/*.JPEG`
without labels, `wnids.txt`, `words.txt`.
"""

from pathlib import Path

import numpy as np

from verydeep.data.folders.folder import WNID, read_class_words
from verydeep.data.folders.listing import list_images
from verydeep.data.split import Split
from verydeep.errors import DataError
from verydeep.ops.arrays import Float32Array
from verydeep.wording import count_of

_NO_BOX: Float32Array = np.zeros((0, 4), np.float32)


def is_tiny_imagenet(root: Path) -> bool:
    """Whether ``root`` has the list of classes, and its train/ or val/ the folders of this layout."""
    return (root / "wnids.txt").is_file() and (
        (root / "val/val_annotations.txt").is_file() or any(root.glob("train/n*/images"))
    )


def tiny_imagenet_split_names(root: Path) -> tuple[str, ...]:
    """Return the splits among train, val and test that exist."""
    folders = {"train": root / "train", "val": root / "val/images", "test": root / "test/images"}
    return tuple(name for name, folder in folders.items() if folder.is_dir())


def open_tiny_imagenet(root: Path, name: str) -> Split:
    """Read train, val or test; the classes are those of wnids.txt, sorted.

    Raises:
        DataError: a class of wnids.txt has no folder, an image of val/ has no line, or a line cannot be read.
    """
    classes = sorted(set((root / "wnids.txt").read_text("utf-8", errors="replace").split()))
    if other := next((name for name in classes if not WNID.fullmatch(name)), None):
        raise DataError(f"{root / 'wnids.txt'} lists {other!r:.80}, which is no WNID; unpack the archive again.")
    if name == "train":
        rows = _read_train(root / "train", classes)
    elif name == "val":
        rows = _read_val(root / "val", classes)
    else:
        rows = [(f"images/{file}", -1, None) for file in list_images(root / "test/images")]
    boxes = tuple(_NO_BOX if box is None else box for _, _, box in rows)
    labels = np.array([label for _, label, _ in rows], dtype=np.int64)
    return Split(
        name=name,
        root=root / name,
        files=tuple(file for file, _, _ in rows),
        labels=None if name == "test" else labels,
        class_names=tuple(classes),
        class_words=read_class_words(classes, (root,)),
        layout=f"Tiny-ImageNet with {count_of(len(classes), 'class')} and boxes",
        camera_rotation=False,
        boxes=None if name == "test" else boxes,
    )


_Rows = list[tuple[str, int, Float32Array | None]]
"""File, label and box of each image."""


def _read_train(folder: Path, classes: list[str]) -> _Rows:
    rows: _Rows = []
    for label, wnid in enumerate(classes):
        images = folder / wnid / "images"
        if not images.is_dir():
            raise DataError(f"{images} is missing, but wnids.txt lists {wnid}; unpack the downloaded file again.")
        boxes = {name: box for name, _, box in _read_lines(folder / wnid / f"{wnid}_boxes.txt", num_words=0)}
        rows += [(f"{wnid}/images/{file}", label, boxes.get(file)) for file in list_images(images)]
    return rows


def _read_val(folder: Path, classes: list[str]) -> _Rows:
    annotations = folder / "val_annotations.txt"
    annotated = {name: (wnid, box) for name, wnid, box in _read_lines(annotations, num_words=1)}
    label_of = {wnid: label for label, wnid in enumerate(classes)}
    rows: _Rows = []
    for file in list_images(folder / "images"):
        wnid, box = annotated.get(file, ("", None))
        if wnid not in label_of:
            contents = f"the class {wnid!r}, which wnids.txt lacks," if wnid else "no line"
            raise DataError(f"{annotations} has {contents} for the image {file}; unpack the downloaded file again.")
        rows.append((f"images/{file}", label_of[wnid], box))
    return rows


def _read_lines(path: Path, num_words: int) -> list[tuple[str, str, Float32Array]]:
    """Return (file name, WNID or "", box) of each line; nothing if there is no file."""
    lines = []
    for number, line in enumerate(
        path.read_text("utf-8", errors="replace").splitlines() if path.is_file() else (), start=1
    ):
        fields = line.split()
        try:
            box = np.array([fields[1 + num_words :]], dtype=np.float32).reshape(1, 4)  # inclusive xyxy
        except ValueError as error:
            raise DataError(f"Line {number} of {path} is not a file name and a box: {line!r:.200}.") from error
        lines.append((fields[0], fields[1] if num_words else "", box))
    return lines
