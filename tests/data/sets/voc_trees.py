"""Small trees in the layout of Pascal VOC's devkit."""

from collections.abc import Mapping
from pathlib import Path

from verydeep.data.sets.voc import CLASSES
from verydeep.data.sets.voc_actions import ACTIONS

Marks = Mapping[str, int]
"""Class or action -> mark; those that are not named are -1."""


def put_voc(folder: Path, name: str, images: Mapping[str, Marks], *, lists: bool = True) -> Path:
    """One set of the classification task, with line ends as the real lists of 2007 have and empty files for images."""
    _put_images(folder, list(images))
    _put_list(folder, "Main", name, images)
    for class_name in CLASSES if lists else ():
        rows = [f"{image} {marks.get(class_name, -1):2d}" for image, marks in images.items()]
        _put_list(folder, "Main", f"{class_name}_{name}", rows)
    return folder


def put_actions(
    folder: Path,
    name: str,
    persons: Mapping[tuple[str, int], Marks | None],
    *,
    lists: bool = True,
    numbered: bool = False,
) -> Path:
    """One set of the action task; an action whose mark is 9 does not list that person, None does not mark one at all.

    Args:
        folder: VOC2012.
        name: of the set.
        persons: by image and object.
        lists: whether there are lists of the actions.
        numbered: whether the list of the set tells persons, or only images.
    """
    images = sorted({image for image, _ in persons})
    _put_images(folder, images)
    _put_list(folder, "Action", name, [f"{image} {number}" for image, number in persons] if numbered else images)
    for action in (*ACTIONS, "other") if lists else ():
        rows = [(image, number, (marks or {}).get(action, -1)) for (image, number), marks in persons.items()]
        _put_list(folder, "Action", f"{action}_{name}", [f"{i}  {n} {mark:2d}" for i, n, mark in rows if mark != 9])
    return folder


def put_annotation(folder: Path, image: str, *objects: tuple[str, tuple[float, float, float, float]]) -> None:
    """The XML of an image: the name and box of each object, inclusive and counted from 1 as VOC counts."""
    sides = ("xmin", "ymin", "xmax", "ymax")
    elements = [
        f"<object><name>{name}</name><bndbox>"
        + "".join(f"<{side}>{value}</{side}>" for side, value in zip(sides, box, strict=True))
        + "</bndbox><actions><other>0</other></actions></object>"
        for name, box in objects
    ]
    path = folder / "Annotations" / f"{image}.xml"
    path.parent.mkdir(parents=True, exist_ok=True)
    source = "<source><database>The VOC2012 Database</database></source>"
    path.write_text(f"<annotation>{source}{''.join(elements)}</annotation>", "utf-8")


def _put_images(folder: Path, images: list[str]) -> None:
    (folder / "JPEGImages").mkdir(parents=True, exist_ok=True)
    for image in images:
        (folder / "JPEGImages" / f"{image}.jpg").touch()


def _put_list(folder: Path, task: str, name: str, rows: Mapping[str, Marks] | list[str]) -> None:
    path = folder / "ImageSets" / task / f"{name}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{row}\r\n" for row in rows), "ascii", newline="")
