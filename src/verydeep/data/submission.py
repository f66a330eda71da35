"""What the ILSVRC test server takes (the test columns of Tables 7 and 10): five guesses an image, or five with boxes.

A file has one line an image, in alphabetical order of the images' names, and classes are the devkit's numbers. There
is no header and no name: the server knows images by their line, so every image of the part has to be there.
"""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from verydeep.data.ilsvrc2012 import known_classes
from verydeep.data.split import Split
from verydeep.errors import VerydeepError
from verydeep.files import atomic_write
from verydeep.ops.arrays import FloatArray, Int64Array

NUM_GUESSES = 5


def write_submission(path: Path, files: Sequence[str], class_names: Sequence[str], posteriors: FloatArray) -> None:
    """Write the five most probable classes of each image, the best first; of equal ones the one with the lower WNID.

    Args:
        path: the file to write.
        files: POSIX paths of the images, in any order.
        class_names: WNIDs, at least five of ILSVRC-2012's thousand.
        posteriors: (N, K), in the order of ``files`` and ``class_names``.

    Raises:
        VerydeepError: a class is none of ILSVRC-2012's, there are fewer than five, a posterior is not a number, or the
            file cannot be written.
    """
    assert posteriors.shape == (len(files), len(class_names))
    numbers = devkit_numbers(class_names)
    if not np.isfinite(posteriors).all():
        raise VerydeepError(f"The net's posteriors are not all numbers, so {path} was not written: test another net.")
    best = np.argsort(-posteriors, axis=1, kind="stable")[:, :NUM_GUESSES]
    _write_by_name(path, files, [" ".join(str(numbers[k]) for k in classes) for classes in best])


def write_localization_submission(
    path: Path,
    files: Sequence[str],
    class_names: Sequence[str],
    guesses: Int64Array,
    boxes: FloatArray,
) -> None:
    """Write up to five classes of each image, the best first, each with its box: "label xmin ymin xmax ymax ...".

    Boxes are rounded to whole pixels of the file, the first and the last inside, counted from 0 as in the devkit's
    truth of the validation images.

    Args:
        path: the file to write.
        files: POSIX paths of the images, in any order.
        class_names: WNIDs, at least five of ILSVRC-2012's thousand.
        guesses: (N, G) index of each class, in the order of ``files``.
        boxes: (N, G, 4) inclusive xyxy.

    Raises:
        VerydeepError: as ``write_submission``, of boxes in place of posteriors.
    """
    assert boxes.shape == (*guesses.shape, 4) and len(files) == len(guesses)
    assert guesses.shape[1] <= NUM_GUESSES
    numbers = np.array(devkit_numbers(class_names))
    if not np.isfinite(boxes).all():
        raise VerydeepError(f"The net's boxes are not all numbers, so {path} was not written: test another net.")
    values = np.concatenate([numbers[guesses][..., None], boxes.round().astype(np.int64)], axis=2)
    _write_by_name(path, files, [" ".join(map(str, row)) for row in values.reshape(len(files), -1).tolist()])


def _write_by_name(path: Path, files: Sequence[str], lines: Sequence[str]) -> None:
    """One line an image, in the order of their names, wherever they lie."""
    order = sorted(range(len(files)), key=lambda i: (PurePosixPath(files[i]).name, files[i]))
    with atomic_write(path) as temporary:
        temporary.write_text("".join(f"{lines[i]}\n" for i in order), encoding="ascii", newline="\n")


def devkit_numbers(class_names: Sequence[str]) -> list[int]:
    """The devkit's number of each class.

    Raises:
        VerydeepError: a class is none of ILSVRC-2012's, or there are fewer than five.
    """
    known = known_classes()
    for name in class_names:
        if name not in known:
            raise VerydeepError(
                f"The test server takes the classes of ILSVRC-2012, and {name!r} is none of their WNIDs: "
                "leave --submission out."
            )
    if len(class_names) < NUM_GUESSES:
        raise VerydeepError(
            f"The test server takes {NUM_GUESSES} classes an image, and there are {len(class_names)} to choose from: "
            "leave --submission out."
        )
    return [known[name].devkit_id for name in class_names]


def check_complete(path: Path, split: Split, decoded: int) -> None:
    """Refuse a submission that lacks images: the server knows them by their line.

    Raises:
        VerydeepError: some could not be decoded.
    """
    if lacking := len(split) - decoded:
        raise VerydeepError(
            f"{lacking} images of {split.root} cannot be decoded, and {path} needs a line for each: find them with "
            "verydeep verify, and restore them."
        )
