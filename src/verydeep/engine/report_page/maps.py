"""Class score maps of the photographs that the report page shows first, as small pictures to lay over them."""

import base64
import io
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from PIL import Image

from verydeep.data.pixels.decoding import Decoding
from verydeep.data.split import Split
from verydeep.engine.explanation.margin_maps import compute_margin_maps
from verydeep.engine.load import open_predictor
from verydeep.engine.nets.checks import check_predicts_classes
from verydeep.engine.nets.net import Net
from verydeep.engine.report_page.photographs import Place
from verydeep.engine.report_page.stored_evaluation import StoredEvaluation, TestedPhotograph
from verydeep.engine.report_page.stored_run import StoredRun
from verydeep.engine.runtime import Runtime
from verydeep.engine.score_maps import COLORS, MappedImages, compute_score_maps
from verydeep.engine.transfer.classifier import Classifier
from verydeep.errors import VerydeepError
from verydeep.ops.arrays import FloatArray
from verydeep.results.score_map import ScoreMap

MAX_SECONDS = 30
"""Time for the score maps of one evaluation."""
SIDE = 48
"""Longer side of a map's picture in pixels; the browser enlarges it smoothly."""


@dataclass(frozen=True)
class DrawnMap:
    """The map of one class on one photograph."""

    name: str
    """Name of the class."""
    uri: str
    """PNG as a data URI, which covers the whole photograph."""


DrawnMaps = Mapping[str, tuple[DrawnMap, ...]]
"""File of a photograph -> maps of its prediction and of its true class."""


def draw_score_maps(
    run: StoredRun,
    evaluation: StoredEvaluation,
    place: Place,
    photographs: Sequence[TestedPhotograph],
    runtime: Runtime,
) -> tuple[DrawnMaps, str]:
    """Map photographs by the run's own net or classifier, in one process, until the time is over.

    Returns:
        The maps, and a sentence if there are none.
    """
    if evaluation.is_about_boxes or not photographs:
        return {}, ""
    photographs = list({each.file: each for each in reversed(photographs)}.values())[::-1]  # each file once
    alone = replace(runtime, rank=0, world_size=1, num_workers=0)
    maps: dict[str, tuple[DrawnMap, ...]] = {}
    try:
        is_best = evaluation.values.get("weights") == "best" or evaluation.name.startswith("best-")
        predictor = open_predictor(_predictor_path(run, evaluation), "best" if is_best else "last")
        end = time.monotonic() + MAX_SECONDS
        split = Split.of_photographs([place.path(each.file) for each in photographs])
        split = replace(split, camera_rotation=place.camera_rotation)
        for batch in _map_split(predictor, evaluation, split, alone):
            for index, found in zip(batch.indices, batch.maps, strict=True):
                maps[photographs[index].file] = tuple(_draw_classes(predictor, photographs[index], found))
            if time.monotonic() > end:
                break
    except VerydeepError as error:
        return maps, f"There are no score maps: {error}"
    return maps, ""


def _predictor_path(run: StoredRun, evaluation: StoredEvaluation) -> Path:
    """Return the run, or the one net that an evaluation elsewhere was of."""
    nets = evaluation.values.get("nets", ())
    return Path(nets[0]) if not run.config and len(nets) == 1 else run.path


def _map_split(
    predictor: Net | Classifier, evaluation: StoredEvaluation, split: Split, runtime: Runtime
) -> Iterator[MappedImages]:
    """Yield maps at the middle one of the evaluation's test scales."""
    decoding = Decoding(bad_images="skip")
    if isinstance(predictor, Classifier):
        yield from compute_margin_maps(predictor, split, runtime, decoding)
        return
    check_predicts_classes(predictor)
    scales = evaluation.values["rows"][-1].get("scales") or predictor.config.test_scales
    split = replace(split, value_ranges=predictor.config.value_ranges)
    yield from compute_score_maps(predictor, split, (sorted(scales)[len(scales) // 2],), runtime, decoding)


def _draw_classes(
    predictor: Net | Classifier, photograph: TestedPhotograph, maps: Sequence[ScoreMap]
) -> Iterator[DrawnMap]:
    """Yield the maps of the predicted and of the true class, on one scale of colors; several maps are averaged."""
    wanted = dict.fromkeys((photograph.prediction, photograph.label, *(photograph.shows or ())))
    names = [name for name in wanted if name in predictor.class_names]
    height, width = maps[0].photograph_size
    shape = max(1, round(SIDE * height / max(height, width))), max(1, round(SIDE * width / max(height, width)))
    values = {
        name: np.mean([each.spread(predictor.class_names.index(name), shape) for each in maps], axis=0)
        for name in names
    }
    kind = maps[0].kind
    limit = 1.0 if kind == "probability" else max((float(np.abs(each).max()) for each in values.values()), default=1.0)
    for name, each in values.items():
        shares = each / limit if kind == "probability" else (each / limit + 1) / 2
        yield DrawnMap(name, _draw(shares, COLORS[kind]))


def _draw(shares: FloatArray, colors: str) -> str:
    """Return values from 0 to 1 in colors, as a PNG."""
    from matplotlib import colormaps  # noqa: PLC0415 - takes half a second

    palette = (255 * colormaps[colors](np.linspace(0, 1, 256))[:, :3]).round().astype(np.uint8)
    image = Image.fromarray((255 * shares.clip(0, 1)).round().astype(np.uint8))
    image.putpalette(palette.tobytes())
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
