"""Explain what a net or a classifier predicts of images, as arrays and as pictures."""

from collections.abc import Generator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from verydeep.data.pixels.decoding import Decoding
from verydeep.data.split import Split, all_skipped_error
from verydeep.engine.explanation.margin_maps import compute_margin_maps
from verydeep.engine.explanation.pictures import ShownClass, draw_filters, draw_maps
from verydeep.engine.localization.objects import label_boxes, name_pictures
from verydeep.engine.nets.net import Net
from verydeep.engine.plotting import is_of_another, name_classes
from verydeep.engine.progress import run_with_progress, track
from verydeep.engine.runtime import Runtime
from verydeep.engine.score_maps import MappedImages, compute_score_maps
from verydeep.engine.transfer.classifier import Classifier
from verydeep.ops.arrays import Float32Array
from verydeep.ops.metrics import order_classes
from verydeep.paths import number_paths, real_path
from verydeep.results.explanations import Explanations
from verydeep.results.score_map import ScoreMap


def explain_images(
    predictor: Net | Classifier, split: Split, scales: Sequence[int], runtime: Runtime, decoding: Decoding, *, top: int
) -> Explanations:
    """Compute the class score maps of images in one process; nothing is cached or drawn.

    Args:
        predictor: a net that predicts classes, or a classifier.
        split: the images.
        scales: test scales Q of a net; a classifier has its own.
        runtime: of this process.
        decoding: of the files.
        top: classes of each image, those with the highest scores.

    Raises:
        DataError: none of the images can be used.
        OptionError: a test scale is smaller than the crop, or the classifier takes boxes of persons.
        WeightsError: a net computes values that are not finite, or its weights are missing.
    """
    is_net = isinstance(predictor, Net)
    images = run_with_progress(_map_images(predictor, split, scales, runtime, decoding), "Mapping", len(split))
    maps: dict[int, tuple[ScoreMap, ...]] = {}
    scores: dict[int, Float32Array] = {}
    for batch in images:
        maps |= zip(batch.indices, batch.maps, strict=True)
        scores |= zip(batch.indices, batch.scores, strict=True)
    skipped = {file: reason for batch in images for file, reason in batch.skipped.items()}
    if not maps:
        raise all_skipped_error(split, skipped)
    indices = sorted(maps)
    all_scores = np.stack([scores[index] for index in indices])
    net = predictor if isinstance(predictor, Net) else predictor.representation.nets[0]
    return Explanations(
        images=tuple(split.files[index] for index in indices),
        maps=tuple(maps[index] for index in indices),
        labels=order_classes(all_scores)[:, :top],
        scores=all_scores,
        class_names=predictor.class_names,
        class_words=predictor.config.class_words if isinstance(predictor, Net) else predictor.class_words,
        filters=net.model.weight_layers()["conv1_1"].weight.detach().float().cpu().numpy(),
        kind="probability" if is_net else "margin",
        skipped=skipped,
    )


def _map_images(
    predictor: Net | Classifier, split: Split, scales: Sequence[int], runtime: Runtime, decoding: Decoding
) -> Generator[float, None, list[MappedImages]]:
    """Map images; yield how many are done."""
    yield 0
    batches = []
    for batch in (
        compute_score_maps(predictor, split, scales, runtime, decoding)
        if isinstance(predictor, Net)
        else compute_margin_maps(predictor, split, runtime, decoding)
    ):
        batches.append(batch)
        yield len(batch.indices) + len(batch.skipped)
    return batches


def draw_explanations(
    predictor: Net | Classifier, split: Split, explanations: Explanations, folder: Path
) -> Explanations:
    """Draw a picture of each image and one of the filters; return the explanations with the paths of the pictures.

    Raises:
        ResourceError: the disk is full or the folder is not writable.
    """
    places = {file: index for index, file in enumerate(split.files)}
    indices = [places[image] for image in explanations.images]
    photographs = [split.path(index) for index in indices]
    net = predictor.folder if isinstance(predictor, Net) else predictor.path
    paths, filters = name_pictures(photographs, net, folder, "map", ".jpg"), name_filters(photographs, net, folder)
    names = name_classes(explanations.class_words)
    for row, index in enumerate(track(indices, "Drawing", len(indices))):
        maps, labels = explanations.maps[row], explanations.labels[row].tolist()
        image, boxes = explanations.images[row], explanations.boxes
        draw_maps(
            split.open_image(index),
            (split.path(index), net),
            [split.path(index).name, predictor.path.name],
            maps,
            [ShownClass(label, names[label], float(explanations.scores[row, label])) for label in labels],
            [explanations.position(each, labels[0]) for each in maps],
            label_boxes(boxes, boxes.images.index(image)) if boxes is not None and image in boxes.images else [],
            paths[row],
        )
    draw_filters(explanations.filters, filters, net)
    return replace(explanations, pictures=tuple(path.as_posix() for path in (*paths, filters)))


def name_filters(photographs: Sequence[Path], net: Path, folder: Path) -> Path:
    """Name the picture of a net's filters: filters.png, numbered where a photograph or another net's has that name."""
    taken = {str(real_path(photograph)).casefold() for photograph in photographs}
    paths = number_paths(folder / "filters.png", ".png")
    return next(
        path for path in paths if str(real_path(path)).casefold() not in taken and not is_of_another(path, [net])
    )
