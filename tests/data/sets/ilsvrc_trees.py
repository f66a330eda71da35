"""Small ILSVRC-2012 in its forms, with the defects of the real one that concern images and labels (docs/choices.md).

The truth is written here by name and WNID; every list in the devkit's or Kaggle's form is derived from it. Every
image is of one color of its own, so that it is known again after copying.
"""

import io
import struct
import tarfile
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

# In the devkit's order, which is not that of the WNIDs: kit fox is 1, tench is 4.
DEVKIT_ORDER = ("n02119789", "n02100735", "n03255030", "n01440764")
WORDS = {
    "n02119789": "kit fox, Vulpes macrotis",
    "n02100735": "English setter",
    "n03255030": "dumbbell",
    "n01440764": "tench, Tinca tinca",
}
CLASS_ORDER = ("n01440764", "n02100735", "n02119789", "n03255030")  # Caffe's

TRAIN = {  # in an order that is sorted in no way, as the members of the real tars
    "n03255030": ("n03255030_21.JPEG", "n03255030_3.JPEG"),
    "n01440764": ("n01440764_10.JPEG", "n01440764_9.JPEG", "n01440764_1.JPEG"),
    "n02119789": ("n02119789_2.JPEG", "n02119789_40.JPEG", "n02119789_5.JPEG", "n02119789_4.JPEG"),
    "n02100735": ("n02100735_7.JPEG", "n02100735_70.JPEG"),
}
VAL = {
    "ILSVRC2012_val_00000004.JPEG": "n02119789",
    "ILSVRC2012_val_00000001.JPEG": "n03255030",
    "ILSVRC2012_val_00000006.JPEG": "n03255030",
    "ILSVRC2012_val_00000002.JPEG": "n02119789",
    "ILSVRC2012_val_00000005.JPEG": "n01440764",
    "ILSVRC2012_val_00000003.JPEG": "n02100735",
}
TEST = ("ILSVRC2012_test_00000002.JPEG", "ILSVRC2012_test_00000001.JPEG")

# The defects, by file.
CMYK = "n01440764_10.JPEG"
PNG_NAMED_JPEG = "n02119789_2.JPEG"
GRAYSCALE = "n02100735_7.JPEG"
CORRUPT_EXIF = "ILSVRC2012_val_00000002.JPEG"
ROTATED_BY_EXIF = "ILSVRC2012_val_00000003.JPEG"

WIDTH, HEIGHT = 41, 29
NAMES = (*(name for names in TRAIN.values() for name in names), *VAL, *TEST)


