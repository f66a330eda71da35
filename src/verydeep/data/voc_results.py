"""What the Pascal VOC evaluation server takes: a score of every image or person, in one file a class.

The files lie as the server wants them in an archive: ``results/VOC2012/Main/comp2_cls_test_<class>.txt`` with lines of
an image's id and its score, ``results/VOC2012/Action/comp10_action_test_<action>.txt`` with id, object and score.
Competitions 2 and 10 are for systems that learned from other data too, as every net trained on ILSVRC did; 1 and 9 are
for those that learned from VOC's trainval alone.
"""

from collections import defaultdict
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from verydeep.data.split import Split
from verydeep.data.voc import voc_year
from verydeep.data.voc_actions import find_persons, read_action_lists
from verydeep.errors import VerydeepError
from verydeep.files import writing


def write_voc_results(folder: Path, split: Split, scores: npt.NDArray[np.floating]) -> Path:
    """Write the result files of the classification task.

    Args:
        folder: gets results/.
        split: of ``voc.open_voc``, or a part of it.
        scores: (n, K) of its images and classes, larger is surer.

    Returns:
        The folder of the files.

    Raises:
        VerydeepError: a score is not a number, or a file cannot be written.
    """
    ids = [PurePosixPath(file).stem for file in split.files]
    place = _place(folder, split, scores, "Main")
    for name, column in zip(split.class_names, scores.T, strict=True):
        lines = [f"{image} {_text(score)}" for image, score in zip(ids, column, strict=True)]
        _write(place / f"comp2_cls_{split.name}_{name}.txt", lines)
    return place


def write_voc_action_results(folder: Path, split: Split, scores: npt.NDArray[np.floating]) -> Path:
    """Write the result files of the action task; each has the persons alone that its action is asked of.

    Args:
        folder: gets results/.
        split: of ``voc_actions.open_voc_actions``, or a part of it.
        scores: (n, K) of its persons and actions, larger is surer.

    Returns:
        The folder of the files.

    Raises:
        VerydeepError: as ``write_voc_results``, or VOC's lists are no longer there.
    """
    persons = _persons(split)
    lists = read_action_lists(split.root, split.name)
    place = _place(folder, split, scores, "Action")
    for name, column in zip(split.class_names, scores.T, strict=True):
        asked = lists.get(name, persons)
        pairs = zip(persons, column, strict=True)
        lines = [f"{person[0]} {person[1]} {_text(score)}" for person, score in pairs if person in asked]
        _write(place / f"comp10_action_{split.name}_{name}.txt", lines)
    return place


def _persons(split: Split) -> list[tuple[str, int]]:
    """Image and object of each sample, found again by image and box: a split knows no more of them."""
    numbers: defaultdict[tuple[str, bytes], list[int]] = defaultdict(list)
    for person in find_persons(split.root, split.name):
        numbers[person.image, np.array([person.xyxy], np.float32).tobytes()].append(person.number)
    assert split.boxes is not None
    keys = [(PurePosixPath(file).stem, box.tobytes()) for file, box in zip(split.files, split.boxes, strict=True)]
    return [(key[0], numbers[key].pop(0)) for key in keys]


def _place(folder: Path, split: Split, scores: npt.NDArray[np.floating], task: str) -> Path:
    """Where the files go, the scores being in order."""
    assert scores.shape == (len(split), len(split.class_names))
    if not np.isfinite(scores).all():
        raise VerydeepError(
            f"The scores are not all numbers, so no results were written to {folder}: test another net."
        )
    return folder / "results" / f"VOC{voc_year(split.root)}" / task


def _text(score: np.floating) -> str:
    """All digits that tell it apart: rounded to six, as the devkit's example does, near scores would become equal."""
    return repr(float(score))


def _write(path: Path, lines: list[str]) -> None:
    with writing(path) as beside:
        beside.write_text("".join(f"{line}\n" for line in lines), encoding="ascii", newline="\n")
