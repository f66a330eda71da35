"""The result of `explain`: class score maps of photographs, and what was drawn of them."""

import base64
import html
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Literal

from verydeep.ops.arrays import Float32Array, Int64Array
from verydeep.results.objects import LocatedObjects
from verydeep.results.predictions import Predictions, ScoreKind, list_margin_remarks
from verydeep.results.result import ImageResult, Record
from verydeep.results.score_map import ScoreMap

SIDES = ("left", "upper", "right", "lower")
SHOWN_PICTURES = 20
"""Pictures that a notebook shows."""


@dataclass(frozen=True, eq=False, repr=False)
class Explanations(ImageResult):
    """Class score maps of images, and the classes they explain."""

    images: tuple[str, ...]
    """n file names, or "image 1", "image 2", ... of images in memory."""
    maps: tuple[tuple[ScoreMap, ...], ...]
    """The maps of each image: one for each test scale; of a classifier of several nets, one for each net and scale."""
    labels: Int64Array
    """(n, top) int64 classes with the highest scores, highest first: indices into ``class_names``."""
    scores: Float32Array
    """(n, K) posteriors of all classes, or margins of a classifier: those of `verydeep predict`."""
    class_names: tuple[str, ...]
    class_words: tuple[str, ...]
    """Common name of each class; equal to ``class_names`` where nothing better is known."""
    filters: Float32Array
    """(C, 3, k, k) weights of conv1_1, RGB, of the (first) net."""
    kind: ScoreKind = "probability"
    """The meaning of ``scores``."""
    point: tuple[float, float] | None = None
    """x and y, in pixels of each photograph, of the position that was asked for; None: the strongest one."""
    boxes: LocatedObjects | None = None
    """The boxes that a localization net predicts for the images."""
    pictures: tuple[str, ...] = ()
    """n files with the maps drawn, and then one with the filters; empty if none were asked for."""
    skipped: Mapping[str, str] = field(default_factory=dict)
    """File that could not be used -> reason."""
    bad_images: Literal["error", "skip"] = "error"
    """Whether skipped files are a problem."""
    formats: ClassVar[Mapping[str, str]] = {
        **Predictions.formats, "probability there": ".1%", "margin there": "+.2f", **dict.fromkeys(SIDES, ".0f"),
    }  # fmt: skip

    def position(self, score_map: ScoreMap, label: int) -> tuple[int, int]:
        """Return row and column of the chosen position of a map: at ``point``, or the strongest one of a class."""
        return score_map.strongest(label) if self.point is None else score_map.nearest(*self.point)

    def records(self) -> list[Record]:
        """Return one plain record for each image, class and map: the value at the chosen position, and its window."""
        return [
            self._record(row, rank, label, score_map)
            for row in range(len(self.images))
            for rank, label in enumerate(self.labels[row].tolist(), start=1)
            for score_map in self.maps[row]
        ]

    def _record(self, image: int, rank: int, label: int, score_map: ScoreMap) -> Record:
        row, column = self.position(score_map, label)
        return {
            "image": self.images[image],
            "rank": rank,
            "class": self.class_names[label],
            "words": self.class_words[label],
            self.kind: float(self.scores[image, label]),
            "net": score_map.net,
            "scale": score_map.scale,
            "row": row,
            "column": column,
            f"{self.kind} there": float(score_map.values[label, row, column]),
            **dict(zip(SIDES, score_map.windows[row, column].tolist(), strict=True)),
        }

    def columns(self) -> Mapping[str, str]:
        """Return the columns of the table: nets only where there are several."""
        several = len({score_map.net for row in self.maps for score_map in row}) > 1
        names = (*(["net"] if several else []), self.kind, "scale", "row", "column", f"{self.kind} there", *SIDES)
        return {"image": "image", "words": "class", **{name: name for name in names}, "scale": "Q"}

    def footer(self) -> list[str]:
        """Return where the pictures are, and a line for each skipped file."""
        folder = Path(self.pictures[0]).parent if self.pictures else None
        written = [] if folder is None else [f"Pictures written: {len(self.pictures):,}, in {folder}/"]
        remarks = list_margin_remarks(self.images, self.scores) if self.kind == "margin" else []
        return [*written, *remarks, *self._skipped_lines()]

    def _repr_html_(self) -> str:
        """Return the table and the first pictures, for a notebook."""
        existing = [path for path in map(Path, self.pictures[:SHOWN_PICTURES]) if path.exists()]
        return "".join([super()._repr_html_(), *map(embed_picture, existing)])


def embed_picture(path: Path) -> str:
    """Return a picture as HTML that needs no other file."""
    kind = "jpeg" if path.suffix == ".jpg" else "png"
    data = base64.b64encode(path.read_bytes()).decode()
    return f'<img alt="{html.escape(path.name)}" src="data:image/{kind};base64,{data}">'
