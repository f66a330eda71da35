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
    """Class score maps of images, and the classes that they explain."""

    images: tuple[str, ...]
    """Names of the n images: their files, or "image 1", "image 2", ... for images in memory."""
    maps: tuple[tuple[ScoreMap, ...], ...]
    """Maps of each image: one for each test scale; for a classifier with several nets, one for each net and scale."""
    labels: Int64Array
    """(n, top) int64: indices into ``class_names`` of the classes with the highest scores, highest first."""
    scores: Float32Array
    """(n, K) float32: posteriors of all classes, or margins of a classifier, as in `verydeep predict`."""
    class_names: tuple[str, ...]
    """Names of the K classes, in the order of ``scores``."""
    class_words: tuple[str, ...]
    """Usual words for each class; its name where no words are known."""
    filters: Float32Array
    """(C, 3, k, k) float32: weights of conv1_1 in the order RGB; those of the first net if there are several."""
    kind: ScoreKind = "probability"
    """Whether ``scores`` are probabilities or margins."""
    point: tuple[float, float] | None = None
    """The point (x, y), in pixels of each photograph, whose position is shown; None: the strongest position."""
    boxes: LocatedObjects | None = None
    """Boxes that a localization net predicts for the images; None if no such net was given."""
    pictures: tuple[str, ...] = ()
    """Files of the n pictures with maps, then the file with the filters; empty if nothing was drawn."""
    skipped: Mapping[str, str] = field(default_factory=dict)
    """Reason for each file that could not be used."""
    bad_images: Literal["error", "skip"] = "error"
    """How to treat skipped files: "error" makes them a ``problem``, "skip" accepts them."""
    formats: ClassVar[Mapping[str, str]] = {
        **Predictions.formats, "probability there": ".1%", "margin there": "+.2f", **dict.fromkeys(SIDES, ".0f"),
    }  # fmt: skip

    def position(self, score_map: ScoreMap, label: int) -> tuple[int, int]:
        """Return row and column of the position shown on a map: that at ``point``, or the strongest one of a class."""
        return score_map.strongest(label) if self.point is None else score_map.nearest(*self.point)

    def records(self) -> list[Record]:
        """Return one plain record for each image, class and map: the value at the position shown, and its window."""
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
        """Return the columns of the table; the net has a column only if there are several nets."""
        several = len({score_map.net for row in self.maps for score_map in row}) > 1
        names = (*(["net"] if several else []), self.kind, "scale", "row", "column", f"{self.kind} there", *SIDES)
        titles = {"row": "map\nrow", "column": "map\ncolumn", f"{self.kind} there": f"{self.kind}\nat position"}
        titles |= {"scale": "Q", "left": "window\nleft"}
        return {"image": "image", "words": "class", **{name: titles.get(name, name) for name in names}}

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
