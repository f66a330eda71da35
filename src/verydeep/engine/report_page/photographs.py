"""The photographs of the report page: which of them get a thumbnail, and the thumbnails themselves."""

import base64
import filecmp
import io
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice, zip_longest
from pathlib import Path

from verydeep.data.pixels.decoding import decode, image_size
from verydeep.engine.progress import progress_bar
from verydeep.engine.report_page.stored_evaluation import StoredEvaluation, TestedPhotograph
from verydeep.errors import DataError
from verydeep.machine import available_cores

SIDE = 240
"""Longer side of a thumbnail in pixels."""
QUALITY = 68
MAX_THUMBNAILS = 1000
MAX_SECONDS = 60
"""Time for the thumbnails of one page."""
NUM_COMPARED = 20
"""Photographs of two folders whose bytes are compared."""
CHUNK = 16
"""Photographs that are decoded before time and size are checked."""

_ESCAPED_BYTE = re.compile(r"\\udc([89a-f][0-9a-f])")


@dataclass(frozen=True)
class Thumbnail:
    """A small copy of a photograph."""

    uri: str
    """JPEG as a data URI."""
    width: int
    """Width of the photograph itself, in which boxes are given."""
    height: int


@dataclass(frozen=True)
class Place:
    """The folder of an evaluation's photographs, and how they are decoded."""

    root: Path
    camera_rotation: bool

    def path(self, file: str) -> Path:
        """Return the path of a photograph, whose name in a table may have escaped bytes."""
        path = self.root / file
        if "\\udc" in file and not path.exists():
            return self.root / _ESCAPED_BYTE.sub(lambda found: chr(0xDC00 + int(found[1], 16)), file)
        return path


def find_place(evaluation: StoredEvaluation, roots: Iterable[Path]) -> Place | None:
    """Return where the photographs of an evaluation are; None where they are in none of the folders.

    Args:
        evaluation: its first photograph is looked for, in the folder that it was tested in first.
        roots: folders of a data set, or of a split, to which the photographs may have been moved.
    """
    if not evaluation.photographs:
        return None
    values, file = evaluation.values, evaluation.photographs[0].file
    known = [Path(str(values[key])) for key in ("root", "data") if values.get(key)]
    for root in (*known, *roots):
        for folder in (root / str(values.get("split", "")), root):
            place = Place(folder, bool(values.get("camera_rotation", True)))
            with suppress(OSError):  # a folder that may not be read
                if place.path(file).is_file():
                    return place
    return None


def holds_copies(place: Place, other: Place, files: Sequence[str]) -> bool:
    """Whether all files of one folder are in another one, too, by the bytes of some of them."""
    if not files or not all(other.path(file).is_file() for file in files):
        return False
    some = files[:: -(-len(files) // NUM_COMPARED)]
    try:
        return all(filecmp.cmp(place.path(file), other.path(file), shallow=False) for file in some)
    except OSError:
        return False


def order_photographs(evaluation: StoredEvaluation) -> list[TestedPhotograph]:
    """Return photographs in the order in which they get thumbnails.

    First the mistakes, the most confident (or the worst box) first; then the others, one of each class in turn, those
    that the net is least sure of first.
    """
    sign = 1 if evaluation.is_about_boxes else -1
    mistakes = sorted(
        (each for each in evaluation.photographs if not each.is_right), key=lambda each: sign * each.score
    )
    by_class: dict[str, list[TestedPhotograph]] = {}
    for each in sorted((each for each in evaluation.photographs if each.is_right), key=lambda each: each.score):
        by_class.setdefault(each.label, []).append(each)
    turns = zip_longest(*by_class.values())
    return [*mistakes, *(each for turn in turns for each in turn if each is not None)]


def interleave_photographs(orders: Sequence[Sequence[TestedPhotograph]]) -> Iterator[tuple[int, TestedPhotograph]]:
    """Yield the photographs of several evaluations with the evaluation's number, one of each in turn."""
    for turn in zip_longest(*orders):
        for number, each in enumerate(turn):
            if each is not None:
                yield number, each


def make_thumbnails(paths: Mapping[str, tuple[Path, bool]], max_bytes: int) -> dict[str, Thumbnail]:
    """Return thumbnails of as many photographs as size and time allow.

    Args:
        paths: key of each photograph -> its path, and whether the camera's rotation is applied; in order.
        max_bytes: largest sum of the lengths of the URIs.
    """
    thumbnails: dict[str, Thumbnail] = {}
    end, num_bytes, rest = time.monotonic() + MAX_SECONDS, 0, iter(islice(paths.items(), MAX_THUMBNAILS))
    with ThreadPoolExecutor(min(4, available_cores())) as pool, progress_bar(visible=len(paths) > 1) as progress:
        task = progress.add_task("Thumbnails", total=min(len(paths), MAX_THUMBNAILS), note="")
        while chunk := list(islice(rest, CHUNK)):
            for (key, _), thumbnail in zip(chunk, pool.map(_make_thumbnail, [each for _, each in chunk]), strict=True):
                progress.advance(task)
                if thumbnail is None:
                    continue
                num_bytes += len(thumbnail.uri)
                if num_bytes > max_bytes:
                    return thumbnails
                thumbnails[key] = thumbnail
            if time.monotonic() > end:
                break
    return thumbnails


def _make_thumbnail(photograph: tuple[Path, bool]) -> Thumbnail | None:
    """Return a thumbnail; None where the file cannot be decoded any more."""
    path, camera_rotation = photograph
    try:
        width, height = image_size(path, camera_rotation=camera_rotation)
        image = decode(path, camera_rotation=camera_rotation, at_least=(SIDE, SIDE))
    except DataError:
        return None
    image.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY, optimize=True)
    return Thumbnail(f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}", width, height)
