"""Pascal VOC's action task: the actions of persons whose boxes are given (appendix B, Table 12).

``ImageSets/Action/<action>_<split>.txt`` marks persons: each is the n-th object, from 1, of ``Annotations/<id>.xml``. A
person may do several of the ten actions. 'other', which the paper counts as the eleventh class, is not predicted: its
persons are negatives of all ten. A person whom the list of an action omits counts as neither: jumping was added after
the photographs of 2010, and its lists omit those.

A test split without such lists has only ``ImageSets/Action/<split>.txt``, which lists persons by image and object, or
images, meaning all persons on them.
"""

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from verydeep.data.annotations import XYXY, read_xml
from verydeep.data.sets.voc import (
    SETS,
    UNPACK_AGAIN,
    check_relevance,
    find_image_files,
    read_class_lists,
    read_list,
    voc_year,
)
from verydeep.data.split import Split
from verydeep.errors import DataError

ACTIONS = (
    *("jumping", "phoning", "playinginstrument", "reading", "ridingbike"),
    *("ridinghorse", "running", "takingphoto", "usingcomputer", "walking"),
)


@dataclass(frozen=True)
class Person:
    """One sample."""

    image: str
    """The image's id, such as '2010_006217'."""
    number: int
    """Number of the person among the objects of the image's annotation, from 1."""
    xyxy: XYXY


def open_voc_actions(folder: Path, name: str) -> Split:
    """Read the persons of train, val, trainval or test, each with one box and its actions; ``files`` repeat.

    Args:
        folder: from ``voc.find_voc``.
        name: of the split; only test may lack labels.

    Raises:
        DataError: a list is missing or damaged or lists a person twice, or a person's image, annotation or box is
            missing.
    """
    path, lists, persons = _list_path(folder, name), read_action_lists(folder, name), find_persons(folder, name)
    files = find_image_files(folder, (person.image for person in persons), path)
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
        relevance=check_relevance(np.array(marks, np.int8), path),
    )


def read_action_lists(folder: Path, name: str) -> dict[str, dict[tuple[str, int], int]]:
    """Return action -> (image, object) -> mark, for the persons in its list; empty for a test split without lists.

    Raises:
        DataError: a list is missing or damaged or lists a person twice.
    """
    path = _list_path(folder, name)
    lists = read_class_lists(path, ACTIONS, num_names=2)
    return {
        action: {(image, _parse_number(number, path)): mark for (image, number), mark in marks.items()}
        for action, marks in lists.items()
    }


def find_persons(folder: Path, name: str) -> list[Person]:
    """Return all persons of a split, in the order of their images and objects.

    Raises:
        DataError: a list is missing or damaged, or a person's annotation or box is missing.
    """
    path, lists = _list_path(folder, name), read_action_lists(folder, name)
    numbers: defaultdict[str, set[int]] = defaultdict(set)
    if lists:
        for image, number in {person for marks in lists.values() for person in marks}:
            numbers[image].add(number)
    else:
        for names in read_list(path, (1, 2), marked=False):
            numbers[names[0]].update(_parse_number(number, path) for number in names[1:])
    return [person for image in sorted(numbers) for person in _persons_of_image(folder, image, sorted(numbers[image]))]


def _persons_of_image(folder: Path, image: str, numbers: list[int]) -> list[Person]:
    """Return the objects with these numbers, which must be persons; all persons if there are no numbers."""
    path = folder / "Annotations" / f"{image}.xml"
    instances = dict(enumerate(read_xml(path).instances, start=1))
    persons = []
    for number in numbers or [number for number, instance in instances.items() if instance.name == "person"]:
        if number not in instances or instances[number].name != "person":
            raise DataError(
                f"VOC's lists of actions contain object {number} of {path}, which has no such person; {UNPACK_AGAIN}."
            )
        x1, y1, x2, y2 = instances[number].xyxy
        if x1 > x2 or y1 > y2:
            raise DataError(
                f"{instances[number].where} has a box without area ({x1:g}, {y1:g}, {x2:g}, {y2:g}); {UNPACK_AGAIN}."
            )
        persons.append(Person(image, number, instances[number].xyxy))
    return persons


def _parse_number(text: str, path: Path) -> int:
    if not text.isdecimal() or len(text) > 9:
        raise DataError(f"A list of {path} has {text!r} instead of the number of an object; {UNPACK_AGAIN}.")
    return int(text)


def _list_path(folder: Path, name: str) -> Path:
    return folder / SETS / "Action" / f"{name}.txt"
