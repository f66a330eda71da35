"""Small trees of every data set of appendix B, of pictures that can be decoded, with the strays of the real ones."""

import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from tests.conftest import SHAPES, picture
from tests.data.sets.voc_trees import put_actions, put_annotation, put_voc
from verydeep.data.sets.voc import CLASSES
from verydeep.data.sets.voc_actions import ACTIONS


def draw(path: Path, label: int = 0, *, gray: bool = False) -> None:
    """A picture that its name decides, in the color of a class; no side is a multiple of 32."""
    tint = np.random.default_rng(label).uniform(-110, 110, 3)
    number = zlib.crc32(path.name.encode()) + len(path.parent.name)
    pixels = picture(*SHAPES[number % len(SHAPES)], seed=number % 10_000).astype(np.float64)
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray((pixels + tint).clip(0, 255).astype(np.uint8))
    (image.convert("L") if gray else image).save(path, quality=95)


def put_caltech_101(root: Path) -> Path:
    """Three classes, one of the 31 photographs that the smallest has; the background is a class, its tmp a stray.

    Every tenth photograph is gray, in a file of one channel.
    """
    folder = root / "101_ObjectCategories"
    for label, (name, size) in enumerate({"BACKGROUND_Google": 32, "airplanes": 34, "inline_skate": 31}.items()):
        for i in range(1, size + 1):
            draw(folder / name / f"image_{i:04d}.jpg", label, gray=i % 10 == 0)
    (folder / "BACKGROUND_Google" / "tmp").write_bytes(b"stray")
    return root


def put_caltech_256(root: Path) -> Path:
    """Two classes and the clutter, with both strays."""
    folder = root / "256_ObjectCategories"
    for label, name in enumerate(("056.dog", "198.spider", "257.clutter")):
        for i in range(1, 62 + label):
            draw(folder / name / f"{name[:3]}_{i:04d}.jpg", label)
    draw(folder / "056.dog" / "greg" / "vision309" / "x.jpg")
    (folder / "198.spider" / "RENAME2").write_bytes(b"stray")
    return root


def put_voc_pictures(folder: Path, year: int, sets: Sequence[str]) -> Path:
    """Sets of 46 or more pictures; picture i is of class i, difficult for i + 1, and from the 40th on of i + 7 too."""
    for place, name in enumerate(sets):
        images = {}
        for i in range(46 + place):
            marks = {CLASSES[(i + step) % 20]: 1 for step in ((0, 7) if i >= 40 else (0,))} | {CLASSES[(i + 1) % 20]: 0}
            images[f"{year}_{1000 * place + i:06d}" if year > 2007 else f"{1000 * place + i:06d}"] = marks
        put_voc(folder, name, images)
        for i, image in enumerate(images):
            draw(folder / "JPEGImages" / f"{image}.jpg", i % 20)
    return folder


def put_action_pictures(folder: Path, sets: Sequence[str]) -> Path:
    """Sets of 40 persons and more: two on most pictures, with a horse between them, one of each third not asked about.

    Person j does the actions j and j + 3, or none; jumping is not asked of the first picture's.
    """
    for place, name in enumerate(sets):
        persons: dict[tuple[str, int], dict[str, int]] = {}
        for i in range(22 + place):
            image = f"2011_{1000 * place + i:06d}"
            draw(folder / "JPEGImages" / f"{image}.jpg", i % 5)
            with Image.open(folder / "JPEGImages" / f"{image}.jpg") as picture_of_i:
                width, height = picture_of_i.size
            boxes = ((1, 1, width // 2, height), (5, 5, 9, 9), (width // 3, height // 4, width, height - i % 9))
            put_annotation(folder, image, *zip(("person", "horse", "person"), boxes, strict=True))
            for number in (1, 3) if i % 3 else (3,):
                j = len(persons)
                persons[image, number] = (
                    {ACTIONS[j % 10]: 1, ACTIONS[(j + 3) % 10]: 1} if j % 9 else {"other": 1, "jumping": 9}
                )
        put_actions(folder, name, persons)
    return folder
