"""What the ILSVRC-2012 test server takes (Table 7's test column): five guesses for each image that has no labels."""

from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import numpy.typing as npt

from verydeep.data.ilsvrc2012 import known_classes
from verydeep.errors import VerydeepError
from verydeep.files import writing

NUM_GUESSES = 5


def write_submission(
    path: Path, files: Sequence[str], class_names: Sequence[str], posteriors: npt.NDArray[np.floating]
) -> None:
    """Write one line an image, in alphabetical order of the images' names: the devkit's numbers of five classes.

    The most probable class stands first; of equally probable ones the one with the lower WNID does. There is no
    header and no name: the server knows images by their line, so every image of the part has to be there.

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
    order = sorted(range(len(files)), key=lambda i: (PurePosixPath(files[i]).name, files[i]))
    lines = [" ".join(str(numbers[k]) for k in best[i]) + "\n" for i in order]
    with writing(path) as beside:
        beside.write_text("".join(lines), encoding="ascii", newline="\n")


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
