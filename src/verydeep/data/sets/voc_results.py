"""Result files for the Pascal VOC evaluation server: a score of every image or person, in one file per class.

The files are arranged as the server expects them in an archive: ``results/VOC2012/Main/comp2_cls_test_<class>.txt``
with lines of an image's id and its score, and ``results/VOC2012/Action/comp10_action_test_<action>.txt`` with id,
object and score. Competitions 2 and 10 are for systems trained on other data too, such as every net trained on ILSVRC;
1 and 9 are for systems trained on VOC's trainval alone.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from verydeep.data.sets.voc import voc_year
from verydeep.data.sets.voc_actions import find_persons, read_action_lists
from verydeep.data.split import Split
from verydeep.errors import WeightsError
from verydeep.files import atomic_write
from verydeep.ops.arrays import FloatArray

RESULT_FOLDER = "results"

CLASSIFICATION, ACTIONS = "Main/comp2_cls", "Action/comp10_action"
"""Places of the result files of a task, and the beginning of their names."""


def find_voc_results(folder: Path, task: str, part: str) -> list[Path]:
    """Return the result files of a task and a part, such as "test", that are in a folder already."""
    return sorted((folder / RESULT_FOLDER).glob(f"*/{task}_{part}_*.txt"))


def write_voc_results(folder: Path, split: Split, scores: FloatArray) -> Path:
    """Write the result files of the classification task.

    Args:
        folder: results/ is written into it.
        split: from ``voc.open_voc``, or some images of it.
        scores: (n, K) of its images and classes; larger is more certain.

    Returns:
        The folder of the files.

    Raises:
        WeightsError: a score is not a number.
        ResourceError: a file cannot be written.
    """
    ids = [PurePosixPath(file).stem for file in split.files]
    return _write_results(folder, split, scores, CLASSIFICATION, ids, {})


def write_voc_action_results(folder: Path, split: Split, scores: FloatArray) -> Path:
    """Write the result files of the action task; each contains only the persons in the list of its action.

    Args:
        folder: results/ is written into it.
        split: from ``voc_actions.open_voc_actions``, or some persons of it.
        scores: (n, K) of its persons and actions; larger is more certain.

    Returns:
        The folder of the files.

    Raises:
        DataError: VOC's lists have been removed or damaged.
        WeightsError: a score is not a number.
        ResourceError: a file cannot be written.
    """
    lists = read_action_lists(split.root, split.name)
    listed = {action: {f"{image} {number}" for image, number in marks} for action, marks in lists.items()}
    return _write_results(folder, split, scores, ACTIONS, _person_names(split), listed)


def _write_results(
    folder: Path,
    split: Split,
    scores: FloatArray,
    task: str,
    samples: Sequence[str],
    listed: Mapping[str, Collection[str]],
) -> Path:
    """Write one file per class, with a line for each sample, or for the ``listed`` samples of the class."""
    assert scores.shape == (len(samples), len(split.class_names))
    if not np.isfinite(scores).all():
        raise WeightsError(f"Some scores are not numbers, so no results were written to {folder}: test another net.")
    beginning = folder / RESULT_FOLDER / f"VOC{voc_year(split.root)}" / f"{task}_{split.name}"
    for name, column in zip(split.class_names, scores.T, strict=True):
        with atomic_write(beginning.with_name(f"{beginning.name}_{name}.txt")) as temporary:
            # All digits: rounded to six, as in the devkit's example, close scores would become equal.
            lines = [
                f"{sample} {float(score)!r}\n"
                for sample, score in zip(samples, column, strict=True)
                if name not in listed or sample in listed[name]
            ]
            temporary.write_text("".join(lines), encoding="ascii", newline="\n")
    return beginning.parent


def _person_names(split: Split) -> list[str]:
    """Return 'image number' of each sample; the number is found by image and box, because a split does not have it."""
    numbers: defaultdict[tuple[str, bytes], list[int]] = defaultdict(list)
    for person in find_persons(split.root, split.name):
        numbers[person.image, np.array([person.xyxy], np.float32).tobytes()].append(person.number)
    assert split.boxes is not None
    keys = [(PurePosixPath(file).stem, box.tobytes()) for file, box in zip(split.files, split.boxes, strict=True)]
    return [f"{key[0]} {numbers[key].pop(0)}" for key in keys]
