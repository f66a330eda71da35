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
"""The probabilities of a net sum to 1; a margin of a classifier above 0 means that the class is predicted."""

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
    """Names of the n images: their files, or "image 1", "image 2", ... for images in memory."""
    scores: Float32Array
    """(n, K) float32: posteriors of a net, or margins of a classifier; the columns are the classes."""
    class_names: tuple[str, ...]
    """Names of the K classes, in the order of ``scores``."""
    class_words: tuple[str, ...]
    """Usual words for each class; its name where no words are known."""
    kind: ScoreKind = "probability"
    """Whether ``scores`` are probabilities or margins."""
    num_top: int = 5
    """Number of classes that ``records`` and tables list for each image."""
    skipped: Mapping[str, str] = field(default_factory=dict)
    """Reason for each file that could not be used."""
    bad_images: Literal["error", "skip"] = "error"
    """How to treat skipped files: "error" makes them a ``problem``, "skip" accepts them."""
    formats: ClassVar[Mapping[str, str]] = {"probability": ".1%", "margin": "+.2f"}

    def top(self, count: int = 5) -> list[list[ClassScore]]:
        """Return the ``count`` classes with the highest scores, highest first; equal scores in the order of classes."""
        best = order_classes(self.scores)[:, :count]
        return [
            [ClassScore(self.class_names[k], self.class_words[k], float(row[k])) for k in order.tolist()]
            for row, order in zip(self.scores, best, strict=True)
        ]

    def records(self) -> list[Record]:
        """Return one plain record for each image and each of its ``num_top`` classes with the highest scores."""
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
    """Return sentences about images without a predicted class, and about two classes whose margins are opposite.

    Args:
        images: names of the images.
        margins: (n, K), a row for each image.
    """
    none = [image for image, row in zip(images, margins, strict=True) if row.max() <= 0]
    remarks = [f"No class has a positive margin in {shorten_list(none)}."] if none else []
    if images and margins.shape[1] == 2 and np.allclose(margins.sum(axis=1), 0, atol=OPPOSITE):
        remarks.append("One of the two classes always has a positive margin, also in an image of neither.")
    return remarks
