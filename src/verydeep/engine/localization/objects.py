"""What is on people's own photographs, and where: a box for each of the best classes of each (appendix A.2)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np

from verydeep.data.decoding import Decoding
from verydeep.data.split import Split
from verydeep.engine.localization.box_ensemble import BoxEnsemble
from verydeep.engine.localization.evaluation import guess_boxes
from verydeep.engine.localization.pictures import NamedBox, draw_photograph
from verydeep.engine.progress import progress_bar
from verydeep.engine.runtime import Runtime
from verydeep.errors import VerydeepError


@dataclass(frozen=True)
class LocatedObject:
    """An object on a photograph."""

    label: int
    """Its class."""
    probability: float
    """Of the class on this photograph, by the classification protocol."""
    rating: float
    """Of the box: the class's posteriors at all positions whose boxes were merged into it, summed; may exceed 1."""
    xyxy: tuple[int, int, int, int]
    """Its first and last pixels, counted from 0."""


def locate_objects(
    ensemble: BoxEnsemble, split: Split, threshold: float, runtime: Runtime, decoding: Decoding, *, top: int
) -> dict[int, list[LocatedObject]]:
    """Index of a photograph -> the objects of its ``top`` most probable classes; nothing is kept for the next time.

    Photographs that cannot be decoded are left out.

    Raises:
        VerydeepError: as ``guess_boxes``, or a net overflowed.
    """
    found = guess_boxes(ensemble, split, threshold, runtime, decoding, top=top, keep=False)
    assert found is not None, "one process alone"
    candidate_classes, merged = found
    if not np.isfinite(merged.boxes).all():
        raise VerydeepError(f"The boxes of {ensemble.members[0].net.path} are not all numbers: train it anew.")
    boxes = merged.boxes.round().astype(int).tolist()
    located = {}
    for row, index in enumerate(candidate_classes.indices.tolist()):
        values = zip(
            candidate_classes.guesses[row],
            candidate_classes.posteriors[row],
            merged.scores[row],
            boxes[row],
            strict=True,
        )
        located[index] = [
            LocatedObject(int(k), float(share), float(score), tuple(box)) for k, share, score, box in values
        ]
    return located


def draw_objects(
    split: Split, found: Mapping[int, Sequence[LocatedObject]], words: Sequence[str], paths: Sequence[Path]
) -> None:
    """A picture for each photograph.

    Args:
        split: the photographs.
        found: by ``locate_objects``.
        words: what people call each class.
        paths: of the pictures, in the order of ``found``.
    """
    with progress_bar(visible=len(found) > 1) as progress:
        task = progress.add_task("Drawing", total=len(found), note="")
        for (index, objects), path in zip(found.items(), paths, strict=True):
            photograph = split.open_image(index)
            boxes = [
                NamedBox(each.xyxy, each.label, f"{words[each.label].split(',')[0]} {each.probability:.0%}")
                for each in objects
            ]
            path.parent.mkdir(parents=True, exist_ok=True)
            draw_photograph(photograph, boxes, path)
            progress.advance(task)


def picture_paths(photographs: Sequence[Path], folder: Path) -> list[Path]:
    """For cat.jpg cat-boxes.jpg, numbered where another of the pictures, or of the photographs, is called so.

    The same photographs have the same paths again: a second run replaces the pictures of the first.
    """
    taken = {str(photograph.resolve()).casefold() for photograph in photographs}
    paths = []
    for photograph in photographs:
        names = (f"{photograph.stem}-boxes{f'-{number}' if number > 1 else ''}.jpg" for number in count(1))
        path = next(folder / name for name in names if str((folder / name).resolve()).casefold() not in taken)
        taken.add(str(path.resolve()).casefold())
        paths.append(path)
    return paths
