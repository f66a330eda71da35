"""People's own photographs: files, folders and patterns, or images in memory."""

import glob
import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path, PurePath

from verydeep.data.folders.listing import SYSTEMS, Omissions, is_leftover, is_of_system, list_images
from verydeep.data.folders.name_lists import expand_lists
from verydeep.data.folders.path_finder import PathFinder, ask_for
from verydeep.data.folders.products import describe_product
from verydeep.data.pixels.formats import FORMATS
from verydeep.data.pixels.images import ImageLike, to_image, unpack_images
from verydeep.data.split import Split
from verydeep.errors import DataError
from verydeep.paths import describe_read_error, real_path
from verydeep.wording import count_of

Photographs = str | os.PathLike[str] | ImageLike | Iterable[str | os.PathLike[str]] | Iterable[ImageLike]
"""One or many photographs: paths, folders and patterns, or images in memory."""


def find_photographs(values: Photographs, leave_out: Path | None = None) -> Split:
    """Return a split of the photographs that paths, folders, patterns, or images in memory stand for.

    Args:
        values: one or many paths, folders and patterns; or one or many images, as ``images.to_image`` takes them.
        leave_out: a folder to ignore inside of the given folders; pictures of photographs are written there.

    Returns:
        The photographs in the order given. A file that is named twice is there twice; one that a folder or a pattern
        holds and that is there already is not repeated.

    Raises:
        DataError: nothing was given, a path or pattern matches no file, files and images are mixed, or an image
            cannot be used.
    """
    singles = list(unpack_images(values))
    names = [os.fspath(value) for value in singles if isinstance(value, str | os.PathLike)]
    if names and len(names) < len(singles):
        raise DataError("Files and images in memory cannot be mixed: give one kind.")
    if names or not singles:
        files, notes = photograph_names(names, leave_out)
        return replace(Split.of_photographs([Path(file) for file in files]), notes=tuple(notes))
    return Split.of_images([to_image(value, f"Image {number}") for number, value in enumerate(singles, start=1)])


def photograph_names(arguments: Sequence[str], leave_out: Path | None = None) -> tuple[list[str], list[str]]:
    """Return the names of the files that paths, folders and patterns stand for, and notes about what was left out.

    "-" stands for the names on standard input, and a CSV or text file for those that it lists.

    Names are in the order given; a file that is named twice is there twice. They are texts, because a ``Path`` takes a
    kilobyte and there may be millions.

    Raises:
        DataError: a pattern or the only argument matches no file, an argument cannot be read, or there are none.
    """
    names: list[str] = []
    present: set[str] = set()
    notes, miswritten = list[str](), list[str]()
    arguments, matcher = list(expand_lists(arguments)), _Matcher()
    for argument in arguments:
        try:
            matches = matcher.match(argument)
        except (OSError, DataError) as error:
            if len(arguments) == 1:
                reason = describe_read_error(argument, error) if isinstance(error, OSError) else str(error)
                raise DataError(reason) from error
            matches = []
        if not matches and len(arguments) > 1 and not glob.has_magic(argument):
            matches = [argument]  # decoding reports it, so that the others are not lost
            miswritten += [argument + advice] if (advice := matcher.suggest(argument)) else []
        if len(matches) + len(arguments) > 2:  # a system's file that is named alone is meant
            left_out = [name for name in matches if is_of_system(os.path.basename(name))]  # noqa: PTH119
            notes += [f"Left out, because {SYSTEMS} made it: {name}." for name in left_out]
            matches = [name for name in matches if name not in left_out]
            if left_out and not matches:
                continue
        found: list[str] = []
        for match in matches:
            found += _list_folder(match, leave_out, notes) if os.path.isdir(match) else [match]  # noqa: PTH112
        if not (found or matches or glob.has_magic(argument)):
            advice = matcher.suggest(argument) or ": give files, folders of photographs, or patterns."
            raise DataError(f"There is no file or folder {argument}{advice}")
        if not found:
            reasons = "".join(f" {note}" for note in notes)
            is_folder = os.path.isdir(argument)  # noqa: PTH112
            advice = "name a folder that has some" if is_folder else "give files, folders of photographs, or patterns"
            raise DataError(f"No photographs in {argument}: {advice}.{reasons}")
        is_named = found == [str(Path(argument))]
        names += [name for name in found if is_named or name not in present]
        present.update(found)
    if miswritten:
        more = f" ({count_of(len(miswritten), 'name')} differ in case alone.)" if len(miswritten) > 1 else ""
        notes.append(f"There is no file {miswritten[0]}{more}")
    if not names:
        raise DataError(
            "No photographs were given: give files, folders of photographs, patterns, or - for a list on standard "
            "input."
        )
    return names, notes


