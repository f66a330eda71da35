"""The result of `localize`: a box for each of the most probable classes of each image."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import ClassVar, Literal

from verydeep.data.annotations import SIDES
from verydeep.ops.arrays import Float32Array, Int64Array
from verydeep.results.result import ImageResult, Record


@dataclass(frozen=True, eq=False, repr=False)
class LocatedObjects(ImageResult):
    """Boxes for the ``top`` most probable classes of each image, the most probable class first."""

    images: tuple[str, ...]
    """Names of the n images: their files, or "image 1", "image 2", ... for images in memory."""
    labels: Int64Array
    """(n, top) int64: indices into ``class_names`` of the most probable classes, the most probable first."""
    probabilities: Float32Array
    """(n, top) float32: posteriors of these classes, from 0 to 1."""
    ratings: Float32Array
    """(n, top) float32: ratings of the boxes: the class's posteriors summed over the merged boxes; may exceed 1."""
    boxes: Int64Array
    """(n, top, 4) int64: xmin, ymin, xmax, ymax, the first and last pixels of each box in the upright image, from 0."""
    class_names: tuple[str, ...]
    """Names of the K classes, which ``labels`` index."""
    class_words: tuple[str, ...]
    """Usual words for each class; its name where no words are known."""
    pictures: tuple[str, ...] = ()
    """Files of the n pictures with boxes; empty if no pictures were asked for."""
    skipped: Mapping[str, str] = field(default_factory=dict)
    """Reason for each file that could not be used."""
    bad_images: Literal["error", "skip"] = "error"
    """How to treat skipped files: "error" makes them a ``problem``, "skip" accepts them."""
    formats: ClassVar[Mapping[str, str]] = {"probability": ".1%", "rating": ".2f", **dict.fromkeys(SIDES, "d")}

    def records(self) -> list[Record]:
        """Return one plain record for each image and class."""
        pictures: tuple[str | None, ...] = self.pictures or (None,) * len(self.images)
        return [
            {
                "image": image,
                "rank": rank + 1,
                "class": self.class_names[label],
                "words": self.class_words[label],
                "probability": float(self.probabilities[row, rank]),
                "rating": float(self.ratings[row, rank]),
                **dict(zip(SIDES, self.boxes[row, rank].tolist(), strict=True)),
                **({} if picture is None else {"picture": picture}),
            }
            for row, (image, picture) in enumerate(zip(self.images, pictures, strict=True))
            for rank, label in enumerate(self.labels[row].tolist())
        ]

    def columns(self) -> Mapping[str, str]:
        """Return the columns of the table."""
        figures = ("probability", "rating", *SIDES)
        return {"image": "image", "words": "class", **dict(zip(figures, figures, strict=True))}

    def footer(self) -> list[str]:
        """Return where the pictures are, and a line for each skipped file."""
        folder = PurePath(self.pictures[0]).parent if self.pictures else None
        written = [] if folder is None else [f"Pictures written: {len(self.pictures):,}, in {folder}/"]
        return [*written, *self._skipped_lines()]
