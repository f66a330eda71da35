"""What the Pascal VOC evaluation server takes: a score of every image or person, in one file a class.

The files lie as the server wants them in an archive: ``results/VOC2012/Main/comp2_cls_test_<class>.txt`` with lines of
an image's id and its score, ``results/VOC2012/Action/comp10_action_test_<action>.txt`` with id, object and score.
Competitions 2 and 10 are for systems that learned from other data too, as every net trained on ILSVRC did; 1 and 9 are
for those that learned from VOC's trainval alone.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from verydeep.data.split import Split
from verydeep.data.voc import voc_year
from verydeep.data.voc_actions import find_persons, read_action_lists
from verydeep.errors import VerydeepError
from verydeep.files import atomic_write
from verydeep.ops.arrays import FloatArray

Person = tuple[str, int]
"""Image and object."""


def write_voc_results(folder: Path, split: Split, scores: FloatArray) -> Path:
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
    return _write_results(folder, split, scores, "Main/comp2_cls", ids, {})


def write_voc_action_results(folder: Path, split: Split, scores: FloatArray) -> Path:
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
    asked = {
        action: {_in_words(person) for person in marks}
        for action, marks in read_action_lists(split.root, split.name).items()
    }
    return _write_results(folder, split, scores, "Action/comp10_action", list(map(_in_words, _persons(split))), asked)


def _write_results(
    folder: Path,
    split: Split,
    scores: FloatArray,
    task: str,
    samples: Sequence[str],
    asked: Mapping[str, Collection[str]],
) -> Path:
    """One file a class, with a line for each sample, or for those that the class is asked of where that is known."""
    assert scores.shape == (len(samples), len(split.class_names))
    if not np.isfinite(scores).all():
        raise VerydeepError(
            f"The scores are not all numbers, so no results were written to {folder}: test another net."
        )
    beginning = folder / "results" / f"VOC{voc_year(split.root)}" / f"{task}_{split.name}"
    for name, column in zip(split.class_names, scores.T, strict=True):
        with atomic_write(beginning.with_name(f"{beginning.name}_{name}.txt")) as temporary:
            # All digits: rounded to six, as the devkit's example does, near scores would become equal.
            lines = [
                f"{sample} {float(score)!r}\n"
                for sample, score in zip(samples, column, strict=True)
                if name not in asked or sample in asked[name]
            ]
            temporary.write_text("".join(lines), encoding="ascii", newline="\n")
    return beginning.parent


def _persons(split: Split) -> list[Person]:
    """Image and object of each sample, found again by image and box: a split knows no more of them."""
    numbers: defaultdict[tuple[str, bytes], list[int]] = defaultdict(list)
    for person in find_persons(split.root, split.name):
        numbers[person.image, np.array([person.xyxy], np.float32).tobytes()].append(person.number)
    assert split.boxes is not None
    keys = [(PurePosixPath(file).stem, box.tobytes()) for file, box in zip(split.files, split.boxes, strict=True)]
    return [(key[0], numbers[key].pop(0)) for key in keys]


def _in_words(person: Person) -> str:
    return f"{person[0]} {person[1]}"