def color_of(name: str) -> tuple[int, int, int]:
    """The color of one image, far from every other's; the grayscale one's is gray."""
    index = NAMES.index(name)
    return (
        (99, 99, 99) if name == GRAYSCALE else (30 + 50 * (index % 4), 40 + 50 * (index // 4), 220 - 40 * (index % 5))
    )


def image_bytes(name: str) -> bytes:
    """One image, with its defect."""
    color = color_of(name)
    image = Image.new("RGB", (WIDTH, HEIGHT), color)
    options: dict[str, object] = {"quality": 95}
    if name == CMYK:
        image = Image.new("CMYK", (WIDTH, HEIGHT), (*(255 - value for value in color), 0))
    elif name == GRAYSCALE:
        image = Image.new("L", (WIDTH, HEIGHT), color[0])
    elif name == CORRUPT_EXIF:
        options["exif"] = b"Exif\0\0II*\0\x08\0\0\0" + struct.pack("<H", 9) + b"\x12\x01"
    elif name == ROTATED_BY_EXIF:
        exif = Image.Exif()
        exif[0x0112] = 6
        options["exif"] = exif
    file = io.BytesIO()
    image.save(file, "PNG" if name == PNG_NAMED_JPEG else "JPEG", **options)
    return file.getvalue()


def tar_of(files: Iterable[tuple[str, bytes]]) -> bytes:
    """A tar of files, in the given order."""
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for name, content in files:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return stream.getvalue()


def meta_mat() -> bytes:
    """meta.mat as the devkit's: leaves first, in its own order, then the synsets above them."""
    from scipy.io import savemat

    fields = (
        "ILSVRC2012_ID",
        "WNID",
        "words",
        "gloss",
        "num_children",
        "children",
        "wordnet_height",
        "num_train_images",
    )
    synsets = np.zeros((len(DEVKIT_ORDER) + 1, 1), dtype=[(field, object) for field in fields])
    for row, wnid in enumerate(DEVKIT_ORDER):
        synsets[row, 0] = (row + 1, wnid, WORDS[wnid], "a gloss", 0, np.zeros(0), 0, len(TRAIN[wnid]))
    synsets[-1, 0] = (len(DEVKIT_ORDER) + 1, "n00001740", "entity", "all there is", 2, np.array([1, 2]), 19, 0)
    file = io.BytesIO()
    savemat(file, {"synsets": synsets})
    return file.getvalue()


def ground_truth() -> bytes:
    """The devkit's list: line N is the number, in the devkit's order, of validation image N's class."""
    return "".join(f"{DEVKIT_ORDER.index(VAL[name]) + 1}\n" for name in sorted(VAL)).encode()


def make_devkit(folder: Path) -> None:
    inside = "ILSVRC2012_devkit_t12"
    plain = tar_of(
        [
            (f"{inside}/readme.txt", b"readme"),
            (f"{inside}/data/meta.mat", meta_mat()),
            (f"{inside}/data/ILSVRC2012_validation_ground_truth.txt", ground_truth()),
        ]
    )
    import gzip

    (folder / "ILSVRC2012_devkit_t12.tar.gz").write_bytes(gzip.compress(plain))


def make_tars(folder: Path, *, test: bool = True) -> Path:
    """The original form."""
    folder.mkdir(parents=True, exist_ok=True)
    make_devkit(folder)
    inner = [(f"{wnid}.tar", tar_of((name, image_bytes(name)) for name in names)) for wnid, names in TRAIN.items()]
    (folder / "ILSVRC2012_img_train.tar").write_bytes(tar_of(inner))
    (folder / "ILSVRC2012_img_val.tar").write_bytes(tar_of((name, image_bytes(name)) for name in VAL))
    if test:  # the newer copy: a date in its name, and its images in a folder
        images = ((f"test/{name}", image_bytes(name)) for name in TEST)
        (folder / "ILSVRC2012_img_test_v10102019.tar").write_bytes(tar_of(images))
    return folder


ANNOTATION = """<annotation><folder>{wnid}</folder><filename>%s</filename><source><database>ILSVRC_2012</database>
</source><size><width>500</width><height>375</height><depth>3</depth></size><segmented>0</segmented><object>
<name>Scottish_deerhound</name><bndbox><xmin>480</xmin><ymin>-3</ymin><xmax>12.5</xmax><ymax>9999</ymax></bndbox>
</object></annotation>"""


def make_kaggle(folder: Path) -> Path:
    """Kaggle's tree, the annotations with the defects of the real ones."""
    images, annotations = folder / "ILSVRC/Data/CLS-LOC", folder / "ILSVRC/Annotations/CLS-LOC"
    train = {name: f"train/{wnid}" for wnid, names in TRAIN.items() for name in names}
    where = train | dict.fromkeys(VAL, "val") | dict.fromkeys(TEST, "test")
    for name, part in where.items():
        (images / part).mkdir(parents=True, exist_ok=True)
        (images / part / name).write_bytes(image_bytes(name))
        if part != "test":
            (annotations / part).mkdir(parents=True, exist_ok=True)
            text = ANNOTATION.replace("{wnid}", "%s")
            (annotations / part / name.replace(".JPEG", ".xml")).write_text(text)
    (folder / "LOC_synset_mapping.txt").write_text("".join(f"{wnid} {WORDS[wnid]}\n" for wnid in CLASS_ORDER))
    lines = ["ImageId,PredictionString"]
    lines += [f"{name[:-5]},{wnid} 85 1 499 272 {wnid} 0 131 499 254 " for name, wnid in VAL.items()]
    (folder / "LOC_val_solution.csv").write_text("\n".join(lines) + "\n")
    lists = folder / "ILSVRC/ImageSets/CLS-LOC"
    lists.mkdir(parents=True)
    lines = [
        f"{part.removeprefix('train/')}/{name[:-5]} {number}" for number, (name, part) in enumerate(train.items(), 1)
    ]
    (lists / "train_cls.txt").write_text("\n".join(lines) + "\n")
    return folder
