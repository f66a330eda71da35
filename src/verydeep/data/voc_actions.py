"""Pascal VOC's action task: what a person does whose box is given (appendix B, Table 12).

``ImageSets/Action/<action>_<set>.txt`` marks persons: each is the n-th object, from 1, of ``Annotations/<id>.xml``. One
may do several of the ten actions. 'other', which the paper counts as the eleventh class, is never asked for: whoever
does that is a negative of all ten. A person whom the list of an action leaves out counts as neither there: jumping came
later than the photographs of 2010, and its lists leave those out.

``ImageSets/Action/<set>.txt`` alone tells the persons of a test set that has no other lists: by image and object, or
by image, and then all persons on it.
"""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from verydeep.data.annotations import read_xml
from verydeep.data.split import Split
from verydeep.data.voc import AGAIN, SETS, image_files, known, read_class_lists, read_list, voc_year
from verydeep.errors import VerydeepError

ACTIONS = (
    *("jumping", "phoning", "playinginstrument", "reading", "ridingbike"),
    *("ridinghorse", "running", "takingphoto", "usingcomputer", "walking"),
)


@dataclass(frozen=True)
class Person:
    """One sample."""

    image: str
    """The image's id, '2010_006217'."""
    number: int
    """Which object of the image's annotation, counted from 1."""
    xyxy: tuple[float, float, float, float]
    """The box; inclusive, counted from 0."""


def open_voc_actions(folder: Path, name: str) -> Split:
    """The persons of train, val, trainval or test, each with its one box and what it does; ``files`` repeats.

    Args:
        folder: of ``voc.find_voc``.
        name: of the set; test alone may lack the labels.

    Raises:
        VerydeepError: a list is missing or damaged or names a person twice, or a person's image, annotation or box is
            not there.
    """
    path, lists, persons = _set_list(folder, name), read_action_lists(folder, name), find_persons(folder, name)
    files = image_files(folder, (person.image for person in persons), path)
    marks = [[marks.get((person.image, person.number), 0) for marks in lists.values()] for person in persons]
    return Split(
        name=name,
        root=folder,
        files=tuple(files[person.image] for person in persons),
        labels=None,
        class_names=ACTIONS,
        class_words=ACTIONS,
        layout=f"VOC-{voc_year(folder)} actions, {name}",
        camera_rotation=False,
        boxes=tuple(np.array([person.xyxy], np.float32) for person in persons),
        relevance=known(np.array(marks, np.int8), path),
    )


def read_action_lists(folder: Path, name: str) -> dict[str, dict[tuple[str, int], int]]:
    """By action, the persons that it is asked of (image and object) and their marks; empty where a test has no lists.

    Raises:
        VerydeepError: a list is missing or damaged or names a person twice.
    """
    path = _set_list(folder, name)
    lists = read_class_lists(path, ACTIONS, num_names=2)
    return {
        action: {(image, _number(number, path)): mark for (image, number), mark in marks.items()}
        for action, marks in lists.items()
    }


def find_persons(folder: Path, name: str) -> list[Person]:
    """All persons of a set, in the order of their images and objects.

    Raises:
        VerydeepError: as ``open_voc_actions``.
    """
    path, lists = _set_list(folder, name), read_action_lists(folder, name)
    numbers: defaultdict[str, set[int]] = defaultdict(set)
    if lists:
        for image, number in {person for marks in lists.values() for person in marks}:
            numbers[image].add(number)
    else:
        for names in read_list(path, (1, 2), marked=False):
            numbers[names[0]].update(_number(number, path) for number in names[1:])
    return [person for image in sorted(numbers) for person in _persons_on(folder, image, sorted(numbers[image]))]


def _persons_on(folder: Path, image: str, numbers: list[int]) -> list[Person]:
    """Those objects of an image; where no number is given, all that are persons."""
    path = folder / "Annotations" / f"{image}.xml"
    instances = dict(enumerate(read_xml(path).instances, start=1))
    persons = []
    for number in numbers or [number for number, instance in instances.items() if instance.name == "person"]:
        if number not in instances or instances[number].name != "person":
            raise VerydeepError(
                f"VOC's lists of actions name object {number} of {path}, which has no such person: {AGAIN}."
            )
        x1, y1, x2, y2 = instances[number].xyxy
        if x1 > x2 or y1 > y2:
            raise VerydeepError(
                f"{instances[number].where} has a box without area ({x1:g}, {y1:g}, {x2:g}, {y2:g}): {AGAIN}."
            )
        persons.append(Person(image, number, instances[number].xyxy))
    return persons


def _number(text: str, path: Path) -> int:
    if not text.isdecimal():
        raise VerydeepError(f"A list of {path} has {text!r} in place of an object's number: {AGAIN}.")
    return int(text)


def _set_list(folder: Path, name: str) -> Path:
    return folder / SETS / "Action" / f"{name}.txt"
