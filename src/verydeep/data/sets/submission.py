"""Submissions to the ILSVRC test server (the test columns of Tables 7 and 10): five classes per image, or with boxes.

A file has one line per image, in alphabetical order of the images' names, and classes have the devkit's numbers. There
is no header and there are no names: the server identifies images by their line, so no image may be missing.
"""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from verydeep.data.sets.ilsvrc2012 import ilsvrc_classes
from verydeep.data.split import Split
from verydeep.errors import DataError, OptionError, WeightsError
from verydeep.files import atomic_write
from verydeep.ops.arrays import FloatArray, Int64Array
from verydeep.ops.metrics import order_classes
from verydeep.wording import count_of

NUM_GUESSES = 5


def write_submission(path: Path, files: Sequence[str], class_names: Sequence[str], posteriors: FloatArray) -> None:
    """Write the five most probable classes of each image, the best first; of equal ones the one with the lower WNID.

    Args:
        path: the file to write.
        files: POSIX paths of the images, in any order.
        class_names: WNIDs, at least five of ILSVRC-2012's thousand.
        posteriors: (N, K), in the order of ``files`` and ``class_names``.

    Raises:
        OptionError: a class is not one of ILSVRC-2012's, or there are fewer than five.
        WeightsError: a posterior is not a number.
        ResourceError: the file cannot be written.
    """
    assert posteriors.shape == (len(files), len(class_names))
    numbers = devkit_numbers(class_names)
    _refuse_nan(posteriors, "posteriors", path)
    best = order_classes(posteriors)[:, :NUM_GUESSES]
    _write_by_name(path, files, [" ".join(str(numbers[k]) for k in classes) for classes in best])


def write_localization_submission(
    path: Path, files: Sequence[str], class_names: Sequence[str], guesses: Int64Array, boxes: FloatArray
) -> None:
    """Write up to five classes of each image, the best first, each with its box: "label xmin ymin xmax ymax ...".

    Boxes are rounded to whole pixels of the file, first and last inclusive, counted from 0 as in the devkit's boxes of
    the validation images.

    Args:
        path: the file to write.
        files: POSIX paths of the images, in any order.
        class_names: WNIDs, at least five of ILSVRC-2012's thousand.
        guesses: (N, G) index of each class, in the order of ``files``.
        boxes: (N, G, 4) inclusive xyxy.

    Raises:
        OptionError: a class is not one of ILSVRC-2012's, or there are fewer than five.
        WeightsError: a box is not four numbers.
        ResourceError: the file cannot be written.
    """
    assert boxes.shape == (*guesses.shape, 4) and len(files) == len(guesses)
    assert guesses.shape[1] <= NUM_GUESSES
    numbers = np.array(devkit_numbers(class_names))
    _refuse_nan(boxes, "boxes", path)
    values = np.concatenate([numbers[guesses][..., None], boxes.round().astype(np.int64)], axis=2)
    _write_by_name(path, files, [" ".join(map(str, row)) for row in values.reshape(len(files), -1).tolist()])


def _refuse_nan(values: FloatArray, name: str, path: Path) -> None:
    if not np.isfinite(values).all():
        raise WeightsError(f"Some of the net's {name} are not numbers, so {path} was not written: test another net.")


def _write_by_name(path: Path, files: Sequence[str], lines: Sequence[str]) -> None:
    """Write one line per image, in the order of the images' names without folders."""
    order = sorted(range(len(files)), key=lambda i: (PurePosixPath(files[i]).name, files[i]))
    with atomic_write(path) as temporary:
        temporary.write_text("".join(f"{lines[i]}\n" for i in order), encoding="ascii", newline="\n")


def devkit_numbers(class_names: Sequence[str]) -> list[int]:
    """Return the devkit's number of each class, if the test server can score a net with these classes.

    Raises:
        OptionError: a class is not one of ILSVRC-2012's, or there are fewer than five.
    """
    classes = ilsvrc_classes()
    for name in class_names:
        if name not in classes:
            raise OptionError(
                f"The test server expects WNIDs of ILSVRC-2012, and {name!r} is not one of them; omit `submission`.",
                "submission",
            )
    if len(class_names) < NUM_GUESSES:
        raise OptionError(
            f"The test server expects {NUM_GUESSES} classes per image, but there are only {len(class_names)}; omit "
            "`submission`.",
            "submission",
        )
    return [classes[name].devkit_id for name in class_names]


def check_complete(path: Path, split: Split, num_decoded: int) -> None:
    """Refuse a submission that lacks images, because the server identifies images by their line.

    Raises:
        DataError: some images could not be decoded.
    """
    if num_missing := len(split) - num_decoded:
        raise DataError(
            f"{count_of(num_missing, 'image')} of {split.root} cannot be decoded, but {path} needs a line for each; "
            "find them with `verydeep verify`, and restore them."
        )
