"""Objects on photographs: a box for each of the most probable classes of each photograph (appendix A.2)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import numpy as np

from verydeep.data.decoding import Decoding
from verydeep.data.split import Split
from verydeep.engine.localization.box_ensemble import BoxEnsemble
from verydeep.engine.localization.drawing import LabeledBox, draw_photograph
from verydeep.engine.localization.merged_boxes import merge_boxes
from verydeep.engine.localization.predictions import predict_boxes
from verydeep.engine.progress import progress_bar
from verydeep.engine.runtime import Runtime
from verydeep.errors import WeightsError


@dataclass(frozen=True)
class LocatedObject:
    """An object on a photograph."""

    label: int
    """Its class."""
    probability: float
    """Posterior of the class on this photograph, by the classification protocol."""
    rating: float
    """Rating of the box: the sum of the posteriors of its candidate boxes, which may exceed 1."""
    xyxy: tuple[int, int, int, int]
    """First and last pixel columns and rows of the box, counted from 0."""


def locate_objects(
    ensemble: BoxEnsemble, split: Split, threshold: float, runtime: Runtime, decoding: Decoding, *, top: int
) -> dict[int, list[LocatedObject]]:
    """Locate the objects of the ``top`` most probable classes of each photograph; nothing is cached.

    Returns:
        Index of a photograph -> its objects, the most probable first. Skipped photographs are missing.

    Raises:
        DataError: a photograph cannot be decoded, or none of them.
        WeightsError: a net has no weights, or its outputs are not finite.
    """
    predictions = predict_boxes([ensemble], split, runtime, decoding, top=top, cache=False)[ensemble]
    classes = predictions.candidate_classes
    boxes = merge_boxes(predictions.pool(), np.full(len(classes.indices), threshold))
    if not np.isfinite(boxes.xyxy).all():
        raise WeightsError(f"{ensemble.members[0].net.path} predicts boxes that are not finite: train it again.")
    corners = boxes.xyxy.round().astype(int).tolist()
    objects = {}
    for row, index in enumerate(classes.indices.tolist()):
        columns = zip(classes.guesses[row], classes.posteriors[row], boxes.ratings[row], corners[row], strict=True)
        objects[index] = [
            LocatedObject(int(label), float(posterior), float(rating), tuple(xyxy))
            for label, posterior, rating, xyxy in columns
        ]
    return objects


def draw_objects(
    split: Split, objects: Mapping[int, Sequence[LocatedObject]], class_words: Sequence[str], paths: Sequence[Path]
) -> None:
    """Draw a picture of each photograph with its boxes.

    Args:
        split: the photographs.
        objects: from ``locate_objects``.
        class_words: what people call each class.
        paths: of the pictures, in the order of ``objects``.
    """
    with progress_bar(visible=len(objects) > 1) as progress:
        task = progress.add_task("Drawing", total=len(objects), note="")
        for (index, located), path in zip(objects.items(), paths, strict=True):
            boxes = [
                LabeledBox(each.xyxy, each.label, f"{class_words[each.label].split(',')[0]} {each.probability:.0%}")
                for each in located
            ]
            path.parent.mkdir(parents=True, exist_ok=True)
            draw_photograph(split.open_image(index), boxes, path)
            progress.advance(task)


def name_pictures(photographs: Sequence[Path], folder: Path) -> list[Path]:
    """Name a picture for each photograph: cat-boxes.jpg for cat.jpg, numbered where that name is taken.

    Photographs and other pictures take names. The names do not depend on existing pictures, so a second run replaces
    the pictures of the first.
    """
    taken = {str(photograph.resolve()).casefold() for photograph in photographs}
    paths = []
    for photograph in photographs:
        names = (f"{photograph.stem}-boxes{f'-{number}' if number > 1 else ''}.jpg" for number in count(1))
        path = next(folder / name for name in names if str((folder / name).resolve()).casefold() not in taken)
        taken.add(str(path.resolve()).casefold())
        paths.append(path)
    return paths
