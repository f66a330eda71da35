"""People's own photographs, as a command line names them: files, folders and patterns."""

import glob
import os
from collections.abc import Sequence
from pathlib import Path

from verydeep.data.folder import list_images
from verydeep.errors import VerydeepError


def find_photographs(arguments: Sequence[str], leave_out: Path | None = None) -> list[Path]:
    """The files that paths, folders and patterns mean, in the order given, none twice.

    Args:
        arguments: as the command line has them.
        leave_out: a folder whose files are not meant by a folder around it: where pictures of photographs go.

    Raises:
        VerydeepError: an argument means no file.
    """
    return [Path(name) for name in photograph_names(arguments, leave_out)]


def photograph_names(arguments: Sequence[str], leave_out: Path | None = None) -> list[str]:
    """The same as texts: of millions of photographs, paths would take a kilobyte each.

    Raises:
        VerydeepError: an argument means no file.
    """
    found: dict[str, None] = {}
    for argument in arguments:
        path = Path(argument)
        if path.is_dir():
            matches = [os.path.join(path, name) for name in list_images(path)]  # noqa: PTH118
            if leave_out is not None and not path.resolve().is_relative_to(leave_out.resolve()):
                matches = [each for each in matches if not Path(each).resolve().is_relative_to(leave_out.resolve())]
        else:
            names = glob.glob(argument, recursive=True)  # noqa: PTH207 - takes absolute patterns too
            matches = [str(path)] if path.exists() else [str(Path(name)) for name in sorted(names)]
        if not matches:
            raise VerydeepError(
                f"{argument}: no such photograph, folder with photographs, or pattern that matches one."
            )
        found.update(dict.fromkeys(matches))
    if not found:
        raise VerydeepError("No photograph was named: give files, folders or patterns.")
    return list(found)
