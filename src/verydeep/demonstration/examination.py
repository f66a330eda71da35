"""Examination of one photograph: classes, score maps, boxes and neighbors, each with the time it took."""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image, ImageDraw

import verydeep as vd
from verydeep.configs.protocols import View
from verydeep.data.pixels.decoding import decode, image_size
from verydeep.demonstration.subjects import Subjects
from verydeep.engine.score_maps import overlay_map

NUM_CLASSES, NUM_NEIGHBORS = 5, 8

MAX_BYTES, MAX_PIXELS = 50 << 20, 100_000_000
"""Largest photograph: a camera's largest files are smaller."""

PICTURE_SIDE, THUMBNAIL_SIDE = 640, 240
"""Pixels of the longer side of the photograph that is shown, and of thumbnails."""


@dataclass(frozen=True)
class Neighbor:
    """A photograph of the archive."""

    picture: Image.Image
    text: str


@dataclass(frozen=True)
class Examination:
    """Everything that is known about one photograph, by one predictor."""

    picture: Image.Image
    """The photograph, upright, ``PICTURE_SIDE`` pixels wide or high."""
    prediction: vd.Predictions
    setting: str
    """View and test scales of the prediction."""
    explanations: vd.Explanations
    photograph: Image.Image
    """The picture with the box of the most probable class, if a net predicts one."""
    box_text: str = ""
    neighbors: tuple[Neighbor, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    """What was computed -> time."""

    @property
    def best(self) -> int:
        """The class with the highest score."""
        return int(self.prediction.scores[0].argmax())


def check_photograph(path: Path) -> None:
    """Refuse a file that is too large or no photograph, before its pixels are read.

    Raises:
        DataError: it is.
    """
    if path.stat().st_size > MAX_BYTES:
        raise vd.DataError(f"{path.name} is too large: give photographs of at most {MAX_BYTES >> 20} MB.")
    width, height = image_size(path, camera_rotation=True)
    if width * height > MAX_PIXELS:
        raise vd.DataError(
            f"{path.name} is too large, {width:,}x{height:,} pixels: give photographs of at most "
            f"{MAX_PIXELS // 1_000_000} million."
        )


def make_picture(path: Path, side: int) -> Image.Image:
    """Return a photograph, upright, with a longer side of so many pixels.

    Raises:
        DataError: the file cannot be decoded.
    """
    picture = decode(path, camera_rotation=True, at_least=(side, side))
    ratio = side / max(picture.size)
    size = max(1, round(ratio * picture.width)), max(1, round(ratio * picture.height))
    return picture.resize(size, Image.Resampling.LANCZOS)


def examine(subjects: Subjects, name: str, path: Path, view: View, scales: Sequence[int]) -> Examination:
    """Predict, map, locate and search for one photograph.

    Raises:
        VerydeepError: the photograph cannot be used, or something fails.
    """
    predictor, seconds = subjects.predictors[name], dict[str, float]()
    scale_options, view_options = dict[str, Any](), dict[str, Any]()
    if isinstance(predictor, vd.Net):
        setting = f"{view} at Q={', '.join(map(str, scales))}"
        scale_options, view_options = {"scales": tuple(scales)}, {"views": view}
    else:
        setting = str(predictor.representation)
    options = {**subjects.options, **scale_options}
    with measure(seconds, "prediction"):
        prediction = vd.predict(predictor, path, top=NUM_CLASSES, **view_options, **options)
    with measure(seconds, "score maps"):
        explanations = vd.explain(predictor, path, out=None, **options)
    picture = make_picture(path, PICTURE_SIDE)
    photograph, box_text = picture.copy(), ""
    if subjects.box_net is not None:
        with measure(seconds, "boxes"):
            objects = vd.localize(subjects.box_net, path, top=1, **subjects.options)
        box_text = draw_boxes(objects, photograph, explanations.maps[0][0].photograph_size)
    neighbors = () if subjects.archive is None else find_neighbors(subjects, subjects.archive, path, seconds)
    return Examination(picture, prediction, setting, explanations, photograph, box_text, neighbors, seconds)


@contextmanager
def measure(seconds: dict[str, float], what: str) -> Iterator[None]:
    """Measure the time of what is done within."""
    start = time.perf_counter()
    yield
    seconds[what] = time.perf_counter() - start


def draw_boxes(objects: vd.LocatedObjects, picture: Image.Image, size: tuple[int, int]) -> str:
    """Draw the boxes of a photograph of this height and width into its picture, and return their labels."""
    draw, texts = ImageDraw.Draw(picture), []
    ratios = (picture.width / size[1], picture.height / size[0])
    for record, xyxy in zip(objects.records(), objects.boxes[0].tolist(), strict=True):
        edges = [(edge + end) * ratio for edge, end, ratio in zip(xyxy, (0, 0, 1, 1), ratios * 2, strict=True)]
        outline(draw, edges, picture.size, "red")
        texts.append(f"{record['words']} {record['probability']:.0%}")
    return ", ".join(texts)


def outline(draw: ImageDraw.ImageDraw, edges: Sequence[float], size: tuple[int, int], color: str) -> None:
    """Draw a rectangle with a white border, so that it is visible on any picture; beyond the picture it is cut off."""
    left, upper = (max(0.0, edge) for edge in edges[:2])
    right, lower = (min(edge, side) - 1 for edge, side in zip(edges[2:], size, strict=True))
    for inset, shade in ((0, "white"), (3, color)):
        right, lower = max(left + 2 * inset, right), max(upper + 2 * inset, lower)
        draw.rectangle((left + inset, upper + inset, right - inset, lower - inset), outline=shade, width=3)


def find_neighbors(subjects: Subjects, archive: Path, path: Path, seconds: dict[str, float]) -> tuple[Neighbor, ...]:
    """Return the photographs of an archive that are most similar, and can still be opened."""
    options = {key: value for key, value in subjects.options.items() if key != "precision"}
    with measure(seconds, "search"):
        found = vd.search(archive, path, top=NUM_NEIGHBORS, **options)
    neighbors = []
    for name, similarity in zip(found.paths[0], found.similarities[0], strict=True):
        with suppress(vd.DataError):  # it is missing
            neighbors.append(Neighbor(make_picture(Path(name), THUMBNAIL_SIDE), f"{similarity:.3f} {Path(name).name}"))
    return tuple(neighbors)


def draw_map(
    given: Examination, label: int, place: int, point: tuple[int, int] | None = None
) -> tuple[Image.Image, str]:
    """Draw a map over the photograph with the outline of one window; return it with a sentence about the window.

    Args:
        given: for the photograph.
        label: the class.
        place: of the map among those of the photograph.
        point: column and row in the picture, whose window is outlined; None: the strongest position.
    """
    score_map = given.explanations.maps[0][place]
    limit = 1.0 if score_map.kind == "probability" else float(abs(score_map.values[label]).max()) or 1.0
    picture = overlay_map(given.picture, score_map, label, limit)
    height, width = score_map.photograph_size
    ratio = (picture.width / width, picture.height / height)
    position = (
        score_map.strongest(label) if point is None else score_map.nearest(point[0] / ratio[0], point[1] / ratio[1])
    )
    edges = [edge * side for edge, side in zip(score_map.windows[position], ratio * 2, strict=True)]
    outline(ImageDraw.Draw(picture), edges, picture.size, "black")
    value = score_map.values[label][position]
    text = f"{value:.0%}" if score_map.kind == "probability" else f"a margin of {value:+.2f}"
    which = "the strongest window" if point is None else "the chosen window"
    words = given.explanations.class_words[label]
    return picture, f"Outlined: {which}, {text} for {words}. Click another place in the map to see its window."