class _Matcher:
    """Finds the files and folders that names and patterns stand for; each folder is listed once for all of them."""

    def __init__(self) -> None:
        self._finders: dict[Path, PathFinder] = {}
        self._entered: dict[str, tuple[PathFinder, tuple[str, ...]]] = {}
        """Folder -> the leading folders of its path that exist, and the rest of its parts."""

    def match(self, argument: str) -> list[str]:
        """Return the file or folder of this name, or those that match the pattern.

        The leading folders that exist are taken as they are written: "photos [2024]/*.jpg" names a folder and a
        pattern. The suffix of a pattern matches in lower and upper case.

        Raises:
            DataError: a folder may not be read.
            OSError: the name is none.
        """
        if os.path.lexists(argument or "."):
            return [str(Path(argument))]
        finder, rest = self._enter(argument)
        if (existing := finder.find(rest)) is not None:
            return [str(finder.root / existing)]
        pattern = str(rest)
        if not glob.has_magic(pattern) and finder.find_other_case(rest) is None:
            return []
        stem, suffix = os.path.splitext(pattern)  # noqa: PTH122 - texts
        if suffix.lower() in FORMATS:
            pattern = stem + "".join(
                f"[{letter.lower()}{letter.upper()}]" if letter.isalpha() else letter for letter in suffix
            )
        matches = glob.glob(pattern, root_dir=finder.root, recursive=True)  # noqa: PTH207 - leaves out hidden files
        names = sorted(name for name in matches if not any(map(is_leftover, Path(name).parent.parts)))
        return [str(finder.root / name) for name in names]

    def suggest(self, argument: str) -> str:
        """Return "; did you mean 'photos/a.jpg'?" for a name that exists in other upper or lower case; or nothing."""
        try:
            finder, rest = self._enter(argument)
        except OSError:  # it may not be read, or a name is too long
            return ""
        found = finder.find_other_case(rest)
        return ask_for(found and str(finder.root / found))

    def _enter(self, argument: str) -> tuple[PathFinder, PurePath]:
        """Return the leading folders of a path that exist, and the rest of it, which does not."""
        above, name = os.path.split(argument)
        if above not in self._entered:
            path = Path(above)
            folder = Path(path.anchor)
            parts = list(path.parts[len(folder.parts) :])
            while parts and (folder / parts[0]).is_dir():
                folder /= parts.pop(0)
            self._entered[above] = self._finders.setdefault(folder, PathFinder(folder)), tuple(parts)
        finder, rest = self._entered[above]
        return finder, PurePath(*rest, name)


def _list_folder(folder: str, leave_out: Path | None, notes: list[str]) -> list[str]:
    """Return the images in a folder, and add notes about what was left out of it."""
    omissions = Omissions()
    files = [os.path.join(folder, name) for name in list_images(Path(folder), omissions)]  # noqa: PTH118
    notes += omissions.sentences(Path(folder))
    files = _exclude_products(folder, files, notes)
    if leave_out is None or real_path(Path(folder)).is_relative_to(real_path(leave_out)):
        return files
    return [file for file in files if not real_path(Path(file)).is_relative_to(real_path(leave_out))]


def _exclude_products(folder: str, files: Sequence[str], notes: list[str]) -> list[str]:
    """Return the images that do not lie in what verydeep wrote, such as the curves of a run; add a note for each place.

    Raises:
        DataError: verydeep wrote the folder itself.
    """
    if product := describe_product(Path(folder)):
        raise DataError(f"{folder} {product}, not photographs: give photographs, or a picture in it by its name.")
    reasons: dict[str, str | None] = {folder: None}  # folder -> why it is left out

    def find_reason(place: str) -> str | None:
        if place not in reasons:
            product = describe_product(Path(place))
            reasons[place] = find_reason(os.path.dirname(place)) or (f"it {product}: {place}" if product else None)  # noqa: PTH120
        return reasons[place]

    kept = [file for file in files if find_reason(os.path.dirname(file)) is None]  # noqa: PTH120
    left_out = dict.fromkeys(reason for reason in reasons.values() if reason is not None)
    notes += [f"Left out, because {reason}." for reason in left_out]
    return kept
