"""Objects on photographs: a box for each of the most probable classes of each photograph (appendix A.2)."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from verydeep.data.pixels.decoding import Decoding
from verydeep.data.split import Split
from verydeep.engine.localization.box_ensemble import BoxEnsemble
from verydeep.engine.localization.box_predictions import predict_boxes
from verydeep.engine.localization.drawing import LabeledBox, draw_photograph
from verydeep.engine.localization.merged_boxes import merge_boxes
from verydeep.engine.nets.kernels import choose_kernels
from verydeep.engine.nets.net import Net
from verydeep.engine.plotting import is_of_another, name_classes
from verydeep.engine.progress import track
from verydeep.engine.runtime import Runtime
from verydeep.errors import DataError
from verydeep.paths import number_paths, real_path, shorten_name
from verydeep.results.objects import LocatedObjects


def locate_objects(
    ensemble: BoxEnsemble, split: Split, threshold: float, runtime: Runtime, decoding: Decoding, *, top: int
) -> LocatedObjects:
    """Locate the objects of the ``top`` most probable classes of each photograph; nothing is cached.

    Raises:
        DataError: a photograph cannot be decoded, or none of them.
        WeightsError: a net has no weights, or computes values that are not finite.
    """
    runtime = choose_kernels(runtime, ensemble.nets, len(split))
    predictions = predict_boxes([ensemble], split, runtime, decoding, top=top, cache=False)[ensemble]
    classes = predictions.candidate_classes
    boxes = merge_boxes(predictions.pool(), np.full(len(classes.indices), threshold))
    net = ensemble.members[0].net
    skipped = sorted(set(range(len(split))) - set(classes.indices.tolist()))
    return LocatedObjects(
        images=tuple(split.files[index] for index in classes.indices),
        labels=classes.guesses,
        probabilities=classes.posteriors,
        ratings=boxes.ratings.astype(np.float32),
        boxes=boxes.xyxy.round().astype(np.int64),
        class_names=net.class_names,
        class_words=net.config.class_words,
        skipped={split.files[index]: explain_unusable(split, index) for index in skipped},
    )


def explain_unusable(split: Split, index: int) -> str:
    """Return the reason why an image could not be used."""
    try:
        split.open_image(index)
    except DataError as error:
        return str(error)
    return f"{split.path(index)} changed meanwhile: run the command again."


def draw_objects(net: Net, split: Split, objects: LocatedObjects, folder: Path) -> LocatedObjects:
    """Draw a picture of each photograph with a net's boxes; return the objects with the paths of the pictures.

    Raises:
        ResourceError: the disk is full or the folder is not writable.
    """
    positions = {file: index for index, file in enumerate(split.files)}
    indices = [positions[image] for image in objects.images]
    paths = name_pictures([split.path(index) for index in indices], net.folder, folder, "boxes", ".jpg")
    for row, index in enumerate(track(indices, "Drawing", len(indices))):
        photograph = split.path(index)
        title, origin = (photograph.name, net.path.name), (photograph, net.folder)
        draw_photograph(split.open_image(index), label_boxes(objects, row), paths[row], origin, title)
    return replace(objects, pictures=tuple(path.as_posix() for path in paths))


def label_boxes(objects: LocatedObjects, row: int) -> list[LabeledBox]:
    """Return the boxes of one of the images with their labels, that of the most probable class first."""
    names = name_classes(objects.class_words)
    columns = (objects.boxes, objects.labels, objects.probabilities)
    return [
        LabeledBox(tuple(xyxy), label, f"{names[label]} {probability:.0%}")
        for xyxy, label, probability in zip(*(each[row].tolist() for each in columns), strict=True)
    ]


def name_pictures(photographs: Sequence[Path], net: Path, folder: Path, ending: str, suffix: str) -> list[Path]:
    """Name a net's picture of each photograph: cat-boxes.jpg for cat.jpg, numbered where that name is taken.

    Photographs and pictures of other photographs or nets take names. The same net replaces its pictures.
    """
    taken = {str(real_path(photograph)).casefold() for photograph in photographs}
    paths = []
    for photograph in photographs:
        stem = shorten_name(photograph.stem)
        path = next(
            each
            for each in number_paths(folder / f"{stem}-{ending}{suffix}", suffix)
            if str(real_path(each)).casefold() not in taken and not is_of_another(each, (photograph, net))
        )
        taken.add(str(real_path(path)).casefold())
        paths.append(path)
    return paths
