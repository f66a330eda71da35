"""People's own photographs: files, folders and patterns, or images in memory."""

import glob
import os
from collections.abc import Sequence
from pathlib import Path

from verydeep.data.folder import list_images
from verydeep.data.images import ImageLike, to_image, unpack_images
from verydeep.data.split import Split
from verydeep.errors import DataError

Photographs = str | Path | ImageLike | Sequence[str | Path] | Sequence[ImageLike]
"""One or many photographs: paths, folders and patterns, or images in memory."""


def find_photographs(values: Photographs, leave_out: Path | None = None) -> Split:
    """Return a split of the photographs that paths, folders, patterns, or images in memory stand for.

    Args:
        values: one or many paths, folders and patterns; or one or many images, as ``images.to_image`` takes them.
        leave_out: a folder to ignore inside of the given folders; pictures of photographs are written there.

    Returns:
        The photographs in the order given; a file that is named twice is there once.

    Raises:
        DataError: nothing was given, a path or pattern matches no file, files and images are mixed, or an image
            cannot be used.
    """
    singles = list(unpack_images(values))
    names = [os.fspath(value) for value in singles if isinstance(value, str | os.PathLike)]
    if names and len(names) < len(singles):
        raise DataError("Files and images in memory cannot be mixed: give one kind.")
    if names or not singles:
        return Split.of_photographs([Path(name) for name in photograph_names(names, leave_out)])
    return Split.of_images([to_image(value, f"Image {number}") for number, value in enumerate(singles, start=1)])


def photograph_names(arguments: Sequence[str], leave_out: Path | None = None) -> list[str]:
    """Return the names of the files that paths, folders and patterns stand for, in the order given, each once.

    They are texts, because a ``Path`` takes a kilobyte and there may be millions.

    Raises:
        DataError: an argument matches no file, or there are none.
    """
    names: dict[str, None] = {}
    for argument in arguments:
        path = Path(argument)
        if path.is_dir():
            matches = [os.path.join(path, name) for name in list_images(path)]  # noqa: PTH118
            if leave_out is not None and not path.resolve().is_relative_to(leave_out.resolve()):
                matches = [each for each in matches if not Path(each).resolve().is_relative_to(leave_out.resolve())]
        else:
            matching = glob.glob(argument, recursive=True)  # noqa: PTH207 - takes absolute patterns too
            matches = [str(path)] if path.exists() else [str(Path(name)) for name in sorted(matching)]
        if not matches:
            raise DataError(f"{argument} matches no photograph; give files, folders of photographs, or patterns.")
        names.update(dict.fromkeys(matches))
    if not names:
        raise DataError("No photographs were given; give files, folders of photographs, or patterns.")
    return list(names)
