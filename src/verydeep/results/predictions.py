"""The result of `predict`: scores of all classes for each image."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, NamedTuple

import numpy as np

from verydeep.ops.arrays import Float32Array
from verydeep.ops.metrics import order_classes
from verydeep.results.result import ImageResult, Record
from verydeep.wording import shorten_list

ScoreKind = Literal["probability", "margin"]
"""A net's probabilities sum to 1; a classifier's margin stands for the class above 0."""

OPPOSITE = 1e-3
"""Largest sum of two margins that are opposite, each from an SVM of its own."""


class ClassScore(NamedTuple):
    """A class and its score for one image."""

    name: str
    words: str
    score: float
    """A probability, or the margin of a linear SVM."""


@dataclass(frozen=True, eq=False, repr=False)
class Predictions(ImageResult):
    """Scores of all classes for each image."""

    images: tuple[str, ...]
    """n file names, or "image 1", "image 2", ... of images in memory."""
    scores: Float32Array
    """(n, K) float32, in the order of ``class_names``: posteriors of a net, or margins of a classifier."""
    class_names: tuple[str, ...]
    class_words: tuple[str, ...]
    """Common name of each class; equal to ``class_names`` where nothing better is known."""
    kind: ScoreKind = "probability"
    """The meaning of ``scores``."""
    num_top: int = 5
    """Number of classes of each image in ``records`` and in tables."""
    skipped: Mapping[str, str] = field(default_factory=dict)
    """File that could not be used -> reason."""
    bad_images: Literal["error", "skip"] = "error"
    """Whether skipped files are a problem."""
    formats: ClassVar[Mapping[str, str]] = {"probability": ".1%", "margin": "+.2f"}

    def top(self, count: int = 5) -> list[list[ClassScore]]:
        """Return the ``count`` highest classes of each image, highest first; equal ones in the order of the classes."""
        best = order_classes(self.scores)[:, :count]
        return [
            [ClassScore(self.class_names[k], self.class_words[k], float(row[k])) for k in order.tolist()]
            for row, order in zip(self.scores, best, strict=True)
        ]

    def records(self) -> list[Record]:
        """Return one plain record for each image and each of its ``num_top`` highest classes."""
        return [
            {"image": image, "rank": rank, "class": each.name, "words": each.words, self.kind: each.score}
            for image, classes in zip(self.images, self.top(self.num_top), strict=True)
            for rank, each in enumerate(classes, start=1)
        ]

    def columns(self) -> Mapping[str, str]:
        """Return the columns of the table."""
        return {"image": "image", "words": "class", self.kind: self.kind}

    def footer(self) -> list[str]:
        """Return a line about images for which a classifier predicts no class, and one for each skipped file."""
        remarks = list_margin_remarks(self.images, self.scores) if self.kind == "margin" else []
        return [*remarks, *self._skipped_lines()]


def list_margin_remarks(images: Sequence[str], margins: Float32Array) -> list[str]:
    """Return sentences about images of no class, and about two classes whose margins are opposite.

    Args:
        images: names of the images.
        margins: (n, K) of the images.
    """
    none = [image for image, row in zip(images, margins, strict=True) if row.max() <= 0]
    remarks = [f"No class has a positive margin in {shorten_list(none)}."] if none else []
    if images and margins.shape[1] == 2 and np.allclose(margins.sum(axis=1), 0, atol=OPPOSITE):
        remarks.append("One of the two classes always has a positive margin, also in an image of neither.")
    return remarks
